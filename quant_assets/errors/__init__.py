"""Every error that a caller can meet, ordered by what the caller should do next.

QuantAssetsError                     exit code
├── RetryLater                       75   nothing is lost; the same command works later
│   ├── SourceUnavailableError            TWS is down, silent or restarting
│   ├── SourceTimeoutError                one request got no answer in time
│   ├── PacingError                       asked too fast; retry after .retry_after_s
│   ├── ScannerUnavailableError           TradingView is down, silent, or asked too often
│   ├── LockHeldError                     another process holds the lock; names its holder
│   └── DiskFullError                     no space to commit a file; what stood before still stands
├── FixConfiguration                  2   the request or the configuration asks for the impossible
│   ├── ConfigurationError                a file, key or value is wrong
│   ├── UnknownNameError                  no such profile, table, run, scanner, …
│   ├── NotInRunError                     an instrument that was judged, and left out before bars were frozen
│   ├── NotARunError                      a path that holds no run directory
│   ├── UnsafeNameError                   a name that must not become part of a path
│   ├── NotASessionError                  a holiday, a weekend or a reversed range
│   ├── FutureSessionError                the session has not closed yet
│   ├── EmptyUniverseError                discovery found no instrument
│   ├── LiveOnlyError                     a live scanner was asked about a past session
│   ├── ScannerRefusedError               TradingView calls the scan malformed
│   └── SourceRefusedError                TWS says no, and would say so again
│       ├── UnknownContractError               no such instrument
│       ├── NoPermissionError                  no market-data subscription, or a competing session
│       └── BadRequestError                    TWS calls the request malformed
├── DataWrong                        65   bytes came, and they are not usable
│   ├── ShapeError                        columns or dtypes differ from the declaration
│   ├── WrongUnitError                    volumes came in lots of 100 instead of shares
│   ├── MalformedAnswerError              TradingView answered something that is no scan result
│   ├── InvalidRecordsError               a source named records that cannot be used; lists every one
│   ├── CorruptFileError                  a file cannot be read, or is not what its footer says
│   ├── UnknownBarError                   no bar of that instrument and time was ever received
│   ├── HardRuleError                     a quarantined row that silver's schema forbids
│   ├── BrokenChainError                  words on quarantined rows that cannot be proved; nothing is made with them
│   ├── CorruptCopyError                  a month copy is not what it was made from; the session files are
│   ├── NotPublishedError                 a partition that is needed does not exist
│   ├── StaleInputsError                  computed from older inputs than what already stands
│   ├── SessionsNotPublishedError         some sessions of a range broke a blocking rule
│   ├── NoCandidatesError                 the screen accepted nobody; names the biggest reasons
│   ├── NotEnoughReturnsError             too few returns or instruments to estimate risk from
│   ├── SnapshotIncompleteError           the alpha cycle lacks inputs; lists every one of them
│   ├── CurrencyError                     instruments are not all quoted in the base currency
│   ├── SnapshotExistsError               a snapshot is written once
│   ├── VerificationError                 a run does not equal what it claims to be
│   └── InfeasibleError                   no weights satisfy the constraints
├── NetworkSealedError               70   the alpha cycle tried to open a connection
└── DefectError                      70   our own mistake; please report it

Each error takes its culprits as data and writes its own sentence: what is wrong, and how it is mended.
"""

import errno
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from difflib import get_close_matches
from pathlib import Path
from typing import Final

from quant_assets.errors.base import DataWrong as DataWrong
from quant_assets.errors.base import FixConfiguration as FixConfiguration
from quant_assets.errors.base import QuantAssetsError as QuantAssetsError
from quant_assets.errors.base import RetryLater as RetryLater
from quant_assets.errors.base import listed
from quant_assets.errors.discovery import EmptyUniverseError as EmptyUniverseError
from quant_assets.errors.discovery import InvalidRecordsError as InvalidRecordsError
from quant_assets.errors.discovery import LiveOnlyError as LiveOnlyError
from quant_assets.errors.discovery import MalformedAnswerError as MalformedAnswerError
from quant_assets.errors.discovery import ScannerRefusedError as ScannerRefusedError
from quant_assets.errors.discovery import ScannerUnavailableError as ScannerUnavailableError

INTERRUPTED: Final = (130, "interrupted: what was committed stands; the same command goes on from there")
"""Exit code and sentence of a command that Ctrl-C or a termination signal ended."""

# ---------------------------------------------------------------- retry later


class SourceUnavailableError(RetryLater):
    """The data source cannot be reached, or its link to the market is down."""

    def __init__(self, address: str, cause: str, mend: str) -> None:
        self.address, self.cause, self.mend = address, cause, mend
        super().__init__(f"TWS at {address} is not available: {cause}. {mend}")


class SourceTimeoutError(RetryLater):
    """One request got no answer in time; this is not the same as an empty answer."""

    def __init__(self, what: str, timeout_s: float) -> None:
        self.what, self.timeout_s = what, timeout_s
        super().__init__(
            f"No answer to {what} within {timeout_s:g} s. The request was cancelled; "
            "run the same command again, or raise tws.request_timeout_s."
        )


class PacingError(RetryLater):
    """The source refused a request because of its rate limits."""

    def __init__(self, what: str, retry_after_s: float, text: str = "") -> None:
        self.what, self.retry_after_s, self.text = what, retry_after_s, text
        super().__init__(
            f"Pacing violation on {what}: wait {retry_after_s:g} s before the next request."
            + (f" TWS said: {text}" if text else "")
        )


class LockHeldError(RetryLater):
    """Another process holds the lock."""

    def __init__(self, name: str, holder: Mapping[str, object], waited_s: float) -> None:
        self.name, self.holder, self.waited_s = name, dict(holder), waited_s
        who = ", ".join(f"{key}={value}" for key, value in holder.items()) or "unknown"
        super().__init__(
            f"{name!r} is in use by another run ({who}); waited {waited_s:g} s. "
            "Run again when it has finished; the lock frees itself when that process ends."
        )


class DiskFullError(RetryLater):
    """A file could not be committed because there is no space left."""

    def __init__(self, path: Path, cause: OSError) -> None:
        self.path = path
        super().__init__(
            f"Could not write {path}: {cause.strerror or cause}. What stood there before is untouched; "
            "free some space and run the same command again."
        )


# ---------------------------------------------------------------- fix the configuration or the request


class ConfigurationError(FixConfiguration):
    """A configuration file, key or value is wrong."""

    def __init__(self, where: str, problem: str, mend: str = "") -> None:
        self.where, self.problem = where, problem
        super().__init__(f"{where}: {problem}" + (f" {mend}" if mend else ""))


class UnknownNameError(FixConfiguration):
    """A name that nothing here is called; suggests the nearest one."""

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        self.kind, self.name, self.known = kind, name, sorted(known)
        near = get_close_matches(str(name), self.known, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        super().__init__(f"There is no {kind} {name!r}.{hint} Known: {listed(self.known) or 'none'}.")


class NotInRunError(FixConfiguration):
    """A run froze no bar of an instrument, because its screen rejected it."""

    def __init__(self, run_id: str, symbol: str, reasons: str) -> None:
        self.symbol, self.reasons = symbol, reasons
        why = reasons.replace(";", "; ").replace("_", " ") or "it was not accepted"
        super().__init__(f"{symbol} is not in run {run_id}: the screen left it out ({why}).")


class NotARunError(FixConfiguration):
    """A path was given for a run, and no run directory is there."""

    def __init__(self, path: Path) -> None:
        self.path = path
        what = "holds no manifest.json and no config/inputs.json" if path.is_dir() else "is no directory"
        super().__init__(
            f"{path} {what}, so it is no run. Give the directory that holds INDEX.md, or a run id of `quant run list`."
        )


class UnsafeNameError(FixConfiguration):
    """A name that would reach a path but has characters outside the whitelist."""

    def __init__(self, kind: str, name: str, allowed: str) -> None:
        self.kind, self.name = kind, name
        super().__init__(f"{name!r} is not a legal {kind}: allowed are {allowed}.")


class NotASessionError(FixConfiguration):
    """A day on which no configured exchange trades, or a range that holds no session."""

    def __init__(self, label: str, reason: str, nearest: Sequence[date] = ()) -> None:
        self.label, self.nearest = label, tuple(nearest)
        near = f" Nearest sessions: {listed(nearest)}." if nearest else ""
        super().__init__(f"{label} is no session: {reason}.{near}")


class FutureSessionError(FixConfiguration):
    """A session that has not closed yet."""

    def __init__(self, session: date, latest: date) -> None:
        self.session, self.latest = session, latest
        super().__init__(f"Session {session} has not closed yet; the latest one that can be asked for is {latest}.")


class SourceRefusedError(FixConfiguration):
    """TWS refused a request for a reason that retrying cannot change."""

    def __init__(self, what: str, code: int, text: str, mend: str) -> None:
        self.what, self.code, self.text, self.mend = what, code, text, mend
        super().__init__(f"TWS refused {what} (error {code}: {text}). {mend}")


class UnknownContractError(SourceRefusedError):
    """TWS knows no such instrument (error 200)."""


class NoPermissionError(SourceRefusedError):
    """No market-data permission, or another session uses it (354, 10089, 10197, some 162)."""


class BadRequestError(SourceRefusedError):
    """TWS calls the request malformed (320, 321, 10314)."""


# ---------------------------------------------------------------- the data is wrong


class ShapeError(DataWrong):
    """A frame's columns or dtypes differ from the table's declaration: our defect, never the data's."""

    def __init__(self, table: str, problems: Sequence[str]) -> None:
        self.table, self.problems = table, tuple(problems)
        super().__init__(f"The frame does not have the shape of table {table!r}: {listed(problems)}.")


class WrongUnitError(DataWrong):
    """Volumes came in round lots of 100 instead of shares; nothing of such an answer is stored."""

    def __init__(self, names: Iterable[str]) -> None:
        self.names = sorted(set(names))
        super().__init__(
            f"TWS sends volumes in lots of 100 instead of shares for {listed(self.names)}; they were refused. "
            "In TWS or IB Gateway, under Configuration > API > Settings, switch off *Send market data in lots for US "
            "Stocks for dual-mode API clients*, and run the same command again."
        )


class CorruptFileError(DataWrong):
    """A file cannot be read, or its content is not what its footer says."""

    def __init__(self, path: Path, cause: str, mend: str) -> None:
        self.path = path
        super().__init__(f"{path} is unreadable ({cause}). {mend}")


class UnknownBarError(DataWrong):
    """No bar of an instrument and a time is in bronze, in quarantine or in silver."""

    def __init__(self, bar: str) -> None:
        self.bar = bar
        super().__init__(
            f"No bar {bar} was ever received. A bar is named by its start, in UTC; "
            "`quant status` shows which sessions there are."
        )


class HardRuleError(DataWrong):
    """A quarantined row that nobody can release, because silver's own schema forbids it."""

    def __init__(self, row: str, rules: Sequence[str]) -> None:
        self.row, self.rules = row, tuple(rules)
        super().__init__(
            f"Row {row} cannot be released: it breaks {listed(rules)}, and silver's schema rests on that. "
            "Fetch the session again when TWS serves another value; `quant quarantine confirm` keeps it out for good."
        )


class BrokenChainError(DataWrong):
    """Words on quarantined rows were altered, or they and the audit log do not tell of the same ones."""

    def __init__(self, path: Path, line: int, cause: str, audit: Path) -> None:
        self.path, self.line, self.audit = path, line, audit
        where = f"{path}, line {line}" if line else str(path)
        super().__init__(
            f"{where}: {cause}. No row is let in or kept out on words that cannot be proved, so nothing is curated. "
            f"`quant audit verify` names every such line. Restore {path.name} and {audit} from one backup; where there "
            "is none, move both aside, keep them, and say again with `quant quarantine` what still holds."
        )


class CorruptCopyError(DataWrong):
    """A month copy cannot be read, or is not equal to the session files that it was made from."""

    def __init__(self, path: Path, cause: str) -> None:
        self.path = path
        super().__init__(f"{path} is no copy ({cause}). Nothing is lost: `quant lake compact` makes it anew.")


class NotPublishedError(DataWrong):
    """A partition that is needed does not exist."""

    def __init__(self, table: str, partition: str, mend: str) -> None:
        self.table, self.partition = table, partition
        super().__init__(f"{table}[{partition}] is not published. {mend}")


class StaleInputsError(DataWrong):
    """A frame was computed from older inputs than the file that stands."""

    def __init__(self, table: str, partition: str, standing: str, offered: str) -> None:
        self.table, self.partition = table, partition
        super().__init__(
            f"{table}[{partition}] stands on inputs known at {standing}, newer than the {offered} offered; "
            "nothing was written. Materialize the upstream tables again, then this one."
        )


class SessionsNotPublishedError(DataWrong):
    """Some sessions broke a blocking rule and stay unpublished; the others were committed."""

    def __init__(self, table: str, failures: Mapping[str, str], n_published: int) -> None:
        self.table, self.failures, self.n_published = table, dict(failures), n_published
        total = n_published + len(failures)
        what = listed(f"{key} ({why})" for key, why in failures.items())
        super().__init__(f"{len(failures)} of {total} partitions of {table} were not published: {what}.")


class NoCandidatesError(DataWrong):
    """The screen of a profile accepted no instrument, which is never a valid candidate set."""

    def __init__(self, session: date, profile: str, n_judged: int, reasons: Mapping[str, int]) -> None:
        self.session, self.profile, self.reasons = session, profile, dict(reasons)
        why = listed(f"{reason} ({count})" for reason, count in reasons.items())
        super().__init__(
            f"Profile {profile!r} accepted none of {n_judged} instruments of {session}: {why}. "
            "Fetch what is missing with `quant flow data`, or loosen data and selection in configs/manifest.json."
        )


class NotEnoughReturnsError(DataWrong):
    """Too few returns, or too few instruments with returns, are left to estimate risk from."""

    def __init__(self, what: str, mend: str) -> None:
        super().__init__(f"{what} {mend}")


class SnapshotIncompleteError(DataWrong):
    """The alpha cycle lacks inputs; carries every missing item with the command that mends it."""

    def __init__(self, session: date, profile: str, missing: Sequence[tuple[str, str]]) -> None:
        self.session, self.profile, self.missing = session, profile, tuple(missing)
        lines = "\n".join(f"  - {what}\n    mend: {mend}" for what, mend in missing)
        super().__init__(f"The snapshot {profile}|{session} lacks {len(missing)} item(s):\n{lines}")


class CurrencyError(DataWrong):
    """Instruments are quoted in another currency than the base currency, and nothing converts."""

    def __init__(self, base: str, foreign: Mapping[str, str]) -> None:
        self.base, self.foreign = base, dict(foreign)
        named = ", ".join(f"{symbol} in {currency}" for symbol, currency in sorted(foreign.items()))
        super().__init__(
            f"Not quoted in the base currency {base}, and nothing converts: {named}. Take them out of the profile's "
            "lists, or set lakehouse.base_currency."
        )


class SnapshotExistsError(DataWrong):
    """A snapshot with this id exists and holds something else."""

    def __init__(self, run_id: str, held: str, offered: str) -> None:
        self.run_id, self.held, self.offered = run_id, held, offered
        super().__init__(f"Run {run_id!r} is written once: it holds {held[:12]}…, and {offered[:12]}… was offered.")


class VerificationError(DataWrong):
    """A finished run does not equal what it claims to be."""

    def __init__(self, run_id: str, problems: Sequence[str]) -> None:
        self.run_id, self.problems = run_id, tuple(problems)
        super().__init__(f"Run {run_id!r} failed verification: {listed(problems)}.")


class InfeasibleError(DataWrong):
    """No weights satisfy the constraints."""

    def __init__(self, what: str, mend: str) -> None:
        super().__init__(f"{what} {mend}")


# ---------------------------------------------------------------- choosing between them


def cannot_write(path: Path, cause: OSError) -> QuantAssetsError:
    """Return the error for a file that could not be written: a full disk heals, wrong permissions do not."""
    if cause.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}:
        return DiskFullError(path, cause)
    problem = f"it cannot be written ({cause.strerror or cause})."
    return ConfigurationError(str(path), problem, "Check what stands there, its owner and its permissions.")


# ---------------------------------------------------------------- sealed, or broken


class NetworkSealedError(QuantAssetsError):
    """The alpha cycle tried to open a network connection."""

    exit_code = 70

    def __init__(self, target: str) -> None:
        self.target = target
        super().__init__(f"The alpha cycle is sealed: a connection to {target} was refused.")


class DefectError(QuantAssetsError):
    """Our own mistake."""

    exit_code = 70

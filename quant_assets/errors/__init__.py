"""Every error that a caller can meet, ordered by what the caller should do next.

QuantAssetsError                     exit code
├── RetryLater                       75   nothing is lost; the same command works later
│   ├── SourceUnavailableError            TWS is down, silent or restarting
│   ├── SourceTimeoutError                one request got no answer in time
│   ├── PacingError                       asked too fast; retry after .retry_after_s
│   ├── ScannerUnavailableError           TradingView is down, silent, or asked too often
│   ├── LockHeldError                     another process holds the lock; names its holder
│   ├── ChangingLakeError                 others committed while it was read: what was read is no one state
│   ├── PastRemovedError                  the directory that the past was read from is gone
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
│   ├── DamagedSourcesError               files are lost or altered, and something was to be built on them
│   ├── UnknownBarError                   no bar of that instrument and time was ever received
│   ├── HardRuleError                     a quarantined row that silver's schema forbids
│   ├── NoMoveError                       a price break by two answers for the same prices: nothing moved
│   ├── BrokenChainError                  words on quarantined rows that cannot be proved; nothing is made with them
│   ├── CorruptCopyError                  a month copy is not what it was made from; the session files are
│   ├── NotPublishedError                 a partition that is needed does not exist
│   ├── MissingSessionsError              sessions of a range are missing, or were not known then; lists them
│   ├── UnexplainedBreakError             a range holds two price bases, and no factor leads from one to the other
│   ├── UnprovedBasisError                an instrument was away for longer than its daily history reaches back
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
import os
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Final

from quant_assets.errors.base import DataWrong as DataWrong
from quant_assets.errors.base import FixConfiguration as FixConfiguration
from quant_assets.errors.base import QuantAssetsError as QuantAssetsError
from quant_assets.errors.base import RetryLater as RetryLater
from quant_assets.errors.base import listed, suggestion
from quant_assets.errors.data import LOTS_OFF as LOTS_OFF
from quant_assets.errors.data import BrokenChainError as BrokenChainError
from quant_assets.errors.data import CorruptCopyError as CorruptCopyError
from quant_assets.errors.data import CorruptFileError as CorruptFileError
from quant_assets.errors.data import CurrencyError as CurrencyError
from quant_assets.errors.data import DamagedSourcesError as DamagedSourcesError
from quant_assets.errors.data import HardRuleError as HardRuleError
from quant_assets.errors.data import InfeasibleError as InfeasibleError
from quant_assets.errors.data import MissingSessionsError as MissingSessionsError
from quant_assets.errors.data import MissingSessionsWarning as MissingSessionsWarning
from quant_assets.errors.data import NoCandidatesError as NoCandidatesError
from quant_assets.errors.data import NoMoveError as NoMoveError
from quant_assets.errors.data import NotEnoughReturnsError as NotEnoughReturnsError
from quant_assets.errors.data import NotPublishedError as NotPublishedError
from quant_assets.errors.data import SessionsNotPublishedError as SessionsNotPublishedError
from quant_assets.errors.data import ShapeError as ShapeError
from quant_assets.errors.data import SnapshotExistsError as SnapshotExistsError
from quant_assets.errors.data import SnapshotIncompleteError as SnapshotIncompleteError
from quant_assets.errors.data import StaleInputsError as StaleInputsError
from quant_assets.errors.data import UnexplainedBreakError as UnexplainedBreakError
from quant_assets.errors.data import UnknownBarError as UnknownBarError
from quant_assets.errors.data import UnprovedBasisError as UnprovedBasisError
from quant_assets.errors.data import VerificationError as VerificationError
from quant_assets.errors.data import WrongUnitError as WrongUnitError
from quant_assets.errors.discovery import EmptyUniverseError as EmptyUniverseError
from quant_assets.errors.discovery import InvalidRecordsError as InvalidRecordsError
from quant_assets.errors.discovery import LiveOnlyError as LiveOnlyError
from quant_assets.errors.discovery import MalformedAnswerError as MalformedAnswerError
from quant_assets.errors.discovery import ScannerRefusedError as ScannerRefusedError
from quant_assets.errors.discovery import ScannerUnavailableError as ScannerUnavailableError

INTERRUPTED: Final = (130, "interrupted: what was committed stands; the same command goes on from there")
"""Exit code and sentence of a command that Ctrl-C or a termination signal ended."""
GIVEN_UP_CODE: Final = 3
"""Exit code of a run that published all it was asked for, but for instruments that TWS refuses until somebody acts."""

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


class ChangingLakeError(RetryLater):
    """Others committed while it was read, so that no one state of the lakehouse can be told."""

    def __init__(self, tables: Sequence[str]) -> None:
        self.tables = list(tables)
        super().__init__(
            f"The lakehouse changed while it was read: {listed(self.tables)}. "
            "Run again when what is writing has finished, or pause the ingestion with `quant pause`."
        )


class PastRemovedError(RetryLater):
    """Somebody removed the directory that the past was read from."""

    def __init__(self, root: Path) -> None:
        self.root = root
        super().__init__(f"{root}, which the past was read from, was removed meanwhile. Run the same command again.")


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
    """A name that nothing here is called, or nothing of which something holds; suggests the nearest one."""

    def __init__(self, kind: str, name: str, known: Iterable[str], what: str = "") -> None:
        self.kind, self.name, self.known = kind, name, sorted(known)
        super().__init__(f"There is no {kind} {name!r}{what and ' ' + what}. {suggestion(name, self.known)}")


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


# ---------------------------------------------------------------- choosing between them


_NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def no_space(error: Exception) -> OSError | None:
    """Return what the system said, where an error comes from a lack of space: full, over a quota, or too large a file.

    Libraries that wrap what the system said, as Polars does while it writes, keep only the words.
    """
    if isinstance(error, OSError):
        return error if error.errno in _NO_SPACE else None
    if isinstance(error, QuantAssetsError):
        return None
    said = next((code for code in _NO_SPACE if os.strerror(code) in str(error)), None)
    return OSError(said, os.strerror(said)) if said else None


def cannot_write(path: Path, cause: OSError) -> QuantAssetsError:
    """Return the error for a file that could not be written: a full disk heals, wrong permissions do not."""
    if no_space(cause):
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

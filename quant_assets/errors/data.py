"""What is wrong with the data: nothing was published, and the same command would end in the same way."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from pathlib import Path

from quant_assets.errors.base import DataWrong, listed


class ShapeError(DataWrong):
    """A frame's columns or dtypes differ from the table's declaration: our defect, never the data's."""

    def __init__(self, table: str, problems: Sequence[str]) -> None:
        self.table, self.problems = table, tuple(problems)
        super().__init__(f"The frame does not have the shape of table {table!r}: {listed(problems)}.")


LOTS_OFF = (
    "In TWS or IB Gateway, under Configuration > API > Settings, switch off *Send market data in lots for US "
    "Stocks for dual-mode API clients*"
)


class WrongUnitError(DataWrong):
    """Volumes came in round lots of 100 instead of shares; nothing of such an answer is stored."""

    def __init__(self, names: Iterable[str], n_left: int = 0) -> None:
        self.names, self.n_left = sorted(set(names)), n_left
        rest = f", and {n_left} more requests were given up" if n_left else ""
        super().__init__(
            f"TWS sends volumes in lots of 100 instead of shares for {listed(self.names)}; they were refused{rest}. "
            f"{LOTS_OFF}, and run the same command again."
        )


class CorruptFileError(DataWrong):
    """A file cannot be read, or its content is not what its footer says."""

    def __init__(self, path: Path, cause: str, mend: str) -> None:
        self.path, self.cause = path, cause
        super().__init__(f"{path} is unreadable ({cause}). {mend}")


class DamagedSourcesError(DataWrong):
    """Files are lost, or do not hold what was committed; nothing is computed from them or named after them."""

    def __init__(self, what: str, damages: Sequence[str], mend: str) -> None:
        self.damages = tuple(damages)
        super().__init__(f"{what}, nothing was written: {listed(damages)}. {mend}")


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


class NoMoveError(DataWrong):
    """A price break that nobody can confirm as a move, because two answers tell of the same prices."""

    def __init__(self, symbol: str, session: date, evidence: str) -> None:
        self.symbol, self.session = symbol, session
        super().__init__(
            f"The break of {symbol} on {session} is no move of its price: two answers for the same prices differ "
            f"({evidence}). `quant flow data --session {session}` fetches the history anew once TWS serves it on one "
            "basis; until then read one side of it."
        )


class BrokenChainError(DataWrong):
    """Words on quarantined rows were altered, or they and the audit log do not tell of the same ones."""

    def __init__(self, path: Path, line: int, cause: str, audit: Path) -> None:
        self.path, self.line, self.audit = path, line, audit
        where = f"{path}, line {line}" if line else str(path)
        super().__init__(
            f"{where}: {cause}. No row is let in or kept out on words that cannot be proved, so nothing is curated. "
            f"`quant audit verify` names every such line. Restore {path.name} and {audit} from one backup; where there "
            "is none, move both aside, keep them, and say again with `quant quarantine` or `quant breaks` what still "
            "holds."
        )


class CorruptCopyError(DataWrong):
    """A month copy cannot be read, or is not equal to the session files that it was made from."""

    def __init__(self, path: Path, cause: str) -> None:
        self.path, self.cause = path, cause
        super().__init__(
            f"{path} is no copy ({cause}). Nothing is lost: `quant lake compact --month` with its month makes it anew."
        )


class NotPublishedError(DataWrong):
    """A partition that is needed does not exist."""

    def __init__(self, table: str, partition: str, mend: str) -> None:
        self.table, self.partition = table, partition
        super().__init__(f"{table}{partition and f'[{partition}]'} is not published. {mend}")


class MissingSessionsError(DataWrong):
    """Sessions of a range are not there, or were not known at the instant that was asked about; lists all of them."""

    def __init__(self, table: str, missing: Sequence[date], withheld: Sequence[date], sentence: str) -> None:
        self.table, self.missing, self.withheld = table, tuple(missing), tuple(withheld)
        super().__init__(f"{table} {sentence}")


class MissingSessionsWarning(UserWarning):
    """An answer does without sessions of the range that was asked for; its text lists all of them."""


class UnexplainedBreakError(DataWrong):
    """A range holds two price bases, and nothing says how one leads to the other."""

    def __init__(
        self,
        symbol: str,
        session: date,
        ways: Sequence[str],
        evidence: str,
        others: Iterable[str] = (),
        *,
        is_own: bool = False,
    ) -> None:
        self.symbol, self.session = symbol, session
        apart = f"{symbol}'s minutes of {session} are on another price basis than all other prices"
        what = apart if is_own else f"{symbol} is on another price basis from {session} on"
        asked = ['adjust="as_served"', *ways]
        mend = "" if is_own else " If the price did move so far, `quant breaks confirm` puts it on record."
        too = f" So do {listed(names)}." if (names := sorted({*others} - {symbol})) else ""
        super().__init__(
            f"{what}, and nothing explains it ({evidence}): what lies on the two sides cannot be put on one basis. "
            f"Ask with {', '.join(asked)}, or without {symbol}.{too}{mend}"
        )


class UnprovedBasisError(DataWrong):
    """An instrument was away for longer than its history reaches back: nobody can tell what happened meanwhile."""

    def __init__(self, symbol: str, last: date, first: date, begins: date | None, others: Iterable[str] = ()) -> None:
        self.symbol, self.last, self.first = symbol, last, first
        too = f" So is it for {listed(names)}." if (names := sorted({*others} - {symbol})) else ""
        reach = f"begins on {begins}" if begins else "is not there"
        super().__init__(
            f"{symbol} has nothing between {last} and {first}, and its daily history as of {first} {reach}: "
            "no answer of before can be compared with one of after, so whether a split or a dividend changed its "
            f'prices meanwhile cannot be told.{too} Ask with adjust="as_served", up to {last}, from {first} on, or '
            f'without {symbol}; get_curated_bars answers with missing="ignore" as if nothing had happened.'
        )


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
    """A finished run, a backtest or a tag does not equal what it claims to be."""

    def __init__(self, name: str, problems: Sequence[str], kind: str = "Run") -> None:
        self.name, self.problems = name, tuple(problems)
        super().__init__(f"{kind} {name!r} failed verification: {listed(problems)}.")


class InfeasibleError(DataWrong):
    """No weights satisfy the constraints."""

    def __init__(self, what: str, mend: str) -> None:
        super().__init__(f"{what} {mend}")

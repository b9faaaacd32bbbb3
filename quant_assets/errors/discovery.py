"""What goes wrong before anything is ingested: sources of candidates that fail, refuse, or name nonsense."""

from collections.abc import Iterable, Mapping
from datetime import date

from quant_assets.errors.base import DataWrong, FixConfiguration, RetryLater, listed


class ScannerUnavailableError(RetryLater):
    """TradingView's scanner cannot be reached, fails, or refuses because it was asked too often."""

    def __init__(self, address: str, cause: str, attempts: int) -> None:
        self.address, self.cause, self.attempts = address, cause, attempts
        super().__init__(
            f"TradingView's scanner at {address} is not available after {attempts} attempts: {cause}. "
            "Run the same command later, or set tradingview.enabled to false in configs/manifest.json."
        )


class LiveOnlyError(FixConfiguration):
    """A scanner that answers for the latest session only was asked about a past one, and nothing was recorded then."""

    def __init__(self, session: date, latest: date, profile: str, scanners: Iterable[str]) -> None:
        self.session, self.profile, self.scanners = session, profile, sorted(scanners)
        super().__init__(
            f"Profile {profile!r} asks live scanners ({listed(self.scanners)}) about {session}, but they answer for "
            f"the latest session {latest} only, and no list of that session was recorded. Add a list to "
            "discovery.lists, or give the list of that session in CANDIDATES_FILE."
        )


class ScannerRefusedError(FixConfiguration):
    """TradingView refused a scan for a reason that retrying cannot change."""

    def __init__(self, what: str, status: int, text: str) -> None:
        self.what, self.status, self.text = what, status, text
        super().__init__(
            f"TradingView refused {what} (HTTP {status}: {text}). "
            "Correct the fields of the scanner; `quant scanner show` tells which file each one comes from."
        )


class MalformedAnswerError(DataWrong):
    """A source answered, but not what its protocol says."""

    def __init__(self, what: str, problem: str) -> None:
        self.what, self.problem = what, problem
        super().__init__(f"The answer to {what} is malformed: {problem}. Nothing of it was used; try again later.")


class InvalidRecordsError(DataWrong):
    """A source named records that cannot be used, and strict discovery does not drop them."""

    def __init__(self, source: str, problems: Mapping[str, str]) -> None:
        self.source, self.problems = source, dict(problems)
        super().__init__(
            f"{source} names {len(problems)} record(s) that cannot be used: "
            f"{listed(f'{name} ({why})' for name, why in problems.items())}. "
            "Correct them, or drop and count such records with `strict: false` in the scanner or in discovery."
        )


class EmptyUniverseError(FixConfiguration):
    """Discovery found no instrument, which is never a valid universe."""

    def __init__(self, session: date, sources: Iterable[str], profile: str = "") -> None:
        self.session, self.profile = session, profile
        whose = f" for profile {profile!r}" if profile else ""
        super().__init__(
            f"The universe of {session}{whose} is empty (sources: {listed(sources) or 'none configured'}). "
            "Add symbols to a list in configs/lists, or a scanner to discovery.scanners in configs/manifest.json."
        )

"""What the active profiles' discovery sections ask for, read and validated before anything is asked."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date

from quant_assets.connectors.lists import load_list
from quant_assets.connectors.scanners import Scanner, load_scanner
from quant_assets.errors import ConfigurationError
from quant_assets.flows.discover.given import Given, given_candidates
from quant_assets.flows.work import Work


@dataclass(frozen=True, slots=True)
class Named:
    """A symbol that a source named, before TWS told who it is."""

    name: str
    source: str
    profile: str
    metadata: str = ""
    """What the source said of it beside its name, as JSON."""


@dataclass(frozen=True, slots=True)
class Asked:
    """One scanner, and the profiles that ask it."""

    name: str
    scanner: Scanner
    profiles: tuple[str, ...]
    is_strict: bool
    interval: str

    @property
    def label(self) -> str:
        """How the scanner is called among the sources."""
        return f"scanner:{self.name}"


@dataclass(frozen=True, slots=True)
class Sources:
    """Everything that the active profiles' discovery sections ask for, or what is given in their place."""

    named: tuple[Named, ...]
    scanners: tuple[tuple[str, str, Scanner], ...]
    """(scanner name, profile, definition)"""
    asked: tuple[Asked, ...] = ()
    """The same scanners, each once per interval and strictness."""
    strict_lists: bool = True
    given: Given | None = None
    """Candidates of a file or a run, in the place of lists and scanners."""

    @property
    def config_id(self) -> str:
        """A digest that changes when any list, scanner or profile does, or what is given in their place."""
        parts = [[n.name, n.source, n.profile] for n in self.named]
        scans = [[name, profile, scanner.model_dump()] for name, profile, scanner in self.scanners]
        how = [[one.name, one.is_strict, one.interval] for one in self.asked]
        whole = [parts, scans, how, self.strict_lists, self.given.content_id if self.given else ""]
        return hashlib.sha256(json.dumps(whole, sort_keys=True).encode()).hexdigest()

    @property
    def labels(self) -> list[str]:
        """Names of the sources, for messages."""
        if self.given:
            return [self.given.label]
        return sorted({n.source for n in self.named} | {f"scanner:{name}" for name, _, _ in self.scanners})

    @property
    def screens(self) -> tuple[Asked, ...]:
        """The scanners over our own lakehouse."""
        return tuple(one for one in self.asked if not one.scanner.is_live)

    def only_live(self) -> Iterator[tuple[str, list[str]]]:
        """Yield the profiles that have nothing but live scanners, with the names of these."""
        for profile in sorted({profile for _, profile, _ in self.scanners}):
            own = [(name, scanner) for name, whose, scanner in self.scanners if whose == profile]
            has_list = any(one.profile == profile for one in self.named)
            if not has_list and all(scanner.is_live for _, scanner in own):
                yield profile, sorted(name for name, _ in own)


def load_sources(work: Work, session: date | None = None) -> Sources:
    """Read the lists and scanners of all active profiles; aliases of symbols are resolved here.

    Candidates of a file or a run, where the environment names one, go before all of them.

    Args:
        work: configuration, and the runs.
        session: the session that is discovered, for which given candidates are validated.

    Raises:
        UnknownNameError, UnsafeNameError, ConfigurationError: see `load_list`, `load_scanner` and `given_candidates`;
            also when a scanner needs TradingView and TradingView is not enabled.
    """
    configs, manifest = work.settings.configs, work.settings.manifest
    aliases, active = manifest.symbology.aliases, manifest.active_profiles
    strict = all(settings.discovery.strict for settings in active.values())
    if given := given_candidates(work, session):
        return Sources(tuple(_handed_over(given, list(active), aliases)), (), strict_lists=strict, given=given)
    named = [
        Named(aliases.get(symbol, symbol), f"list:{name}", profile)
        for profile, settings in active.items()
        for name in settings.discovery.lists
        for symbol in load_list(configs, name).symbols
    ]
    loaded = {
        name: load_scanner(configs, name).scanner
        for settings in active.values()
        for name in settings.discovery.scanners
    }
    for name, scanner in loaded.items():
        if scanner.source == "tradingview" and not manifest.tradingview.enabled:
            raise ConfigurationError(
                str(work.settings.manifest_file),
                f"scanner {name!r} asks TradingView, which is not enabled.",
                "Set tradingview.enabled to true, or take the scanner out of discovery.scanners.",
            )
    scanners = [
        (name, profile, loaded[name]) for profile, settings in active.items() for name in settings.discovery.scanners
    ]
    return Sources(tuple(named), tuple(scanners), tuple(_asked(work, loaded)), strict_lists=strict)


def _handed_over(given: Given, active: Sequence[str], aliases: Mapping[str, str]) -> Iterator[Named]:
    """Yield the records of a file or a run, once per profile that they are for."""
    for record in given.records:
        wanted = [name for name in record.profiles.split(";") if name] or active
        said = json.dumps({given.label: record.metadata}, sort_keys=True) if record.metadata else ""
        for profile in wanted:
            yield Named(aliases.get(record.symbol, record.symbol), given.label, profile, said)


def _asked(work: Work, loaded: dict[str, Scanner]) -> Iterator[Asked]:
    """Yield each scanner once per way of asking it, with the profiles that ask so."""
    for name, scanner in sorted(loaded.items()):
        ways: dict[tuple[bool, str], list[str]] = {}
        for profile, settings in work.settings.manifest.active_profiles.items():
            if name in settings.discovery.scanners:
                found = settings.discovery
                strict = found.strict if scanner.strict is None else scanner.strict
                interval: str = found.interval if scanner.source == "tradingview" else "1d"
                ways.setdefault((strict, interval), []).append(profile)
        for (strict, interval), profiles in sorted(ways.items()):
            yield Asked(name, scanner, tuple(profiles), strict, interval)

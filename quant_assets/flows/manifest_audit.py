"""The configuration, examined as a whole: every problem of every active profile, not only the first."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import polars as pl

from quant_assets.connectors.lists import load_list
from quant_assets.connectors.scanners import Scanner, list_scanners, load_scanner
from quant_assets.domain import venues
from quant_assets.domain.tables import INSTRUMENTS
from quant_assets.errors import QuantAssetsError
from quant_assets.flows.discover import read_candidates
from quant_assets.flows.plan import plan_cycle
from quant_assets.flows.screens import load_screens, required_tables
from quant_assets.flows.work import Work
from quant_assets.settings.manifest import Profile

Severity = Literal["error", "warning"]


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that will fail, or that will surprise."""

    severity: Severity
    where: str
    """Profiles and key, or section and key."""
    what: str


def audit_manifest(work: Work) -> list[Problem]:
    """Examine the manifest with everything that its active profiles name; nothing is asked of any source.

    Raises:
        ConfigurationError: the manifest itself cannot be read; nothing else can be said then.
    """
    problems = [*_house(work)]
    shared: dict[tuple[Severity, str, str], list[str]] = {}
    for name, profile in work.settings.manifest.active_profiles.items():
        for check in (_lists, _scanners, _screens, _caps, _selection):
            for problem in check(work, name, profile):
                shared.setdefault(problem, []).append(name)
    for (severity, key, what), names in shared.items():
        problems.append(Problem(severity, f"{', '.join(names)}: {key}", what))
    for name, profile in work.settings.manifest.meta_profiles.items():
        problems += [Problem(severity, f"{name}: {key}", what) for severity, key, what in _sleeves(work, profile)]
    return sorted(problems, key=lambda one: (one.severity, one.where, one.what))


Found = Iterator[tuple[Severity, str, str]]


def _tried(check: Callable[[], object]) -> str:
    """Return what is wrong with something that can be tried, or nothing."""
    try:
        check()
    except QuantAssetsError as error:
        return str(error)
    return ""


def _house(work: Work) -> Iterator[Problem]:
    yield from _calendars(work)
    yield from _profiles(work)
    yield from _files(work)
    yield from _budgets(work)
    manifest = work.settings.manifest
    if manifest.tradingview.technicals and not manifest.tradingview.enabled:
        yield Problem("warning", "tradingview.technicals", "it has no effect while tradingview.enabled is false.")


def _calendars(work: Work) -> Iterator[Problem]:
    lakehouse = work.settings.manifest.lakehouse
    for name in sorted({*lakehouse.calendars, *lakehouse.venues.values()}):
        if why := _tried(partial(_sessions_of, name)):
            yield Problem("error", "lakehouse.calendars", why)


def _sessions_of(calendar: str) -> object:
    return venues.calendar(calendar).all_sessions


def _profiles(work: Work) -> Iterator[Problem]:
    manifest = work.settings.manifest
    for key, name in (
        ("default_profile", manifest.default_profile),
        ("production_profile", manifest.production_profile),
    ):
        if not manifest.profile(name).active:
            yield Problem("error", key, f"profile {name!r} is not active, so nothing is ingested for it.")


def _files(work: Work) -> Iterator[Problem]:
    settings, replay = work.settings, work.settings.manifest.replay
    if replay.market != "synthetic" and not Path(replay.market).is_file():
        yield Problem("error", "replay.market", f"there is no recording at {replay.market}.")
    if replay.faults and not Path(replay.faults).is_file():
        yield Problem("error", "replay.faults", f"there is no fault script at {replay.faults}.")
    if settings.candidates_file and (why := _tried(partial(read_candidates, settings.candidates_file, None))):
        yield Problem("error", "CANDIDATES_FILE", why)
    for name in list_scanners(settings.configs):
        if why := _tried(partial(load_scanner, settings.configs, name)):
            yield Problem("error", f"scanner {name}", why)


def _budgets(work: Work) -> Iterator[Problem]:
    budgets = work.settings.manifest.budgets
    if budgets.daily_minutes and budgets.backfill_minutes and budgets.daily_minutes > budgets.backfill_minutes:
        yield Problem("warning", "budgets", "the daily budget exceeds the one of backfills.")
    try:
        plan = plan_cycle(work, [work.latest_session()])
    except QuantAssetsError:
        return  # what is wrong with lists and scanners is told where they are
    minutes = plan.pacing_s / 60
    if budgets.daily_minutes and minutes > budgets.daily_minutes:
        what = (
            f"pacing alone takes {minutes:.0f} minutes ({plan.n_requests} requests); it is {budgets.daily_minutes:g}."
        )
        yield Problem("warning", "budgets.daily_minutes", what)


def _lists(work: Work, _: str, profile: Profile) -> Found:
    found = profile.discovery
    if not found.lists and not found.scanners:
        yield "error", "discovery", "it names no list and no scanner."
    for name in found.lists:
        if why := _tried(partial(load_list, work.settings.configs, name)):
            yield "error", "discovery.lists", why
            continue
        symbols = load_list(work.settings.configs, name).symbols
        if twice := sorted({one for one in symbols if symbols.count(one) > 1}):
            yield "warning", "discovery.lists", f"list {name!r} names twice: {', '.join(twice)}."
        if not symbols:
            yield "error", "discovery.lists", f"list {name!r} is empty."


def _scanners(work: Work, _: str, profile: Profile) -> Found:
    configs, scanners = work.settings.configs, list[Scanner]()
    for name in profile.discovery.scanners:
        if why := _tried(partial(load_scanner, configs, name)):
            yield "error", "discovery.scanners", why
            continue
        scanners.append(load_scanner(configs, name).scanner)
        if scanners[-1].source == "tradingview" and not work.settings.manifest.tradingview.enabled:
            yield "error", "discovery.scanners", f"scanner {name!r} asks TradingView; tradingview.enabled is false."
    if scanners and not profile.discovery.lists and all(one.is_live for one in scanners):
        yield (
            "warning",
            "discovery.scanners",
            "all are live: only the latest session can be discovered, without a list.",
        )


def _screens(work: Work, _: str, profile: Profile) -> Found:
    if why := _tried(partial(load_screens, work, profile)):
        yield "error", "selection.screens", why
    if why := _tried(partial(required_tables, profile, ())):
        yield "error", "features.groups", why


def _caps(work: Work, _: str, profile: Profile) -> Found:
    risk, n = profile.risk, min(profile.selection.top_n, _most_selected(profile))
    if n * risk.max_weight < 1:
        cash = 1 - n * risk.max_weight
        yield (
            "warning",
            "risk.max_weight",
            f"{n} instruments at {risk.max_weight:g} each hold {n * risk.max_weight:g}: {cash:.0%} stays cash.",
        )
    if risk.max_weight > min(risk.sector_cap, risk.cluster_cap):
        yield "warning", "risk.max_weight", "it exceeds sector_cap or cluster_cap, which bind before it."
    clusters = profile.selection.max_clusters
    if clusters * risk.cluster_cap < 1:
        held = clusters * risk.cluster_cap
        yield "warning", "risk.cluster_cap", f"{clusters} clusters at {risk.cluster_cap:g} each hold {held:g} at most."
    known, needed = _n_sectors(work), math.ceil(1 / risk.sector_cap - 1e-9)
    if known and known < needed:
        yield "warning", "risk.sector_cap", f"it takes {needed} sectors to hold 1; the instruments have {known}."


def _most_selected(profile: Profile) -> int:
    return profile.selection.max_clusters * profile.selection.top_n_per_cluster


def _n_sectors(work: Work) -> int:
    """Return how many sectors the newest instruments have; 0 where none is published."""
    newest = work.lake.curated.newest(INSTRUMENTS)
    rows = work.lake.curated.read_many(INSTRUMENTS, [newest] if newest else [])
    return rows.filter(pl.col("active") & (pl.col("industry") != "")).get_column("industry").n_unique()


def _selection(_: Work, name: str, profile: Profile) -> Found:
    selection = profile.selection
    if selection.min_selected > min(selection.top_n, _most_selected(profile)):
        yield (
            "error",
            "selection.min_selected",
            "it exceeds what top_n, or max_clusters x top_n_per_cluster, can leave.",
        )
    sides = {atom.direction for atom in profile.synthesis.atoms}
    if selection.direction not in sides:
        yield (
            "error",
            "selection.direction",
            f"{name!r} is {selection.direction}, and none of its atoms is: {', '.join(sorted(sides))} only.",
        )
    needs = {"momentum": 253, "low_volatility": 64, "dollar_volume": 1}[selection.ranking]
    if profile.data.lookback_sessions < needs:
        what = f"ranking by {selection.ranking} looks back {needs} sessions; it is {profile.data.lookback_sessions}."
        yield "warning", "data.lookback_sessions", what


def _sleeves(work: Work, profile: Profile) -> Found:
    manifest = work.settings.manifest
    for sleeve, held in profile.sleeves.items():
        if not manifest.profile(held.profile or sleeve).active:
            yield "error", f"sleeves.{sleeve}", f"profile {held.profile or sleeve!r} is not active, so it has no runs."

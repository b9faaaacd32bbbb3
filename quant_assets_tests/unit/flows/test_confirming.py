"""A person's word that a price break was a real move: from then on it is computed across, and as of before it is not."""

from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any

import polars as pl
import pytest

from quant_assets.domain.breaks import on_one_basis
from quant_assets.domain.tables import (
    ADJUSTMENT_FACTORS,
    CERTIFIED_SESSIONS,
    CURATED_TWS_1D_BARS,
    CURATED_TWS_1M_BARS,
    QUARANTINE_TWS_BARS,
    TV_TECHNICALS_1D,
)
from quant_assets.errors import BrokenChainError, UnexplainedBreakError, UnknownNameError
from quant_assets.flows.adjust import Adjuster
from quant_assets.flows.anchors import doubts
from quant_assets.flows.certify import certificate_of, certify, stale_tables
from quant_assets.flows.confirming import breaks, confirm, to_build
from quant_assets.flows.curate import Curator
from quant_assets.flows.data_audit import audit_data
from quant_assets.flows.derive import publish_group
from quant_assets.flows.readers import feature_store, sql_as_of
from quant_assets.flows.tags import create_tag, verify_tag
from quant_assets.lakehouse.layout import Partition
from quant_assets_tests.unit.flows.broken import BEFORE, BREAK, DAYS, LATER, TECHNICALS, broken_market
from quant_assets_tests.unit.flows.lab import PER_MINUTE, Lab, after, standing_at

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
STEPS = ("unexplained", "confirmed", "reopened")


def built(lab: Lab, now: datetime) -> None:
    """Build all that stands on the three evenings again, as the data cycle does."""
    with standing_at(lab, now) as work:
        for day in DAYS:
            adjusted, curator = Adjuster(work).publish(day), Curator(work)
            made = (adjusted, *curator.minute_bars(day), curator.daily_bars(day))
            assert all(one.is_committed for one in made)
            assert all(publish_group(work, group, day).is_committed for group in (*PER_MINUTE, TECHNICALS))
            assert certify(work, day).is_committed


def say(lab: Lab, now: datetime, *, takes_back: bool = False, dry_run: bool = False) -> dict[str, Any]:
    with standing_at(lab, now) as work:
        return confirm(work, BREAK, "QFID", by="anna", why="a buyout", takes_back=takes_back, dry_run=dry_run)


@dataclass
class History:
    lab: Lab
    told_at: dict[str, datetime] = field(default_factory=dict)
    stale: dict[str, list[tuple[date, str, str]]] = field(default_factory=dict)
    """What was made from older words, between the word and the build."""
    states: dict[str, list[str]] = field(default_factory=dict)
    """Of the certificates, then."""
    seen: dict[str, dict[str, Any]] = field(default_factory=dict)
    """What the tables said once a step was built."""


def look(lab: Lab) -> dict[str, Any]:
    def rows(table: Any, session: date) -> pl.DataFrame:
        return lab.lake.curated.read(table, Partition(session)).filter(pl.col("symbol") == "QFID")

    factors = rows(ADJUSTMENT_FACTORS, BREAK).filter(pl.col("session") == BEFORE).row(0, named=True)
    days = {day: rows(CURATED_TWS_1D_BARS, day).sort("session") for day in (BREAK, LATER)}
    minutes = rows(CURATED_TWS_1M_BARS, BREAK)
    said = lab.lake.curated.read(CERTIFIED_SESSIONS, Partition(BREAK))
    with lab.at(after(LATER) + 30 * DAY) as work:
        audited = [one.what for one in audit_data(work) if one.table == ADJUSTMENT_FACTORS.name]
    return {
        "kind": factors["kind"],
        "evidence": factors["evidence"],
        "marks": {
            day: frame.filter(pl.col("dq_status") != "ok")["dq_rules"].value_counts().rows()
            for day, frame in days.items()
        },
        "usable": {day: on_one_basis(frame).height for day, frame in days.items()},
        "edge": rows(QUARANTINE_TWS_BARS, BREAK).height,
        "minutes": (minutes.height, sorted(minutes["dq_rules"].drop_nulls().unique().to_list())),
        "perf_w": [rows(TV_TECHNICALS_1D, day)["perf_w"][0] for day in (BREAK, LATER)],
        "closes": days[LATER]["close"].to_list(),
        "opens": days[LATER]["open"].to_list(),
        "certificate": said.select("degraded", "accepted").row(0),
        "audited": audited,
    }


@pytest.fixture(scope="module")
def history(tmp_path_factory) -> History:
    """Three evenings with a break on the second; two days later it is confirmed, and two days after that reopened."""
    lab = Lab(tmp_path_factory.mktemp("confirmed"), symbols=("ARCA:QMKT", "NYSE:QFID"), market=broken_market)
    lived = History(lab)
    for day in DAYS:
        assert all(one.is_committed for one in lab.run([day]).published)
    for place, step in enumerate(STEPS):
        lived.told_at[step] = now = after(LATER) + (1 + 2 * place) * DAY
        if step != "unexplained":
            say(lab, now, dry_run=True, takes_back=step == "reopened")
            say(lab, now, takes_back=step == "reopened")
        with standing_at(lab, now + HOUR) as work:
            lived.stale[step] = [(day, *one) for day in DAYS for one in stale_tables(work, day)]
            lived.states[step] = [certificate_of(work, day).state for day in DAYS]
        built(lab, now + HOUR)
        lived.seen[step] = look(lab)
        with standing_at(lab, now + 2 * HOUR) as work:
            create_tag(work, step)
    return lived


def test_before_the_word_nothing_is_computed_across(history):
    seen = history.seen["unexplained"]
    assert seen["kind"] == "unexplained_break"
    assert seen["usable"] == {BREAK: 1, LATER: 2}
    assert seen["edge"] == 1
    assert seen["perf_w"] == [None, None]


def test_after_the_word_both_sides_are_one_basis_in_every_table(history):
    seen = history.seen["confirmed"]
    assert seen["kind"] == "real_move"
    assert seen["evidence"].startswith("a real move, anna: a buyout; close ")
    assert seen["marks"] == {BREAK: [("real_move", 1)], LATER: [("real_move", 1)]}
    assert seen["usable"] == {BREAK: 30, LATER: 30}
    assert (seen["edge"], seen["minutes"]) == (0, (390, ["real_move"]))
    week_ago = seen["opens"][-6]
    assert seen["perf_w"][1] == pytest.approx(100 * (seen["closes"][-1] / week_ago - 1))
    assert seen["perf_w"][1] > 5000, "a week's performance is one across the move"
    degraded, accepted = seen["certificate"]
    assert degraded == ""
    assert accepted == "QFID moved 80.1406 times"
    assert not any("QFID" in one for one in seen["audited"])


def test_the_word_taken_back_leaves_everything_as_it_was_before_it(history):
    assert history.seen["reopened"] == history.seen["unexplained"]


def test_between_the_word_and_the_build_what_rests_on_it_is_behind(history):
    assert history.stale["unexplained"] == []
    for step in ("confirmed", "reopened"):
        told = {(day, table) for day, table, source in history.stale[step] if source == "overrides.jsonl"}
        assert {(BREAK, "adjustment_factors"), (BREAK, "curated_tws_1d_bars"), (LATER, "curated_tws_1d_bars")} <= told
        assert (LATER, "adjustment_factors") not in told
        assert BEFORE not in {day for day, _ in told}
        assert history.states[step] == ["valid", "behind", "behind"]


@pytest.mark.parametrize(("step", "is_refused"), [("unexplained", True), ("confirmed", False), ("reopened", True)])
@pytest.mark.parametrize("frequency", ["1min", "1d"])
def test_adjusted_bars_are_answered_as_of_when_the_word_counted(history, step, is_refused, frequency):
    with standing_at(history.lab, after(LATER) + 30 * DAY) as work:
        store = feature_store(work)
        asked = (["QFID"], BEFORE, LATER, frequency)
        if is_refused:
            with pytest.raises(UnexplainedBreakError):
                store.get_curated_bars(*asked, as_of=history.told_at[step] + 2 * HOUR, adjust="splits")
        else:
            found = store.get_curated_bars(*asked, as_of=history.told_at[step] + 2 * HOUR, adjust="splits")
            assert found.group_by("session").len().height == 3


def test_an_instant_before_the_word_sees_it_unexplained_although_nothing_was_built_between(history):
    with standing_at(history.lab, after(LATER) + 30 * DAY) as work:
        store = feature_store(work)
        for later, is_refused in ((-timedelta(seconds=1), True), (timedelta(seconds=1), False)):
            as_of = history.told_at["confirmed"] + later
            if is_refused:
                with pytest.raises(UnexplainedBreakError):
                    store.get_curated_bars(["QFID"], BEFORE, LATER, "1d", as_of, "splits")
            else:
                assert store.get_curated_bars(["QFID"], BEFORE, LATER, "1d", as_of, "splits").height == 3


def test_tags_prove_each_state(history):
    with standing_at(history.lab, after(LATER) + 30 * DAY) as work:
        for step in STEPS:
            found = {one.verdict for one in verify_tag(work, step)}
            assert found == {"same", "proved"} if step == "confirmed" else found <= {"same", "proved"}, step


def test_a_break_tells_both_closes_and_what_was_said(history):
    with standing_at(history.lab, after(LATER) + 30 * DAY) as work:
        (one,) = breaks(work)
        assert list(breaks(work, [BEFORE, LATER])) == []
        assert to_build(work, BREAK) == (BREAK, LATER)
    closes = history.seen["reopened"]["closes"]
    assert (one.session, one.symbol, one.kind) == (BREAK, "QFID", "unexplained_break")
    assert (one.close_before, one.close_after) == (closes[-3], closes[-2])
    assert one.may_be_a_move
    assert one.said.endswith("anna takes that back: a buyout")


@contextmanager
def without(lab: Lab, table: Any, session: date):
    """Take one stored file away for a while."""
    path = lab.lake.layout.file(table, Partition(session))
    aside = path.rename(path.with_suffix(".aside"))
    try:
        yield
    finally:
        aside.rename(path)


def test_a_move_is_one_whether_or_not_its_daily_window_is_built(history):
    """The factors prove it: the window of the day adds nothing, and its absence denies nothing."""
    with without(history.lab, CURATED_TWS_1D_BARS, BREAK):
        with standing_at(history.lab, after(LATER) + 30 * DAY) as work:
            (one,) = breaks(work, [BREAK])
        assert one.may_be_a_move
        told = say(history.lab, after(LATER) + 30 * DAY, dry_run=True)
    assert told["price_ratio"] == pytest.approx(one.ratio, rel=1e-12)


def test_only_what_broke_is_confirmed_and_only_what_is_confirmed_taken_back(history):
    with standing_at(history.lab, after(LATER) + 30 * DAY) as work:
        before = work.layout.overrides.read_bytes()
        for day, symbol in ((BREAK, "QMKT"), (LATER, "QFID")):
            with pytest.raises(UnknownNameError, match="price break"):
                confirm(work, day, symbol, by="anna", why="no")
        with pytest.raises(UnknownNameError, match="confirmed move"):
            confirm(work, BREAK, "QFID", by="anna", why="no", takes_back=True)
        assert work.layout.overrides.read_bytes() == before


def test_a_word_that_was_deleted_is_refused_and_one_cut_off_both_records_is_told(history):
    layout = history.lab.lake.layout
    kept = {path: path.read_bytes() for path in (layout.overrides, layout.audit)}
    try:
        layout.overrides.write_bytes(b"".join(kept[layout.overrides].splitlines(keepends=True)[:-1]))
        with standing_at(history.lab, after(LATER) + 30 * DAY) as work, pytest.raises(BrokenChainError):
            Curator(work).daily_bars(LATER)
        with standing_at(history.lab, after(LATER) + 30 * DAY) as work:
            known, _ = sql_as_of(work, "SELECT symbol FROM instruments", work.clock.now())
        assert "QFID" in known["symbol"].to_list(), "no word on a break concerns who an instrument is"
        layout.overrides.write_bytes(b"")
        layout.audit.write_bytes(b"")
        with standing_at(history.lab, after(LATER) + 30 * DAY) as work:
            told = {one.detail.split(" ")[0] for one in doubts(work)}
        assert {f"curated_tws_1d_bars[{LATER}]"} <= told
    finally:
        for path, text in kept.items():
            path.write_bytes(text)

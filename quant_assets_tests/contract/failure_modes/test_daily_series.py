"""Modes 2 and 14: daily series that are said not to exist, or that end too early."""

from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml

from quant_assets.domain.tables import RAW_TWS_REQUESTS
from quant_assets.flows.care import repair_plan
from quant_assets.flows.curate import Curator
from quant_assets.flows.ingest import ingest_daily, ingest_minutes
from quant_assets.flows.ingested import raw_daily
from quant_assets.lakehouse.layout import Partition
from quant_assets.settings import Settings
from quant_assets_tests.contract.failure_modes.house import (
    EVERY_NOTHING,
    MONDAY,
    NO_HEAD,
    asked,
    daily_settings,
    days,
    minutes,
    on,
    opened,
    repaired,
    series_said,
    warned,
)


@EVERY_NOTHING
@pytest.mark.parametrize(("what", "other"), [("TRADES", "ADJUSTED_LAST"), ("ADJUSTED_LAST", "TRADES")])
def test_mode_02_a_daily_series_is_not_believed_to_be_empty_while_its_sibling_has_bars(tmp_path, fault, what, other):
    """Three nothings, each to another request on another connection; TWS even denies a first bar."""
    lies = on("QTEB", fault, what=what, bar_size="1 day", times=3)
    no_head = {**NO_HEAD, "request": "head_timestamp", "every": 1}
    with opened(daily_settings(tmp_path, lies, no_head), [MONDAY]) as (work, gate):
        ingest_daily(work, [MONDAY])
        said = series_said(work, what)
        assert len(said) == 3
        assert {proof for _, proof in said} == {""}
        assert list(days(work)) == [other]
        assert raw_daily(work, MONDAY, {}).is_committed, "one instrument in doubt does not hold up the session"
        assert warned(raw_daily(work, MONDAY, {})) == {
            "history_proved": "nothing proves the answers about 1 instruments: QTEB"
        }
        check = "history_present" if what == "TRADES" else "history_adjusted"
        assert "QTEB" in warned(Curator(work).daily_bars(MONDAY))[check]
        (hole,) = repair_plan(work).holes.iter_rows(named=True)
        assert (hole["session"], hole["symbol"], hole["n_asked"], hole["is_known"]) == (MONDAY, "QTEB", 3, False)
        assert hole["detail"].startswith(f"daily {what}: ")
        assert "yet it traded on" in hole["detail"]

        before = asked(gate)
        ingest_daily(work, [MONDAY])
        assert asked(gate) == before, "the fetch throttle holds"
        ingest_daily(repaired(work), [MONDAY])
        assert asked(gate) == before + 1
        assert days(work) == days(work, "QMKT")
        assert series_said(work, what)[-1] == ("bars", "complete")
        assert warned(raw_daily(work, MONDAY, {})) == {}
        assert warned(Curator(work).daily_bars(MONDAY)) == {}
        assert repair_plan(work).holes.is_empty()


@EVERY_NOTHING
def test_mode_02_a_first_bar_speaks_against_a_nothing_of_all_series_until_it_is_a_known_hole(tmp_path, fault):
    """No daily series of the instrument comes, ever; its head timestamp says that there are bars."""
    with opened(daily_settings(tmp_path, on("QTEB", fault, bar_size="1 day")), [MONDAY]) as (work, gate):
        for n_run in (1, 2, 3):
            before = asked(gate)
            ingest_daily(repaired(work), [MONDAY])
            assert asked(gate) - before == (2 * 3 + 2 if n_run == 1 else 2 * 3)
            (hole,) = repair_plan(work).holes.iter_rows(named=True)
            assert (hole["n_asked"], hole["is_known"]) == (3 * n_run, n_run == 3)
        assert "yet its first bar is of" in hole["detail"]
        assert {proof for _, proof in series_said(work, "TRADES")} == {""}
        before = asked(gate)
        ingest_daily(repaired(work), [MONDAY])
        assert asked(gate) == before
        assert repair_plan(work).sessions == repair_plan(work).missing
        assert raw_daily(work, MONDAY, {}).is_committed
        assert warned(raw_daily(work, MONDAY, {})) == {
            "history_served": "none for 1 instruments: QTEB",
            "history_proved": "nothing proves the answers about 1 instruments: QTEB",
        }


@pytest.mark.parametrize(
    ("fault", "outcome"), [("no_data", "no_data"), ("no_items", "no_data"), ("empty", "no_trades")]
)
def test_mode_02_an_instrument_without_history_is_settled_by_two_nothings_and_no_first_bar(tmp_path, fault, outcome):
    head = {**NO_HEAD, "request": "head_timestamp", "symbol": "QTEB", "every": 1}
    with opened(daily_settings(tmp_path, on("QTEB", fault, bar_size="1 day"), head), [MONDAY]) as (work, gate):
        ingest_daily(work, [MONDAY])
        for what in ("TRADES", "ADJUSTED_LAST"):
            assert [proof for _, proof in series_said(work, what)] == ["", "head"]
            assert series_said(work, what)[-1][0] == outcome
        assert asked(gate) == 2 + 2 * 2
        assert gate._embedded.counts()["head_timestamp"] == 1, "one answer serves all series of an instrument"
        ingest_daily(repaired(work), [MONDAY])
        assert asked(gate) == 2 + 2 * 2
        assert repair_plan(work).holes.is_empty()
        assert warned(raw_daily(work, MONDAY, {})) == {"history_served": "none for 1 instruments: QTEB"}


@pytest.mark.parametrize("trouble", ["no_permission", "query_failed"])
def test_mode_02_a_first_bar_that_tws_does_not_tell_proves_nothing(tmp_path, trouble):
    lines = (on("QTEB", "no_data", bar_size="1 day"), {"fault": trouble, "request": "head_timestamp", "every": 1})
    with opened(daily_settings(tmp_path, *lines), [MONDAY]) as (work, _):
        ingest_daily(work, [MONDAY])
        assert series_said(work, "TRADES") == [("no_data", "")] * 3


def test_mode_02_minutes_speak_against_a_daily_nothing(tmp_path):
    head = {**NO_HEAD, "request": "head_timestamp", "every": 1}
    lies = on("QTEB", "no_data", bar_size="1 day")
    with opened(daily_settings(tmp_path, lies, head), [MONDAY]) as (work, _):
        ingest_minutes(work, [MONDAY])
        ingest_daily(work, [MONDAY])
        assert series_said(work, "TRADES") == series_said(work, "ADJUSTED_LAST") == [("no_data", "")] * 3
        (hole,) = repair_plan(work).holes.iter_rows(named=True)
        assert f"yet it traded on 1 sessions: {MONDAY}" in hole["detail"]


@pytest.mark.parametrize("fault", ["no_data", "empty"])
def test_mode_02_minutes_are_not_explained_by_a_daily_series_that_is_in_doubt(tmp_path, fault):
    """Days and minutes are both denied three times; neither denial proves the other."""
    lines = (on("QTEB", fault, what="TRADES", bar_size="1 day", times=3), on("QTEB", fault, bar_size="1 min", times=3))
    with opened(daily_settings(tmp_path, *lines), [MONDAY]) as (work, _):
        ingest_daily(work, [MONDAY])
        ingest_minutes(work, [MONDAY])
        assert "QTEB" not in minutes(work)
        ledger = work.lake.raw.read(RAW_TWS_REQUESTS, Partition(MONDAY)).filter(pl.col("symbol") == "QTEB")
        assert set(ledger["proof"]) == {""}
        ingest_daily(repaired(work), [MONDAY])
        ingest_minutes(repaired(work), [MONDAY])
        assert minutes(work)["QTEB"] == 390


# ---------------------------------------------------------------- series that end too early, and alike


def one_series(root: Path, *lines: dict[str, Any]) -> Settings:
    """A pair instead of the share: it has one daily series."""
    settings = daily_settings(root, *lines)
    listed = yaml.safe_dump({"symbols": ["ARCA:QMKT", "IDEALPRO:EUR.USD"]})
    (settings.configs / "lists" / "four.yaml").write_text(listed)
    return settings


def test_mode_02_14_two_answers_of_the_only_daily_series_that_end_alike_are_not_believed(tmp_path):
    """No minutes are stored, no other series speaks: TWS's newest minutes do, and the third answer is right."""
    lies = on("EUR", "shift", what="MIDPOINT", bar_size="1 day", times=2)
    with opened(one_series(tmp_path, lies), [MONDAY]) as (work, gate):
        ingest_daily(work, [MONDAY])
        said = series_said(work, "MIDPOINT", "EUR.USD")
        assert [proof for _, proof in said] == ["", "", "complete"]
        assert (days(work, "QMKT")["TRADES"], days(work, "EUR.USD")["MIDPOINT"]) == (30, 32), "and two US holidays"
        assert asked(gate) == 2 + 3 + 1, "two series of the fund, three answers, and the newest minutes once"
        assert repair_plan(work).holes.is_empty()


def test_mode_02_14_all_series_dated_four_weeks_back_are_not_believed(tmp_path):
    lies = [on("QTEB", "shift", what=what, bar_size="1 day", times=2) for what in ("TRADES", "ADJUSTED_LAST")]
    with opened(daily_settings(tmp_path, *lies), [MONDAY]) as (work, gate):
        ingest_daily(work, [MONDAY])
        assert days(work) == days(work, "QMKT")
        assert asked(gate) == 2 + 2 * 3 + 1, "one look at the minutes serves both series"
        assert repair_plan(work).holes.is_empty()


@pytest.mark.parametrize("fault", ["shift", "empty", "no_permission"])
def test_mode_02_14_minutes_that_tell_nothing_prove_no_end(tmp_path, fault):
    """Whatever is asked of the instrument is wrong: its days stay in doubt, and are repaired once TWS tells the truth."""
    days_back = [on("QTEB", "shift", what=what, bar_size="1 day", times=3) for what in ("TRADES", "ADJUSTED_LAST")]
    lines = (*days_back, on("QTEB", fault, bar_size="1 min"))
    with opened(daily_settings(tmp_path, *lines), [MONDAY]) as (work, _):
        ingest_daily(work, [MONDAY])
        for what in ("TRADES", "ADJUSTED_LAST"):
            assert [proof for _, proof in series_said(work, what)] == [""] * 3
        (hole,) = repair_plan(work).holes.iter_rows(named=True)
        assert "nothing shows that it did not trade since" in hole["detail"]
        assert "QTEB" in warned(raw_daily(work, MONDAY, {}))["history_proved"]
        ingest_daily(repaired(work), [MONDAY])
        assert days(work) == days(work, "QMKT")
        assert repair_plan(work).holes.is_empty()


def test_mode_02_14_the_newest_minutes_speak_against_an_end_however_often_it_is_repeated(tmp_path):
    ends = [on("QTEB", "shift", what=what, bar_size="1 day") for what in ("TRADES", "ADJUSTED_LAST")]
    with opened(daily_settings(tmp_path, *ends), [MONDAY]) as (work, _):
        ingest_daily(work, [MONDAY])
        (hole,) = repair_plan(work).holes.iter_rows(named=True)
        assert "yet it traded on 5 sessions" in hole["detail"], "those of a week, the longest request for minutes"


def test_mode_02_14_an_end_is_believed_once_tws_has_no_minutes_after_it(tmp_path):
    ends = [on("QTEB", "shift", what=what, bar_size="1 day") for what in ("TRADES", "ADJUSTED_LAST")]
    with opened(daily_settings(tmp_path, *ends, on("QTEB", "no_data", bar_size="1 min")), [MONDAY]) as (work, gate):
        ingest_daily(work, [MONDAY])
        for what in ("TRADES", "ADJUSTED_LAST"):
            assert [proof for _, proof in series_said(work, what)] == ["", "agreement"]
        assert asked(gate) == 2 + 2 * 2 + 1

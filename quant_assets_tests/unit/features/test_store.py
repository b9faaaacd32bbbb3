"""The feature store: what it answers, what it opens, and that training and inference say the same."""

import inspect
import subprocess
import sys
import warnings
from datetime import UTC, date, datetime, timedelta, timezone
from itertools import pairwise
from pathlib import Path

import polars as pl
import pytest

from quant_assets.clock import ManualClock
from quant_assets.domain.calendar import TradingCalendar
from quant_assets.domain.features import GROUPS
from quant_assets.domain.instruments import history
from quant_assets.domain.tables import (
    CURATED_TWS_1D_BARS,
    CURATED_TWS_1M_BARS,
    FEATURES_PRICE_1M_V1,
    INSTRUMENTS,
    RAW_INSTRUMENTS,
    UNIVERSE,
)
from quant_assets.errors import (
    ConfigurationError,
    CorruptFileError,
    MissingSessionsError,
    MissingSessionsWarning,
    NotASessionError,
    NotPublishedError,
    UnknownNameError,
)
from quant_assets.flows.derive import publish_group
from quant_assets.flows.touched import Bar, touched
from quant_assets.lakehouse.features import FeatureStore
from quant_assets.lakehouse.layout import Partition
from quant_assets_tests.builders import CALENDAR, hours, instant, minute, universe
from quant_assets_tests.opening import opened_files
from quant_assets_tests.unit.features.conftest import CON_IDS, DAYS, known_at, make_work, write_session

MINUTES = (["price_1m", "volume_1m"], ["v1", "v1"])
EVERYTHING = (["price_1m", "volume_1m", "tv_technicals_1d"], ["v1", "v1", "v1"])
DAILY = (["tv_technicals_1d"], ["v1"])
NAMES = {version: [f.name for f in GROUPS[version].features] for version in GROUPS}


@pytest.fixture
def store(lake):
    return FeatureStore(lake.layout, CALENDAR)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Readers of two sessions in which every minute has its bar."""
    work = make_work(tmp_path_factory.mktemp("whole"))
    for day in DAYS[:2]:
        write_session(work, day, con_ids=(101,), missing=0.0)
        publish_group(work, GROUPS["price_1m", "v1"], day)
    return FeatureStore(work.layout, CALENDAR)


@pytest.fixture
def opened(lake):
    """Files that are opened for their rows, relative to the lakehouse."""
    with opened_files() as found:
        yield lambda: [path.relative_to(lake.layout.lakehouse).as_posix() for path in found()]


# ------------------------------------------------------------ training


def test_training_returns_what_the_tables_hold(store, lake):
    answer = store.get_features_for_training(*MINUTES, ["S102"], DAYS[1], DAYS[2])
    features = answer["features"]
    assert features.columns == [
        "session",
        "con_id",
        "symbol",
        "ts",
        *NAMES["price_1m", "v1"],
        *NAMES["volume_1m", "v1"],
    ]
    for name in ("price_1m", "volume_1m"):
        stored = lake.lake.curated.read_many(GROUPS[name, "v1"].table, [Partition(day) for day in DAYS[1:3]])
        mine = stored.filter(pl.col("con_id") == 102)
        assert features.select(NAMES[name, "v1"]).equals(mine.select(NAMES[name, "v1"]))
        assert features["ts"].equals(mine["ts"])
    assert answer["labels"] is None


def test_only_the_files_that_are_needed_are_opened(store, opened):
    store.get_features_for_training(*MINUTES, ["S101", "NYSE:S103"], DAYS[1], DAYS[2], include_labels=True)
    tables = ("gold/features_price_1m_v1", "gold/features_volume_1m_v1", "gold/labels_tws_returns")
    wanted = [f"{table}/session={day}/part.parquet" for table in tables for day in DAYS[1:3]]
    assert opened() == [f"discovery/universe/session={DAYS[2]}/part.parquet", *wanted]


def test_files_of_other_sessions_may_even_be_broken(work):
    for day in DAYS[:2]:
        write_session(work, day)
    broken = work.layout.file(CURATED_TWS_1M_BARS, Partition(DAYS[0]))
    broken.write_bytes(b"no parquet")
    store = FeatureStore(work.layout, CALENDAR)
    assert store.get_curated_bars(["S101"], DAYS[1], DAYS[1])["session"].unique().to_list() == [DAYS[1]]
    with pytest.raises(CorruptFileError, match=r"session=2024-01-02/part\.parquet"):
        store.get_curated_bars(["S101"], DAYS[0], DAYS[1])


def test_beside_minutes_a_daily_value_is_that_of_the_session_before(store, lake):
    features = store.get_features_for_training(*EVERYTHING, ["S101"], DAYS[1], DAYS[2])["features"]
    for before, day in pairwise(DAYS[:3]):
        stored = lake.lake.curated.read(GROUPS["tv_technicals_1d", "v1"].table, Partition(before))
        expected = stored.filter(pl.col("con_id") == 101)["rsi"][0]
        assert features.filter(pl.col("session") == day)["rsi"].unique().to_list() == [expected]


def test_the_first_session_has_no_day_before(store):
    answer = store.get_features_for_training(*EVERYTHING, ["S101"], DAYS[0], DAYS[0])
    assert answer["features"]["rsi"].null_count() == answer["features"].height > 300
    assert answer["metadata"]["missing_sessions"]["tv_technicals_1d"] == {date(2023, 12, 29): None}


def test_beside_minutes_of_several_exchanges_they_are_the_same_and_nothing_is_warned_of(store, lake):
    """New York and a market that never closes have the same sessions from Tuesday to Friday.

    Polars cannot raise the warnings of its own engine: they are recorded.
    """
    everywhere = FeatureStore(lake.layout, TradingCalendar(("XNYS", "24/7")))
    names = ["S101", "S103"]
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        features = everywhere.get_features_for_training(*EVERYTHING, names, DAYS[1], DAYS[2])["features"]
    assert [str(one.message) for one in told] == []
    assert features["rsi"].drop_nulls().len() == features.height > 600
    assert features.equals(store.get_features_for_training(*EVERYTHING, names, DAYS[1], DAYS[2])["features"])


def test_daily_groups_alone_have_one_row_per_session(store):
    features = store.get_features_for_training(*DAILY, ["S101", "S102"], DAYS[0], DAYS[2])["features"]
    assert features.select("session", "con_id").rows() == [(day, i) for day in DAYS[:3] for i in (101, 102)]


def test_labels_are_those_of_the_instruments_and_sessions(store, lake):
    labels = store.get_features_for_training(*MINUTES, ["S103"], DAYS[0], DAYS[1], include_labels=True)["labels"]
    assert labels["session"].unique().sort().to_list() == DAYS[:2]
    assert labels["con_id"].unique().to_list() == [103]
    assert sorted(labels["horizon"].unique().to_list()) == [5, 20, 60]


def test_strict_asks_how_the_window_behind_a_daily_value_was_known_not_one_of_a_day_without_it(work):
    """Beside Monday's minutes is Friday's value, 101's from a backfilled window; Sunday was a session of others only."""
    friday, sunday, monday = DAYS[3], date(2024, 1, 7), date(2024, 1, 8)
    for day in (friday, monday):
        write_session(work, day, con_ids=(101, 102))
    is_assumed = pl.when(pl.col("con_id") == 101).then(pl.lit("assumed")).otherwise("known_basis").alias("known_basis")
    window = work.lake.curated.read(CURATED_TWS_1D_BARS, Partition(friday))
    later = window.filter(pl.col("con_id") == 101).with_columns(pl.lit(sunday).alias("as_of_session"))
    work.lake.curated.write(CURATED_TWS_1D_BARS, Partition(sunday), later)
    work.layout.file(CURATED_TWS_1D_BARS, Partition(friday)).unlink()
    work.lake.curated.write(CURATED_TWS_1D_BARS, Partition(friday), window.with_columns(is_assumed))
    for group, day in (("tv_technicals_1d", friday), ("price_1m", monday)):
        publish_group(work, GROUPS[group, "v1"], day)
    everywhere = FeatureStore(work.layout, TradingCalendar(("XNYS", "24/7")))
    asked = (["price_1m", "tv_technicals_1d"], ["v1", "v1"], ["S101", "S102"], monday, monday)
    answer = everywhere.get_features_for_training(*asked, strict=True)
    assert con_ids_of(answer["features"]) == [(monday, 102)]
    assert answer["features"]["rsi"].null_count() == 0
    assert answer["metadata"]["known_basis"] == {"observed": 1, "left_out": 1}


def test_groups_with_unequal_rows_are_joined_on_their_key(work):
    for day in DAYS[:2]:
        write_session(work, day)
        publish_group(work, GROUPS["price_1m", "v1"], day)
    publish_group(work, GROUPS["volume_1m", "v1"], DAYS[1])
    answer = FeatureStore(work.layout, CALENDAR).get_features_for_training(*MINUTES, ["S101"], DAYS[0], DAYS[1])
    first = answer["features"].filter(pl.col("session") == DAYS[0])
    assert first["vol_ma_20"].null_count() == first.height
    assert answer["features"].filter(pl.col("session") == DAYS[1])["vol_ma_20"].drop_nulls().len() > 300
    assert answer["metadata"]["missing_sessions"]["features_volume_1m_v1"] == {DAYS[0]: None}
    assert answer["features"]["ts"].is_sorted()


def test_the_answer_says_which_state_of_the_lakehouse_it_is(store, lake):
    metadata = store.get_features_for_training(*MINUTES, ["S101"], DAYS[0], DAYS[1])["metadata"]
    footer = lake.lake.curated.footer(FEATURES_PRICE_1M_V1, Partition(DAYS[1]))
    assert metadata["content_ids"]["features_price_1m_v1"][DAYS[1]] == footer.content_id
    assert metadata["known_until"] == footer.watermark
    assert metadata["instruments"] == {"S101": 101}
    assert metadata["units"]["vol_20"] == "fraction per minute"
    assert metadata["without_rows"] == []


# ------------------------------------------------------------ knowledge


def test_what_became_known_later_is_withheld_and_named(store):
    answer = store.get_features_for_training(
        *MINUTES, ["S101"], DAYS[0], DAYS[2], include_labels=True, as_of=known_at(DAYS[1])
    )
    assert answer["features"]["session"].unique().sort().to_list() == DAYS[:2]
    assert answer["labels"]["session"].unique().sort().to_list() == DAYS[:2]
    withheld = answer["metadata"]["withheld_sessions"]
    assert len(withheld) == 3
    assert all(list(days) == [DAYS[2]] for days in withheld.values())
    assert answer["metadata"]["known_until"] <= known_at(DAYS[1]).isoformat(timespec="microseconds")


def test_before_anything_was_known_the_answer_is_empty_and_says_so(store):
    answer = store.get_features_for_training(
        *MINUTES, ["S101"], DAYS[0], DAYS[0], as_of=known_at(DAYS[0]) - timedelta(seconds=1)
    )
    assert answer["features"].is_empty()
    assert answer["metadata"]["without_rows"] == ["S101"]


def test_bars_are_kept_by_the_row(store):
    known = store.get_curated_bars(["S101"], DAYS[0], DAYS[1], as_of=known_at(DAYS[0]), missing="ignore")
    assert known["session"].unique().to_list() == [DAYS[0]]


# ------------------------------------------------------------ inference


@pytest.mark.parametrize("groups", [MINUTES, EVERYTHING], ids=["minutes", "with daily"])
@pytest.mark.parametrize(("mode", "later"), [("exact", timedelta()), ("latest", timedelta(minutes=1))])
def test_inference_equals_training_at_every_bar_tried(store, groups, mode, later):
    """`exact` names a bar by its start; `latest` is asked when that bar has ended."""
    training = store.get_features_for_training(*groups, ["S101", "S102", "S103"], DAYS[1], DAYS[2])["features"]
    times = training.filter(pl.len().over("ts") == len(CON_IDS))["ts"].unique().sort()
    for ts in [times[0], times[19], times[200], times[-1]]:
        answer = store.get_features_for_inference(*groups, ["S101", "S102", "S103"], ts + later, mode=mode)
        assert answer["features"].equals(training.filter(pl.col("ts") == ts).sort("con_id"))


@pytest.mark.parametrize(
    ("asked", "bar", "age_s"),
    [
        (timedelta(minutes=60), 59, 0.0),
        (timedelta(minutes=60, seconds=1), 59, 1.0),
        (timedelta(minutes=60, seconds=59), 59, 59.0),
        (timedelta(minutes=61) - timedelta(microseconds=1), 59, 59.999999),
        (timedelta(minutes=61), 60, 0.0),
        (timedelta(hours=7), 389, 1800.0),
    ],
)
def test_latest_never_answers_with_a_bar_that_is_still_being_made(whole, asked, bar, age_s):
    """A bar is named by its start, and its close is that of the minute's end."""
    answer = whole.get_features_for_inference(["price_1m"], ["v1"], ["S101"], minute(0, DAYS[0]) + asked, mode="latest")
    assert answer["features"]["ts"].to_list() == [minute(bar, DAYS[0])]
    assert answer["metadata"]["freshness"] == {101: {"session": DAYS[0], "age_s": age_s}}


@pytest.mark.parametrize("asked", [timedelta(), timedelta(seconds=59)])
def test_in_the_first_minute_of_a_session_latest_is_the_last_bar_of_the_one_before(whole, asked):
    answer = whole.get_features_for_inference(["price_1m"], ["v1"], "S101", minute(0, DAYS[1]) + asked, mode="latest")
    assert answer["features"]["ts"].to_list() == [minute(389, DAYS[0])]


def test_exact_is_the_row_of_the_bar_that_starts_then_as_it_is_known_at_its_end(whole):
    answer = whole.get_features_for_inference(["price_1m"], ["v1"], "S101", minute(60, DAYS[0]))
    assert answer["features"]["ts"].to_list() == [minute(60, DAYS[0])]
    assert answer["metadata"]["freshness"] == {101: {"session": DAYS[0], "age_s": 0.0}}


@pytest.mark.parametrize(
    ("asked", "day"),
    [
        (timedelta(hours=6, minutes=29, seconds=59), DAYS[1]),
        (timedelta(hours=6, minutes=30), DAYS[2]),
        (timedelta(hours=20), DAYS[2]),
    ],
)
def test_the_latest_daily_row_is_that_of_a_session_that_has_closed(store, asked, day):
    """The session of six and a half hours ends at 21:00:00 UTC; a second before, the one before it is the newest."""
    answer = store.get_features_for_inference(*DAILY, ["S101"], minute(0, DAYS[2]) + asked, mode="latest")
    assert answer["features"]["session"].to_list() == [day]


def test_inference_on_daily_groups_equals_training(store):
    training = store.get_features_for_training(*DAILY, ["S101", "S102"], DAYS[0], DAYS[2])["features"]
    for day in DAYS[:3]:
        answer = store.get_features_for_inference(*DAILY, ["S101", "S102"], hours(day).closes_at)
        assert answer["features"].equals(training.filter(pl.col("session") == day))
    before_the_close = hours(DAYS[2]).closes_at - timedelta(minutes=1)
    assert store.get_features_for_inference(*DAILY, ["S101"], before_the_close)["features"]["session"].to_list() == [
        DAYS[1]
    ]


@pytest.mark.parametrize("mode", ["exact", "latest"])
def test_a_daily_row_is_the_newest_of_each_instrument_although_another_exchange_had_sessions_since(lake, mode):
    """On Monday at noon the newest session that has closed is Sunday, and New York had none; on Friday it is Thursday."""
    everywhere = FeatureStore(lake.layout, TradingCalendar(("XNYS", "24/7")))
    training = everywhere.get_features_for_training(*DAILY, ["S101", "S103"], DAYS[0], DAYS[3])["features"]
    for at, day in (("2024-01-05T12:00Z", DAYS[2]), ("2024-01-06T12:00Z", DAYS[3]), ("2024-01-08T12:00Z", DAYS[3])):
        answer = everywhere.get_features_for_inference(*DAILY, ["S101", "S103"], at, mode)
        assert answer["features"].equals(training.filter(pl.col("session") == day))
        assert answer["metadata"]["without_rows"] == []
        assert answer["metadata"]["freshness"] == {con_id: {"session": day} for con_id in (101, 103)}


def test_each_instrument_has_its_own_newest_daily_row(work):
    write_session(work, DAYS[0])
    write_session(work, DAYS[1], con_ids=(101,))
    for day in DAYS[:2]:
        publish_group(work, GROUPS["tv_technicals_1d", "v1"], day)
    store = FeatureStore(work.layout, CALENDAR)
    for mode in ("exact", "latest"):
        found = store.get_features_for_inference(*DAILY, ["S102", "S101"], hours(DAYS[1]).closes_at, mode)["features"]
        assert found.select("con_id", "session").rows() == [(101, DAYS[1]), (102, DAYS[0])]


@pytest.mark.parametrize(("groups", "mode"), [(MINUTES, "latest"), (DAILY, "latest"), (DAILY, "exact")])
def test_rows_are_found_over_easter_although_another_exchange_has_no_holidays(work, groups, mode):
    """On Tuesday at six London is still closed, and was since Thursday; in between are five sessions of the other."""
    thursday = date(2024, 3, 28)
    write_session(work, thursday)
    for group in GROUPS.values():
        publish_group(work, group, thursday)
    everywhere = FeatureStore(work.layout, TradingCalendar(("XLON", "24/7")))
    found = everywhere.get_features_for_inference(*groups, "S101", "2024-04-02T06:00Z", mode)["features"]
    assert found["session"].to_list() == [thursday]


def test_latest_takes_the_newest_bar_of_each_instrument(store):
    bars = store.get_curated_bars(["S101", "S102", "S103"], DAYS[2], DAYS[2])
    at = minute(77, DAYS[2])
    answer = store.get_features_for_inference(*MINUTES, ["S101", "S102", "S103"], at, mode="latest")
    expected = (
        bars.filter(pl.col("ts") <= minute(76, DAYS[2])).group_by("con_id").agg(pl.col("ts").max()).sort("con_id")
    )
    assert answer["features"].select("con_id", "ts").equals(expected)
    ages = {con_id: fresh["age_s"] for con_id, fresh in answer["metadata"]["freshness"].items()}
    assert ages == {con_id: (at - ts).total_seconds() - 60 for con_id, ts in expected.rows()}


def test_latest_goes_back_over_a_weekend_and_no_further_than_needed(store, opened):
    sunday = datetime(2024, 1, 7, 12, tzinfo=UTC)
    answer = store.get_features_for_inference(["price_1m"], ["v1"], ["S101"], sunday, mode="latest")
    assert answer["features"]["session"].to_list() == [DAYS[3]]
    assert [name for name in opened() if name.startswith("gold")] == [
        f"gold/features_price_1m_v1/session={DAYS[3]}/part.parquet"
    ]


def test_before_the_first_bar_latest_answers_with_the_session_before(store):
    bars = store.get_curated_bars(["S101"], DAYS[1], DAYS[2])
    first = bars.filter(pl.col("session") == DAYS[2])["ts"].min()
    answer = store.get_features_for_inference(*MINUTES, ["S101"], first - timedelta(seconds=1), mode="latest")
    assert answer["features"]["ts"].to_list() == [bars.filter(pl.col("session") == DAYS[1])["ts"].max()]


def test_exact_answers_with_nothing_where_there_is_no_bar(store):
    answer = store.get_features_for_inference(*MINUTES, ["S101"], minute(5, DAYS[2]) + timedelta(seconds=30))
    assert answer["features"].is_empty()
    assert answer["metadata"]["without_rows"] == ["S101"]


# ------------------------------------------------------------ bars


def test_bars_of_minutes_and_of_days(store, opened):
    minutes = store.get_curated_bars(["S102"], DAYS[0], DAYS[1])
    assert minutes.columns == CURATED_TWS_1M_BARS.schema.names()
    assert minutes["con_id"].unique().to_list() == [102]
    daily = store.get_curated_bars(["S102"], DAYS[0], DAYS[2], frequency="1d")
    assert daily["session"].to_list() == DAYS[:3]
    assert daily["as_of_session"].unique().to_list() == [DAYS[2]], "one window, on one price basis"
    assert [name for name in opened() if "1d_bars" in name] == [
        f"silver/curated_tws_1d_bars/session={DAYS[2]}/part.parquet"
    ]


BEGIN = date(2023, 12, 27)
"""Three sessions before the lake begins."""


@pytest.fixture
def patchy(work):
    """Readers of the first and the third of the sessions; the second is not there."""
    for day in (DAYS[0], DAYS[2]):
        write_session(work, day)
    return FeatureStore(work.layout, CALENDAR)


def test_sessions_of_the_range_that_are_not_there_are_refused_and_listed(patchy):
    with pytest.raises(MissingSessionsError) as caught:
        patchy.get_curated_bars("S101", BEGIN, DAYS[2])
    assert caught.value.missing == (BEGIN, date(2023, 12, 28), date(2023, 12, 29), DAYS[1])
    assert caught.value.withheld == ()
    assert str(caught.value) == (
        "curated_tws_1m_bars lacks 4 of 6 sessions; not there: 2023-12-27..2023-12-29 (3), 2024-01-03. "
        "Run `quant flow data --sessions 2023-12-27..2023-12-29` and `quant flow data --sessions 2024-01-03..2024-01-03`, "
        'or read with missing="warn" or missing="ignore" to do without them.'
    )
    assert patchy.get_curated_bars("S101", DAYS[0], DAYS[0])["session"].unique().to_list() == [DAYS[0]]


def test_a_session_that_has_not_closed_is_nothing_to_fetch(patchy, monkeypatch):
    monkeypatch.setattr("quant_assets.lakehouse.datasets.SystemClock", lambda: ManualClock(instant("2024-01-05 12:00")))
    with pytest.raises(MissingSessionsError) as caught:
        patchy.get_curated_bars("S101", DAYS[1], "2024-01-08")
    assert caught.value.missing == (DAYS[1], date(2024, 1, 5), date(2024, 1, 8))
    assert "not there: 2024-01-03; not closed yet: 2024-01-05..2024-01-08 (2). " in str(caught.value)
    assert "Run `quant flow data --sessions 2024-01-03..2024-01-03`, or read" in str(caught.value)


def test_who_can_do_without_them_says_so(patchy):
    with pytest.warns(MissingSessionsWarning, match="lacks 4 of 6 sessions; not there: 2023-12-27") as told:
        warned = patchy.get_curated_bars("S101", BEGIN, DAYS[2], missing="warn")
    assert [Path(one.filename).name for one in told] == ["test_store.py"], (
        "the warning is told where the reader is called"
    )
    with warnings.catch_warnings(action="error"):
        ignored = patchy.get_curated_bars("S101", BEGIN, DAYS[2], missing="ignore")
        whole = patchy.get_curated_bars("S101", DAYS[2], DAYS[2], missing="warn")
    assert warned.equals(ignored)
    assert warned["session"].unique().sort().to_list() == [DAYS[0], DAYS[2]]
    assert whole.height > 300


def test_sessions_that_were_known_only_later_are_refused_and_listed(store):
    with pytest.raises(MissingSessionsError) as caught:
        store.get_curated_bars("S101", DAYS[0], DAYS[3], as_of=known_at(DAYS[1]))
    assert (caught.value.missing, caught.value.withheld) == ((), (DAYS[2], DAYS[3]))
    assert str(caught.value).startswith(
        "curated_tws_1m_bars lacks 2 of 4 sessions; known only later: 2024-01-04..2024-01-05 (2). "
        "Ask as of a later instant than 2024-01-04 07:00:00Z, or read with"
    )


def test_sessions_before_the_daily_window_are_refused_and_listed(store):
    """A window of 80 sessions as of 2024-01-04 begins on 2023-09-12."""
    begin = CALENDAR.window(DAYS[2], 80)[0]
    days = store.get_curated_bars("S102", begin, DAYS[2], "1d")["session"].to_list()
    assert days == CALENDAR.between(begin, DAYS[2])
    early = CALENDAR.window(begin, 3)[0]
    told = (
        rf"curated_tws_1d_bars lacks 2 of 82 sessions; before the daily window as of 2024-01-04: {early}..\S+ \(2\). "
        "Ask for them with an earlier end, or begin with the window, or read with"
    )
    with pytest.raises(MissingSessionsError, match=told):
        store.get_curated_bars("S102", early, DAYS[2], "1d")
    assert store.get_curated_bars("S102", early, DAYS[2], "1d", missing="ignore")["session"].to_list() == days


def test_an_instrument_without_a_bar_in_a_session_is_no_missing_session(work):
    write_session(work, DAYS[0])
    write_session(work, DAYS[1], con_ids=(101, 102))
    store = FeatureStore(work.layout, CALENDAR)
    assert store.get_curated_bars("S103", DAYS[0], DAYS[1])["session"].unique().to_list() == [DAYS[0]]


# ------------------------------------------------------------ names over time


def named(work, *rows):
    """Publish the dimension as of the last of `(session, con_id, symbol)`."""
    base = {
        "exchange": "SMART", "primary_exchange": "NYSE", "currency": "USD", "asset_class": "STK", "min_tick": 0.01,
        "timezone": "US/Eastern", "long_name": "ONE", "industry": "Energy", "category": "", "ids": "",
        "trading_hours": "", "liquid_hours": "", "pipeline_version": "1", "batch_id": "b1",
    }  # fmt: skip
    seen = [
        {**base, "session": day, "con_id": con_id, "symbol": symbol, "ingested_at": known_at(day)}
        for day, con_id, symbol in rows
    ]
    last = rows[-1][0]
    found = history(RAW_INSTRUMENTS.frame(seen), universe(last, (101, 102)), last)
    work.lake.curated.write(INSTRUMENTS, Partition(last), INSTRUMENTS.conform(found))


@pytest.fixture
def reused(work):
    """101 is called ABC in the first session and 102 in the last; in between nobody is."""
    for day in DAYS[:3]:
        write_session(work, day)
        publish_group(work, GROUPS["price_1m", "v1"], day)
    between = [(DAYS[1], 101, "OLD"), (DAYS[1], 102, "NEW")]
    named(work, (DAYS[0], 101, "ABC"))
    named(work, (DAYS[0], 101, "ABC"), *between, (DAYS[2], 102, "ABC"))
    return FeatureStore(work.layout, CALENDAR)


def con_ids_of(frame):
    return frame.select("session", "con_id").unique().sort("session", "con_id").rows()


@pytest.mark.parametrize("name", ["ABC", "NYSE:ABC"])
def test_a_symbol_that_two_instruments_bore_in_the_range_is_refused_with_both(reused, name):
    sentence = (
        rf"'{name}' stands for 2 instruments: NYSE:ABC \(con_id 101, 2024-01-02..2024-01-02\), "
        r"NYSE:ABC \(con_id 102, 2024-01-04..2024-01-04\). Ask for the sessions of one of them."
    )
    for ask in (
        lambda: reused.get_curated_bars(name, DAYS[0], DAYS[2]),
        lambda: reused.get_features_for_training("price_1m", "v1", name, DAYS[0], DAYS[2]),
    ):
        with pytest.raises(ConfigurationError, match=sentence):
            ask()


def test_in_the_sessions_of_one_bearer_the_symbol_is_that_bearer(reused):
    assert con_ids_of(reused.get_curated_bars("ABC", DAYS[0], DAYS[0])) == [(DAYS[0], 101)]
    assert con_ids_of(reused.get_curated_bars("ABC", DAYS[1], DAYS[2])) == [(DAYS[1], 102), (DAYS[2], 102)]
    renamed = [(day, 101) for day in DAYS[:3]]
    assert con_ids_of(reused.get_curated_bars("OLD", DAYS[0], DAYS[2])) == renamed, "a rename keeps its history"


def test_at_an_instant_a_symbol_is_whoever_bears_it_then(reused):
    for day, con_id in ((DAYS[0], 101), (DAYS[2], 102)):
        at = hours(day).closes_at
        found = reused.get_features_for_inference("price_1m", "v1", "ABC", at, mode="latest")
        assert con_ids_of(found["features"]) == [(day, con_id)]


def test_a_bar_is_followed_forward_for_whoever_bore_the_symbol_then(reused, work):
    for day, con_id in ((DAYS[0], 101), (DAYS[2], 102)):
        ts = reused.get_curated_bars("ABC", day, day)["ts"][0]
        assert touched(work.lake, Bar("NYSE:ABC", day, ts)).con_id == con_id


# ------------------------------------------------------------ what is refused


@pytest.mark.parametrize(
    ("call", "error", "sentence"),
    [
        (lambda s: s.get_curated_bars(["S1O1"], DAYS[0], DAYS[0]), UnknownNameError, "Did you mean"),
        (lambda s: s.get_curated_bars(["ARCA:S101"], DAYS[0], DAYS[0]), UnknownNameError, "no instrument 'ARCA:S101'. Did you mean 'S101'"),
        (lambda s: s.get_curated_bars([], DAYS[0], DAYS[0]), ConfigurationError, r"symbols: at least one name.*'ARCA:SPY' or \['ARCA:SPY'\]"),
        (lambda s: s.get_curated_bars(["S101", 102], DAYS[0], DAYS[0]), ConfigurationError, "symbols: 102 is no name"),
        (lambda s: s.get_curated_bars(101, DAYS[0], DAYS[0]), ConfigurationError, "symbols: 101 is no name"),
        (lambda s: s.get_curated_bars("S1O1", DAYS[0], DAYS[0]), UnknownNameError, "no instrument 'S1O1'. Did you mean 'S101'"),
        (lambda s: s.get_curated_bars(["S101"], "2nd of January", DAYS[0]), ConfigurationError, "start: '2nd of January' is no date.*2026-01-05"),
        (lambda s: s.get_curated_bars(["S101"], DAYS[0], minute(0, DAYS[0])), ConfigurationError, "end: .* is no date"),
        (lambda s: s.get_curated_bars(["S101"], 20240102, DAYS[0]), ConfigurationError, "start: 20240102 is no date"),
        (lambda s: s.get_curated_bars(["S101"], DAYS[0], None), ConfigurationError, "end: None is no date"),
        (lambda s: s.get_curated_bars(["S101"], DAYS[0], DAYS[0], 1), UnknownNameError, "frequency 1"),
        (lambda s: s.get_curated_bars(["S101"], DAYS[0], DAYS[0], as_of="yesterday"), ConfigurationError, "as_of: 'yesterday' is no instant.*2026-03-14T21:00Z.*or a date for the end of that UTC day"),
        (lambda s: s.get_curated_bars(["S101"], DAYS[0], DAYS[0], as_of="2024-01-05T12:00"), ConfigurationError, "as_of: 2024-01-05T12:00 has no time zone"),
        (lambda s: s.get_curated_bars(["S101"], DAYS[0], DAYS[0], as_of=0), ConfigurationError, "as_of: 0 is no instant"),
        (lambda s: s.get_features_for_training(1, "v1", ["S101"], DAYS[0], DAYS[0]), ConfigurationError, "feature_groups: 1 is no name.*'price_1m'"),
        (lambda s: s.get_features_for_training("price_1m", [1], ["S101"], DAYS[0], DAYS[0]), ConfigurationError, "feature_versions: 1 is no name.*'v1'"),
        (lambda s: s.get_features_for_training(*MINUTES, ["S101"], DAYS[0], DAYS[0], "v1"), ConfigurationError, "include_labels: 'v1' is neither"),
        (lambda s: s.get_features_for_training(*MINUTES, ["S101"], DAYS[0], DAYS[0], True, 1), ConfigurationError, "label_version: 1 is none"),
        (lambda s: s.get_features_for_training(*MINUTES, ["S101"], DAYS[0], DAYS[0], as_of=datetime(2024, 2, 1)), ConfigurationError, "as_of: .*no time zone"),  # noqa: DTZ001
        (lambda s: s.get_features_for_inference(*MINUTES, ["S101"], DAYS[0]), ConfigurationError, "ts: .* is no instant.*2026-03-14T21:00Z"),
        (lambda s: s.get_features_for_inference(*MINUTES, ["S101"], "2024-01-02"), ConfigurationError, "ts: '2024-01-02' is no instant"),
        (lambda s: s.get_features_for_inference(*MINUTES, ["S101"], "2024-01-02T15:00"), ConfigurationError, "ts: .* no time zone"),
        (lambda s: s.get_features_for_inference(*MINUTES, ["S101"], minute(5, DAYS[0]), mode=1), UnknownNameError, "mode 1"),
        (lambda s: s.get_curated_bars(["S101"], DAYS[0], DAYS[0], "5min"), UnknownNameError, "frequency '5min'"),
        (lambda s: s.get_curated_bars(["S101"], DAYS[0], DAYS[1], adjust="splits"), NotPublishedError, "adjustment_factors.*--sessions 2024-01-02..2024-01-03"),
        (lambda s: s.get_curated_bars(["S101"], DAYS[0], DAYS[0], adjust="spilts"), UnknownNameError, "Did you mean 'splits'"),
        (lambda s: s.get_curated_bars(["S101"], DAYS[1], DAYS[0]), NotASessionError, "reversed"),
        (lambda s: s.get_curated_bars(["S101"], DAYS[0], DAYS[0], as_of=datetime(2024, 2, 1)), ConfigurationError, "no time zone"),  # noqa: DTZ001
        (lambda s: s.get_curated_bars(["S101"], date(2024, 2, 1), date(2024, 2, 2)), NotPublishedError, "universe"),
        (lambda s: s.get_features_for_training(["price_1n"], ["v1"], ["S101"], DAYS[0], DAYS[0]), UnknownNameError, "Did you mean 'price_1m'"),
        (lambda s: s.get_features_for_training(["price_1m"], ["v2"], ["S101"], DAYS[0], DAYS[0]), UnknownNameError, "version of feature group"),
        (lambda s: s.get_features_for_training(["price_1m"], [], ["S101"], DAYS[0], DAYS[0]), ConfigurationError, "feature_versions: at least one name"),
        (lambda s: s.get_features_for_training(["price_1m", "price_1m"], ["v1", "v1"], ["S101"], DAYS[0], DAYS[0]), ConfigurationError, "feature_groups: price_1m is given twice. Name each group once"),
        (lambda s: s.get_features_for_inference(["price_1m", "volume_1m", "price_1m"], ["v1"] * 3, ["S101"], minute(5, DAYS[0])), ConfigurationError, "price_1m is given twice"),
        (lambda s: s.get_curated_bars(["S101"], DAYS[0], DAYS[0], missing="drop"), UnknownNameError, "treatment of missing sessions 'drop'.*ignore, raise, warn"),
        (lambda s: s.get_features_for_training(MINUTES[0], "v1", ["S101"], DAYS[0], DAYS[0]), ConfigurationError, "2 groups and 1 versions.*a version for each"),
        (lambda s: s.get_features_for_training(*MINUTES, ["S101"], DAYS[0], DAYS[0], include_labels=True, label_version="v7"), UnknownNameError, "label version 'v7'"),
        (lambda s: s.get_features_for_inference(*MINUTES, ["S101"], minute(5, DAYS[0]), mode="newest"), UnknownNameError, "mode 'newest'"),
        (lambda s: s.get_features_for_inference(*MINUTES, ["S101"], datetime(2024, 1, 2, 15)), ConfigurationError, "no time zone"),  # noqa: DTZ001
    ],
)  # fmt: skip
def test_the_impossible_is_refused_with_a_way_out(store, call, error, sentence):
    with pytest.raises(error, match=sentence):
        call(store)


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        ("get_curated_bars", "symbols, start, end, frequency='1min', as_of=None, adjust='as_served'"),
        (
            "get_features_for_training",
            "feature_groups, feature_versions, symbols, start, end, include_labels=False, label_version=None, as_of=None",
        ),
        ("get_features_for_inference", "feature_groups, feature_versions, symbols, ts, mode='exact'"),
    ],
)
def test_the_readers_are_called_by_position_as_their_contract_has_it(method, expected):
    positional = [
        one.replace(annotation=inspect.Parameter.empty)
        for one in inspect.signature(getattr(FeatureStore, method)).parameters.values()
        if one.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD
    ]
    assert ", ".join(map(str, positional[1:])).startswith(expected)


def test_every_form_that_means_one_thing_gives_the_same_answer(store):
    day, known = DAYS[1], known_at(DAYS[2])
    training = store.get_features_for_training(["price_1m"], ["v1"], ["S101"], day, DAYS[2], True, "v1", known)
    assert training["labels"].height > 300
    texts = store.get_features_for_training(
        "price_1m", "v1", "S101", str(day), str(DAYS[2]), True, "v1", known.isoformat()
    )
    assert texts["features"].equals(training["features"])
    assert texts["labels"].equals(training["labels"])
    assert texts["metadata"] == training["metadata"]
    assert store.get_features_for_training(
        ("price_1m",),
        iter(["v1"]),
        pl.Series(["S101"]),
        day,
        DAYS[2],
        as_of=known.astimezone(timezone(timedelta(hours=9))),
    )["features"].equals(training["features"])
    ts = minute(100, day)
    row = store.get_features_for_inference(["price_1m"], ["v1"], ["S101"], ts)
    text = store.get_features_for_inference("price_1m", "v1", "S101", ts.isoformat())
    assert row["features"].height == 1
    assert text["features"].equals(row["features"])
    assert text["metadata"] == row["metadata"]


@pytest.mark.parametrize("as_text", [False, True], ids=["date", "text"])
def test_a_date_as_of_is_the_end_of_that_day_in_utc(store, as_text):
    """The bars of a session became known ten hours after its close, at 07:00 UTC of the day after."""
    on, eve = DAYS[1], DAYS[0]
    given = [str(day) if as_text else day for day in (eve, on)]
    before, after = (store.get_curated_bars("S101", DAYS[0], DAYS[0], as_of=day, missing="ignore") for day in given)
    assert before.is_empty()
    assert after.height > 300
    metadata = store.get_features_for_training("price_1m", "v1", "S101", DAYS[0], DAYS[0], as_of=given[1])["metadata"]
    assert metadata["as_of"] == datetime(2024, 1, 3, 23, 59, 59, 999999, tzinfo=UTC)


def test_features_that_were_never_made_are_named_with_their_mend(work):
    write_session(work, DAYS[0])
    store = FeatureStore(work.layout, CALENDAR)
    with pytest.raises(
        NotPublishedError, match=r"features_price_1m_v1, features_volume_1m_v1\[2024-01-02.*quant flow data"
    ):
        store.get_features_for_training(*MINUTES, ["S101"], DAYS[0], DAYS[0])


def test_a_symbol_is_looked_for_in_older_universes_of_the_range(work):
    write_session(work, DAYS[0])
    write_session(work, DAYS[1], con_ids=(101, 102))
    store = FeatureStore(work.layout, CALENDAR)
    assert store.get_curated_bars(["S103"], DAYS[0], DAYS[1])["session"].unique().to_list() == [DAYS[0]]
    with pytest.raises(UnknownNameError):
        store.get_curated_bars(["S103"], DAYS[1], DAYS[1])


def test_a_symbol_of_two_exchanges_has_to_be_qualified(work):
    from quant_assets.domain.tables import UNIVERSE

    both = universe(DAYS[0], (101, 102)).with_columns(
        pl.lit("TWIN").alias("symbol"), pl.Series("exchange", ["NYSE", "ARCA"])
    )
    work.lake.curated.write(UNIVERSE, Partition(DAYS[0]), both)
    store = FeatureStore(work.layout, CALENDAR)
    with pytest.raises(ConfigurationError, match="NYSE:TWIN, ARCA:TWIN"):
        store.get_curated_bars(["TWIN"], DAYS[0], DAYS[0])


def test_reading_features_never_loads_dagster():
    probe = "import sys, quant_assets.lakehouse.features; print([m for m in sys.modules if m.startswith('dagster')])"
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# ------------------------------------------------------------ days of who left the universe


ALL_THREE = ["S101", "S102", "S103"]


@pytest.fixture
def thinning(work):
    """102 is in the universe of the first session only, 103 also of the second, 101 of all four."""
    for day, con_ids in zip(DAYS, (CON_IDS, (101, 103), (101,), (101,)), strict=True):
        write_session(work, day, con_ids=con_ids)
    return work


@pytest.fixture
def described(thinning):
    """The same, and a dimension that says in which sessions each of them was described."""
    seen = [(DAYS[0], 102), (DAYS[0], 103), (DAYS[1], 103), (DAYS[0], 101), (DAYS[3], 101)]
    named(thinning, *((day, con_id, f"S{con_id}") for day, con_id in seen))
    return thinning


@pytest.fixture(params=["thinning", "described"])
def left_behind(request):
    return FeatureStore(request.getfixturevalue(request.param).layout, CALENDAR)


def windows_of(bars):
    return bars.select("con_id", "as_of_session").unique().sort("con_id").rows()


def test_days_of_who_left_the_universe_come_from_the_last_window_that_holds_them(left_behind):
    found = left_behind.get_curated_bars(ALL_THREE, BEGIN, DAYS[3], "1d")
    assert windows_of(found) == [(101, DAYS[3]), (102, DAYS[0]), (103, DAYS[1])]
    for name, last in zip(ALL_THREE, (DAYS[3], DAYS[0], DAYS[1]), strict=True):
        own = found.filter(pl.col("symbol") == name)
        assert own["session"].to_list() == CALENDAR.between(BEGIN, last)
        assert own.equals(left_behind.get_curated_bars(name, BEGIN, last, "1d"))
        assert own.equals(left_behind.get_curated_bars(name, BEGIN, DAYS[3], "1d")), "asked for alone"
    assert found.equals(found.sort("con_id", "session"))


def test_minutes_and_days_of_who_left_end_with_the_same_session_and_lack_nothing(left_behind):
    for name in ALL_THREE:
        minutes, days = (left_behind.get_curated_bars(name, DAYS[0], DAYS[3], how) for how in ("1min", "1d"))
        assert minutes["session"].unique().sort().to_list() == days["session"].to_list()


def test_days_of_who_left_that_came_later_are_withheld_as_those_of_the_others(left_behind):
    """103's last window became known on the morning after the second session."""
    with pytest.raises(MissingSessionsError) as caught:
        left_behind.get_curated_bars("S103", DAYS[0], DAYS[3], "1d", as_of=known_at(DAYS[1]) - timedelta(seconds=1))
    assert (caught.value.missing, caught.value.withheld) == ((), (DAYS[0], DAYS[1]))
    assert left_behind.get_curated_bars("S103", DAYS[0], DAYS[3], "1d", as_of=known_at(DAYS[1])).height == 2


def daily_files(opened):
    below = "silver/curated_tws_1d_bars/session="
    return [name.removeprefix(below)[:10] for name in opened if name.startswith(below)]


def test_one_more_file_is_opened_for_each_last_window(described):
    store = FeatureStore(described.layout, CALENDAR)
    for names, files in (
        (["S101"], [DAYS[3]]),
        (["S101", "S102"], [DAYS[3], DAYS[0]]),
        (ALL_THREE, [DAYS[3], DAYS[1], DAYS[0]]),
    ):
        with opened_files() as found:
            store.get_curated_bars(names, DAYS[0], DAYS[3], "1d")
        relative = [path.relative_to(described.layout.lakehouse).as_posix() for path in found()]
        assert daily_files(relative) == list(map(str, files))
        assert sum(name.startswith("discovery/universe") for name in relative) == 0


def test_without_a_dimension_windows_are_opened_only_as_long_as_somebody_is_missing(thinning):
    store = FeatureStore(thinning.layout, CALENDAR)
    with opened_files() as found:
        store.get_curated_bars(["S101", "S103"], DAYS[0], DAYS[3], "1d")
    relative = [path.relative_to(thinning.layout.lakehouse).as_posix() for path in found()]
    assert daily_files(relative) == [str(DAYS[3]), str(DAYS[2]), str(DAYS[1])]


def test_a_dimension_of_before_the_end_says_nothing_of_the_sessions_after_it(thinning):
    """As of the first session everybody was described last on it, and 103 has a window as of the second."""
    named(thinning, *((DAYS[0], con_id, f"S{con_id}") for con_id in CON_IDS))
    found = FeatureStore(thinning.layout, CALENDAR).get_curated_bars(ALL_THREE, BEGIN, DAYS[3], "1d")
    assert windows_of(found) == [(101, DAYS[3]), (102, DAYS[0]), (103, DAYS[1])]


def test_each_window_begins_where_it_begins_and_what_lies_before_is_listed(left_behind):
    """A window of 80 sessions as of the second session begins two sessions before that as of the fourth."""
    begin, early = CALENDAR.window(DAYS[1], 80)[0], CALENDAR.window(DAYS[1], 81)[0]
    assert left_behind.get_curated_bars("S103", begin, DAYS[3], "1d").height == 80
    with pytest.raises(MissingSessionsError) as caught:
        left_behind.get_curated_bars(["S101", "S103"], begin, DAYS[3], "1d")
    assert caught.value.missing == tuple(CALENDAR.window(DAYS[3], 82)[:2])
    assert "before the daily window as of 2024-01-05: " in str(caught.value)
    with pytest.raises(MissingSessionsError, match=f"before the daily window as of 2024-01-03: {early}. Ask") as caught:
        left_behind.get_curated_bars("S103", early, DAYS[3], "1d")
    assert caught.value.missing == (early,)


def test_sessions_in_which_somebody_was_expected_and_no_window_holds_him_are_listed(work):
    """103 is in the universe of three sessions; the windows as of the third and the fourth do not hold it."""
    for day, con_ids in zip(DAYS, (CON_IDS, CON_IDS, (101, 102), (101, 102)), strict=True):
        write_session(work, day, con_ids=con_ids)
    work.lake.curated.write(UNIVERSE, Partition(DAYS[2]), universe(DAYS[2], CON_IDS), watermark="2024-01-09T00:00:00Z")
    store = FeatureStore(work.layout, CALENDAR)
    told = (
        "curated_tws_1d_bars lacks 1 of 4 sessions; after the last daily window that holds S103, as of 2024-01-03: "
        "2024-01-04. Run `quant flow data --sessions 2024-01-04..2024-01-04`, or read with"
    )
    with pytest.raises(MissingSessionsError, match=told) as caught:
        store.get_curated_bars(ALL_THREE, DAYS[0], DAYS[3], "1d")
    assert (caught.value.missing, caught.value.withheld) == ((DAYS[2],), ())
    found = store.get_curated_bars(ALL_THREE, DAYS[0], DAYS[3], "1d", missing="ignore")
    assert windows_of(found) == [(101, DAYS[3]), (102, DAYS[3]), (103, DAYS[1])]
    closed = FeatureStore(
        work.layout, CALENDAR, hours=lambda session, members: store._hours(session, members).filter(session != DAYS[2])
    )
    assert closed.get_curated_bars(ALL_THREE, DAYS[0], DAYS[3], "1d").equals(found), "its exchange was closed"

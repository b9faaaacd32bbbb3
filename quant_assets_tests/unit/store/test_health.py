"""Health: every number of a score is worked out by hand here."""

import json
import shutil
from datetime import date, datetime, timedelta
from pathlib import Path
from unittest import mock

import polars as pl
import pytest

from quant_assets.clock import ManualClock
from quant_assets.domain.health import DAYS, condition, instrument_parts, score, verdict
from quant_assets.domain.tables import (
    ALL,
    BAR_ACCOUNTING,
    CERTIFIED_SESSIONS,
    CURATED_TWS_1D_BARS,
    FEATURES_PRICE_1M_V1,
    POSITIONS,
    RAW_TWS_REQUESTS,
    UNIVERSE,
    WEIGHTS,
)
from quant_assets.domain.tables import CURATED_TWS_1M_BARS as BARS
from quant_assets.errors import ConfigurationError, UnknownNameError
from quant_assets.flows.catalog import refresh_catalog
from quant_assets.flows.readers import feature_store
from quant_assets.flows.work import Work
from quant_assets.lakehouse.catalog import build_catalog, instrument_quality
from quant_assets.lakehouse.features import FeatureStore
from quant_assets.lakehouse.health import instrument_days
from quant_assets.lakehouse.layout import Layout, Partition
from quant_assets.lakehouse.store import CuratedStore, RawStore
from quant_assets.settings import Settings
from quant_assets_tests.builders import CALENDAR, curated_bars, hours, instant, paused, trading, universe
from quant_assets_tests.opening import opened_files

WEEK = [date(2024, 1, day) for day in (2, 3, 4, 5, 8)]
"""Tuesday to Monday; the last one is the newest expected session."""


def by_calendar(session, members):
    return trading(session, members["con_id"])


@pytest.fixture
def store(tmp_path):
    """101 is whole but for a session of 100 minutes; 102 has one session; nobody has the last one yet."""
    made = CuratedStore(Layout(tmp_path / "data"))
    for session in WEEK[:4]:
        made.write(UNIVERSE, Partition(session), universe(session, (101, 102)))
        whole = curated_bars([10.0] * (100 if session == WEEK[1] else 390), session=session, con_id=101)
        other = [curated_bars([10.0] * 390, session=session, con_id=102)] if session == WEEK[0] else []
        made.write(BARS, Partition(session), pl.concat([whole, *other]))
    return made


def test_a_pause_is_not_expected(store):
    days = instrument_days(
        store, WEEK[:1], lambda session, members: paused(session, members["con_id"]), latest=WEEK[-1]
    )
    assert set(days["expected"]) == {330}


def test_a_condition_for_each_instrument_and_session(store):
    days = instrument_days(store, WEEK, by_calendar, latest=WEEK[-1])
    assert dict(days.schema) == DAYS
    found = {con_id: part["condition"].to_list() for (con_id,), part in days.group_by("con_id")}
    assert found == {
        101: ["available", "degraded", "available", "available", "pending"],
        102: ["available", "missing", "missing", "missing", "pending"],
    }
    assert days.filter(pl.col("con_id") == 101)["present"].to_list() == [390, 100, 390, 390, 0]


def test_the_parts_of_a_score_by_hand(store):
    days = instrument_days(store, WEEK, by_calendar, latest=WEEK[-1]).with_columns(
        rejected=pl.when(pl.col("session") == WEEK[0]).then(10).otherwise(0).cast(pl.Int64),
        warned=pl.when(pl.col("present") == 390).then(39).otherwise(0).cast(pl.Int64),
    )
    one, other = instrument_parts(days).iter_rows(named=True)
    present, expected = 3 * 390 + 100, 4 * 390
    assert one["coverage"] == pytest.approx(present / expected)
    assert one["sound"] == pytest.approx(present / (present + 10))
    assert one["unwarned"] == pytest.approx(1 - 3 * 39 / present)
    assert (one["sessions_behind"], one["freshness"], one["explained"]) == (1, 0.75, None)
    assert (other["sessions_behind"], other["freshness"], other["coverage"]) == (4, 0.0, 0.25)


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ({"coverage": 1.0, "freshness": 1.0, "sound": 1.0, "explained": 1.0, "unwarned": 1.0}, 1.0),
        ({"coverage": 0.5, "freshness": 1.0, "sound": 1.0, "explained": 1.0, "unwarned": 1.0}, 0.8),
        ({"coverage": 0.5, "freshness": None, "sound": 1.0}, round((0.4 * 0.5 + 0.15) / 0.55, 4)),
        ({"coverage": None, "freshness": None}, None),
        ({}, None),
    ],
)
def test_a_score_is_the_weighted_mean_of_what_is_known(parts, expected):
    assert score(parts) == expected


def test_unexplained_minutes_degrade_and_lower_the_score():
    row = {"session": WEEK[0], "con_id": 1, "symbol": "S", "expected": 390, "present": 390, "rejected": 0, "warned": 0}
    row["broken"] = 0
    days = pl.DataFrame(
        [{**row, "unexplained": 39, "excused": 0}, {**row, "con_id": 2, "unexplained": 0, "excused": 0}]
    )
    days = days.with_columns(condition(latest=pl.lit(WEEK[1])))
    assert days["condition"].to_list() == ["degraded", "available"]
    assert instrument_parts(days)["explained"].to_list() == pytest.approx([0.9, 1.0])


def test_a_break_of_the_price_basis_degrades_its_session_and_is_a_reason():
    row = {
        "session": WEEK[0],
        "con_id": 1,
        "symbol": "S",
        "expected": 390,
        "present": 389,
        "rejected": 1,
        "warned": 389,
    }
    row |= {"unexplained": 0, "excused": 0, "accepted": 0}
    days = pl.DataFrame([{**row, "broken": 389}, {**row, "session": WEEK[1], "broken": 0, "warned": 0}])
    days = days.with_columns(condition(latest=pl.lit(WEEK[1])))
    assert days["condition"].to_list() == ["degraded", "available"]
    told = instrument_quality(days)[1]
    assert told["health"] == "YELLOW"
    assert "1 session on another price basis than before, and nothing explains it" in told["reasons"]


def accounting(session, con_id, **minutes):
    """Rows of `bar_accounting` by hand: reason → minutes, the kind as the table's words are."""
    kinds = {"present": "present", "unexplained": "unexplained", "suspect_empty": "unexplained"}
    common = {"session": session, "con_id": con_id, "symbol": f"S{con_id}", "expected": 390, "evidence": ""}
    rows = [
        {**common, "kind": kinds.get(reason, "explained"), "reason": reason, "minutes": n}
        for reason, n in minutes.items()
    ]
    return BAR_ACCOUNTING.frame(rows)


def test_minutes_are_excused_where_no_bar_can_be_and_unexplained_in_every_word_for_it(store):
    """102 has no bar after the first session; 101 has 100 of 390 minutes on the second."""
    said = {
        WEEK[0]: [accounting(WEEK[0], 101, present=390), accounting(WEEK[0], 102, present=390)],
        WEEK[1]: [accounting(WEEK[1], 101, present=100, no_trades=290), accounting(WEEK[1], 102, present=0, halt=390)],
        WEEK[2]: [accounting(WEEK[2], 101, present=390), accounting(WEEK[2], 102, present=0, suspect_empty=390)],
        WEEK[3]: [accounting(WEEK[3], 101, present=390), accounting(WEEK[3], 102, present=0, quarantined=390)],
    }
    for session, rows in said.items():
        store.write(BAR_ACCOUNTING, Partition(session), pl.concat(rows))
    days = instrument_days(store, WEEK, by_calendar, latest=WEEK[-1])
    found = {con_id: part["condition"].to_list() for (con_id,), part in days.group_by("con_id")}
    assert found == {
        101: ["available"] * 4 + ["pending"],
        102: ["available", "available", "missing", "missing", "pending"],
    }
    one, other = instrument_parts(days).iter_rows(named=True)
    assert (one["coverage"], one["explained"]) == (1.0, 1.0)
    assert (other["coverage"], other["explained"]) == (390 / (4 * 390 - 390), 1 - 390 / (4 * 390))


def test_readers_judge_each_instrument_by_the_hours_of_its_own_exchange(tmp_path):
    """London trades 510 minutes: 390 bars are a whole day in New York, and three quarters of one in London."""
    lakehouse = {"start_session": "2024-01-02", "calendars": ["XNYS", "XLON"]}
    (tmp_path / "configs" / "lists").mkdir(parents=True)
    (tmp_path / "configs" / "lists" / "l.yaml").write_text("symbols: [NYSE:S101]\n")
    manifest = {"default_profile": "p", "lakehouse": lakehouse, "profiles": {"p": {"discovery": {"lists": ["l"]}}}}
    (tmp_path / "configs" / "manifest.json").write_text(json.dumps(manifest))
    work = Work(Settings.from_env({}, data=tmp_path / "data", configs=tmp_path / "configs"), mock.Mock())
    members = universe(WEEK[0], (101, 102))
    in_london = pl.when(pl.col("con_id") == 102).then(pl.lit("LSE")).otherwise("exchange").alias("exchange")
    work.lake.curated.write(UNIVERSE, Partition(WEEK[0]), members.with_columns(in_london))
    bars = [curated_bars([10.0] * 390, session=WEEK[0], con_id=con_id) for con_id in (101, 102)]
    work.lake.curated.write(BARS, Partition(WEEK[0]), pl.concat(bars))
    told = feature_store(work).get_conditions(WEEK[0], WEEK[0])
    assert told.select("con_id", "expected", "condition").rows() == [(101, 390, "available"), (102, 510, "degraded")]


def test_an_instrument_whose_exchange_was_closed_lacks_nothing(store):
    closed = instrument_days(
        store,
        WEEK[:2],
        lambda session, members: by_calendar(session, members).filter(pl.col("con_id") == 101),
        latest=WEEK[-1],
    )
    assert closed.filter(pl.col("con_id") == 102)["condition"].to_list() == ["available", "available"]


@pytest.mark.parametrize(
    ("given", "colour", "words"),
    [
        ({"score_": 1.0, "sessions_behind": 0}, "GREEN", []),
        ({"score_": 1.0, "sessions_behind": None}, "GREEN", []),
        ({"score_": 0.96, "sessions_behind": 1}, "YELLOW", ["1 session behind"]),
        ({"score_": 0.9, "sessions_behind": 0}, "YELLOW", ["score 0.90"]),
        ({"score_": None, "sessions_behind": None}, "YELLOW", ["nothing is published"]),
        ({"score_": 0.7961, "sessions_behind": 0}, "RED", ["quality score 0.7961"]),
        ({"score_": 0.8, "sessions_behind": 0}, "YELLOW", ["quality score 0.8000"]),
        ({"score_": 0.9496, "sessions_behind": 0}, "YELLOW", ["quality score 0.9496"]),
        ({"score_": 1.0, "sessions_behind": 3}, "RED", ["3 sessions behind"]),
        ({"score_": 0.79, "sessions_behind": 0}, "RED", ["score 0.79"]),
        ({"score_": 1.0, "sessions_behind": 0, "unreadable": ["x.parquet"]}, "RED", ["x.parquet"]),
        (
            {"score_": 1.0, "sessions_behind": 0, "missing": 2, "degraded": 1},
            "YELLOW",
            ["2 sessions missing", "1 session degraded"],
        ),
    ],
)
def test_colours_say_why(given, colour, words):
    judged = verdict(**given)
    assert judged.colour == colour
    assert len(judged.reasons) == len(words)
    assert all(word in " ".join(judged.reasons) for word in words)


@pytest.fixture
def readers(store):
    return FeatureStore(store.layout, CALENDAR)


def test_the_health_of_a_dataset(readers):
    now = hours(WEEK[-1]).closes_at + timedelta(days=1)
    told = readers.get_dataset_health("curated_tws_1m_bars", as_of=now)
    assert (told["health"], told["sessions_behind"], told["last_partition"]) == ("YELLOW", 1, "2024-01-05")
    assert told["conditions"] == {**dict.fromkeys(map(str, WEEK[:4]), "available"), str(WEEK[4]): "pending"}
    assert told["data_quality_score"] == round((0.4 * 1 + 0.2 * 0.75 + 0.15 * 1) / 0.75, 4)
    assert readers.get_dataset_health("weights", as_of=now)["reasons"] == ["nothing is published, so nothing is known"]
    with pytest.raises(UnknownNameError, match="curated_tws_1m_bars"):
        readers.get_dataset_health("curated_tws_1m_bar")


def test_the_health_of_a_dataset_takes_a_date_for_the_end_of_that_day(readers):
    on_the_day, next_day = (
        readers.get_dataset_health("curated_tws_1m_bars", as_of=day) for day in ("2024-01-05", date(2024, 1, 6))
    )
    assert (on_the_day["sessions_behind"], next_day["sessions_behind"]) == (0, 0)
    assert str(WEEK[3]) in next_day["conditions"]
    assert readers.get_dataset_health("curated_tws_1m_bars", as_of="2024-01-09T12:00Z")["sessions_behind"] == 1
    with pytest.raises(ConfigurationError, match=r"as_of: .*no time zone"):
        readers.get_dataset_health("curated_tws_1m_bars", as_of=datetime(2024, 1, 5))  # noqa: DTZ001


@pytest.mark.parametrize(
    "ask",
    [
        lambda readers, as_of: readers.get_conditions(WEEK[0], WEEK[1], as_of),
        lambda readers, as_of: readers.get_data_quality_summary("S101", WEEK[0], WEEK[1], as_of),
    ],
)
def test_without_a_way_into_the_past_nothing_is_told_as_of_then(readers, ask):
    with pytest.raises(ConfigurationError, match=r"as_of: .*no way into the past.*open_store"):
        ask(readers, "2024-01-05")
    with pytest.raises(ConfigurationError, match="as_of: 'then' is no instant"):
        ask(readers, "then")


def test_conditions_take_dates_as_text(readers):
    assert readers.get_conditions("2024-01-02", "2024-01-08").equals(readers.get_conditions(WEEK[0], WEEK[-1]))
    assert readers.get_data_quality_summary("S101", "2024-01-02", "2024-01-08").equals(
        readers.get_data_quality_summary(["S101"], WEEK[0], WEEK[-1])
    )
    with pytest.raises(ConfigurationError, match="start: 'Monday' is no date"):
        readers.get_conditions("Monday", WEEK[0])
    with pytest.raises(ConfigurationError, match="symbols: at least one name"):
        readers.get_data_quality_summary([])


def by_the_clock(now):
    return mock.patch("quant_assets.lakehouse.datasets.SystemClock", return_value=ManualClock(instant(now)))


@pytest.mark.parametrize(
    ("now", "ends"),
    [
        ("2024-01-08 23:59", ["pending"]),  # Monday's partition begins to exist when its UTC day has ended
        ("2024-01-09 12:00", ["missing", "pending"]),
        ("2024-01-10 12:00", ["missing", "missing"]),
        ("2026-01-05 12:00", ["missing", "missing"]),
    ],
)
def test_only_the_newest_session_that_is_expected_may_be_pending(readers, now, ends):
    """Nobody has Monday, 102 not even Friday: whether it is too early to say so, the clock tells, not the range."""
    with by_the_clock(now):
        conditions = readers.get_conditions(WEEK[0], WEEK[-1])
        summary = readers.get_data_quality_summary("S102", WEEK[0], WEEK[-1])
        without_monday = readers.get_conditions(WEEK[0], WEEK[-2])
    found = {con_id: part["condition"].to_list() for (con_id,), part in conditions.group_by("con_id")}
    assert found == {
        101: ["available", "degraded", "available", "available", *ends[1:]],
        102: ["available", "missing", "missing", *ends],
    }
    assert without_monday.filter(pl.col("con_id") == 102)["condition"].to_list()[-1] == ends[0]
    assert summary.select("missing", "pending").row(0) == (2 + ends.count("missing"), ends.count("pending"))


def test_nothing_is_expected_of_sessions_that_have_not_closed(readers):
    """On the evening of the fourth day, a range that goes on for weeks tells of four."""
    with by_the_clock("2024-01-06 02:00"):
        told = readers.get_conditions(WEEK[0], "2024-02-01")
        one, other = (readers.get_data_quality_summary("S101", WEEK[0], end) for end in (WEEK[3], "2024-02-01"))
    assert told["session"].unique().sort().to_list() == WEEK[:4]
    assert one.equals(other)


def test_a_summary_of_instruments_and_the_lists(readers):
    with by_the_clock("2024-01-09 12:00"):
        summary = readers.get_data_quality_summary(start=WEEK[0], end=WEEK[-1])
    assert summary.select("con_id", "health", "available", "degraded", "missing", "pending").rows() == [
        (102, "RED", 1, 0, 3, 1),
        (101, "YELLOW", 3, 1, 0, 1),
    ]
    assert readers.get_data_quality_summary(["S101"], WEEK[0], WEEK[-1])["con_id"].to_list() == [101]
    datasets = {row["name"]: row for row in readers.list_datasets().iter_rows(named=True)}
    assert (datasets["universe"]["n_partitions"], datasets["universe"]["last_partition"]) == (4, "2024-01-05")
    groups = readers.list_feature_groups().filter(pl.col("feature_group") == "price_1m")
    assert {"ret_1", "vol_20"} <= set(groups["feature"].to_list())
    assert groups["table"].unique().to_list() == [FEATURES_PRICE_1M_V1.name]


# ------------------------------------------------------------ what has to be there, and what need not be


def catalog_of(store):
    return build_catalog(store.layout, ALL, WEEK, hours(WEEK[-1]).closes_at + timedelta(days=1), hours=by_calendar)


def test_a_table_that_holds_nothing_lacks_every_session_that_was_asked_for(store):
    entry = catalog_of(store)["tables"]["features_price_1m_v1"]
    assert entry["missing_sessions"] == [str(day) for day in WEEK[:4]]
    assert entry["conditions"] == dict.fromkeys(map(str, WEEK[:4]), "missing")
    assert (entry["n_partitions"], entry["sessions_behind"]) == (0, 5)
    assert entry["data_quality_parts"] == {"coverage": 0.0, "freshness": 0.0, "sound": None}
    assert (entry["health"], entry["reasons"]) == (
        "RED",
        ["5 sessions behind", "quality score 0.0000", "4 sessions missing"],
    )


def test_the_oldest_session_is_missed_as_well(store):
    for session in WEEK[1:4]:
        store.write(CERTIFIED_SESSIONS, Partition(session), certificate(session))
    entry = catalog_of(store)["tables"]["certified_sessions"]
    assert entry["missing_sessions"] == [str(WEEK[0])]
    assert entry["data_quality_parts"]["coverage"] == 0.75


def certificate(session):
    text = dict.fromkeys(("table_name", "content_id", "warnings", "balance", "degraded", "accepted"), "")
    row = {**text, "session": session, "n_rows": 1, "certificate_id": "c", "certified_at": instant("2024-01-09 12:00")}
    return CERTIFIED_SESSIONS.frame([row])


def test_what_a_run_makes_and_what_is_there_on_request_lack_nothing(store):
    """One run on the oldest session and one on the newest but one; positions of a single live session."""
    row = {"session": WEEK[0], "profile": "p", "con_id": 101, "symbol": "S", "weight": 1.0, "run_id": "r"}
    for session in (WEEK[0], WEEK[2]):
        frame = WEIGHTS.frame([{**row, "session": session, "method": "m", "cluster": 0}])
        store.write(WEIGHTS, Partition(session, "p"), filled(WEIGHTS, frame))
    store.write(
        POSITIONS, Partition(WEEK[1]), filled(POSITIONS, POSITIONS.frame([{"session": WEEK[1], "con_id": 101}]))
    )
    tables = catalog_of(store)["tables"]
    for name in ("weights", "positions"):
        assert (tables[name]["missing_sessions"], tables[name]["health"], tables[name]["reasons"]) == ([], "GREEN", [])


def filled(table, frame):
    """The rows with something in every column that must not be null."""
    zero = {pl.String: "x", pl.Float64: 0.5, pl.Int64: 1, pl.Boolean: True, pl.Date: WEEK[0]}
    fill = [
        pl.col(column.name).fill_null(pl.lit(zero.get(column.dtype, instant("2024-01-09 12:00"))).cast(column.dtype))
        for column in table.columns
        if not column.nullable
    ]
    return frame.with_columns(fill)


def test_the_ledger_of_a_backfill_lacks_no_session_that_nobody_asked_for(store):
    """Minutes of the first sessions were asked for, on a later day: that one has the daily history's requests."""
    layout, raw = store.layout, RawStore(store.layout)
    for session in (*WEEK[:2], WEEK[4]):
        raw.append(RAW_TWS_REQUESTS, Partition(session), filled(RAW_TWS_REQUESTS, request(session)), "b")
    for session in WEEK[2:4]:
        shutil.rmtree(layout.directory(UNIVERSE, Partition(session)))
    entry = catalog_of(store)["tables"]["raw_tws_requests"]
    assert (entry["missing_sessions"], entry["health"], entry["reasons"]) == ([], "GREEN", [])
    assert entry["conditions"] == dict.fromkeys(map(str, [*WEEK[:2], WEEK[4]]), "available")
    store.write(UNIVERSE, Partition(WEEK[3]), universe(WEEK[3], (101,)))
    entry = catalog_of(store)["tables"]["raw_tws_requests"]
    assert entry["missing_sessions"] == [str(WEEK[2]), str(WEEK[3])], "of asked sessions it lacks what it lacks"


def request(session):
    return RAW_TWS_REQUESTS.frame([{"session": session, "con_id": 101, "outcome": "answered"}])


def test_no_session_is_behind_where_none_is_expected(store, readers):
    row = {"session": WEEK[0], "profile": "p", "con_id": 101, "symbol": "S", "weight": 1.0, "run_id": "r"}
    frame = WEIGHTS.frame([{**row, "method": "m", "cluster": 0}])
    store.write(WEIGHTS, Partition(WEEK[0], "p"), filled(WEIGHTS, frame))
    assert catalog_of(store)["tables"]["weights"]["sessions_behind"] is None
    told = readers.get_dataset_health("weights", as_of=hours(WEEK[-1]).closes_at + timedelta(days=1))
    assert (told["sessions_behind"], told["health"], told["reasons"]) == (None, "GREEN", [])


def test_the_score_of_the_minutes_has_an_accounting_part(store):
    for session in WEEK[:4]:
        lost = {"unexplained": 90, "suspect_empty": 9} if session == WEEK[2] else {"accepted": 99}
        rows = [accounting(session, 101, present=291, **lost), accounting(session, 102, present=390)]
        store.write(BAR_ACCOUNTING, Partition(session), pl.concat(rows))
    entry = catalog_of(store)["tables"]["curated_tws_1m_bars"]
    assert entry["data_quality_parts"]["explained"] == pytest.approx(1 - 99 / (8 * 390), abs=1e-4)
    assert entry["health"] == "YELLOW"
    assert "99 minutes that nothing explains in the newest 20 sessions" in entry["reasons"]
    assert "explained" not in catalog_of(store)["tables"]["universe"]["data_quality_parts"]


def test_what_a_person_accepted_as_lost_is_named(store):
    for session in WEEK[:4]:
        rows = [accounting(session, 101, present=380, accepted=10), accounting(session, 102, present=390)]
        store.write(BAR_ACCOUNTING, Partition(session), pl.concat(rows))
    days = instrument_days(store, WEEK[:4], by_calendar, latest=WEEK[-1])
    assert "40 minutes accepted as lost" in instrument_quality(days)[101]["reasons"]
    assert days.filter(pl.col("con_id") == 101)["accepted"].to_list() == [10, 10, 10, 10]


def test_a_delisted_instrument_is_complete_up_to_its_last_day(store):
    """102 has its last bars on the first session; 101 has bars on four of five, so it is one behind."""
    store.write(BAR_ACCOUNTING, Partition(WEEK[0]), accounting(WEEK[0], 102, present=390))
    store.write(UNIVERSE, Partition(WEEK[4]), universe(WEEK[4], (101, 102)))
    for session in WEEK[1:]:
        store.write(BAR_ACCOUNTING, Partition(session), accounting(session, 102, present=0, delisted=390))
    found = instrument_quality(instrument_days(store, WEEK, by_calendar, latest=WEEK[-1]))
    assert (found[102]["health"], found[102]["reasons"]) == ("GREEN", [])
    assert found[102]["data_quality_parts"] | {"unwarned": 1.0} == {
        "coverage": 1.0,
        "freshness": 1.0,
        "sound": 1.0,
        "explained": 1.0,
        "unwarned": 1.0,
    }
    assert "1 session behind" in found[101]["reasons"]


def daily(session, con_id):
    row = {"as_of_session": WEEK[3], "session": session, "con_id": con_id, "symbol": f"S{con_id}", "coverage": 1.0}
    return filled(CURATED_TWS_1D_BARS, CURATED_TWS_1D_BARS.frame([row]))


def test_a_delisted_instrument_is_behind_in_no_session_that_nobody_fetched(store):
    """102 was delisted by the third session; the last two were fetched for nobody. 101 was halted, and is behind."""
    store.write(CURATED_TWS_1D_BARS, Partition(WEEK[3]), pl.concat([daily(WEEK[0], 101), daily(WEEK[0], 102)]))
    for session in WEEK[:3]:
        first = session == WEEK[0]
        ended = {"present": 390} if first else {"delisted": 390}
        halted = {"present": 390} if first else {"halt": 390}
        rows = [accounting(session, 101, **halted), accounting(session, 102, **ended)]
        store.write(BAR_ACCOUNTING, Partition(session), pl.concat(rows))
        if not first:
            store.layout.file(BARS, Partition(session)).unlink()
    store.layout.file(BARS, Partition(WEEK[3])).unlink()
    found = catalog_of(store)["instruments"]
    assert (found["102"]["health"], found["102"]["reasons"], found["102"]["sessions_behind"]) == ("GREEN", [], 0)
    assert set(found["102"]["conditions"].values()) == {"available"}
    assert found["101"]["sessions_behind"] == 2
    assert "2 sessions behind" in found["101"]["reasons"]
    assert list(found["101"]["conditions"].values()) == ["available"] * 3 + ["missing", "pending"]


def test_an_instrument_that_has_bars_again_was_not_delisted(store):
    """102 has its bars of the first session after it was said to be gone."""
    before = date(2023, 12, 29)
    store.write(UNIVERSE, Partition(before), universe(before, (101, 102)))
    store.write(BAR_ACCOUNTING, Partition(before), accounting(before, 102, delisted=390))
    days = instrument_days(store, [before, *WEEK], by_calendar, latest=WEEK[-1]).filter(pl.col("con_id") == 102)
    assert days["condition"].to_list() == ["available", "available", *["missing"] * 3, "pending"]


# ------------------------------------------------------------ the cost of a refresh


@pytest.fixture
def work(store, tmp_path):
    (tmp_path / "configs" / "lists").mkdir(parents=True)
    (tmp_path / "configs" / "lists" / "l.yaml").write_text("symbols: [NYSE:S101]\n")
    profile = {"discovery": {"lists": ["l"]}}
    manifest = {"default_profile": "p", "lakehouse": {"start_session": "2024-01-02"}, "profiles": {"p": profile}}
    (tmp_path / "configs" / "manifest.json").write_text(json.dumps(manifest))
    settings = Settings.from_env({}, data=tmp_path / "data", configs=tmp_path / "configs")
    return Work(settings, mock.Mock(), clock=ManualClock(instant("2024-01-09 12:00")))


def test_a_refresh_after_one_commit_says_what_a_full_one_says(work, store):
    first = refresh_catalog(work)
    assert first["instruments"] == {}
    store.write(BARS, Partition(WEEK[4]), curated_bars([1.0], session=WEEK[4]))
    store.write(BARS, Partition(WEEK[0]), curated_bars([1.0, 2.0], session=WEEK[0]))
    store.layout.file(UNIVERSE, Partition(WEEK[2])).unlink()
    store.layout.directory(UNIVERSE, Partition(WEEK[2])).rmdir()
    quick = refresh_catalog(work)
    entry = quick["tables"]["curated_tws_1m_bars"]
    assert (entry["n_partitions"], entry["rows"]) == (5, 1 + 2 + 100 + 390 + 390)
    assert quick["tables"]["universe"]["missing_sessions"] == ["2024-01-04"]
    assert refresh_catalog(work, full=True) == quick


def test_a_refresh_looks_at_committed_partitions_only(work, store, monkeypatch):
    refresh_catalog(work)
    looked = []
    from quant_assets.lakehouse import catalog_state as module

    original = module._held
    monkeypatch.setattr(
        module, "_held", lambda lake, table, one: looked.append((table.name, one.key)) or original(lake, table, one)
    )
    refresh_catalog(work)
    assert looked == []
    store.write(BARS, Partition(WEEK[4]), curated_bars([1.0], session=WEEK[4]))
    refresh_catalog(work)
    assert looked == [("curated_tws_1m_bars", "2024-01-08")]
    refresh_catalog(work, full=True)
    assert len(looked) == 1 + 4 + 5


def test_a_manifest_that_is_replaced_while_it_is_read_costs_a_full_look(work, store, monkeypatch):
    """What was added is looked for behind the length that was remembered; in another file something else is there."""
    for rows in ([9.0], [9.0, 9.0], [9.0]):
        store.write(BARS, Partition(WEEK[2]), curated_bars(rows, session=WEEK[2]))
    manifest, before = store.layout.manifest(BARS), refresh_catalog(work)["tables"]["curated_tws_1m_bars"]["rows"]
    n_remembered = manifest.stat().st_size
    store.write(BARS, Partition(WEEK[4]), curated_bars([1.0], session=WEEK[4]))
    real, waiting = Path.open, [True]

    def opened(self, *args, **options):
        if self == manifest and waiting:
            waiting.pop()
            store.write(BARS, Partition(WEEK[1]), curated_bars([2.0] * 4, session=WEEK[1]))
            store.manifest(BARS).drop_superseded()
            lines = self.read_bytes().splitlines(keepends=True)
            lines.sort(key=lambda line: str(WEEK[4]).encode() in line)
            staged = self.with_name("staged")
            staged.write_bytes(b"".join(lines[:-1]).ljust(n_remembered, b"\n") + lines[-1])
            staged.replace(self)
        return real(self, *args, **options)

    monkeypatch.setattr(Path, "open", opened)
    quick = refresh_catalog(work)
    assert quick["tables"]["curated_tws_1m_bars"]["rows"] == before + 1 - 100 + 4
    assert refresh_catalog(work, full=True) == quick


def test_a_file_that_cannot_be_read_is_red_in_a_full_refresh(work, store):
    refresh_catalog(work)
    store.layout.file(BARS, Partition(WEEK[1])).write_bytes(b"rot")
    entry = refresh_catalog(work, full=True)["tables"]["curated_tws_1m_bars"]
    assert (entry["health"], entry["conditions"]["2024-01-03"]) == ("RED", "degraded")
    assert "session=2024-01-03" in entry["reasons"][0]


def test_a_state_that_is_no_json_only_costs_a_full_look(work, store):
    before = refresh_catalog(work)
    store.layout.catalog_state.write_text("{")
    assert refresh_catalog(work) == before


def test_the_window_bounds_what_a_refresh_opens(work):
    with opened_files() as opened:
        refresh_catalog(work)
        n_first = len(opened())
        opened.clear()
        refresh_catalog(work)
        assert len(opened()) <= n_first

"""The dimension of instruments through the flows: names over time, aliases, and a cost that history does not raise."""

from datetime import UTC, date, datetime, timedelta

import polars as pl
import pytest
from click.testing import CliRunner

from quant_assets.assets.cycles import DIMENSION
from quant_assets.cli import cli
from quant_assets.domain.instruments import history
from quant_assets.domain.tables import EXCHANGES, EXECUTION, INSTRUMENTS, RAW_INSTRUMENTS, UNIVERSE
from quant_assets.errors import UnknownNameError
from quant_assets.flows.care import repair_plan
from quant_assets.flows.certify import stale_tables
from quant_assets.flows.dimension import DESCRIBED, outdated_dimensions, publish_dimension
from quant_assets.flows.past import open_past
from quant_assets.lakehouse.features import FeatureStore
from quant_assets.lakehouse.layout import Partition
from quant_assets_tests.builders import CALENDAR, universe
from quant_assets_tests.unit.flows.lab import SESSION, Lab, after, window

DETAILS = {
    "exchange": "SMART", "primary_exchange": "NYSE", "currency": "USD", "asset_class": "STK", "min_tick": 0.01,
    "timezone": "US/Eastern", "long_name": "ONE", "industry": "Energy", "category": "", "ids": "",
    "trading_hours": "", "liquid_hours": "", "pipeline_version": "1",
}  # fmt: skip


def put(lab, session, con_ids=(101, 102), batch="b1", at=None, **changes):
    at = at or datetime(session.year, session.month, session.day, 22, tzinfo=UTC)
    rows = [
        {**DETAILS, "session": session, "con_id": i, "symbol": f"S{i}", "batch_id": batch, "ingested_at": at, **changes}
        for i in con_ids
    ]
    lab.lake.raw.append(RAW_INSTRUMENTS, Partition(session), RAW_INSTRUMENTS.frame(rows), batch)
    members = universe(session, con_ids).with_columns(pl.lit(at, UNIVERSE.schema["observed_at"]).alias("observed_at"))
    lab.lake.curated.write(UNIVERSE, Partition(session), members)


def dimension(lab, session):
    return lab.lake.curated.read(INSTRUMENTS, Partition(session))


def test_a_session_reads_its_own_details_and_the_dimension_before(tmp_path, monkeypatch):
    """And what comes out equals the fold of everything that was ever described."""
    lab, sessions = Lab(tmp_path), window(SESSION, 12)
    for place, session in enumerate(sessions):
        put(lab, session, min_tick=0.01 if place < 7 else 0.05)
    with lab.at(after(SESSION)) as work:
        read: list[date] = []
        honest = work.lake.raw.read
        monkeypatch.setattr(
            work.lake.raw,
            "read",
            lambda table, at, columns=None: (read.append(at.session), honest(table, at, columns))[1],
        )
        for session in sessions:
            made = publish_dimension(work, session)
            assert [one.table for one in made] == [INSTRUMENTS, EXECUTION, EXCHANGES]
        assert read == sessions, "each session's details were read once, for that session"
        again = [publish_dimension(work, session) for session in sessions]
        assert read == sessions, "and what stands is not read again"
        assert all(one.report.unchanged == one.report.rows for made in again for one in made)
        everything = pl.concat([honest(RAW_INSTRUMENTS, Partition(session)) for session in sessions])
    whole = history(everything, universe(SESSION, (101, 102)), SESSION)
    assert INSTRUMENTS.conform(whole).equals(dimension(lab, SESSION))
    assert dimension(lab, SESSION)["valid_until"].to_list() == [sessions[6], None, sessions[6], None]


def test_a_gap_between_two_builds_is_folded_in(tmp_path):
    lab, sessions = Lab(tmp_path), window(SESSION, 4)
    for session, symbol in zip(sessions, ("A", "B", "B", "C"), strict=True):
        put(lab, session, (101,), symbol=symbol)
    with lab.at(after(SESSION)) as work:
        publish_dimension(work, sessions[0])
        publish_dimension(work, sessions[3])
    rows = dimension(lab, sessions[3]).select("symbol", "valid_from", "valid_until").rows()
    assert rows == [
        ("A", sessions[0], sessions[0]),
        ("B", sessions[1], sessions[2]),
        ("C", sessions[3], None),
    ]


def test_a_dimension_that_was_mended_is_built_on_again(tmp_path):
    lab, sessions = Lab(tmp_path), window(SESSION, 2)
    put(lab, sessions[0], (101,), symbol="WRONG")
    put(lab, sessions[1], (101,), symbol="RIGHT")
    with lab.at(after(SESSION)) as work:
        for session in sessions:
            publish_dimension(work, session)
        put(lab, sessions[0], (101,), batch="b2", symbol="RIGHT")
        for session in sessions:
            publish_dimension(work, session)
    assert dimension(lab, sessions[1]).select("symbol", "valid_from").rows() == [("RIGHT", sessions[0])]


def test_too_little_told_about_too_many_is_a_warning(tmp_path):
    lab = Lab(tmp_path)
    put(lab, SESSION, range(101, 120))
    put(lab, SESSION, (120, 121), batch="b2", industry="")
    lab.lake.curated.write(UNIVERSE, Partition(SESSION), universe(SESSION, range(101, 122)))
    with lab.at(after(SESSION)) as work:
        made = publish_dimension(work, SESSION)[0]
    (finding,) = [one for one in made.findings if one.check == DESCRIBED]
    assert (finding.passed, finding.blocking) == (False, False)
    assert finding.message == "90% of 21 members are described, 95% wanted; not: S120, S121"


@pytest.fixture(scope="module")
def renamed(tmp_path_factory):
    """The synthetic market calls it QWAS until Friday 14 August 2026, and QCOE from the Monday after."""
    lab = Lab(tmp_path_factory.mktemp("renamed"), ("NASDAQ:QWAS",), lookback=5)
    lab.run([date(2026, 8, 14)])
    lab.symbols = ("NASDAQ:QCOE",)
    lab.run([date(2026, 8, 17)])
    return lab


def test_a_rename_is_one_instrument_with_two_names(renamed):
    rows = dimension(renamed, date(2026, 8, 17)).select("symbol", "valid_from", "valid_until", "successor").rows()
    assert rows == [("QWAS", date(2026, 8, 14), date(2026, 8, 14), None), ("QCOE", date(2026, 8, 17), None, None)]


def test_readers_resolve_names_by_date(renamed):
    store = FeatureStore(renamed.lake.layout, CALENDAR, {"ISLAND:QCOE": "NASDAQ:QCOE"})
    friday, monday = date(2026, 8, 14), date(2026, 8, 17)

    def days(name, first, last):
        return store.get_curated_bars([name], first, last)["session"].unique().sort().to_list()

    assert days("QWAS", friday, friday) == [friday]
    assert days("QCOE", monday, monday) == [monday]
    assert days("QWAS", friday, monday) == days("ISLAND:QCOE", friday, monday) == [friday, monday]
    for name, session in (("QCOE", friday), ("QWAS", monday)):
        with pytest.raises(UnknownNameError):
            days(name, session, session)


def test_an_alias_of_the_configuration_means_its_instrument(tmp_path):
    import json

    lab = Lab(tmp_path, ("AMEX:QMKT",), lookback=3)
    lab.settings()
    path = lab.root / "configs" / "manifest.json"
    manifest = json.loads(path.read_text()) | {"symbology": {"aliases": {"AMEX:QMKT": "ARCA:QMKT"}}}
    lab.settings = lambda: _settings(lab, manifest)
    from quant_assets.flows.discover import Discovery

    with lab.at(after(SESSION)) as work:
        Discovery(work).publish(SESSION)
    found = lab.lake.curated.read(UNIVERSE, Partition(SESSION))
    assert found.select("exchange", "symbol", "sources").rows() == [("ARCA", "QMKT", "list:core")]


def _settings(lab, manifest):
    import json

    from quant_assets.settings import Settings

    (lab.root / "configs" / "manifest.json").write_text(json.dumps(manifest))
    return Settings.from_env({}, data=lab.root / "data", configs=lab.root / "configs")


# ------------------------------------------------------------ the order in which sessions come


def built(lab, sessions):
    with lab.at(after(SESSION)) as work:
        for session in sessions:
            publish_dimension(work, session)


def ids(lab, sessions):
    return {day: lab.lake.curated.footer(INSTRUMENTS, Partition(day)).content_id for day in sessions}


def outdated(lab, first):
    with lab.at(after(SESSION)) as work:
        return list(outdated_dimensions(work, first))


def test_what_a_backfill_tells_makes_every_later_dimension_outdated_until_it_is_built_again(tmp_path):
    """Whatever the order of sessions: in the end it is what an ingestion in order would have given."""
    in_order, backfilled = Lab(tmp_path / "a"), Lab(tmp_path / "b")
    first, *later = window(SESSION, 4)
    for session in (first, *later):
        put(in_order, session)
    built(in_order, [first, *later])
    for session in later:
        put(backfilled, session)
    built(backfilled, later)
    assert outdated(backfilled, first) == []
    put(backfilled, first)
    built(backfilled, [first])
    assert outdated(backfilled, first) == later
    assert outdated(backfilled, later[1]) == later[1:]
    with backfilled.at(after(SESSION)) as work:
        assert stale_tables(work, later[0]) == [(name, "raw_instruments") for name in DIMENSION]
        assert list(repair_plan(work).outdated) == later
    where = {"QUANT_DATA": str(backfilled.root / "data"), "QUANT_CONFIGS": str(backfilled.root / "configs")}
    said = CliRunner().invoke(cli, ["repair", "--dry-run"], env=where, catch_exceptions=False).output
    assert f"instruments to bring up to date, without a request: {later[0]}..{later[-1]}" in said
    built(backfilled, [later[2]])
    assert dimension(backfilled, later[2])["valid_from"].unique().to_list() == [first], (
        "no other has to be built before"
    )
    assert outdated(backfilled, first) == later[:2]
    built(backfilled, later[:2])
    assert outdated(backfilled, first) == []
    assert ids(backfilled, [first, *later]) == ids(in_order, [first, *later])


def test_a_backfill_changes_no_answer_of_before_it(tmp_path):
    """As of an evening, an instrument is known since the first session that was known that evening."""
    lab = Lab(tmp_path)
    first, *later = window(SESSION, 3)
    for session in later:
        put(lab, session)
    built(lab, later)
    at_the_time = {day: dimension(lab, day) for day in later}
    evening = datetime(SESSION.year, SESSION.month, SESSION.day, 23, tzinfo=UTC)
    put(lab, first, at=evening + timedelta(days=1))
    built(lab, [first, *later])
    assert all(dimension(lab, day)["valid_from"].to_list() == [first, first] for day in later)
    with lab.at(evening + timedelta(days=2)) as work, open_past(work, evening) as past:
        for day in reversed(later):
            assert past.curated.read(INSTRUMENTS, Partition(day)).equals(at_the_time[day])
        assert not past.curated.exists(INSTRUMENTS, Partition(first))
        made = {day: origin for (table, day), origin in past.origins.items() if table == INSTRUMENTS.name}
        assert made == {str(first): "unknown", **{str(day): "recomputed" for day in later}}
    with lab.at(evening + timedelta(days=2)) as work, open_past(work, evening + timedelta(days=1)) as past:
        assert past.curated.read(INSTRUMENTS, Partition(SESSION)).equals(dimension(lab, SESSION))
        assert past.origins["instruments", str(SESSION)] == "stored"


def test_a_long_history_is_recomputed_in_order_and_not_by_descending_into_it(tmp_path):
    lab = Lab(tmp_path)
    first, *later = window(SESSION, 150)
    for session in later:
        put(lab, session, (101,))
    evening = datetime(SESSION.year, SESSION.month, SESSION.day, 23, tzinfo=UTC)
    put(lab, first, (101,), at=evening + timedelta(days=1))
    built(lab, [first, *later])
    with lab.at(evening + timedelta(days=2)) as work, open_past(work, evening) as past:
        (row,) = past.curated.read(INSTRUMENTS, Partition(SESSION)).select("valid_from", "last_seen").rows()
    assert row == (later[0], SESSION)

"""Tags, drift and revisions: a state has a name, what moved away from it is told, and who had read it."""

import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial

import polars as pl
import pytest
from click.testing import CliRunner

from quant_assets.cli import cli
from quant_assets.clock import ManualClock
from quant_assets.domain.differences import difference
from quant_assets.domain.features import GROUPS
from quant_assets.domain.tables import BY_NAME, CURATED_TWS_1M_BARS, RAW_TWS_BARS, RAW_TWS_DAILY_BARS
from quant_assets.errors import (
    ChangingLakeError,
    ConfigurationError,
    UnknownNameError,
    UnsafeNameError,
    VerificationError,
)
from quant_assets.flows import tags
from quant_assets.flows.certify import certify
from quant_assets.flows.derive import publish_group
from quant_assets.flows.drift import drift
from quant_assets.flows.revisions import revisions
from quant_assets.flows.tags import create_tag, list_tags, read_tag, verify_tag
from quant_assets.lakehouse.layout import Layout, Partition
from quant_assets.lakehouse.runs import RunDirectory, RunLog
from quant_assets.lakehouse.store import Lakehouse
from quant_assets_tests.builders import CALENDAR, vintage
from quant_assets_tests.unit.flows.lab import SESSION, Lab, after, content

AT = Partition(SESSION)
LATE = after(SESSION) + timedelta(days=2)


@dataclass
class Told:
    lab: Lab
    first: dict[tuple[str, str], str]


def revise(lab: Lab) -> None:
    """TWS says now that the first ten minutes traded 10 % more."""
    raw = lab.lake.raw.read(RAW_TWS_BARS, AT)
    place = pl.int_range(pl.len()).over("con_id")
    again = raw.with_columns(
        pl.when(place < 10).then(pl.col("volume") * 1.1).otherwise(pl.col("volume")).alias("volume"),
        pl.lit("b9").alias("batch_id"),
        pl.lit("b9-000").alias("request_id"),
        pl.lit(LATE).cast(RAW_TWS_BARS.schema["ingested_at"]).alias("ingested_at"),
    )
    lab.lake.raw.append(RAW_TWS_BARS, AT, again, "b9")


@pytest.fixture(scope="module")
def told(tmp_path_factory) -> Told:
    """A session, certified and tagged on its evening; revised and curated again two days later."""
    lab = Lab(tmp_path_factory.mktemp("tags"), symbols=("ARCA:QMKT",))
    lab.run([SESSION])
    with lab.at(after(SESSION) + timedelta(hours=1)) as work:
        publish_group(work, GROUPS["tv_technicals_1d", "v1"], SESSION)
        assert certify(work, SESSION).is_committed
        create_tag(work, "evening")
    first = content(lab.lake)
    revise(lab)
    lab.run([SESSION], LATE + timedelta(hours=1))
    return Told(lab, first)


@pytest.fixture
def quant(told, monkeypatch):
    monkeypatch.setenv("QUANT_DATA", str(told.lab.root / "data"))
    monkeypatch.setenv("QUANT_CONFIGS", str(told.lab.root / "configs"))
    return lambda *args, **options: CliRunner().invoke(
        cli, list(args), catch_exceptions=False, standalone_mode=False, **options
    )


def test_a_tag_names_every_partition_and_copies_nothing(told):
    with told.lab.at(LATE) as work:
        tag = read_tag(work, "evening")
        assert {(table, key): said for table, ids in tag.tables.items() for key, said in ids.items()} == told.first
        below = [path for path in (work.layout.metadata / "tags").rglob("*") if path.is_file()]
        assert [path.name for path in below] == ["evening.json"]


def test_what_was_replaced_since_is_proved_from_what_was_known_then(told):
    with told.lab.at(LATE + timedelta(days=1)) as work:
        findings = {(one.table, one.partition): one.verdict for one in verify_tag(work, "evening")}
    changed = {key for key, said in content(told.lab.lake).items() if told.first.get(key) not in (None, said)}
    assert {key for key, verdict in findings.items() if verdict == "proved"} == changed
    assert {name for name, _ in changed} >= {"raw_tws_bars", "curated_tws_1m_bars", "features_volume_1m_v1"}
    assert set(findings.values()) == {"same", "proved"}


def test_a_tag_between_an_arrival_and_its_curation_is_proved_from_when_each_partition_was_made(tmp_path):
    """The revision is there, and silver does not know it yet: such a state can be named, and be held to its word."""
    lab = Lab(tmp_path, symbols=("ARCA:QMKT",))
    lab.run([SESSION])
    with lab.at(after(SESSION) + timedelta(hours=1)) as work:
        publish_group(work, GROUPS["tv_technicals_1d", "v1"], SESSION)
        assert certify(work, SESSION).is_committed
    revise(lab)
    with lab.at(LATE + timedelta(hours=1)) as work:
        tagged = create_tag(work, "between").tables
    lab.run([SESSION], LATE + timedelta(hours=2))
    with lab.at(LATE + timedelta(days=1)) as work:
        assert certify(work, SESSION).is_committed
    now = content(lab.lake)
    with lab.at(LATE + timedelta(days=2)) as work:
        findings = {one.table: one for one in verify_tag(work, "between") if one.partition == AT.key}
        replaced = {name for name, ids in tagged.items() if now[name, AT.key] != ids[AT.key]}
        assert replaced >= {"curated_tws_1m_bars", "features_volume_1m_v1", "certified_sessions"}
        assert {name: findings[name].verdict for name in replaced} == dict.fromkeys(replaced, "proved")
        assert findings["raw_tws_bars"].verdict == "same"
        assert f"as of {after(SESSION):%Y-%m-%d}" in findings["curated_tws_1m_bars"].what
        for name in replaced:  # an index that was built anew has forgotten when replaced content was made
            table = BY_NAME[name]
            work.lake.curated.manifest(table).rebuild([work.layout.file(table, AT)], "2024-03-18T00:00:00+00:00")
    with lab.at(LATE + timedelta(days=3)) as work:
        lost = {one.table: one.what for one in verify_tag(work, "between") if one.verdict == "differs"}
    assert set(lost) == replaced
    assert all("what was known then does not give" in what for what in lost.values())


def test_what_cannot_be_proved_is_an_error(tmp_path, monkeypatch):
    """Bronze itself was tampered with: nothing gives the tagged content any more."""
    lab = Lab(tmp_path, symbols=("ARCA:QMKT",))
    lab.run([SESSION])
    with lab.at(after(SESSION)) as work:
        create_tag(work, "before")
        (batch,) = work.lake.raw.batches(RAW_TWS_BARS, AT)
        rows = pl.read_parquet(batch, hive_partitioning=False)
        batch.unlink()
        work.lake.raw.append(RAW_TWS_BARS, AT, rows.with_columns(pl.col("volume") + 1), batch.stem)
        verdicts = {one.table: one.verdict for one in verify_tag(work, "before")}
    assert verdicts["raw_tws_bars"] == "differs"
    assert verdicts["curated_tws_1m_bars"] == "same"
    monkeypatch.setenv("QUANT_DATA", str(lab.root / "data"))
    monkeypatch.setenv("QUANT_CONFIGS", str(lab.root / "configs"))
    with pytest.raises(VerificationError, match=r"raw_tws_bars\[2024-03-14\]"):
        CliRunner().invoke(cli, ["lake", "tag", "verify", "before"], catch_exceptions=False, standalone_mode=False)


def arrives(lab: Lab, batch: str, at: datetime) -> None:
    """Another process commits an answer that it was given at an instant."""
    store = Lakehouse(Layout(lab.root / "data")).raw
    row = store.read(RAW_TWS_BARS, AT).head(1)
    more = row.with_columns(
        pl.col("volume") + len(store.batches(RAW_TWS_BARS, AT)),
        pl.lit(batch).alias("batch_id"),
        pl.lit(f"{batch}-000").alias("request_id"),
        pl.lit(at).cast(RAW_TWS_BARS.schema["ingested_at"]).alias("ingested_at"),
    )
    store.append(RAW_TWS_BARS, AT, more, batch)


@pytest.fixture
def looks(monkeypatch):
    """What happens after bronze was looked at, and before silver is: once per look."""
    events, real = [], tags._standing

    def standing(work, table):
        yield from real(work, table)
        if table is RAW_TWS_BARS and events:
            events.pop(0)()

    monkeypatch.setattr(tags, "_standing", standing)
    return events


@pytest.mark.parametrize("n_before", [0, 1])
def test_an_answer_that_comes_while_a_state_is_named_is_in_it_or_came_later(tmp_path, looks, n_before):
    lab = Lab(tmp_path, symbols=("ARCA:QMKT",))
    lab.run([SESSION])
    with lab.at(LATE) as work:
        looks += [lambda: None] * n_before
        looks.append(lambda: arrives(lab, "b9", work.clock.now()))
        tagged = create_tag(work, "busy")
        assert looks == []
        arrives(lab, "b10", work.clock.now())
        later = content(lab.lake)["raw_tws_bars", AT.key]
    with lab.at(LATE + timedelta(days=1)) as work:
        verdicts = {(one.table, one.partition): one.verdict for one in verify_tag(work, "busy")}
    assert tagged.tables["raw_tws_bars"][AT.key] != later
    assert verdicts.pop(("raw_tws_bars", AT.key)) == "proved"
    assert set(verdicts.values()) == {"same"}


def test_a_lakehouse_that_changes_at_every_look_is_not_named(tmp_path, looks):
    lab = Lab(tmp_path, symbols=("ARCA:QMKT",))
    lab.run([SESSION])
    with lab.at(LATE) as work:
        looks += [partial(arrives, lab, f"b{number}", LATE) for number in range(50)]
        with pytest.raises(ChangingLakeError, match="raw_tws_bars"):
            create_tag(work, "busy")
        assert list_tags(work) == []


def test_a_name_that_is_taken_while_a_state_is_looked_at_is_not_given_twice(tmp_path, looks):
    lab = Lab(tmp_path, symbols=("ARCA:QMKT",))
    lab.run([SESSION])
    with lab.at(LATE) as work, lab.at(LATE + timedelta(hours=1)) as other:
        looks.append(lambda: create_tag(other, "evening"))
        with pytest.raises(ConfigurationError, match="Choose another name"):
            create_tag(work, "evening")
        assert read_tag(work, "evening").created_at >= LATE + timedelta(hours=1)


def test_names_are_taken_once_and_are_safe(told):
    with told.lab.at(LATE) as work:
        with pytest.raises(ConfigurationError, match="names a state of 2024-03-15"):
            create_tag(work, "evening")
        with pytest.raises(UnsafeNameError):
            create_tag(work, "../evening")
        with pytest.raises(UnknownNameError, match="Did you mean 'evening'"):
            read_tag(work, "evenin")


def test_the_commands(told, quant):
    assert "would name" in quant("lake", "tag", "later", "--dry-run").output
    assert "later names" in quant("lake", "tag", "later").output
    assert [row["tag"] for row in json.loads(quant("lake", "tag", "list", "--json").stdout)] == ["later", "evening"]
    assert "curated_tws_1m_bars" in quant("lake", "tag", "show", "evening").output
    proved = json.loads(quant("lake", "tag", "verify", "evening", "--json").stdout)
    assert proved["verified"] is True
    assert "is forgotten" in quant("lake", "tag", "delete", "later", "--yes").output
    with told.lab.at(LATE) as work:
        assert [one.name for one in list_tags(work)] == ["evening"]


def test_drift_tells_how_far_a_session_moved_from_its_certificate(told):
    with told.lab.at(LATE + timedelta(days=1)) as work:
        found = {one.table: one for one in drift(work, SESSION)}
        nothing = drift(work, CALENDAR.previous(SESSION))
    bars = found["curated_tws_1m_bars"]
    assert bars.difference is not None
    assert (bars.difference.n_added, bars.difference.n_removed, bars.difference.n_changed) == (0, 0, 10)
    assert bars.difference.columns["volume"].largest == pytest.approx(0.1)
    assert list(bars.difference.columns) == ["volume"]
    assert nothing == []


def test_a_revision_is_told_by_rows_columns_and_size(told):
    with told.lab.at(LATE) as work:
        (found,) = revisions(work)
        assert revisions(work, since=LATE + timedelta(seconds=1)) == []
        assert revisions(work, [CALENDAR.previous(SESSION)]) == []
    assert (found.table, found.session, found.symbol, found.arrived_at) == ("raw_tws_bars", SESSION, "QMKT", LATE)
    assert (found.n_added, found.n_removed, found.n_changed) == (0, 0, 10)
    assert found.columns["volume"].n_rows == 10
    assert found.columns["volume"].largest == pytest.approx(0.1)
    assert found.runs == ()


def freeze_run(lab: Lab, run_id: str, con_id: int, at) -> None:
    """Write what a snapshot of the instrument and session leaves: its inputs, and the instant of the freezing."""
    run = RunDirectory(lab.lake.layout.run(run_id))
    inputs = {"session": str(SESSION), "profile": "default", "window": [str(SESSION)]}
    run.write_json("config/inputs.json", {**inputs, "instruments": [{"con_id": con_id}]})
    RunLog(run, ManualClock(at)).note("frozen")


def test_runs_that_had_read_what_was_revised_are_named(tmp_path):
    lab = Lab(tmp_path, symbols=("ARCA:QMKT",))
    lab.run([SESSION])
    con_id = lab.lake.raw.read(RAW_TWS_BARS, AT)["con_id"][0]
    freeze_run(lab, "before", con_id, LATE - timedelta(hours=1))
    freeze_run(lab, "after", con_id, LATE + timedelta(hours=1))
    freeze_run(lab, "another", con_id + 1, LATE - timedelta(hours=1))
    revise(lab)
    with lab.at(LATE + timedelta(days=1)) as work:
        (found,) = revisions(work)
    assert found.runs == ("before",)


def test_a_daily_revision_is_told_apart_from_a_split(tmp_path):
    """The later vintage halves every price, and says 3 % more of one close besides: one revision, basis 0.5."""
    lab = Lab(tmp_path)
    days = CALENDAR.window(SESSION, 5)
    closes = {day: 100.0 + place for place, day in enumerate(days)}
    later = {day: close / 2 * (1.03 if day == days[1] else 1.0) for day, close in closes.items()}
    following = CALENDAR.following(SESSION)
    lab.lake.raw.append(RAW_TWS_DAILY_BARS, AT, vintage(closes, SESSION), "v1")
    lab.lake.raw.append(RAW_TWS_DAILY_BARS, Partition(following), vintage(later, following, volume=2e6), "v2")
    with lab.at(LATE) as work:
        (found,) = revisions(work)
    assert (found.table, found.session, found.rescaled_by) == ("raw_tws_daily_bars", days[1], 0.5)
    assert {name: change.largest for name, change in found.columns.items()} == pytest.approx(
        dict.fromkeys(("open", "high", "low", "close"), 0.03)
    )


def test_the_revisions_command(told, quant):
    (found,) = json.loads(quant("lake", "revisions", "--session", str(SESSION), "--json").stdout)
    assert found["columns"]["volume"]["n_rows"] == 10
    shown = quant("lake", "revisions").output
    assert "0/0/10" in shown
    assert "volume (10, ≤ 10.00%)" in shown


def test_a_difference_counts_rows_by_fate_and_columns_by_size():
    before = pl.DataFrame({"k": [1, 2, 3], "price": [10.0, 20.0, 30.0], "name": ["a", "b", "c"]})
    after_ = pl.DataFrame({"k": [2, 3, 4], "price": [20.0, 33.0, 40.0], "name": ["b", "x", "d"]})
    found = difference(before, after_, ["k"], ["price", "name"])
    assert (found.n_added, found.n_removed, found.n_changed) == (1, 1, 1)
    assert found.columns["price"].largest == pytest.approx(0.1)
    assert found.columns["name"].largest is None
    assert difference(before, before, ["k"], ["price", "name"]).is_none


def test_what_was_revised_is_what_differs_between_then_and_now(told):
    """The report's counts, against the two states of the curated table themselves."""
    from quant_assets.flows.past import open_past

    with told.lab.at(LATE + timedelta(days=1)) as work, open_past(work, LATE - timedelta(hours=1)) as past:
        then, now = past.curated.read(CURATED_TWS_1M_BARS, AT), work.lake.curated.read(CURATED_TWS_1M_BARS, AT)
    assert (then["volume"] != now["volume"]).sum() == 10

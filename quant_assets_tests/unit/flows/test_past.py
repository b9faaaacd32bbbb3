"""What was known then is what readers answer: the vendor revises, and the old answer can still be had, bit for bit."""

import json
import os
import re
import shutil
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from click.testing import CliRunner

from quant_assets.cli import cli
from quant_assets.control.locks import hold
from quant_assets.domain.tables import (
    ADJUSTMENT_FACTORS,
    BAR_ACCOUNTING,
    CURATED_TWS_1D_BARS,
    CURATED_TWS_1M_BARS,
    FEATURES_PRICE_1M_V1,
    LABELS_TWS_RETURNS,
    RAW_TWS_BARS,
    RAW_TWS_DAILY_BARS,
    RAW_TWS_REQUESTS,
    UNIVERSE,
)
from quant_assets.errors import ConfigurationError, DefectError, NotPublishedError, PastRemovedError
from quant_assets.flows import past as past_lake
from quant_assets.flows.adjust import Adjuster
from quant_assets.flows.curate import Curator
from quant_assets.flows.past import open_past
from quant_assets.flows.readers import feature_store, open_store, sql_as_of
from quant_assets.lakehouse.content import content_id
from quant_assets.lakehouse.layout import Layout, Partition
from quant_assets.lakehouse.store import Lakehouse
from quant_assets_tests.unit.flows.hours import shorter, tell
from quant_assets_tests.unit.flows.lab import SESSION, Lab, after, content, files

AT = Partition(SESSION)
GROUPS = (["price_1m"], ["v1"], ["QMKT"], SESSION, SESSION)
HOUR = timedelta(hours=1)


@dataclass
class Revised:
    """A session that was ingested on its evening, and again two days later, when TWS said otherwise of ten minutes."""

    lab: Lab
    published: dict[tuple[str, str], str] = field(default_factory=dict)
    bars: pl.DataFrame = field(default_factory=pl.DataFrame)
    revised: pl.DataFrame = field(default_factory=pl.DataFrame)
    between: datetime = after(SESSION) + timedelta(days=1)
    now: datetime = after(SESSION) + timedelta(days=3)

    def store(self, work):
        return feature_store(work)


@pytest.fixture(scope="module")
def revised(tmp_path_factory) -> Revised:
    made = Revised(Lab(tmp_path_factory.mktemp("revised"), symbols=("ARCA:QMKT", "NYSE:QFID")))
    made.lab.run([SESSION])
    made.published = content(made.lab.lake)
    made.bars = made.lab.lake.curated.read(CURATED_TWS_1M_BARS, AT)
    raw = made.lab.lake.raw.read(RAW_TWS_BARS, AT)
    when = after(SESSION) + timedelta(days=2)
    place = pl.int_range(pl.len()).over("con_id")
    other = raw.with_columns(
        (pl.when(place < 10).then(pl.col("volume") + 100).otherwise(pl.col("volume"))).alias("volume"),
        pl.lit("b9").alias("batch_id"),
        ("b9-" + pl.col("request_id").str.slice(-3)).alias("request_id"),
        pl.lit(when).cast(RAW_TWS_BARS.schema["ingested_at"]).alias("ingested_at"),
    )
    made.lab.lake.raw.append(RAW_TWS_BARS, AT, other, "b9")
    ran = made.lab.run([SESSION], when + HOUR)
    assert all(one.is_committed for one in ran.published)
    made.revised = made.lab.lake.curated.read(CURATED_TWS_1M_BARS, AT)
    return made


def test_the_revision_changed_what_stands(revised):
    assert content(revised.lab.lake)["curated_tws_1m_bars", AT.key] != revised.published["curated_tws_1m_bars", AT.key]
    assert (revised.revised["volume"] != revised.bars["volume"]).sum() == 20


def test_before_the_revision_the_old_bars_are_the_answer_to_the_bit(revised):
    with revised.lab.at(revised.now) as work:
        then = feature_store(work).get_curated_bars(["QMKT", "QFID"], SESSION, SESSION, as_of=revised.between)
        now = feature_store(work).get_curated_bars(["QMKT", "QFID"], SESSION, SESSION, as_of=revised.now)
    assert then.equals(revised.bars)
    said = content_id(then, CURATED_TWS_1M_BARS.content_columns, CURATED_TWS_1M_BARS.key)
    assert said == revised.published["curated_tws_1m_bars", AT.key]
    assert now.equals(revised.revised)


def test_every_table_of_then_has_the_content_id_that_was_published_then(revised):
    """Features and labels are computed again from the old bars, by the code that published them."""
    with revised.lab.at(revised.now) as work, open_past(work, revised.between) as past:
        for name in ("curated_tws_1m_bars", "features_price_1m_v1", "labels_tws_returns", "adjustment_factors",
                     "quarantine_tws_bars", "curated_tws_1d_bars", "instruments", "universe"):  # fmt: skip
            table = next(one for one in _tables() if one.name == name)
            footer = past.curated.footer(table, AT)
            assert footer is not None, name
            assert footer.content_id == revised.published[name, AT.key], name
        origins = past.origins
        assert origins["curated_tws_1m_bars", AT.key] == "recomputed"
        assert origins["curated_tws_1d_bars", AT.key] == "stored"
        assert past.work.lake.raw.content_id(RAW_TWS_BARS, AT) == revised.published["raw_tws_bars", AT.key]


def _tables():
    from quant_assets.domain.tables import ALL

    return ALL


def test_what_nothing_later_touched_is_served_from_its_file(revised):
    with revised.lab.at(revised.now) as work, open_past(work, revised.now) as past:
        past.curated.read(FEATURES_PRICE_1M_V1, AT)
        past.curated.read(LABELS_TWS_RETURNS, AT)
        assert set(past.origins.values()) == {"stored"}
        linked = past.work.layout.file(FEATURES_PRICE_1M_V1, AT)
        assert linked.read_bytes() == work.layout.file(FEATURES_PRICE_1M_V1, AT).read_bytes()


def test_features_as_of_then_say_which_partitions_were_computed_again(revised):
    groups = (["price_1m", "volume_1m"], ["v1", "v1"], *GROUPS[2:])
    with revised.lab.at(revised.now) as work:
        answer = feature_store(work).get_features_for_training(*groups, include_labels=True, as_of=revised.between)
    metadata = answer["metadata"]
    assert metadata["as_of"] == revised.between
    assert metadata["origins"]["features_volume_1m_v1"] == {AT.key: "recomputed"}
    assert metadata["origins"]["features_price_1m_v1"] == {AT.key: "stored"}, "the revision was of volumes alone"
    for name in ("features_volume_1m_v1", "features_price_1m_v1"):
        assert metadata["content_ids"][name][SESSION] == revised.published[name, AT.key]
    assert answer["features"].height == 390
    assert answer["labels"].height > 0


def test_inference_as_of_then_equals_training_as_of_then(revised):
    with revised.lab.at(revised.now) as work:
        store = feature_store(work)
        training = store.get_features_for_training(*GROUPS, as_of=revised.between)["features"]
        row = store.get_features_for_inference(*GROUPS[:3], training["ts"][77], as_of=revised.between)["features"]
    assert row.equals(training.slice(77, 1))


def test_before_anything_was_known_there_is_no_answer(revised):
    with revised.lab.at(revised.now) as work:
        with pytest.raises(
            NotPublishedError, match=r"Nothing of it was known at 2024-03-1\d .*ask as of a later instant"
        ):
            feature_store(work).get_curated_bars(["QMKT"], SESSION, SESSION, as_of=after(SESSION) - 5 * HOUR)
        with pytest.raises(ConfigurationError, match="no time zone"):
            feature_store(work).get_curated_bars(["QMKT"], SESSION, SESSION, as_of=datetime(2024, 3, 20))  # noqa: DTZ001


def test_reading_the_past_changes_nothing_and_leaves_nothing(revised):
    before = files(revised.lab.root)
    with revised.lab.at(revised.now) as work:
        feature_store(work).get_curated_bars(["QMKT"], SESSION, SESSION, as_of=revised.between)
        assert list((work.layout.metadata / "past").iterdir()) == []
    assert files(revised.lab.root) == before


def aged(directory: Path, now: datetime) -> None:
    """Make a directory look untouched for two days."""
    touched = (now - 48 * HOUR).timestamp()
    os.utime(directory, (touched, touched))


def test_who_reads_the_past_for_days_keeps_the_directory(revised):
    with revised.lab.at(revised.now) as work, open_past(work, revised.between) as past:
        assert past.curated.read_many(CURATED_TWS_1M_BARS, [AT]).equals(revised.bars)
        aged(past.root, revised.now)
        with revised.lab.at(revised.now) as other, open_past(other, revised.between):
            pass
        assert past.curated.read_many(CURATED_TWS_1M_BARS, [AT]).equals(revised.bars)


@pytest.mark.parametrize("had_a_lock", [True, False])
def test_what_a_reader_that_was_killed_left_behind_goes_when_it_is_old(revised, had_a_lock):
    with revised.lab.at(revised.now) as work:
        left = work.layout.metadata / "past" / "as-of-killed"
        left.mkdir(parents=True)
        if had_a_lock:
            with hold("reader", left):
                pass
            assert list(left.iterdir()), "the lock file stays, and nobody holds it"
        aged(left, revised.now - 24 * HOUR)
        with open_past(work, revised.between):
            assert not left.exists()


@pytest.mark.parametrize("store", ["raw", "curated"])
def test_a_past_that_somebody_removed_is_not_taken_for_one_that_knew_nothing(revised, store):
    with revised.lab.at(revised.now) as work, open_past(work, revised.between) as past:
        lake, table = (past.curated, CURATED_TWS_1M_BARS) if store == "curated" else (past.work.lake.raw, RAW_TWS_BARS)
        assert lake.read(table, AT).height == revised.bars.height
        shutil.rmtree(past.root)
        with pytest.raises(PastRemovedError, match=re.escape(str(past.root))):
            lake.read(table, AT)
    if store == "curated":
        with pytest.raises(PastRemovedError):
            lake.read_many(table, [AT])


def test_the_past_cannot_ask_the_source(revised):
    with (
        revised.lab.at(revised.now) as work,
        open_past(work, revised.between) as past,
        pytest.raises(DefectError, match="reader of the past"),
    ):
        past.work.gate.run(None)


def test_a_batch_that_was_arriving_counts_as_far_as_it_had_arrived(tmp_path):
    """Two answers of one commit, a minute apart: between the two, only the first is known."""
    lab = Lab(tmp_path, symbols=("ARCA:QMKT", "NYSE:QFID"))
    lab.run([SESSION])
    raw = lab.lake.raw.read(RAW_TWS_BARS, AT)
    arrivals = raw.group_by("con_id").agg(pl.col("ingested_at").first()).sort("ingested_at")
    first, second = arrivals["ingested_at"]
    with lab.at(after(SESSION) + HOUR) as work, open_past(work, first + (second - first) / 2) as past:
        known = past.work.lake.raw.read(RAW_TWS_BARS, AT)
        assert known["con_id"].unique().to_list() == [arrivals["con_id"][0]]
        assert past.work.lake.raw.read(RAW_TWS_REQUESTS, AT).filter(pl.col("bar_size") == "1 min").height == 1


def test_conditions_and_quality_as_of_then_are_those_that_were_told_then(tmp_path):
    """A later answer brings six bars, one of them x100: it is in quarantine since, and was not there before."""
    lab = Lab(tmp_path, symbols=("ARCA:QMKT", "NYSE:QFID"))
    lab.run([SESSION])
    between, later = after(SESSION) + 24 * HOUR, after(SESSION) + 48 * HOUR
    with lab.at(between) as work:
        told = feature_store(work).get_conditions(SESSION, SESSION)
        summary = feature_store(work).get_data_quality_summary(start=SESSION, end=SESSION)
    assert told["rejected"].to_list() == [0, 0]
    bars = lab.lake.raw.read(RAW_TWS_BARS, AT).sort("con_id", "ts").slice(98, 6)
    times = pl.when(pl.int_range(pl.len()) == 2).then(100.0).otherwise(1.0)
    spoiled = bars.with_columns(
        *(pl.col(name) * times for name in ("open", "high", "low", "close", "wap")),
        pl.lit("b9").alias("batch_id"),
        pl.lit("b9-000").alias("request_id"),
        pl.lit(later).cast(RAW_TWS_BARS.schema["ingested_at"]).alias("ingested_at"),
    )
    lab.lake.raw.append(RAW_TWS_BARS, AT, spoiled, "b9")
    lab.run([SESSION], later + HOUR)
    with lab.at(later + 2 * HOUR) as work:
        store = feature_store(work)
        assert sorted(store.get_conditions(SESSION, SESSION)["rejected"]) == [0, 1]
        assert store.get_conditions(SESSION, SESSION, as_of=between).equals(told)
        assert store.get_data_quality_summary(None, SESSION, SESSION, as_of=between).equals(summary)
        assert not store.get_data_quality_summary(None, SESSION, SESSION).equals(summary)
        one = store.get_data_quality_summary("QMKT", start=str(SESSION), end=str(SESSION), as_of=between.date())
        assert one["symbol"].to_list() == ["QMKT"]
        assert store.get_conditions(SESSION, SESSION, as_of=SESSION).is_empty(), "it had not closed for long enough"
        newest = store.get_data_quality_summary(as_of=between)
        assert (
            newest.select("con_id", "available", "missing").rows()
            == summary.select("con_id", "available", "missing").rows()
        )


def test_sql_answers_as_of_then_over_bronze_silver_and_gold(revised):
    query = (
        "SELECT (SELECT sum(volume) FROM curated_tws_1m_bars) AS curated, "
        "(SELECT sum(volume) FROM raw_tws_bars) AS raw, (SELECT count(*) FROM features_price_1m_v1) AS features"
    )
    with revised.lab.at(revised.now) as work:
        then, origins = sql_as_of(work, query, revised.between)
    volume = revised.bars["volume"].sum()
    assert then.row(0) == (volume, volume, 780)
    assert origins["recomputed"] >= 2


def test_the_sql_command_takes_an_instant_and_says_what_it_did(revised, monkeypatch):
    monkeypatch.setenv("QUANT_DATA", str(revised.lab.root / "data"))
    monkeypatch.setenv("QUANT_CONFIGS", str(revised.lab.root / "configs"))
    query = "SELECT sum(volume) AS v FROM curated_tws_1m_bars"
    ran = CliRunner().invoke(cli, ["sql", query, "--json", "--as-of", revised.between.isoformat()])
    assert json.loads(ran.stdout) == [{"v": revised.bars["volume"].sum()}]
    assert "recomputed" in ran.stderr
    with pytest.raises(ConfigurationError, match="2026-03-14T21:00Z"):
        CliRunner().invoke(cli, ["sql", query, "--as-of", "yesterday"], catch_exceptions=False, standalone_mode=False)


def test_strict_readers_accept_what_was_observed_only(revised):
    """The second ingestion came two days late: the ten minutes that it changed are assumed, the others observed."""
    with revised.lab.at(revised.now) as work:
        store = feature_store(work)
        bars = store.get_curated_bars(["QMKT"], SESSION, SESSION, strict=True)
        assert bars.height == 380
        assert set(bars["known_basis"]) == {"observed"}
        strict = store.get_features_for_training(*GROUPS, strict=True)
        assert strict["features"].is_empty()
        assert strict["metadata"]["known_basis"] == {"observed": 0, "left_out": 1}
        then = store.get_features_for_training(*GROUPS, strict=True, as_of=revised.between)
        assert then["features"].height == 390
        assert then["metadata"]["known_basis"] == {"observed": 1, "left_out": 0}


def test_a_notebook_opens_the_readers_with_two_directories(tmp_path):
    lab = Lab(tmp_path)
    lab.run([SESSION])
    settings = lab.settings()
    with open_store(settings.data, settings.configs) as store:
        bars = store.get_curated_bars(["ARCA:QMKT"], SESSION, SESSION, adjust="splits")
    assert bars.height == 390


@pytest.fixture(scope="module")
def halved(tmp_path_factory) -> Revised:
    """Two days after a session TWS serves its daily history on the basis of a split: every price is half."""
    made = Revised(Lab(tmp_path_factory.mktemp("halved"), symbols=("ARCA:QMKT",)))
    made.lab.run([SESSION])
    made.published = content(made.lab.lake)
    raw = made.lab.lake.raw.read(RAW_TWS_DAILY_BARS, AT)
    when = after(SESSION) + timedelta(days=2)
    later = raw.with_columns(
        *(pl.col(name) / 2 for name in ("open", "high", "low", "close", "wap")),
        pl.lit("b9").alias("batch_id"),
        ("b9-" + pl.col("request_id").str.slice(-3)).alias("request_id"),
        pl.lit(when).cast(RAW_TWS_DAILY_BARS.schema["ingested_at"]).alias("ingested_at"),
    )
    made.lab.lake.raw.append(RAW_TWS_DAILY_BARS, AT, later, "b9")
    with made.lab.at(when + HOUR) as work:
        assert Adjuster(work).publish(SESSION).is_committed
        assert Curator(work).daily_bars(SESSION).is_committed
    return made


@pytest.mark.parametrize("table", [CURATED_TWS_1D_BARS, ADJUSTMENT_FACTORS], ids=lambda table: table.name)
def test_daily_history_that_came_later_does_not_answer_for_before(halved, table):
    """Minutes and words are as they were: the time of the newest vintage alone tells that the stored file is younger."""
    with halved.lab.at(halved.now) as work:
        with open_past(work, halved.between) as past:
            footer = past.curated.footer(table, AT)
            assert footer is not None
            assert footer.content_id == halved.published[table.name, AT.key]
            assert past.origins[table.name, AT.key] == "recomputed"
        with open_past(work, halved.now) as past:
            footer = past.curated.footer(table, AT)
            assert footer is not None
            assert (
                footer.content_id
                == content(halved.lab.lake)[table.name, AT.key]
                != halved.published[table.name, AT.key]
            )
            assert past.origins[table.name, AT.key] == "stored"


@pytest.mark.parametrize("table", [CURATED_TWS_1D_BARS, UNIVERSE])
def test_what_is_published_while_it_is_taken_into_the_past_is_not_in_it(tmp_path, monkeypatch, table):
    """Another process commits between the look at the stored file and the link to it."""
    lab = Lab(tmp_path, symbols=("ARCA:QMKT", "NYSE:QFID"))
    lab.run([SESSION])
    known, footer = lab.lake.curated.read(table, AT), lab.lake.curated.footer(table, AT)
    later = (after(SESSION) + 48 * HOUR).isoformat()
    link, other = past_lake.link, Lakehouse(Layout(tmp_path / "data")).curated

    def overtaken(source, target):
        if source == lab.lake.layout.file(table, AT) and other.footer(table, AT) == footer:
            other.write(table, AT, known.with_columns(pl.lit("RENAMED").alias("symbol")), watermark=later)
        link(source, target)

    monkeypatch.setattr(past_lake, "link", overtaken)
    with lab.at(after(SESSION) + 72 * HOUR) as work, open_past(work, after(SESSION) + 24 * HOUR) as past:
        said = list(table.content_columns)
        assert past.curated.read(table, AT).select(said).equals(known.select(said))
        assert past.curated.footer(table, AT).content_id == footer.content_id
    assert other.read(table, AT)["symbol"].unique().to_list() == ["RENAMED"]


def test_hours_that_tws_told_later_are_not_in_what_was_known_before(tmp_path):
    """Two hours less, told two days later, leave 270 of 390 minutes; on the day before nobody knew."""
    lab = Lab(tmp_path, symbols=("ARCA:QMKT", "NYSE:QFID"))
    lab.run([SESSION])
    tables = (BAR_ACCOUNTING, CURATED_TWS_1M_BARS, ADJUSTMENT_FACTORS)
    known = {table.name: lab.lake.curated.footer(table, AT).content_id for table in tables}
    told = after(SESSION) + 48 * HOUR
    tell(lab.lake, told, SESSION, shorter(SESSION, 2 * HOUR), "t1")
    with lab.at(told + HOUR) as work:
        Adjuster(work).publish(SESSION)
        Curator(work).minute_bars(SESSION)
    assert lab.lake.curated.read(CURATED_TWS_1M_BARS, AT).height == 2 * 270
    with lab.at(told + 2 * HOUR) as work, open_past(work, told - HOUR) as past:
        assert {table.name: past.curated.footer(table, AT).content_id for table in tables} == known
        assert past.curated.read(CURATED_TWS_1M_BARS, AT).height == 2 * 390
    with lab.at(told + 2 * HOUR) as work, open_past(work, told + HOUR) as past:
        assert past.curated.read(CURATED_TWS_1M_BARS, AT).height == 2 * 270
        assert set(past.origins.values()) <= {"stored"}

"""Near real time, through the socket: finished minutes wait in staging, and reach bronze only after the close."""

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import date, timedelta

import polars as pl
import pytest
from click.testing import CliRunner

from quant_assets.control.audit import read
from quant_assets.domain.tables import ALL, CURATED_TWS_1M_BARS, RAW_TWS_BARS, RAW_TWS_REQUESTS, UNIVERSE
from quant_assets.errors import ConfigurationError, NotPublishedError
from quant_assets.flows.curate import Curator
from quant_assets.flows.live import STAGED, capture, open_now, promote
from quant_assets.flows.work import Work
from quant_assets.lakehouse.layout import Partition
from quant_assets.lakehouse.store import RawStore
from quant_assets.settings import Settings
from quant_assets_tests.builders import instant
from quant_assets_tests.unit.flows.lab import Lab, flow

YESTERDAY, TODAY = date(2024, 3, 13), date(2024, 3, 14)
OPENS = instant("2024-03-14 13:30")


class LiveLab(Lab):
    """A lab that captures; the instants are exact."""

    def settings(self) -> Settings:
        super().settings()
        path = self.root / "configs" / "manifest.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"capture": {"enabled": True}}))
        return Settings.from_env({}, data=self.root / "data", configs=self.root / "configs")

    def exactly(self, text):
        self.n_opened = -1
        return self.at(instant(text))


@pytest.fixture
def lab(tmp_path):
    made = LiveLab(tmp_path, ("ARCA:QMKT", "NYSE:QFID"), lookback=3)
    made.run([YESTERDAY])
    return made


def staged(lab):
    return lab.lake.raw.read(STAGED, Partition(TODAY))


def bronze(lab):
    return lab.lake.raw.read(RAW_TWS_BARS, Partition(TODAY))


def test_rounds_stage_what_is_new_and_finished(lab):
    with lab.exactly("2024-03-14 14:00") as work:
        first = capture(work)
    assert (first.n_open, first.n_asked, first.failures) == (2, 2, ())
    minutes = staged(lab).group_by("symbol").agg(pl.col("ts").min().alias("a"), pl.col("ts").max().alias("b"), pl.len())
    assert set(minutes.select("a", "b", "len").rows()) == {(OPENS, OPENS + timedelta(minutes=29), 30)}
    with lab.exactly("2024-03-14 14:05") as work:
        assert capture(work).n_rows == 10
        again = capture(work)
    assert (again.n_asked, again.n_rows) == (0, 0), "nothing has finished since"
    rows = staged(lab)
    assert rows.schema == RAW_TWS_BARS.schema
    assert rows.group_by("con_id", "ts").len()["len"].max() == 1
    assert lab.lake.layout.table(STAGED).relative_to(lab.root).parts[:3] == ("data", "lakehouse", "staging")


def test_an_open_bar_reaches_neither_bronze_nor_silver(lab):
    with lab.exactly("2024-03-14 14:00") as work:
        capture(work)
        assert bronze(lab).is_empty()
        assert promote(work) == []
        lab.lake.curated.write(UNIVERSE, Partition(TODAY), lab.lake.curated.read(UNIVERSE, Partition(YESTERDAY))
                               .with_columns(pl.lit(TODAY).alias("session")))  # fmt: skip
        with pytest.raises(NotPublishedError):
            Curator(work).minute_bars(TODAY)
    assert not lab.lake.curated.exists(CURATED_TWS_1M_BARS, Partition(TODAY))
    assert STAGED.name not in {table.name for table in ALL}, "no reader, query or transform can name it"


def test_it_is_promoted_after_the_close_and_the_delay_and_settles_nothing(lab):
    with lab.exactly("2024-03-14 14:00") as work:
        n = capture(work).n_rows
        first_known = staged(lab)["ingested_at"].max()
    with lab.exactly("2024-03-14 20:14") as work:
        assert promote(work) == []
    with lab.exactly("2024-03-14 20:15") as work:
        assert promote(work) == [TODAY]
        assert promote(work) == []
    assert bronze(lab).height == n
    assert staged(lab).is_empty()
    assert lab.lake.raw.read(RAW_TWS_REQUESTS, Partition(TODAY)).is_empty(), "the session still has to be asked for"

    with lab.exactly("2024-03-15 02:00") as work:
        flow(work, [TODAY])
    curated = lab.lake.curated.read(CURATED_TWS_1M_BARS, Partition(TODAY))
    undisturbed = Lab(lab.root / "other", lab.symbols, lookback=3)
    undisturbed.run([TODAY])
    plain = undisturbed.lake.curated.read(CURATED_TWS_1M_BARS, Partition(TODAY))
    values = ["con_id", "ts", "open", "high", "low", "close", "volume"]
    assert curated.select(values).equals(plain.select(values)), "the answer after the close speaks"
    early = curated.filter(pl.col("ts") < OPENS + timedelta(minutes=30))
    assert (early["known_at"] <= first_known).all(), "and what was seen live was known then"


def test_a_process_that_dies_between_the_two_steps_promotes_once(lab, monkeypatch):
    with lab.exactly("2024-03-14 14:00") as work:
        n = capture(work).n_rows
    with lab.exactly("2024-03-14 21:00") as work:

        def died(*_args, **_options):
            raise KeyboardInterrupt

        with monkeypatch.context() as patched:
            patched.setattr("pathlib.Path.unlink", died)
            with pytest.raises(KeyboardInterrupt):
                promote(work)
        assert promote(work) == [TODAY]
    assert bronze(lab).height == n


def test_what_is_staged_while_a_session_is_promoted_waits_for_the_next_time(lab, monkeypatch):
    """A round that began before the close may answer after it, when another process has read what was staged."""
    with lab.exactly("2024-03-14 14:00") as work:
        n = capture(work).n_rows
    late = staged(lab).with_columns(pl.col("ts") + timedelta(hours=6), pl.lit("late").alias("batch_id"))
    with lab.exactly("2024-03-14 21:00") as work:
        ask_hours = Work.hours_of

        def meanwhile(self, *of):
            if not lab.lake.layout.batch(STAGED, Partition(TODAY), "late").exists():
                lab.lake.raw.append(STAGED, Partition(TODAY), late, "late")
            return ask_hours(self, *of)

        with monkeypatch.context() as patched:
            patched.setattr(Work, "hours_of", meanwhile)
            promote(work)
        assert bronze(lab).height + staged(lab).height == n + late.height, "no minute is lost"
        promote(work)
    assert bronze(lab).height == n + late.height
    assert staged(lab).is_empty()


def lost(lab):
    return [one["paths"] for one in read(lab.lake.layout.audit) if one["event"] == "batches_gone"]


def witnesses(lab):
    return [one.path.rpartition("/")[2] for one in lab.lake.raw.manifest(STAGED).entries()]


def test_what_was_promoted_is_no_loss_to_the_rounds_of_an_exchange_that_closes_later(lab):
    """Asia has closed, New York is open: both are staged under one session."""
    with lab.exactly("2024-03-14 14:00") as work:
        capture(work)
    later = staged(lab).with_columns(pl.lit("later").alias("batch_id"))
    with lab.exactly("2024-03-14 21:00") as work:
        assert promote(work) == [TODAY]
    assert witnesses(lab) == []
    for batch in ("later", "later2"):
        with lab.exactly("2024-03-14 21:05") as work:
            work.lake.raw.append(STAGED, Partition(TODAY), later.with_columns(pl.lit(batch).alias("batch_id")), batch)
    assert lost(lab) == []
    assert witnesses(lab) == ["later.parquet", "later2.parquet"]


@pytest.mark.parametrize("when", ["in the next round", "at the close", "with all others"])
def test_a_staged_file_that_went_is_told_of_once(lab, when):
    with lab.exactly("2024-03-14 14:00") as work:
        capture(work)
        rows = staged(lab)
        (first,) = lab.lake.raw.batches(STAGED, Partition(TODAY))
        work.lake.raw.append(STAGED, Partition(TODAY), rows.with_columns(pl.lit("b2").alias("batch_id")), "b2")
    first.unlink()
    gone = [first.relative_to(lab.lake.layout.lakehouse).as_posix()]
    if when == "with all others":
        lab.lake.layout.batch(STAGED, Partition(TODAY), "b2").unlink()
        gone = sorted([*gone, gone[0].replace(first.stem, "b2")])
    if when == "in the next round":
        with lab.exactly("2024-03-14 14:05") as work:
            capture(work)
            assert lost(lab) == [gone]
            promote(work)
    else:
        with lab.exactly("2024-03-14 21:00") as work:
            promote(work)
            assert lost(lab) == [gone]
            assert witnesses(lab) == []
            promote(work)
    assert lost(lab) == [gone]


def test_lines_that_an_older_release_left_about_promoted_files_are_no_loss_and_go(lab):
    with lab.exactly("2024-03-14 14:00") as work:
        capture(work)
    lines = lab.lake.layout.manifest(STAGED).read_text()
    with lab.exactly("2024-03-14 21:00") as work:
        promote(work)
        lab.lake.layout.manifest(STAGED).write_text(lines)
        assert len(witnesses(lab)) == 1
        promote(work)
    assert (witnesses(lab), lost(lab)) == ([], [])


def test_a_damaged_index_of_what_is_staged_holds_up_no_promotion(lab):
    with lab.exactly("2024-03-14 14:00") as work:
        n = capture(work).n_rows
        lab.lake.layout.manifest(STAGED).write_text("no entry\n")
    with lab.exactly("2024-03-14 21:00") as work:
        assert promote(work) == [TODAY]
    assert (bronze(lab).height, staged(lab).height) == (n, 0)


def test_two_promoters_at_once_promote_once(lab, monkeypatch):
    """`quant live` and the data cycle both promote; neither may meet what the other one has half done."""
    with lab.exactly("2024-03-14 14:00") as work:
        n = capture(work).n_rows
    both, append = threading.Barrier(2), RawStore.append

    def side_by_side(self, table, *of):
        with suppress(threading.BrokenBarrierError):  # where only one comes this far, nobody joins it
            both.wait(timeout=1)
        return append(self, table, *of)

    monkeypatch.setattr(RawStore, "append", side_by_side)
    at = "2024-03-14 21:00"
    with lab.exactly(at) as one, lab.exactly(at) as other, ThreadPoolExecutor(2) as threads:
        done = list(threads.map(promote, (one, other)))
    assert sorted(done) == [[], [TODAY]]
    assert bronze(lab).height == n
    assert staged(lab).is_empty()


def test_what_is_open_is_told_while_another_process_promotes(lab, monkeypatch):
    with lab.exactly("2024-03-14 14:00") as work:
        capture(work)
    batches, promoters = RawStore.batches, []
    with lab.exactly("2024-03-14 21:00") as one, lab.exactly("2024-03-14 21:00") as other:

        def then_promoted(self, table, partition):
            files = batches(self, table, partition)
            if table is STAGED and not promoters:
                promoters.append(threading.Thread(target=promote, args=(other,)))
                promoters[0].start()
                promoters[0].join(timeout=1)
            return files

        monkeypatch.setattr(RawStore, "batches", then_promoted)
        assert open_now(one) == []
        promoters[0].join()
    assert staged(lab).is_empty()


def test_each_exchange_has_its_own_open_session(tmp_path):
    calendars = {"calendars": ("XNYS", "XLON", "FX")}
    lab = LiveLab(tmp_path, ("ARCA:QMKT", "LSE:QLNA", "IDEALPRO:EUR.USD"), lookback=3, lakehouse=calendars)
    with lab.at(instant("2024-03-14 02:00")) as work:
        from quant_assets.flows.discover import Discovery

        Discovery(work).publish(YESTERDAY)
    with lab.exactly("2024-03-14 08:10") as work:
        assert capture(work).n_open == 2
    assert dict(staged(lab).group_by("symbol").len().iter_rows()) == {"QLNA": 10, "EUR.USD": 655}
    with lab.exactly("2024-03-14 22:00") as work:  # 18:00 in New York: the pair's Friday is open
        assert capture(work).promoted == (TODAY,)
        friday = lab.lake.raw.read(STAGED, Partition(date(2024, 3, 15)))
    assert friday["symbol"].unique().to_list() == ["EUR.USD"]


def test_off_by_default_says_how_to_switch_it_on(tmp_path):
    lab = Lab(tmp_path)
    with lab.at(instant("2024-03-14 14:00")) as work, pytest.raises(ConfigurationError, match=r"capture\.enabled"):
        capture(work)


def test_the_command_tells_what_is_open_and_asks_nothing(tmp_path, monkeypatch):
    from quant_assets.cli import cli

    lab = LiveLab(tmp_path, ("ARCA:QMKT",), lookback=3)
    lab.run([YESTERDAY])
    monkeypatch.setenv("QUANT_DATA", str(lab.root / "data"))
    monkeypatch.setenv("QUANT_CONFIGS", str(lab.root / "configs"))
    told = CliRunner().invoke(cli, ["live", "--dry-run", "--json"])
    assert told.exit_code == 0, told.output
    assert set(json.loads(told.output)) == {"open"}
    assert not lab.lake.layout.table(STAGED).exists()

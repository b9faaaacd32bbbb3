import json
import os
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import quant_assets
from quant_assets.domain.limits import Limits
from quant_assets.domain.tables import BAR_ACCOUNTING, CANDIDATES, CERTIFIED_SESSIONS, CURATED_TWS_1D_BARS, INSTRUMENTS
from quant_assets.errors import DefectError, SnapshotExistsError, SnapshotIncompleteError
from quant_assets.flows.alpha import STEPS
from quant_assets.flows.snapshot import freeze
from quant_assets.lakehouse.layout import Layout, Partition
from quant_assets.lakehouse.runs import code, merkle_root, run_id
from quant_assets_tests.unit.alpha import scenario


def missing_of(world, layout) -> list[str]:
    with pytest.raises(SnapshotIncompleteError) as caught:
        world.freeze(layout)
    assert all(mend.startswith("quant ") for _, mend in caught.value.missing)
    return [what for what, _ in caught.value.missing]


def without(world, table, con_id, *, last: int | None = None) -> None:
    """Take an instrument's rows, or its last ones, out of a published table."""
    at = Partition(world.session)
    frame = world.store.read(table, at)
    gone = pl.col("con_id") == con_id
    if last:
        gone &= pl.col("session") >= world.sessions[-last]
    world.store.put(table, at, frame.filter(~gone))


def test_a_snapshot_holds_what_it_says_under_the_names_of_the_record(tmp_path):
    world, layout = scenario.world(n=4), Layout(tmp_path)
    snapshot = world.freeze(layout)
    run = snapshot.run
    assert snapshot.run_id.startswith(f"{world.session}-default-")
    assert run.path == layout.runs / snapshot.run_id
    assert list(run.files()) == [
        "audit.jsonl",
        "config/bias.json",
        "config/environment.json",
        "config/inputs.json",
        "config/resolved_manifest.json",
        "config/selection_audit.json",
        *(f"data/NYSE_S{i}_1d.parquet" for i in (101, 102, 103, 104)),
    ]
    assert snapshot.frame["n_instruments"].to_list() == [4]
    assert run.resolved["risk"]["max_weight"] == 0.3
    assert run.read_json("config/environment.json")["libraries"]["skfolio"][0].isdigit()


def quoted_in(world, **currencies: str) -> None:
    """Publish the instruments again, some of them in another currency."""
    at = Partition(world.session)
    frame = world.store.read(INSTRUMENTS, at)
    world.store.put(
        INSTRUMENTS,
        at,
        frame.with_columns(pl.col("symbol").replace_strict(currencies, default="USD").alias("currency")),
    )


def test_instruments_of_another_currency_are_named_and_nothing_is_added_up(tmp_path):
    world = scenario.world(n=4)
    quoted_in(world, S102="GBP", S104="EUR")
    (told,) = missing_of(world, Layout(tmp_path))
    assert told == (
        "not quoted in the base currency USD, and nothing converts: "
        "NYSE:S102 (con_id 102) in GBP, NYSE:S104 (con_id 104) in EUR"
    )
    assert not any(Layout(tmp_path).runs.glob("*"))


def test_a_whole_universe_in_the_base_currency_is_frozen_whatever_that_is(tmp_path):
    world = scenario.world(n=3)
    quoted_in(world, S101="EUR", S102="EUR", S103="EUR")
    world.certify()
    made = freeze(
        world.store,
        Layout(tmp_path),
        world.session,
        scenario.PROFILE,
        world.profile,
        world.sessions,
        world.clock,
        base_currency="EUR",
    )
    assert [one["currency"] for one in made.run.inputs["instruments"]] == ["EUR"] * 3


def test_a_frozen_file_has_the_published_shape_and_the_lakehouse_values(tmp_path):
    prices = scenario.closes(120, 3)
    world = scenario.world(prices)
    run = world.freeze(Layout(tmp_path)).run
    path = run.file("data/NYSE_S102_1d.parquet")
    frame = pl.read_parquet(path)
    assert frame.columns == ["timestamp", "open", "high", "low", "close", "adj_close", "volume"]
    assert frame["timestamp"].dtype == pl.Int64
    assert frame["timestamp"][-1] == 1_719_532_800  # 2024-06-28 00:00 UTC
    assert frame["adj_close"].to_numpy() == pytest.approx(prices[:, 1], rel=0)
    import pyarrow.parquet as pq

    assert pq.read_metadata(path).row_group(0).column(0).compression == "SNAPPY"


def test_an_unchanged_rerun_has_the_same_run_id_and_rewrites_no_file(tmp_path):
    world, layout = scenario.world(n=4), Layout(tmp_path)
    first = world.freeze(layout)
    before = {name: first.run.file(name).stat().st_mtime_ns for name in first.run.files()}
    world.clock.advance(3600)
    again = world.freeze(layout)
    assert (again.run_id, again.is_unchanged, first.is_unchanged) == (first.run_id, True, False)
    assert {name: again.run.file(name).stat().st_mtime_ns for name in again.run.files()} == before
    assert again.frame.equals(first.frame)


def test_everything_that_counts_changes_the_run_id_and_nothing_else_does(tmp_path, monkeypatch):
    world, layout = scenario.world(n=4), Layout(tmp_path)
    base = world.freeze(layout).run_id
    at = Partition(world.session)
    bars = world.store.read(CURATED_TWS_1D_BARS, at)

    world.store.put(CURATED_TWS_1D_BARS, at, bars.with_columns(known_at=pl.col("known_at").dt.offset_by("1d")))
    assert world.freeze(layout).run_id == base  # provenance

    world.store.put(CURATED_TWS_1D_BARS, at, bars.with_columns(volume=pl.col("volume") + 1))
    other_data = world.freeze(layout).run_id
    world.store.put(CURATED_TWS_1D_BARS, at, bars)
    world.profile = scenario.profile(max_weight=0.31)
    other_config = world.freeze(layout).run_id
    world.profile = scenario.profile()
    monkeypatch.setattr("quant_assets.flows.snapshot.freezing.code_version", lambda: "0.1.0+other")
    other_code = world.freeze(layout).run_id
    assert len({base, other_data, other_config, other_code}) == 4


def test_nothing_published_lists_everything_with_its_mend(tmp_path):
    world = scenario.world(n=3)
    world.store.frames.clear()
    assert missing_of(world, Layout(tmp_path)) == [
        "candidates[default|2024-06-28] is not published",
        "curated_tws_1d_bars[2024-06-28] is not published",
        "instruments[2024-06-28] is not published",
        "session 2024-06-28 is not certified",
    ]
    with pytest.raises(SnapshotIncompleteError, match="mend: quant flow data --session 2024-06-28"):
        world.freeze(Layout(tmp_path))
    assert not Layout(tmp_path).runs.exists()


@pytest.mark.parametrize("is_certified", [True, False])
def test_a_session_beyond_today_s_limits_is_not_frozen_and_the_way_out_is_no_loop(tmp_path, is_certified):
    """10 of 390 minutes are unexplained: what was certified once is held against the limits of today."""
    world, layout = scenario.world(n=3), Layout(tmp_path)
    at, limits = Partition(world.session), Limits(0.01, 0.05, 0.1)
    row = {"session": world.session, "con_id": 101, "symbol": "S101", "expected": 390, "evidence": ""}
    minutes = [("present", "present", 380), ("unexplained", "unexplained", 10)]
    rows = [{**row, "kind": kind, "reason": reason, "minutes": n} for kind, reason, n in minutes]
    world.certify()
    world.store.put(BAR_ACCOUNTING, at, BAR_ACCOUNTING.frame(rows))
    if not is_certified:
        world.store.frames.pop((CERTIFIED_SESSIONS.name, at.key))
    given = (world.session, scenario.PROFILE, world.profile, world.sessions, world.clock)
    with pytest.raises(SnapshotIncompleteError) as caught:
        freeze(world.store, layout, *given, limits=limits)
    ((what, mend),) = caught.value.missing
    assert ("is not certified" in what) is not is_certified
    assert "2.56% of the expected minutes are unexplained, more than lakehouse.max_unexplained (1.00%): S101" in what
    assert mend.startswith("quant repair --sessions 2024-06-28 asks TWS again")
    if is_certified:
        assert freeze(world.store, layout, *given, limits=Limits(0.03, 0.05, 0.1)).run.is_finished is False


def test_only_certified_content_is_frozen(tmp_path):
    world, layout = scenario.world(n=3), Layout(tmp_path)
    at = Partition(world.session)
    certificate = world.store.frames.pop((CERTIFIED_SESSIONS.name, at.key))
    with pytest.raises(
        SnapshotIncompleteError, match=r"is not certified\n.*mend: quant flow data --session 2024-06-28"
    ):
        world.freeze(layout, certify=False)
    world.store.put(CERTIFIED_SESSIONS, at, certificate)
    bars = world.store.read(CURATED_TWS_1D_BARS, at)
    world.store.put(CURATED_TWS_1D_BARS, at, bars.with_columns(volume=pl.col("volume") + 1))
    with pytest.raises(
        SnapshotIncompleteError, match=r"curated_tws_1d_bars\[2024-06-28\] is not what certificate cccc"
    ):
        world.freeze(layout, certify=False)
    world.store.put(CURATED_TWS_1D_BARS, at, bars)
    run = world.freeze(layout, certify=False).run
    assert '"certificate":"' + "c" * 64 in run.file("audit.jsonl").read_text()


def test_every_unfit_instrument_is_listed_at_once(tmp_path):
    world = scenario.world(n=5)
    without(world, CURATED_TWS_1D_BARS, 101)
    without(world, CURATED_TWS_1D_BARS, 102, last=3)
    without(world, CURATED_TWS_1D_BARS, 103, last=50)
    without(world, INSTRUMENTS, 104)
    assert sorted(missing_of(world, Layout(tmp_path))) == [
        "NYSE:S101 (con_id 101) has no daily bars in the window",
        f"NYSE:S102 (con_id 102) is stale: its last bar is of {world.sessions[-4]}",
        "NYSE:S103 (con_id 103) has 70 of 100 sessions",
        f"NYSE:S103 (con_id 103) is stale: its last bar is of {world.sessions[-51]}",
        "NYSE:S104 (con_id 104) has no contract details valid at 2024-06-28",
    ]


def test_sessions_before_an_unexplained_break_are_not_frozen(tmp_path):
    """The last 110 of 120 sessions stand on the newer basis, and nothing of the older one reaches a return."""
    world, layout = scenario.world(n=4), Layout(tmp_path)
    at = Partition(world.session)
    older = (pl.col("con_id") == 101) & (pl.col("session") < world.sessions[-110])
    status = pl.when(older).then(pl.lit("error")).otherwise("dq_status").alias("dq_status")
    world.store.put(CURATED_TWS_1D_BARS, at, world.store.read(CURATED_TWS_1D_BARS, at).with_columns(status))
    snapshot = world.freeze(layout)
    frozen = {
        name: pl.read_parquet(snapshot.run.path / f"data/NYSE_{name}_1d.parquet").height for name in ("S101", "S102")
    }
    assert frozen == {"S101": 110, "S102": 120}


@pytest.mark.parametrize("policy", ["warn", "allow"])
def test_a_stale_instrument_is_frozen_under_warn_and_allow_and_that_is_on_record(tmp_path, policy):
    world = scenario.world(n=3)
    without(world, CURATED_TWS_1D_BARS, 102, last=1)
    data = world.profile.data.model_copy(update={"stale_policy": policy})
    world.profile = world.profile.model_copy(update={"data": data})
    snapshot = world.freeze(Layout(tmp_path))
    assert snapshot.stale == ("NYSE:S102",)
    assert snapshot.frame["stale_policy"].to_list() == [policy]
    events = [json.loads(line) for line in snapshot.run.file("audit.jsonl").read_text().splitlines()]
    assert [one["event"] for one in events] == ["tolerated", "frozen"]
    assert events[0]["policy"] == policy
    assert events[0]["problems"] == [f"NYSE:S102 (con_id 102) is stale: its last bar is of {world.sessions[-2]}"]


def test_degraded_instruments_of_the_run_are_named_wherever_somebody_looks(tmp_path):
    """S102 is in the run and is frozen all the same; of S999, which is not, the run says nothing."""
    world, at = scenario.world(n=3), Partition(scenario.weekdays(1)[0])
    said = world.store.read(CERTIFIED_SESSIONS, at)
    text = "S102 40 of 390 minutes; S999 390 of 390 minutes"
    world.store.put(CERTIFIED_SESSIONS, at, said.with_columns(degraded=pl.lit(text)))
    given = (world.session, scenario.PROFILE, world.profile, world.sessions, world.clock)
    snapshot = freeze(world.store, Layout(tmp_path), *given, evidence=lambda *_: {})
    assert snapshot.degraded == ("S102 40 of 390 minutes",)
    assert "NYSE:S102" in [one["symbol"] for one in snapshot.run.inputs["instruments"]]
    assert snapshot.run.read_json("config/provenance.json")["degraded"] == ["S102 40 of 390 minutes"]
    (event,) = [json.loads(line) for line in snapshot.run.read("audit.jsonl").splitlines() if b'"degraded"' in line]
    assert (event["event"], event["status"], event["instruments"]) == ("degraded", "warn", ["S102 40 of 390 minutes"])
    for step in STEPS:
        step(snapshot.run, world.clock)
    for name in ("reports/report.md", "reports/report.html"):
        report = snapshot.run.read(name).decode()
        assert "S102 40 of 390 minutes. Weights rest on daily bars" in report, name
        assert "S999" not in report, name


def test_a_sound_session_names_nobody(tmp_path):
    world = scenario.world(n=3)
    snapshot = world.freeze(Layout(tmp_path))
    assert snapshot.degraded == ()
    for step in STEPS:
        step(snapshot.run, world.clock)
    assert "egraded" not in snapshot.run.read("reports/report.md").decode()


def test_candidates_that_accept_nobody_are_missing_input(tmp_path):
    world = scenario.world(n=2)
    at = Partition(world.session, "default")
    rejected = (
        pl.lit("rejected").alias("verdict"),
        pl.lit(None, pl.Int64).alias("rank"),
        pl.lit("cheap").alias("reasons"),
    )
    world.store.put(CANDIDATES, at, world.store.read(CANDIDATES, at).with_columns(rejected))
    assert missing_of(world, Layout(tmp_path)) == ["candidates[default|2024-06-28] accepted nobody"]


def test_rows_that_differ_from_their_footer_are_not_frozen(tmp_path, monkeypatch):
    world = scenario.world(n=2)
    footer = world.store.footer(INSTRUMENTS, Partition(world.session))
    true = world.store.footer
    stale = lambda table, partition: footer if table is CURATED_TWS_1D_BARS else true(table, partition)  # noqa: E731
    monkeypatch.setattr(world.store, "footer", stale)
    assert missing_of(world, Layout(tmp_path)) == [
        "curated_tws_1d_bars[2024-06-28] does not hold the content that its footer names"
    ]


def test_candidates_that_are_published_while_they_are_read_are_frozen_as_they_stand_then(tmp_path, monkeypatch):
    world = scenario.world(n=2)
    at, read, put = Partition(world.session, "default"), world.store.read, world.store.put
    before = read(CANDIDATES, at)
    judged = before.with_columns(pl.lit("judged again").alias("reasons"))

    def overtaken(table, partition, columns=None):
        if table is CANDIDATES and read(CANDIDATES, at).equals(before):
            put(CANDIDATES, at, judged)
        return read(table, partition, columns)

    monkeypatch.setattr(world.store, "read", overtaken)
    frozen = world.freeze(Layout(tmp_path))
    said = frozen.run.inputs["tables"][CANDIDATES.name]["content_id"]
    assert said == world.store.footer(CANDIDATES, at).content_id
    audit = frozen.run.read_json("config/selection_audit.json")["instruments"]
    assert {one["reasons"] for one in audit} == {"judged again"}


def test_the_window_is_the_calendars_last_lookback_sessions(tmp_path):
    world = scenario.world(scenario.closes(150, 2))
    snapshot = world.freeze(Layout(tmp_path))
    assert snapshot.frame["n_sessions"].to_list() == [120]
    assert snapshot.run.read_frame("data/NYSE_S101_1d.parquet").height == 120
    assert snapshot.run.inputs["window"][0] == str(world.sessions[30])
    with pytest.raises(DefectError, match="must end with"):
        freeze(world.store, Layout(tmp_path), date(2024, 6, 27), "default", world.profile, world.sessions, world.clock)


def test_frozen_files_are_read_only_copies_that_a_writer_cannot_reach(tmp_path):
    run = scenario.world(n=2).freeze(Layout(tmp_path)).run
    for name in run.files():
        status = run.file(name).stat()
        assert status.st_mode & 0o222 == 0, name
        assert status.st_nlink == 1, name


def test_other_content_is_refused_and_equal_content_is_not_written(tmp_path):
    run = scenario.world(n=2).freeze(Layout(tmp_path)).run
    assert run.write("reports/x.md", "one") is True
    assert run.write("reports/x.md", b"one") is False
    with pytest.raises(SnapshotExistsError, match="written once"):
        run.write("reports/x.md", "two")
    assert run.file("reports/x.md").read_text() == "one"


def test_a_frame_in_another_encoding_is_still_the_same_frame(tmp_path):
    run = scenario.world(n=2).freeze(Layout(tmp_path)).run
    frame = pl.DataFrame({"a": [1.0, None]})
    path = run.file("data/x.parquet")
    frame.write_parquet(path, compression="zstd")
    assert run.write_frame("data/x.parquet", frame) is False
    with pytest.raises(SnapshotExistsError):
        run.write_frame("data/x.parquet", frame.fill_null(0.0))


def test_two_instruments_of_one_name_get_two_files(tmp_path):
    world = scenario.world(n=2)
    at = Partition(world.session, "default")
    frame = world.store.read(CANDIDATES, at).with_columns(symbol=pl.lit("NYSE:BRK B"))
    world.store.put(CANDIDATES, at, frame)
    files = [name for name in world.freeze(Layout(tmp_path)).run.files() if name.startswith("data/")]
    assert files == ["data/NYSE_BRK-B_101_1d.parquet", "data/NYSE_BRK-B_102_1d.parquet"]


def test_assumed_knowledge_is_carried_through(tmp_path):
    snapshot = scenario.world(n=2, known_basis="assumed").freeze(Layout(tmp_path))
    assert snapshot.frame.select("known_basis", "is_pit").row(0) == ("assumed", False)


def test_no_path_in_the_run_leads_out_of_it(tmp_path):
    run = scenario.world(n=2).freeze(Layout(tmp_path)).run
    for name in run.files():
        assert os.fsencode(tmp_path) not in run.read(name), name


def test_the_root_is_independent_of_key_order():
    assert merkle_root({"a": {"x": 1, "y": 2}, "b": []}) == merkle_root({"b": [], "a": {"y": 2, "x": 1}})
    assert merkle_root({"a": 1, "b": 2}) != merkle_root({"a": 2, "b": 1})


def test_a_session_that_nobody_has_stays_in_the_window(tmp_path):
    prices = scenario.closes(120, 2)
    prices[60] = np.nan
    run = scenario.world(prices).freeze(Layout(tmp_path)).run
    assert len(run.inputs["window"]) == 120
    assert run.read_frame("data/NYSE_S101_1d.parquet").height == 119


def test_two_writers_of_one_run_exclude_each_other(tmp_path, monkeypatch):
    from quant_assets.control.locks import hold
    from quant_assets.errors import LockHeldError

    world, layout = scenario.world(n=2), Layout(tmp_path)
    run = world.freeze(layout).run
    monkeypatch.setattr("quant_assets.lakehouse.runs.directory._WAIT_S", 0.0)
    with ThreadPoolExecutor(1) as other, hold(run.run_id, layout.runs / ".locks"), pytest.raises(LockHeldError):
        other.submit(world.freeze, layout).result()


def test_a_long_profile_name_is_cut_in_the_run_id():
    name = run_id(date(2024, 1, 2), "p" * 64, "0123456789abcdef")
    assert name == "2024-01-02-" + "p" * 42 + "-0123456789"


def test_the_code_version_covers_every_file_that_it_names():
    root = Path(quant_assets.__file__).parent
    names = [file.relative_to(root).as_posix() for file in code._sources(root)]
    for needed in code._CODE:
        assert any(name == needed or name.startswith(f"{needed}/") for name in names), needed
    assert "domain/reports/templates/report.html.j2" in names
    assert not any("__pycache__" in name for name in names)
    assert code.code_version().startswith(f"{quant_assets.__version__}+")

"""A whole run: returns, weights, report, verification, from the run directory alone."""

import contextlib
import json
import platform
import re
import shutil
import socket

import numpy as np
import polars as pl
import pytest

from quant_assets.domain.tables import REPORTS, RETURNS_MATRIX, WEIGHTS
from quant_assets.domain.verification import errors
from quant_assets.errors import (
    CorruptFileError,
    NetworkSealedError,
    SnapshotExistsError,
    UnknownNameError,
    VerificationError,
)
from quant_assets.flows.alpha import STEPS, build_report, build_returns, build_weights, list_runs, open_run, verify_run
from quant_assets.lakehouse.layout import Layout
from quant_assets.lakehouse.runs import RunDirectory, seal_run
from quant_assets_tests.unit.alpha import scenario


def build(world, layout) -> RunDirectory:
    run = world.freeze(layout).run
    for step in STEPS:
        step(run, world.clock)
    return run


def fated() -> np.ndarray:
    prices = scenario.closes(120, 8)
    prices[40:45, 2] = np.nan  # halted for a week
    prices[60, 3:] *= 1.0
    prices[:, 4] = 25.0  # never moves
    prices[70:, 5] *= 9.0  # a split that nobody adjusted
    return prices


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    layout = Layout(tmp_path_factory.mktemp("finished"))
    world = scenario.world(fated())
    return world, layout, build(world, layout)


@pytest.fixture
def copy(finished, tmp_path):
    """Return a finished run that a test may damage."""
    _, layout, run = finished
    copied = Layout(tmp_path)
    shutil.copytree(layout.runs, copied.runs)
    for path in copied.runs.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)
    return copied, open_run(copied, run.run_id)


def test_the_index_rows_are_those_of_their_tables(finished):
    _, _, run = finished
    returns, weights, report = build_returns(run), build_weights(run), build_report(run)
    assert RETURNS_MATRIX.conform(returns).height == 8
    assert WEIGHTS.conform(weights).height == 6
    assert REPORTS.conform(report)["html"].to_list() == [f"artifacts/runs/{run.run_id}/reports/report.html"]
    dropped = returns.filter(verdict="dropped").select("con_id", "reason").rows()
    assert dropped == [(105, "zero_variance"), (106, dropped[1][1])]
    assert dropped[1][1].startswith("extreme: return +8.")


def test_weights_of_record_keep_the_caps_on_the_grid_in_all_three_files(finished):
    _, _, run = finished
    frame = run.read_frame("data/weights.parquet")
    record = run.read_json("data/weights.json")
    table = pl.read_csv(run.file("data/weights.csv"))
    assert frame["weight"].max() <= 0.3
    assert frame["weight"].sum() + record["cash"] == pytest.approx(1.0, abs=1e-9)
    assert (frame["weight"] * 1e9).round(3).is_in((frame["weight"] * 1e9).round(0).implode()).all()
    assert frame["weight"].to_list() == table["weight"].to_list() == [one["weight"] for one in record["weights"]]
    assert frame["risk_contribution"].sum() == pytest.approx(1.0, abs=1e-6)
    assert max(record["sectors"].values()) <= 0.6


def test_a_finished_run_verifies_bit_for_bit(finished):
    _, layout, run = finished
    findings = verify_run(layout, run.run_id)
    assert errors(findings) == []
    messages = [one.message for one in findings]
    assert "compared bit for bit" in messages
    assert "weights: equal bit for bit" in messages


def test_rebuilding_elsewhere_gives_the_same_bytes(finished, tmp_path):
    _, _, run = finished
    again = build(scenario.world(fated()), Layout(tmp_path))
    assert again.run_id == run.run_id
    assert {name: again.read(name) for name in again.files()} == {name: run.read(name) for name in run.files()}


def test_a_finished_run_is_served_without_writing_or_computing(finished, monkeypatch):
    world, layout, run = finished
    before = {name: run.file(name).stat().st_mtime_ns for name in run.files()}
    monkeypatch.setattr("quant_assets.flows.alpha.steps.compute_weights", None)
    monkeypatch.setattr("quant_assets.flows.alpha.steps.compute_returns", None)
    world.clock.advance(86_400)
    build(world, layout)
    assert {name: run.file(name).stat().st_mtime_ns for name in run.files()} == before


def test_the_alpha_cycle_needs_nothing_but_the_run_directory(finished, tmp_path):
    world, _, _ = finished
    elsewhere = Layout(tmp_path / "data")
    run = scenario.world(fated()).freeze(elsewhere).run
    assert not elsewhere.lakehouse.exists()
    moved = RunDirectory(shutil.move(run.path, tmp_path / run.run_id))
    for step in STEPS:
        step(moved, world.clock)
    assert moved.is_finished


@pytest.mark.parametrize("where", ["first", "middle", "last"])
def test_tampering_with_any_file_is_found(copy, where):
    layout, run = copy
    for name in run.files():
        original = run.read(name)
        position = {"first": 0, "middle": len(original) // 2, "last": len(original) - 1}[where]
        damaged = bytearray(original)
        damaged[position] ^= 1
        run.file(name).write_bytes(damaged)
        assert errors(verify_run(layout, run.run_id)), name
        run.file(name).write_bytes(original)
    assert not errors(verify_run(layout, run.run_id))


def test_tampering_with_any_byte_of_the_manifest_and_the_log_is_found(copy):
    from quant_assets.lakehouse.runs import hash_findings

    _, run = copy
    for name in ("manifest.json", "audit.jsonl"):
        original = run.read(name)
        for position in range(0, len(original), 23):
            damaged = bytearray(original)
            damaged[position] ^= 2
            run.file(name).write_bytes(damaged)
            assert errors(hash_findings(RunDirectory(run.path))), (name, position)
        run.file(name).write_bytes(original)


def test_missing_extra_and_truncated_files_are_found(copy):
    layout, run = copy
    log = run.read("audit.jsonl")
    run.file("audit.jsonl").write_bytes(b"".join(log.splitlines(keepends=True)[:-1]))
    assert [one.message for one in errors(verify_run(layout, run.run_id))] == ["audit.jsonl: event 'report' is missing"]
    run.file("audit.jsonl").write_bytes(log)
    run.file("data/extra.csv").write_text("x")
    run.file("plots/weights.png").unlink()
    assert sorted(one.message for one in errors(verify_run(layout, run.run_id))) == [
        "data/extra.csv is not in manifest.json",
        "plots/weights.png is missing",
    ]


def test_weights_that_were_forged_together_with_their_manifest_are_found_by_recomputing(copy):
    layout, run = copy
    forged = run.read_frame("data/weights.parquet").with_columns(weight=pl.col("weight").reverse())
    forged.write_parquet(run.file("data/weights.parquet"))
    run.file("manifest.json").unlink()
    seal_run(RunDirectory(run.path))
    problems = errors(verify_run(layout, run.run_id))
    assert [one.check for one in problems] == ["recomputed"]
    assert problems[0].message.startswith("weights: largest difference")


def test_bars_that_were_forged_together_with_their_manifest_are_found(copy):
    layout, run = copy
    name = "data/NYSE_S101_1d.parquet"
    run.read_frame(name).with_columns(pl.col("adj_close") * 1.0001).head(120).write_parquet(run.file(name))
    frame = run.read_frame(name).with_columns(volume=pl.lit(1.0))  # not even the weights would notice this one
    frame.write_parquet(run.file(name))
    run.file("manifest.json").unlink()
    seal_run(RunDirectory(run.path))
    messages = [one.message for one in errors(verify_run(layout, run.run_id))]
    assert f"{name} does not hold the bars that were frozen" in messages


def test_inputs_that_were_forged_do_not_give_the_run_id(copy):
    layout, run = copy
    inputs = json.loads(run.read("config/inputs.json"))
    inputs["is_pit"] = not inputs["is_pit"]
    from quant_assets.lakehouse.runs.directory import pretty

    run.file("config/inputs.json").write_text(pretty(inputs))
    run.file("manifest.json").unlink()
    seal_run(RunDirectory(run.path))
    assert any("merkle root" in one.message for one in errors(verify_run(layout, run.run_id)))


def test_elsewhere_weights_may_differ_by_a_step_and_the_report_says_so(copy, monkeypatch):
    layout, run = copy
    monkeypatch.setattr("quant_assets.flows.alpha.verify.environment", lambda: {"python": "9"})
    findings = verify_run(layout, run.run_id)
    assert errors(findings) == []
    (compared,) = [one.message for one in findings if one.check == "environment"]
    assert compared.startswith("compared to 1e-06, because of ")
    assert f"python ({platform.python_version()}, here 9)" in compared


def test_a_damaged_finished_run_is_not_served(copy):
    _, run = copy
    run.file("data/weights.csv").write_text("con_id,weight\n")
    with pytest.raises(VerificationError, match=r"data/weights\.csv was changed"):
        build_weights(run)


def test_steps_out_of_order_and_unfinished_runs_say_what_is_missing(tmp_path):
    layout = Layout(tmp_path)
    run = scenario.world(n=3).freeze(layout).run
    with pytest.raises(CorruptFileError, match="returns_matrix"):
        build_weights(run)
    assert list_runs(layout)["state"].to_list() == ["partial"]
    assert "not finished" in verify_run(layout, run.run_id)[0].message
    with pytest.raises(UnknownNameError, match="Did you mean"):
        verify_run(layout, run.run_id[:-1] + "x")


def test_a_matrix_that_differs_from_the_one_that_stands_is_refused(tmp_path):
    run = scenario.world(n=3).freeze(Layout(tmp_path)).run
    run.write_frame("data/returns_matrix.parquet", pl.DataFrame({"session": [1]}))
    with pytest.raises(SnapshotExistsError):
        build_returns(run)


def test_every_step_is_sealed(tmp_path, monkeypatch):
    run = scenario.world(n=3).freeze(Layout(tmp_path)).run
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()

        def chatty(*_: object):
            with socket.socket() as client:
                client.connect(server.getsockname())

        monkeypatch.setattr("quant_assets.flows.alpha.steps.compute_returns", chatty)
        with pytest.raises(NetworkSealedError):
            build_returns(run)


def test_a_connection_that_a_library_hides_fails_the_step_as_well(tmp_path, monkeypatch):
    from quant_assets.flows.alpha import steps

    run = scenario.world(n=3).freeze(Layout(tmp_path)).run
    compute = steps.compute_returns

    def telemetry(one):
        with contextlib.suppress(Exception):
            socket.getaddrinfo("localhost", 80)
        return compute(one)

    monkeypatch.setattr(steps, "compute_returns", telemetry)
    with pytest.raises(NetworkSealedError, match="localhost"):
        build_returns(run)


def test_runs_are_listed_with_method_and_state(finished):
    _, layout, run = finished
    assert list_runs(layout).select("run_id", "profile", "method", "n_instruments", "state").rows() == [
        (run.run_id, "default", "min_variance", 8, "finished")
    ]
    assert list_runs(Layout(layout.data / "nowhere")).height == 0


def test_the_report_is_offline_and_tells_the_essentials(finished):
    _, _, run = finished
    html = run.read("reports/report.html").decode()
    assert not re.search(r'https?:|//\w|src=|href="(?!#)|@import|url\(', html)
    for name in re.findall(r'href="#([^"]+)"', html):
        assert f'<section id="{name}">' in html
    for needed in ("Synthetic data", "In sample", "zero variance", "NYSE:S101", run.run_id, "quant run verify"):
        assert needed in html
    for table in run.inputs["tables"].values():
        assert table["content_id"] in html
    text = run.read("reports/report.md").decode()
    assert "| NYSE:S105 | returns | zero_variance |" in text
    assert run.read("plots/weights.png").startswith(b"\x89PNG")
    assert "Blue is together, rust against each other" in html


def test_the_report_escapes_what_vendors_write(tmp_path):
    from quant_assets.domain.tables import INSTRUMENTS
    from quant_assets.lakehouse.layout import Partition

    world = scenario.world(n=3, method="equal_weight", max_weight=0.5)
    at = Partition(world.session)
    world.store.put(INSTRUMENTS, at, scenario.instruments(world.session, [101, 102, 103], "<script>alert({})</script>"))
    html = build(world, Layout(tmp_path)).read("reports/report.html").decode()
    assert "<script>" not in html
    assert "&lt;script&gt;" in html
    assert "Synthetic data" not in html


@pytest.mark.parametrize("method", ["equal_weight", "hrp"])
def test_two_instruments_and_a_lot_of_cash_make_a_report_too(tmp_path, method):
    world = scenario.world(n=2, method=method)
    run = build(world, Layout(tmp_path))
    assert run.read_json("data/weights.json")["cash"] == pytest.approx(0.5)  # two clusters of one at 25 %
    html = run.read("reports/report.html").decode()
    assert "stays in cash" in html
    assert re.search(f"<td>duality gap</td><td>{method} offers none</td><td[^>]*>does not apply</td>", html)
    assert re.search(r"<td>invested</td>.*>holds</td>", html)
    assert not errors(verify_run(Layout(tmp_path), run.run_id))

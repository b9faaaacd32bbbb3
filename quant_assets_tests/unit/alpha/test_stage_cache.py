"""The stage cache: what may be served again, what must not, and what a damaged entry costs."""

import shutil
from contextlib import contextmanager
from datetime import timedelta

import pytest

from quant_assets.control import files
from quant_assets.domain.tables import CURATED_TWS_1D_BARS
from quant_assets.domain.verification import errors
from quant_assets.errors import CorruptFileError
from quant_assets.flows.alpha import STEPS, verify_run
from quant_assets.flows.alpha.stages import STAGES, origins
from quant_assets.lakehouse.layout import Layout, Partition
from quant_assets.lakehouse.runs import RunDirectory, StageCache
from quant_assets.lakehouse.runs import code as code_of
from quant_assets.lakehouse.runs.code import closure, syntax
from quant_assets.settings.manifest import Profile
from quant_assets_tests.unit.alpha import scenario

ALL = {"returns", "selection", "synthesis", "weights"}


def build(world: scenario.World, layout: Layout, cache: StageCache | None) -> RunDirectory:
    run = world.freeze(layout).run
    for step in STEPS:
        step(run, world.clock, cache)
    return run


def served(run: RunDirectory) -> set[str]:
    return {stage for stage, origin in origins(run).items() if origin == "cache"}


def small() -> scenario.World:
    return scenario.world(n=6, method="hrp")


def changed(profile: Profile, path: str, value: object) -> Profile:
    section, _, key = path.partition(".")
    if not key:
        return profile.model_copy(update={section: value})
    inner = getattr(profile, section)
    return profile.model_copy(update={section: type(inner).model_validate({**inner.model_dump(), key: value})})


@pytest.fixture(scope="module")
def seen(tmp_path_factory):
    layout = Layout(tmp_path_factory.mktemp("seen"))
    return layout, build(small(), layout, StageCache(layout.cache))


@pytest.fixture
def warm(seen, tmp_path):
    """Return a data directory of one's own whose cache has seen one run, that cache, and the run."""
    original, first = seen
    assert served(first) == set()
    layout = Layout(tmp_path / "data")
    shutil.copytree(original.cache, layout.cache)
    return layout, StageCache(layout.cache), first


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        ("description", "the same, told differently", ALL),
        ("data.stale_policy", "allow", ALL),
        ("selection.top_n", 19, ALL),  # the screen reads it, and accepts the same six
        ("risk.method", "equal_weight", {"returns", "selection", "synthesis"}),
        ("risk.max_weight", 0.29, {"returns", "selection", "synthesis"}),
        ("costs.capital", 50_000.0, {"returns", "selection", "synthesis"}),
        ("synthesis.atoms", [{"logic": "trend", "timescale": 20}], {"returns", "selection"}),
        ("selection.max_clusters", 3, {"returns"}),
        ("risk.max_missing_fraction", 0.2, {"selection", "synthesis", "weights"}),  # another key, an equal matrix
    ],
)
def test_a_changed_key_costs_the_stages_that_read_it_and_no_other(warm, path, value, expected):
    layout, cache, first = warm
    world = small()
    world.profile = changed(world.profile, path, value)
    again = build(world, layout, cache)
    assert again.run_id != first.run_id
    assert served(again) == expected
    assert not errors(verify_run(layout, again.run_id))


def test_a_run_from_the_cache_has_the_bytes_of_a_computed_one(warm, tmp_path):
    layout, cache, _ = warm
    world = small()
    world.profile = changed(world.profile, "description", "another")
    cached = build(world, layout, cache)
    computed = build(world, Layout(tmp_path / "elsewhere"), None)
    assert (served(cached), served(computed)) == (ALL, set())
    differ = [name for name in computed.files() if cached.read(name) != computed.read(name)]
    assert differ == ["audit.jsonl"]
    assert list(cached.files()) == list(computed.files())


def test_one_changed_bar_or_one_more_session_costs_everything(warm):
    layout, cache, _ = warm
    world, at = small(), Partition(small().session)
    bars = world.store.read(CURATED_TWS_1D_BARS, at)
    world.store.put(CURATED_TWS_1D_BARS, at, bars.with_columns(bars["volume"] + (bars["con_id"] == 103) * 1.0))
    assert served(build(world, layout, cache)) == set()


def test_another_environment_is_served_nothing(warm, monkeypatch):
    layout, cache, _ = warm
    monkeypatch.setattr("quant_assets.flows.alpha.stages.environment", lambda: {"python": "9"})
    world = small()
    world.profile = changed(world.profile, "description", "elsewhere")
    assert served(build(world, layout, cache)) == set()


def test_a_change_of_the_optimizers_leaves_the_stages_before_them_in_the_cache(warm, monkeypatch):
    layout, cache, _ = warm
    real = code_of._digest
    monkeypatch.setattr(code_of, "_digest", lambda file: "other" if file.name == "parity.py" else real(file))
    for cached in (code_of.code_version, code_of.stage_code):
        cached.cache_clear()
    try:
        assert served(build(small(), layout, cache)) == {"returns", "selection", "synthesis"}
    finally:
        monkeypatch.undo()
        for cached in (code_of.code_version, code_of.stage_code):
            cached.cache_clear()


def test_every_damaged_file_of_the_cache_is_found_and_computed_again(warm):
    layout, cache, first = warm
    files = [path for path in layout.cache.rglob("*") if path.is_file()]
    assert len(files) == len(STAGES) + sum(len(stage.makes) for stage in STAGES)
    for number, file in enumerate(files):
        original = file.read_bytes()
        file.chmod(0o644)
        file.write_bytes(original[:-2] + bytes([original[-2] ^ 1]) + original[-1:])
        assert "damaged" in cache.entries()["state"].to_list(), file
        world = small()
        world.profile = changed(world.profile, "description", f"damage {number}")
        again = build(world, layout, cache)
        lost = ALL - served(again)
        assert len(lost) == 1, file
        log = again.read("audit.jsonl").decode()
        assert log.count('"event":"cache_damaged","run_id"') == 1
        assert f'"stage":"{lost.pop()}"' in log
        assert again.read("data/weights.json") == first.read("data/weights.json")
        assert cache.entries()["state"].unique().to_list() == ["whole"]
        assert file.read_bytes() == original


def test_a_run_holds_read_only_copies_that_share_nothing_with_the_cache(warm):
    layout, cache, _ = warm
    world = small()
    world.profile = changed(world.profile, "description", "another")
    run = build(world, layout, cache)
    inodes = {path.stat().st_ino for path in layout.cache.rglob("*") if path.is_file()}
    for path in [*layout.cache.rglob("*"), *run.path.rglob("*")]:
        if path.is_file():
            assert (path.stat().st_nlink, path.stat().st_mode & 0o222) == (1, 0), path
    assert not inodes & {run.file(name).stat().st_ino for name in run.files()}
    assert cache.clear() > 0
    assert cache.entries().is_empty()
    assert not errors(verify_run(layout, run.run_id))


def test_a_cache_that_is_emptied_while_a_result_is_put_in_loses_no_file_that_is_being_written(tmp_path, monkeypatch):
    cache, emptied = StageCache(tmp_path / "cache"), []
    cache.put("returns", {"of": "another"}, {"data": b"old"})

    @contextmanager
    def replacing(target):
        with files.replacing(target) as staged:
            yield staged
            emptied.append((StageCache(cache.path).clear(), StageCache(cache.path).entries().height))

    monkeypatch.setattr("quant_assets.lakehouse.runs.cache.replacing", replacing)
    key = cache.put("weights", {"of": "it"}, {"data": b"new"})
    freed, listed = zip(*emptied, strict=True)
    assert (freed[0] > len(b"old"), freed[1]) == (True, len(b"new"))
    assert listed == (0, 0), "what is being written is no entry"
    monkeypatch.undo()
    with pytest.raises(CorruptFileError, match="it is not there"):
        cache.get("weights", key)  # the part was removed before its entry stood: it is computed again
    cache.drop("weights", key)
    cache.put("weights", {"of": "it"}, {"data": b"new"})
    assert cache.get("weights", key) == {"data": b"new"}
    assert cache.entries()["state"].to_list() == ["whole"]


def test_a_rerun_after_a_kill_says_nothing_twice(warm):
    layout, cache, _ = warm
    world = small()
    world.profile = changed(world.profile, "description", "killed")
    run = world.freeze(layout).run
    for step in (*STEPS[:3], *STEPS[:3]):
        world.clock.advance(timedelta(seconds=5).total_seconds())
        step(run, world.clock, cache)
    events = [line.split('"event":"')[1].split('"')[0] for line in run.read("audit.jsonl").decode().splitlines()]
    assert events == ["frozen", "sealed", "returns", "selection", "synthesis"]


def test_equal_results_of_two_writers_are_kept_once(tmp_path):
    cache = StageCache(tmp_path)
    first = cache.put("returns", {"code": "1"}, {"a": b"same", "b": b"other"})
    second = cache.put("returns", {"code": "2"}, {"a": b"same", "b": b"other"})
    assert first != second
    assert cache.get("returns", first) == cache.get("returns", second) == {"a": b"same", "b": b"other"}
    assert cache.get("weights", first) is None
    assert len([path for path in (tmp_path / "objects").rglob("*") if path.is_file()]) == 2


BASE = b'''"""Module."""

LIMIT = 3
"""What stands under a constant."""


def double(x: int) -> int:
    """Double it."""
    return 2 * x
'''


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"""Module."""', b'"""Another text."""'),
        (b'"""Double it."""', b'"""Twice.\n\n    At length.\n    """'),
        (b'"""What stands under a constant."""', b""),
        (b"return 2 * x", b"return 2 * x  # why"),
        (b"    return 2 * x", b"    return (\n        2 * x\n    )"),
        (b"\n", b"\r\n"),
    ],
)
def test_comments_docstrings_and_layout_are_no_code(old, new):
    assert old in BASE
    assert syntax(BASE.replace(old, new)) == syntax(BASE)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"2 * x", b"x * 2"),
        (b"2 * x", b"2.0 * x"),
        (b"LIMIT = 3", b"LIMIT = 4"),
        (b"x: int", b"x: float"),
        (b"2 * x", b"'2' * x"),
    ],
)
def test_every_other_change_is_code(old, new):
    assert syntax(BASE.replace(old, new)) != syntax(BASE)


def test_the_code_of_a_stage_is_what_it_imports():
    names = {
        stage.name: {path.relative_to(code_of.ROOT).as_posix() for path in closure(stage.code)} for stage in STAGES
    }
    assert "domain/returns.py" in names["returns"]
    assert "domain/optimization/parity.py" in names["weights"]
    assert "domain/selection/clusters.py" in names["selection"]
    assert "domain/synthesis.py" in names["synthesis"]
    assert not any(
        name.startswith(("domain/optimization", "domain/reports")) for name in names["returns"] | names["selection"]
    )
    assert not any(name.startswith(("assets/", "cli/", "connectors/")) for found in names.values() for name in found)

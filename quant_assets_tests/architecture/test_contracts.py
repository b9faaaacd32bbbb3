"""Rooms, their order, and what may be imported where."""

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from quant_assets.domain import run_files
from quant_assets.lakehouse.layout import Layout
from quant_assets_tests.architecture.repository import PACKAGE, ROOT

MODULES = sorted(PACKAGE.rglob("*.py"))
DAGSTER_ROOMS = ("assets", "resources", "definitions.py")
HEAVY = {"skfolio", "pandera", "matplotlib", "exchange_calendars", "dagster", "duckdb", "cvxpy", "sklearn", "ib_insync"}
MAX_LINES = 400


def test_the_import_contracts_hold():
    linted = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-logo", "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert linted.returncode == 0, linted.stdout


def _loaded_by(statement: str) -> set[str]:
    probe = f"import sys\n{statement}\nprint('LOADED', *sorted(name for name in sys.modules if '.' not in name))"
    done = subprocess.run([sys.executable, "-c", probe], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split("LOADED")[1].split())


def test_help_loads_no_heavy_library():
    call = "from quant_assets.cli import cli\ncli(['--help'], standalone_mode=False)"
    assert not _loaded_by(call) & {*HEAVY, "polars", "numpy", "pydantic", "pyarrow", "pandas"}


@pytest.mark.parametrize(
    "module",
    [
        "lakehouse.store",
        "lakehouse.query",
        "lakehouse.catalog",
        "lakehouse.runs",
        "lakehouse.features",
        "domain.tables",
    ],
)
def test_reading_needs_no_heavy_library(module):
    assert not _loaded_by(f"import quant_assets.{module}") & {*HEAVY, "pandas", "scipy"}


@pytest.mark.parametrize("module", ["flows.alpha", "flows.snapshot"])
def test_the_alpha_cycle_does_not_load_what_could_reach_the_market(module):
    probe = f"import quant_assets.{module}, sys\nprint([n for n in sys.modules if n.startswith('quant_assets.')])"
    done = subprocess.run([sys.executable, "-c", probe], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "quant_assets.connectors" not in done.stdout
    assert "quant_assets.gateway" not in done.stdout


def _imports_at_top(module: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.parse(module.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module.partition(".")[0])
    return names


def test_heavy_libraries_are_imported_where_they_are_used():
    """Dagster at the top of its own rooms; the client library in its one file; everything else inside functions."""
    wrong = {}
    for module in MODULES:
        name = module.relative_to(PACKAGE).as_posix()
        allowed = {"dagster", "dagster_duckdb"} if name.startswith(DAGSTER_ROOMS) else set()
        if heavy := _imports_at_top(module) & HEAVY - allowed:
            wrong[name] = heavy
    assert not wrong


def test_dagster_can_read_annotations():
    """With postponed annotations Dagster refuses annotated contexts and configurations."""
    rooms = [module for module in MODULES if module.relative_to(PACKAGE).as_posix().startswith(DAGSTER_ROOMS)]
    assert rooms
    assert not [
        module for module in rooms if "from __future__ import annotations" in module.read_text(encoding="utf-8")
    ]


def test_no_module_is_too_long_to_read():
    lengths = {str(m.relative_to(ROOT)): len(m.read_text(encoding="utf-8").splitlines()) for m in MODULES}
    assert {name: length for name, length in lengths.items() if length > MAX_LINES} == {}


def test_the_environment_is_touched_in_one_file():
    touching = {"environ", "environb", "getenv", "putenv"}
    found = {
        module.relative_to(PACKAGE).as_posix()
        for module in MODULES
        for node in ast.walk(ast.parse(module.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute) and node.attr in touching
        if isinstance(node.value, ast.Name) and node.value.id == "os"
    }
    assert found == {"settings/environment.py"}


def test_the_linter_exempts_files_that_exist():
    ruff = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["ruff"]["lint"]
    named = ruff["per-file-ignores"]
    assert named
    assert [pattern for pattern in named if not any(ROOT.glob(pattern))] == []


def test_paths_below_the_data_directory_are_built_by_the_layout():
    """Nobody puts a name of their own behind one of its directories, be it joined or inside a pattern."""
    roots = {name for name, value in vars(Layout).items() if isinstance(value, property)} | {"data"}
    assert {"metadata", "artifacts", "runs"} <= roots
    strangers = {
        f"{module.relative_to(PACKAGE).as_posix()}:{node.lineno}": text
        for module in MODULES
        if module != PACKAGE / "lakehouse" / "layout.py"
        for node in ast.walk(ast.parse(module.read_text(encoding="utf-8")))
        if (text := _named_behind(node, roots))
    }
    assert strangers == {}


def _named_behind(node: ast.AST, roots: set[str]) -> str:
    """Return the name that an expression puts behind a directory of the layout; an empty text when it puts none."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div):
        before, name = node.left, ast.unparse(node.right)
        is_literal = isinstance(node.right, ast.Constant | ast.JoinedStr)
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.args:
        before, name = node.func.value, ast.unparse(node.args[0])
        is_literal = node.func.attr in {"glob", "rglob", "joinpath"} and bool(re.match(r"'[\w.-]+(/|'$)", name))
    else:
        return ""
    return name if is_literal and isinstance(before, ast.Attribute) and before.attr in roots else ""


def test_files_of_runs_are_named_in_one_module():
    shared = {run_files.MANIFEST, run_files.LOG}  # the configuration and the audit log are called so, too
    names = {value for name, value in vars(run_files).items() if name.isupper()} - shared
    assert "data/weights.parquet" in names
    spelled = {
        f"{module.relative_to(PACKAGE).as_posix()}:{node.lineno}": node.value
        for module in MODULES
        if module != PACKAGE / "domain" / "run_files.py"
        for node in ast.walk(ast.parse(module.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and node.value in names
    }
    assert spelled == {}

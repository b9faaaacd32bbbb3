"""The UI in headless Chromium: the lineage with all its layers, an asset like a catalogue page, and a chart that shows.

With SCREENSHOTS set to a directory, the project's own configuration is run and the pictures go there (docs/images
is made this way); else a short one, and pytest's directory.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from quant_assets_tests.assets.house import House
from quant_assets_tests.assets.server import REPOSITORY, Server, served

pytestmark = pytest.mark.browser

GROUPS = ("discovery", "bronze", "silver", "gold", "alpha", "ops")
SHORT_NAMES = ("universe", "raw_instruments", "raw_tws_bars", "raw_tws_daily_bars", "instruments", "candidates")
SHORT_NAMES += ("snapshots", "returns_matrix", "weights", "report", "catalog")
ALPHA = ("snapshots", "returns_matrix", "selection", "synthetic_returns", "weights", "report")
ALL_NAMES = (*SHORT_NAMES, "curated_tws_1m_bars", "curated_tws_1d_bars", "quarantine_tws_bars", "features_price_1m_v1")
LEGIBLE = 13
"""Height of a line of text in the window, in its pixels."""
MOVES_MS = 2000
"""The layout is computed in a worker and then moves into place."""


@pytest.fixture(scope="module")
def shots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory for pictures."""
    wanted = os.environ.get("SCREENSHOTS")
    return Path(wanted).absolute() if wanted else tmp_path_factory.mktemp("shots")


@pytest.fixture(scope="module")
def ui(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The UI over what `quant demo` leaves behind in a project of its own."""
    project = tmp_path_factory.mktemp("project")
    if "SCREENSHOTS" in os.environ:
        shutil.copytree(REPOSITORY / "configs", project / "configs")
    else:
        with House(project):
            assert (project / "configs" / "manifest.json").exists()
    shutil.copy(REPOSITORY / "dagster.yaml", project)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("DAGSTER", "QUANT", "PYTHON"))}
    environment = {"QUANT_DATA": str(project / "data"), "QUANT_CONFIGS": str(project / "configs")}
    demo = [sys.executable, "-c", "from quant_assets.cli import main; main()", "demo", "--sessions", "3"]
    made = subprocess.run(
        demo,
        cwd=project,
        env={**kept, "PYTHONPATH": str(REPOSITORY), **environment},
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert made.returncode == 0, made.stdout + made.stderr
    home = {"DAGSTER_HOME": str(project)}
    with served("dagster_webserver", directory=project, environment={**environment, **home}) as server:
        yield server


@pytest.fixture
def page(chromium: Any) -> Iterator[Any]:
    opened = chromium.new_page(viewport={"width": 1600, "height": 1000}, device_scale_factor=1.5)
    opened.set_default_timeout(30_000)
    yield opened
    opened.close()


def test_the_lineage_shows_every_layer_and_every_asset(ui: Server, page: Any, shots: Path):
    page.set_viewport_size({"width": 1700, "height": 1100})
    page.goto(f"{ui.url}/asset-groups")
    page.get_by_text("silver", exact=True).first.wait_for()
    assert page.get_by_text("Join the Dagster community").count() == 0, (
        "nothing stands between a newcomer and the graph"
    )
    make_room(page)
    take(page, shots / "lineage.png", GROUPS)
    named(page, "alpha").click()
    named(page, "report").wait_for()
    page.wait_for_timeout(MOVES_MS)
    take(page, shots / "alpha.png", ("alpha", *ALPHA))

    page.set_viewport_size({"width": 2000, "height": 2000})
    unfold_all(page)
    graph = page.locator("svg").filter(has_text="returns_matrix").first
    graph.wait_for()
    for name in (*GROUPS, *SHORT_NAMES):
        assert graph.get_by_text(name, exact=True).first.is_visible(), name
    leaves = "found => found.filter(one => !one.children.length).map(one => one.textContent)"
    drawn = set(graph.locator("foreignObject *").evaluate_all(leaves))
    long_names = set(ALL_NAMES) - set(SHORT_NAMES)
    assert all(name in drawn or any(is_shortened(name, text) for text in drawn) for name in long_names), drawn


def is_shortened(name: str, text: str) -> bool:
    """Return whether the graph's `curated_t…_1m_bars` stands for the name."""
    start, dots, end = text.partition("…")
    return bool(dots and end) and name.startswith(start) and name.endswith(end)


def named(page: Any, name: str) -> Any:
    """What bears the name in the graph, and not in the list beside it."""
    return page.locator("svg").get_by_text(name, exact=True).first


def take(page: Any, file: Path, names: Sequence[str]) -> None:
    """Make a picture of that part of the graph; its letters are large enough to be read in a page of half its width."""
    boxes = [named(page, name).bounding_box() for name in names]
    assert all(box["height"] >= LEGIBLE for box in boxes), dict(zip(names, boxes, strict=True))
    left, top = (min(box[side] for box in boxes) - margin for side, margin in (("x", 90), ("y", 40)))
    right = max(box["x"] + box["width"] for box in boxes) + 90
    bottom = max(box["y"] + box["height"] for box in boxes) + 70
    page.screenshot(path=file, clip={"x": left, "y": top, "width": right - left, "height": bottom - top})
    assert file.stat().st_size > 5_000


def make_room(page: Any) -> None:
    """Fold navigation and the list of groups away."""
    page.get_by_text("Hide navigation").click()
    page.wait_for_timeout(500)
    jump = page.get_by_placeholder("Jump to").bounding_box()
    page.mouse.click(jump["x"] + jump["width"] + 30, jump["y"] + jump["height"] / 2)
    page.wait_for_timeout(MOVES_MS)


def unfold_all(page: Any) -> None:
    """Unfold all groups, and zoom out until the graph fits the height: what lies outside the window is not drawn."""
    for _ in range(2):  # where one is unfolded, the first folds it
        page.keyboard.press("Alt+e")
        page.wait_for_timeout(MOVES_MS)
    zoom = page.get_by_role("slider").first
    zoom.focus()
    for _ in range(190):
        page.keyboard.press("ArrowDown")
    page.get_by_text("universe", exact=True).first.wait_for()
    page.wait_for_timeout(800)


def test_an_asset_s_page_reads_like_a_data_catalogue(ui: Server, page: Any, shots: Path):
    page.goto(f"{ui.url}/assets/curated_tws_1m_bars")
    page.get_by_text("Latest check results").wait_for()
    page.get_by_text("Hide navigation").click()
    shown = page.locator("body")
    shown.get_by_text("coverage_heat_map").wait_for()
    shown.get_by_text("Fails if more than 4 days since last materialization").wait_for()
    text = shown.inner_text()
    for part in (
        "1-minute bars of regular trading hours",
        "Grain: (session, con_id, ts).",
        "Start of the bar [UTC instant]",
        "non-nullable",
        "Datetime[µs, UTC]",
        "Freshness policy",
        "Row count",
        "lakehouse.silver.curated_tws_1m_bars",
        "refresh_when_stale",
    ):
        assert part in text, part
    page.screenshot(path=shots / "asset.png", clip={"x": 68, "y": 0, "width": 1062, "height": 1000})
    page.goto(f"{ui.url}/assets/curated_tws_1m_bars?view=checks")
    for check in ("schema", "not_empty", "accounted", "latest_session_present"):
        page.get_by_text(check, exact=True).first.wait_for()


@pytest.mark.parametrize(
    ("asset", "name", "file"),
    [("weights", "weights_chart", "weights.png"), ("curated_tws_1m_bars", "coverage_heat_map", "coverage.png")],
)
def test_pictures_in_metadata_are_drawn(ui: Server, page: Any, shots: Path, asset: str, name: str, file: str):
    page.set_viewport_size({"width": 2000, "height": 1300})
    page.goto(f"{ui.url}/assets/{asset}")
    row = page.get_by_role("row").filter(has=page.get_by_text(name, exact=True)).last
    row.get_by_text("[Show Markdown]").click()
    image = page.locator("img[src^='data:image/png']").first
    image.wait_for()
    page.wait_for_function("document.querySelector(\"img[src^='data:image/png']\").naturalWidth > 0")
    width, height = image.evaluate("one => [one.naturalWidth, one.naturalHeight]")
    assert width > 300
    assert height > 100
    assert image.is_visible()
    page.wait_for_timeout(700)  # the dialog fades in
    image.screenshot(path=shots / file)

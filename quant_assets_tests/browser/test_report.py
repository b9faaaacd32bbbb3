"""The report as a reader meets it: opened from disk with the network cut, at a desk and on paper."""

import re
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest

from quant_assets.clock import ManualClock
from quant_assets.domain.backtest import Plan
from quant_assets.flows.alpha import STEPS
from quant_assets.flows.backtest import store, walk
from quant_assets.lakehouse.layout import Layout
from quant_assets_tests.unit.alpha import scenario
from quant_assets_tests.unit.backtest.history import LAST, NAME, history, profile

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the report of a run with 12 instruments."""
    world = scenario.world(n=12, method="hrp")
    run = world.freeze(Layout(tmp_path_factory.mktemp("report"))).run
    for step in STEPS:
        step(run, world.clock)
    return run.file("reports/report.html")


@pytest.fixture
def page(chromium: Any, report: Path) -> Iterator[Any]:
    """Open the report; everything that it asks for is refused and noted, under a policy that allows styles alone."""
    opened = chromium.new_page(viewport={"width": 1280, "height": 900})
    opened.asked, opened.said = [], []
    opened.on("request", lambda request: opened.asked.append(request.url))
    opened.on("console", lambda message: opened.said.append(message.text))
    policy = "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
    strict = report.with_name("strict.html")
    if not strict.exists():
        strict.write_text(report.read_text().replace("<head>", f"<head>{policy}", 1))
    opened.goto(strict.as_uri())
    yield opened
    opened.close()


def test_nothing_outside_the_file_is_asked_for_and_the_strictest_policy_is_kept(page: Any):
    assert [url for url in page.asked if not url.endswith("/strict.html")] == []
    assert page.said == []


def test_nothing_runs_off_the_page_at_a_desk(page: Any):
    assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
    wide = "found => found.filter(one => one.scrollWidth > one.clientWidth + 1).length"
    assert page.locator("section, table, figure").evaluate_all(wide) == 0
    assert page.locator("svg").evaluate_all("found => found.every(one => one.getBoundingClientRect().height > 40)")


def test_numbers_stand_right_and_have_figures_of_one_width(page: Any):
    styles = "found => [...new Set(found.map(one => getComputedStyle(one).textAlign))]"
    assert page.locator("td.n").evaluate_all(styles) == ["right"]
    assert "tabular-nums" in page.locator("table").first.evaluate("one => getComputedStyle(one).fontVariantNumeric")


def test_every_entry_of_the_contents_leads_to_a_section(page: Any):
    targets = page.locator(".contents a").evaluate_all("found => found.map(one => one.getAttribute('href').slice(1))")
    assert len(targets) >= 12
    assert all(page.locator(f"section#{target} h2").count() == 1 for target in targets)


def test_it_prints_on_a4_without_a_line_cut_off(page: Any, tmp_path: Path):
    page.emulate_media(media="print")
    page.set_viewport_size({"width": 680, "height": 960})  # A4 less its margins, at 96 dots an inch
    assert page.evaluate("document.documentElement.scrollWidth <= 680")
    assert not page.locator(".contents").is_visible()
    page.pdf(path=tmp_path / "report.pdf", prefer_css_page_size=True, print_background=True)
    printed = (tmp_path / "report.pdf").read_bytes()
    boxes = set(re.findall(rb"/MediaBox\s*\[0 0 (\d+)(?:\.\d+)? (\d+)", printed))
    (box,) = boxes
    assert (int(box[0]), int(box[1])) in {(594, 841), (595, 841), (595, 842)}
    assert 4 <= len(re.findall(rb"/Type\s*/Page\b", printed)) <= 12


def test_the_folds_of_a_backtest_print_with_whole_dates(chromium: Any, tmp_path: Path):
    plan = Plan(rebalance="20")
    walked = walk(history(), NAME, profile(), date(2024, 5, 1), LAST, plan)
    run = store(Layout(tmp_path), walked, history(), profile(), ManualClock(datetime(2024, 7, 1, tzinfo=UTC)))
    page = chromium.new_page(viewport={"width": 680, "height": 960})  # A4 less its margins, at 96 dots an inch
    page.emulate_media(media="print")
    page.goto(run.file("reports/report.html").as_uri())
    lines = page.locator(".day").evaluate_all("found => found.map(one => one.getClientRects().length)")
    assert lines == [1] * (3 * walked.folds.height)
    assert page.evaluate("document.documentElement.scrollWidth <= 680")
    page.close()

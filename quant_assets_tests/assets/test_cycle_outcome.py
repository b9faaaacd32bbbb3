"""What a cycle comes to, its last run included: nobody is told `ok` beside a catalog that was not refreshed."""

import json
from datetime import date
from types import SimpleNamespace

import pytest

from quant_assets.cli.flow import run_alpha, run_data
from quant_assets.domain.tables import CURATED_TWS_1M_BARS
from quant_assets.errors import CorruptFileError
from quant_assets.lakehouse.layout import Layout, Partition
from quant_assets.registry import Registry, RunOutcome
from quant_assets_tests.assets.house import House

SESSION = date(2025, 11, 26)


@pytest.fixture
def house(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # no dagster.yaml here: the instance of the registry does not last
    with House(tmp_path, symbols=("ARCA:QMKT", "NYSE:QEND")) as made:
        yield made


def test_a_catalog_that_cannot_be_refreshed_says_why_in_a_sentence(house):
    """The daily reports, which are written with the catalog, count the minutes of a month."""
    house.run_data(str(SESSION))
    assert Registry(house.settings).run(["catalog"]).success
    layout = Layout(house.data)
    layout.catalog.write_text("{")
    assert Registry(house.settings).run(["catalog"]).success, "it is made of the files, whatever stood in its place"
    assert json.loads(layout.catalog.read_text())["tables"]["universe"]["rows"] == 2
    damaged = layout.file(CURATED_TWS_1M_BARS, Partition(SESSION))
    damaged.write_bytes(damaged.read_bytes()[:-100])
    outcome = Registry(house.settings).run(["catalog"])
    assert not outcome.success
    assert outcome.exit_code == CorruptFileError.exit_code == 65
    [(_, sentence)] = outcome.failures
    assert sentence.startswith(f"{damaged} is unreadable")
    assert "quant lake rebuild --sessions" in sentence


@pytest.mark.parametrize("run", [run_data, lambda registry, sessions: run_alpha(registry, sessions, "calm")])
def test_a_cycle_fails_with_its_catalog(house, run):
    def catalog_fails(assets, first=None, last=None, **_):
        if list(assets) == ["catalog"]:
            return RunOutcome("c", success=False, failures=((65, "a file is unreadable"),))
        return RunOutcome("r", success=True, rewritten=1)

    outcome = run(SimpleNamespace(run=catalog_fails, settings=house.settings), [SESSION])
    assert (outcome.success, outcome.exit_code) == (False, 65)
    assert outcome.failures == ((65, "a file is unreadable"),)
    assert outcome.run_id.endswith(",c")

"""The evening on which an instrument returns, as a command: the session that it was away in is mended with it."""

import json
from datetime import date

import polars as pl
import pytest
from click.testing import CliRunner

from quant_assets.assets.repairs import requests_for
from quant_assets.cli import cli
from quant_assets.cli.flow import run_data
from quant_assets.domain.features import GROUPS
from quant_assets.domain.tables import ADJUSTMENT_FACTORS, RAW_TWS_DAILY_BARS
from quant_assets.flows.care import repair_plan
from quant_assets.flows.certify import certificate_of, certify
from quant_assets.flows.derive import publish_group
from quant_assets.lakehouse.features import FeatureStore
from quant_assets.registry import Registry
from quant_assets_tests.builders import CALENDAR
from quant_assets_tests.unit.flows.lab import Lab, after

SPLIT = date(2023, 8, 10)
"""QCOC splits two for one, closes at 18.27 on the session before and at 9.11 on the one after."""
BEFORE, LATER = CALENDAR.previous(SPLIT), CALENDAR.following(SPLIT)
QCOC, STAYS = "NASDAQ:QCOC", "ARCA:QMKT"


@pytest.fixture
def lab(tmp_path, monkeypatch):
    """Three evenings, each certified: the instrument is out on the second one."""
    monkeypatch.chdir(tmp_path)  # no dagster.yaml here: the instance of the registry does not last
    lab = Lab(tmp_path)
    for day in (BEFORE, SPLIT, LATER):
        lab.symbols = (STAYS,) if day == SPLIT else (QCOC, STAYS)
        lab.run([day])
        with lab.at(after(day)) as work:
            publish_group(work, GROUPS["tv_technicals_1d", "v1"], day)
            assert certify(work, day).is_committed
    return lab


def closes(lab: Lab) -> list[float]:
    bars = FeatureStore(lab.lake.layout, CALENDAR).get_curated_bars(
        [QCOC], BEFORE, LATER, adjust="splits", missing="ignore"
    )
    return bars.group_by("session", maintain_order=True).agg(pl.col("close").last())["close"].to_list()


def states(lab: Lab) -> dict[date, str]:
    with lab.at(after(LATER)) as work:
        return {day: certificate_of(work, day).state for day in (BEFORE, SPLIT, LATER)}


def test_the_next_data_cycle_brings_the_session_away_up_to_date_and_certifies_it_again(lab):
    assert closes(lab) == pytest.approx([18.27, 9.11])
    assert states(lab) == {BEFORE: "valid", SPLIT: "behind", LATER: "valid"}
    where = {"QUANT_DATA": str(lab.root / "data"), "QUANT_CONFIGS": str(lab.root / "configs")}
    said = CliRunner().invoke(cli, ["repair", "--dry-run"], env=where, catch_exceptions=False).output
    assert f"adjustment_factors to bring up to date, without a request: {SPLIT}\n" in said
    told = CliRunner().invoke(cli, ["repair", "--dry-run", "--json"], env=where, catch_exceptions=False).output
    assert json.loads(told)["outdated"] == [str(SPLIT)]
    with lab.at(after(LATER)) as work:
        plan = repair_plan(work, BEFORE, LATER)
        (asked,) = requests_for(plan, list(plan.outdated), work.calendar)
        assert asked.partition_key == str(SPLIT)
    outcome = run_data(Registry(lab.settings()), [LATER])
    assert outcome.success, outcome.failures
    assert outcome.requests == 0
    assert closes(lab) == pytest.approx([9.135, 9.11])
    assert states(lab) == dict.fromkeys((BEFORE, SPLIT, LATER), "valid")
    again = run_data(Registry(lab.settings()), [LATER])
    assert (again.success, again.rewritten) == (True, 0)


def test_what_is_behind_is_named_with_what_it_lacks(lab):
    with lab.at(after(LATER)) as work:
        found = certificate_of(work, SPLIT)
    assert f"{ADJUSTMENT_FACTORS.name} was made from an older {RAW_TWS_DAILY_BARS.name}" in " ".join(found.behind)

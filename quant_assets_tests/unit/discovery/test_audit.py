"""`quant manifest` and `quant scanner` as people use them: every problem at once, and where each value comes from."""

import json
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from quant_assets.cli import cli
from quant_assets.errors import QuantAssetsError

CONFIGS = Path(__file__).parents[3] / "configs"


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A configuration of a user's own; returns a way to run commands over it."""
    monkeypatch.setenv("QUANT_CONFIGS", str(tmp_path / "configs"))
    monkeypatch.setenv("QUANT_DATA", str(tmp_path / "data"))

    def write(manifest=None, lists=None, scanners=None):
        base = {
            "default_profile": "p",
            "profiles": {"p": {"discovery": {"lists": ["a"]}}},
            "lakehouse": {"start_session": "2024-01-02"},
        }
        for kind, files in (("lists", lists or {"a": {"symbols": ["NYSE:QEND"]}}), ("scanners", scanners or {})):
            (tmp_path / "configs" / kind).mkdir(parents=True, exist_ok=True)
            for name, content in files.items():
                (tmp_path / "configs" / kind / f"{name}.yaml").write_text(yaml.safe_dump(content))
        (tmp_path / "configs" / "manifest.json").write_text(json.dumps({**base, **(manifest or {})}))

    write()
    return write


def quant(*words, code=0):
    done = CliRunner().invoke(cli, words)
    if isinstance(done.exception, QuantAssetsError):
        raise done.exception
    assert done.exit_code == code, done.output
    return done.stdout


def problems(code=2):
    return json.loads(quant("manifest", "audit", "--json", code=code))["problems"]


def test_the_shipped_configuration_has_no_problem(monkeypatch, tmp_path):
    monkeypatch.setenv("QUANT_CONFIGS", str(CONFIGS))
    monkeypatch.setenv("QUANT_DATA", str(tmp_path))
    assert problems(code=0) == []
    assert "0 errors, 0 warnings" in quant("manifest", "audit")


def test_every_problem_is_told_and_not_the_first(project):
    profile = {
        "discovery": {"lists": ["a", "nowhere", "empty", "twice"], "scanners": ["odd", "tv", "nobody"]},
        "selection": {"direction": "SHORT", "screens": ["tv"], "min_selected": 40, "ranking": "momentum"},
        "features": {"groups": ["features_price_1m_v9"]},
        "data": {"lookback_sessions": 100, "min_sessions_floor": 50},
        "risk": {"max_weight": 0.01},
    }
    manifest = {
        "profiles": {"p": profile, "idle": {"active": False}},
        "production_profile": "idle",
        "lakehouse": {"start_session": "2024-01-02", "calendars": ["XNYS", "XYZQ"]},
        "replay": {"market": "nothing.parquet", "faults": "nothing.yaml"},
        "budgets": {"daily_minutes": 90, "backfill_minutes": 10},
    }
    lists = {"a": {"symbols": ["NYSE:QEND"]}, "empty": {"symbols": []}, "twice": {"symbols": ["NYSE:A", "NYSE:A"]}}
    scanners = {"odd": {"source": "lakehouse", "limt": 3}, "tv": {"source": "tradingview"}}
    project(manifest, lists, scanners)
    told = [f"{one['severity']} {one['where']} {one['what']}" for one in problems()]
    for words in (
        "error p: discovery.lists There is no symbol list 'nowhere'",
        "error p: discovery.lists list 'empty' is empty",
        "warning p: discovery.lists list 'twice' names twice: NYSE:A",
        "no such key. Did you mean 'limit'? Known: base_preset",
        "error p: discovery.scanners There is no scanner 'nobody'",
        "error p: discovery.scanners scanner 'tv' asks TradingView",
        "'tv' asks tradingview, and candidates are screened over the lakehouse",
        "error p: features.groups There is no feature group table 'features_price_1m_v9'",
        "error p: selection.direction 'p' is SHORT",
        "error p: selection.min_selected",
        "warning p: data.lookback_sessions ranking by momentum looks back 253",
        "warning p: risk.max_weight 25 instruments at 0.01 each hold 0.25: 75% stays cash",
        "error production_profile profile 'idle' is not active",
        "XYZQ",
        "error replay.market there is no recording at nothing.parquet",
        "error replay.faults there is no fault script at nothing.yaml",
        "warning budgets the daily budget exceeds",
    ):
        assert [one for one in told if words in one], words
    shown = quant("manifest", "audit", code=2)
    assert shown.count("error: ") == sum(one.startswith("error") for one in told)


LIST = """\
description: five entries
symbols: [QMKT,
  "arca:qmkt",
  NYSE:QEND, "NYSE:a/b"]
"""


def test_every_bad_entry_of_a_list_is_told_once_with_its_place(project, tmp_path):
    project({"profiles": {"p": {"discovery": {"lists": ["a"]}}, "q": {"discovery": {"lists": ["a"]}}}})
    file = tmp_path / "configs" / "lists" / "a.yaml"
    file.write_text(LIST)
    (only,) = problems()
    assert only["where"] == "p, q: discovery.lists"
    assert only["what"].startswith(
        f"{file}: key 'symbols.1', 'arca:qmkt': 'arca' is not a legal exchange: allowed are "
    )
    assert "; key 'symbols.3', 'NYSE:a/b': 'a/b' is not a legal symbol: allowed are " in only["what"]
    file.write_text("symbols: [NYSE:A, 7, 8]\ntitle: x\n")
    (only,) = problems()
    for key in ("symbols.1", "symbols.2", "title"):
        assert f"key {key!r}: " in only["what"]


def test_a_budget_that_pacing_alone_exceeds_is_told_with_the_figure(project):
    symbols = [f"NYSE:Q{letter}{other}" for letter in "ABCDEFGH" for other in "ABCDEFGHIJKL"]
    project({"budgets": {"daily_minutes": 1}}, {"a": {"symbols": symbols}})
    (only,) = problems(code=0)
    assert only["where"] == "budgets.daily_minutes"
    assert "pacing alone takes" in only["what"]
    assert "it is 1." in only["what"]


def test_live_scanners_alone_cannot_look_back(project):
    project(
        {"profiles": {"p": {"discovery": {"scanners": ["busy"]}}}},
        scanners={"busy": {"source": "tws", "tws": {"scan_code": "MOST_ACTIVE"}}},
    )
    (only,) = problems(code=0)
    assert "only the latest session can be discovered" in only["what"]


def test_a_sleeve_without_runs_is_told(project):
    profiles = {
        "p": {"discovery": {"lists": ["a"]}},
        "idle": {"active": False},
        "m": {"sleeves": {"p": {}, "idle": {}}},
    }
    project({"profiles": profiles})
    (only,) = problems()
    assert (only["where"], only["severity"]) == ("m: sleeves.idle", "error")
    assert "'idle' is not active" in only["what"]


def test_a_handed_over_file_is_examined_too(project, monkeypatch, tmp_path):
    monkeypatch.setenv("CANDIDATES_FILE", str(tmp_path / "none.json"))
    assert [one["where"] for one in problems()] == ["CANDIDATES_FILE"]


def test_show_tells_the_origin_of_each_value(project, monkeypatch):
    monkeypatch.setenv("QUANT__RISK__MAX_WEIGHT", "0.3")
    shown = quant("--set", "risk.method=hrp", "manifest", "show", "p")
    lines = {line.split("│")[1].strip(): line for line in shown.splitlines() if line.startswith("│")}
    assert "option --set risk.method" in lines["risk.method"]
    assert "QUANT__RISK__MAX_WEIGHT" in lines["risk.max_weight"]
    assert "profiles.p" in lines["discovery.lists"]
    assert "declared default" in lines["risk.cluster_cap"]
    assert json.loads(quant("--set", "risk.method=hrp", "manifest", "show", "p", "--json"))["risk"]["method"] == "hrp"


def test_scanners_are_listed_and_shown_with_the_file_of_each_value(project):
    project(
        {"profiles": {"p": {"discovery": {"lists": ["a"], "scanners": ["busy"]}}}},
        scanners={"busy": {"source": "tws", "limit": 7, "tws": {"scan_code": "MOST_ACTIVE"}}},
    )
    (row,) = json.loads(quant("scanner", "list", "--json"))
    assert (row["name"], row["source"], row["limit"], row["profiles"]) == ("busy", "tws", 7, "p")
    values = json.loads(quant("scanner", "show", "busy", "--json"))["values"]
    assert {"key": "limit", "value": 7, "origin": "busy.yaml"} in values
    assert "tws.scan_code" in quant("scanner", "show", "busy")
    with pytest.raises(QuantAssetsError, match="Did you mean 'busy'"):
        quant("scanner", "show", "buzy")

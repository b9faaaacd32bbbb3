"""Command line over environment over profile over defaults: for every section, with the origin of each value."""

import json

import pytest

from quant_assets.clock import ManualClock
from quant_assets.errors import ConfigurationError
from quant_assets.flows.budget import over_budget
from quant_assets.flows.work import Work
from quant_assets.settings import Settings
from quant_assets_tests.builders import instant


@pytest.fixture
def configs(tmp_path):
    """Write a manifest and return its directory."""

    def write(**sections):
        content = {
            "default_profile": "main",
            "defaults": {"risk": {"max_weight": 0.2, "sector_cap": 0.3}},
            "profiles": {"main": {"risk": {"max_weight": 0.1}}, "other": {}, "alias": "main"},
        }
        (tmp_path / "manifest.json").write_text(json.dumps({**content, **sections}))
        return tmp_path

    return write


def settings(directory, *assignments, **env):
    return Settings.from_env(env, configs=directory, assignments=assignments)


def origin(found, key):
    return next((one.value, one.origin) for one in found if one.key == key)


def test_four_layers_of_one_value(configs):
    here, name = configs(), "QUANT__RISK__MAX_WEIGHT"
    assert settings(here).manifest.profile("main").risk.max_weight == 0.1
    assert settings(here).manifest.profile("other").risk.max_weight == 0.2
    from_env = settings(here, **{name: "0.4"}).manifest
    assert [one.risk.max_weight for one in from_env.profiles.values()] == [0.4, 0.4], "of every profile"
    from_both = settings(here, "risk.max_weight=0.5", **{name: "0.4"}).manifest
    assert from_both.profile("alias").risk.max_weight == 0.5
    assert from_both.profile("main").risk.sector_cap == 0.3, "what nobody overrides stays"


def test_the_origin_of_each_value_is_told(configs):
    here = configs()
    found = settings(here, "risk.method=hrp", QUANT__DATA__LOOKBACK_SESSIONS="400").explain("alias")
    file = "manifest.json"
    assert origin(found, "risk.method") == ("hrp", "option --set risk.method")
    assert origin(found, "data.lookback_sessions") == (400, "environment variable QUANT__DATA__LOOKBACK_SESSIONS")
    assert origin(found, "risk.max_weight") == (0.1, f"{file}, profiles.main")
    assert origin(found, "risk.sector_cap") == (0.3, f"{file}, defaults")
    assert origin(found, "risk.cluster_cap") == (0.25, "declared default")
    house = settings(configs(tws={"port": 4002}), QUANT_TWS_HOST="box").explain()
    assert origin(house, "tws.port") == (4002, file)
    assert origin(house, "tws.host") == ("box", "environment variable QUANT_TWS_HOST")
    assert origin(house, "default_profile") == ("main", file)


def test_the_short_variable_wins_over_the_long_one(configs):
    both = settings(configs(), QUANT__TWS__PORT="1", QUANT_TWS_PORT="2")
    assert both.manifest.tws.port == 2
    assert origin(both.explain(), "tws.port") == (2, "environment variable QUANT_TWS_PORT")


@pytest.mark.parametrize(
    ("assignment", "words"),
    [
        ("risk.max_weight=2", ["option --set risk.max_weight", "less than or equal to 1", "got 2"]),
        ("risk.max_wight=0.1", ["option --set risk.max_wight", "no such key. Did you mean 'max_weight'? Known: "]),
        ("tws.prt=7", ["option --set tws.prt, key 'tws.prt'", "no such key. Did you mean 'port'? Known: "]),
        (
            "rsk.max_weight=0.1",
            ["option --set rsk.max_weight", "no section 'rsk'. Did you mean 'risk'? Known: budgets"],
        ),
        ("risk.max_weight", ["no assignment"]),
        ("max_weight=1", ["option --set max_weight", "no section 'max_weight'"]),
        (
            "default_profile=nope",
            ["option --set default_profile: there is no profile 'nope'. Known: main, other, alias"],
        ),
        ("profiles.main.risk={}", ["no section 'profiles'"]),
        ("risk.method.name=hrp", ["profiles.main.risk.method"]),
    ],
)
def test_a_wrong_assignment_is_named(configs, assignment, words):
    with pytest.raises(ConfigurationError) as refused:
        _ = settings(configs(), assignment).manifest
    for word in words:
        assert word in str(refused.value)


def test_a_key_without_a_section_can_be_set(configs):
    here = configs()
    assert settings(here, "default_profile=other").manifest.default_profile == "other"
    assert (
        origin(settings(here, "default_profile=other").explain(), "default_profile")[1]
        == "option --set default_profile"
    )


ENV = "QUANT__QUALITY__SEVERITIES__OHLC_ORDER"
OPTION = "quality.severities.ohlc_order"


@pytest.mark.parametrize(
    ("assignments", "env", "blamed"),
    [
        ((f"{OPTION}=warn",), {}, [f"option --set {OPTION}"]),
        ((), {ENV: "warn"}, [f"environment variable {ENV}"]),
        ((f"{OPTION}=warn", "quality.severities.toxic_price=warn", "tws.port=4002"), {}, [f"option --set {OPTION}"]),
        (
            (f"{OPTION}=warn", "quality.severities.price_missing=warn"),
            {},
            [f"option --set {OPTION}", "option --set quality.severities.price_missing"],
        ),
        (("quality.severities.toxic_price=warn",), {}, ["manifest.json"]),
        ((f"{OPTION}=quarantine",), {}, ["manifest.json"]),
        ((), {}, ["manifest.json"]),
    ],
    ids=["option", "variable", "one-of-three", "both", "file-beside-an-option", "option-that-is-right", "file"],
)
def test_who_wrote_a_wrong_value_inside_a_mapping_is_named(configs, assignments, env, blamed):
    """The severities are judged together, so the error is about all of them; only one of them is to be mended."""
    of_file = {"quality": {"severities": {"price_not_positive": "warn"}}} if blamed == ["manifest.json"] else {}
    with pytest.raises(ConfigurationError, match="is always quarantine") as refused:
        _ = settings(configs(**of_file), *assignments, **env).manifest
    where = str(refused.value).split(", key 'quality.severities'")[0]
    assert [part.rpartition("/")[2] for part in where.split(" and ")] == blamed


def test_limits_that_contradict_each_other_blame_what_was_set(configs):
    """The floor is above the lookback that holds without any file."""
    with pytest.raises(ConfigurationError) as refused:
        _ = settings(configs(), "data.min_sessions_floor=9999", "tws.port=4002").manifest
    assert str(refused.value).startswith("option --set data.min_sessions_floor")


@pytest.mark.parametrize(
    ("sections", "words"),
    [
        ({"budgets": {"daily_minutes": 0}}, "budgets.daily_minutes"),
        ({"tradingview": {"base_url": "ftp://x"}}, "tradingview.base_url"),
        ({"tracking": {"mlflow": {"enable": True}}}, "tracking.mlflow.enable"),
        ({"defaults": {"discovery": {"interval": "1s"}}}, "discovery.interval"),
        ({"defaults": {"selection": {"direction": "UP"}}}, "selection.direction"),
        ({"profiles": {"main": {}, "m": {"sleeves": {"nobody": {}}}}}, "m.sleeves.nobody names no profile"),
        ({"profiles": {"main": {}, "m": {"sleeves": {"m": {}}}}}, "must have no sleeves itself"),
        (
            {"profiles": {"main": {"sleeves": {"a": {"max_weight": 0.3}, "b": {"max_weight": 0.3}}}, "a": {}, "b": {}}},
            "0 to 0.6 of the capital",
        ),
        ({"profiles": {"main": {"sleeves": {"a": {"min_weight": 0.6, "max_weight": 0.5}}}, "a": {}}}, "exceeds"),
    ],
    ids=str,
)
def test_new_sections_are_validated(configs, sections, words):
    with pytest.raises(ConfigurationError, match=words):
        _ = settings(configs(**sections)).manifest


def test_sleeves_name_profiles_or_say_which(configs):
    sleeves = {"other": {}, "second": {"profile": "alias"}}
    profiles = {"main": {}, "meta": {"sleeves": sleeves}, "other": {}, "p": {}, "alias": "p"}
    held = settings(configs(profiles=profiles)).manifest.profile("meta").sleeves
    assert {name: one.profile for name, one in held.items()} == {"other": "", "second": "alias"}


# ------------------------------------------------------------------ time budgets


@pytest.mark.parametrize(
    ("n_sessions", "minutes", "told"),
    [(1, 29.9, None), (1, 30.1, "30.1 minutes for 1"), (2, 30.1, None), (2, 600.5, "600.5 minutes for 2")],
)
def test_a_budget_that_is_exceeded_is_told_with_its_figure(configs, n_sessions, minutes, told):
    clock = ManualClock(instant("2024-03-14 22:00"))
    chosen = settings(configs(budgets={"daily_minutes": 30, "backfill_minutes": 600}))
    work = Work(chosen, gate=None, clock=clock)
    clock.advance(minutes * 60)
    found = over_budget(work, n_sessions)
    assert (told in found) if told else found is None


def test_null_is_no_budget(configs):
    clock = ManualClock(instant("2024-03-14 22:00"))
    work = Work(settings(configs(budgets={"daily_minutes": None})), gate=None, clock=clock)
    clock.advance(10**9)
    assert over_budget(work, 1) is None

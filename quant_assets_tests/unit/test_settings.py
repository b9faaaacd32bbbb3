"""The manifest, the environment and names: what is accepted, what is refused, and in which words."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from quant_assets.errors import ConfigurationError, UnknownNameError, UnsafeNameError
from quant_assets.settings import Settings
from quant_assets.settings.manifest import Manifest, load_manifest
from quant_assets.settings.names import safe_exchange, safe_name, safe_symbol, split_qualified
from quant_assets.settings.nested import leaves

ROOT = Path(__file__).parents[2]
MINIMAL = {"default_profile": "default", "profiles": {"default": {}}}


@pytest.fixture
def manifest(tmp_path):
    """Write a manifest (text or values, merged over the minimal one) and return its path."""

    def write(content=None, **changes):
        path = tmp_path / "manifest.json"
        text = content if isinstance(content, str) else json.dumps({**MINIMAL, **(content or {}), **changes})
        path.write_text(text, encoding="utf-8")
        return path

    return write


def refusal(path, **overrides):
    with pytest.raises(ConfigurationError) as refused:
        load_manifest(path, overrides)
    message = str(refused.value)
    assert str(path) in message, "the file is named"
    assert refused.value.exit_code == 2
    return message


def test_the_manifest_of_the_repository_is_valid():
    loaded = load_manifest(ROOT / "configs" / "manifest.json")
    assert loaded.profile("production") == loaded.profile("default")
    assert {"default", "equal", "hrp"} <= set(loaded.active_profiles)
    assert loaded.profile("equal").risk.method == "equal_weight"
    assert loaded.profile("equal").selection.top_n == 25, "from the defaults"


def test_the_smallest_manifest_has_the_documented_defaults(manifest):
    loaded = load_manifest(manifest())
    profile = loaded.profile("default")
    assert loaded.production_profile == "default"
    assert (profile.data.lookback_sessions, profile.data.min_sessions_floor) == (500, 320)
    assert profile.data.stale_policy == "fail"
    assert (profile.risk.sector_cap, profile.risk.cluster_cap, profile.risk.max_turnover) == (0.40, 0.25, None)
    assert [atom.logic for atom in profile.synthesis.atoms] == ["long_only"]
    assert loaded.lakehouse.fetch_throttle_hours == 12
    assert loaded.tws.mode == "replay"


def test_bad_json_names_the_line(manifest):
    path = manifest('{\n  "default_profile": "default",\n  "profiles": {"default": {},}\n}')
    assert f"{path}, line 3: not valid JSON" in refusal(path)


def test_an_absent_manifest_names_the_variable_that_moves_it(tmp_path):
    assert "QUANT_CONFIGS" in refusal(tmp_path / "manifest.json")


def test_a_manifest_that_is_no_text(tmp_path):
    path = tmp_path / "manifest.json"
    path.write_bytes(b"\xff\xfe\x00")
    assert "cannot be read" in refusal(path)


@pytest.mark.parametrize("text", ["[]", "null", "3", '"x"'])
def test_a_manifest_that_is_no_object(manifest, text):
    assert "must be a JSON object" in refusal(manifest(text))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"lakehose": {}}, ["'lakehose'", "no such key"]),
        ({"lakehouse": {"calender": []}}, ["'lakehouse.calender'", "no such key"]),
        ({"profiles": {"default": {"data": {"lookback": 3}}}}, ["profiles.default.data.lookback", "no such key"]),
        ({"tws": {"mode": "paper"}}, ["'tws.mode'", "'replay' or 'live'", "'paper'"]),
        ({"tws": {"port": 0}}, ["'tws.port'", "greater than or equal to 1"]),
        ({"tws": {"port": "x"}}, ["'tws.port'", "integer", "'x'"]),
        ({"tws": {"max_requests_per_10_min": 61}}, ["'tws.max_requests_per_10_min'", "less than or equal to 60"]),
        ({"lakehouse": {"start_session": "2024-13-01"}}, ["'lakehouse.start_session'"]),
        ({"defaults": {"risk": {"max_weight": 1.5}}}, ["profiles.default.risk.max_weight", "less than or equal to 1"]),
        ({"defaults": {"risk": {"method": "magic"}}}, ["profiles.default.risk.method", "'min_variance'", "'magic'"]),
        (
            {"defaults": {"data": {"lookback_sessions": 100, "min_sessions_floor": 320}}},
            ["profiles.default.data", "min_sessions_floor 320 exceeds lookback_sessions 100"],
        ),
        (
            {"defaults": {"selection": {"score_weights": {"momentun": 1}}}},
            ["selection.score_weights.momentun", "'momentum', 'stability'"],
        ),
        ({"defaults": {"selection": {"score_weights": {"momentum": -1}}}}, ["selection.score_weights", "not negative"]),
        ({"defaults": {"selection": {"score_weights": {}}}}, ["selection.score_weights", "one of them positive"]),
        ({"defaults": {"selection": {"vetoes": {"cvar": {}}}}}, ["vetoes.cvar", "give min, max or both"]),
        (
            {"defaults": {"selection": {"vetoes": {"cvar": {"min": 2, "max": 1}}}}},
            ["vetoes.cvar", "min 2 exceeds max 1"],
        ),
        ({"defaults": {"selection": {"threshold": 1.0}}}, ["selection.threshold", "less than 1"]),
        ({"defaults": {"synthesis": {"atoms": []}}}, ["synthesis.atoms", "at least 1"]),
        ({"defaults": {"synthesis": {"atoms": [{"logic": "hold"}]}}}, ["atoms.0.logic", "'long_only', 'momentum'"]),
        ({"defaults": {"synthesis": {"atoms": [{"direction": "SHORT"}]}}}, ["atoms.0", "long_only is LONG"]),
        ({"defaults": {"synthesis": {"atoms": [{}, {"timescale": 5}]}}}, ["synthesis.atoms", "two atoms are the same"]),
        ({"defaults": {"risk": {"max_turnover": 0}}}, ["risk.max_turnover", "greater than 0"]),
        ({"defaults": {"costs": {"schedule": "free"}}}, ["costs.schedule", "'ibkr_fixed_us' or 'none'"]),
        ({"profiles": {}}, ["'profiles'", "at least one profile"]),
        ({"profiles": ["default"]}, ["'profiles'", "at least one profile"]),
        ({"profiles": {"default": 3}}, ["profiles.default", "3"]),
        ({"default_profile": "defualt"}, ["'default_profile'", "'defualt'", "Known: default"]),
        ({"production_profile": "prod"}, ["'production_profile'", "'prod'", "Known: default"]),
        ({"profiles": {"default": {}, "a": "nobody"}}, ["'profiles.a'", "'nobody'", "does not exist"]),
        ({"profiles": {"default": {}, "a": "b", "b": "c", "c": "a"}}, ["cycle", "a → b → c → a"]),
        ({"profiles": {"default": {}, "a": "a"}}, ["cycle", "a → a"]),
        ({"tws": 3}, ["'tws'", "3"]),
        ({"defaults": 3}, ["'defaults'", "must be an object"]),
        ({"default_profile": ["default"]}, ["'default_profile'", "Known: default"]),
        ({"production_profile": None}, ["'production_profile'", "Known: default"]),
        ({"aliases": {"a": "default"}}, ["'aliases'", "in profiles"]),
    ],
    ids=str,
)
def test_refusals_name_file_key_and_what_is_legal(manifest, changes, words):
    message = refusal(manifest(changes))
    for word in words:
        assert word in message


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize(
    ("key", "changes"),
    [
        ("lakehouse.lock_wait_s", lambda x: {"lakehouse": {"lock_wait_s": x}}),
        ("lakehouse.max_unexplained", lambda x: {"lakehouse": {"max_unexplained": x}}),
        ("tws.request_timeout_s", lambda x: {"tws": {"request_timeout_s": x}}),
        ("replay.time_scale", lambda x: {"replay": {"time_scale": x}}),
        ("replay.positions.ARCA:QMKT", lambda x: {"replay": {"positions": {"ARCA:QMKT": x}}}),
        ("risk.cluster_cap", lambda x: {"defaults": {"risk": {"cluster_cap": x}}}),
        ("score_weights.momentum", lambda x: {"defaults": {"selection": {"score_weights": {"momentum": x}}}}),
        ("vetoes.cvar.max", lambda x: {"defaults": {"selection": {"vetoes": {"cvar": {"max": x}}}}}),
        ("max_jump", lambda x: {"quality": {"asset_classes": {"STK": {"max_jump": x}}}}),
    ],
)
def test_no_number_of_the_configuration_is_none(manifest, key, changes, number):
    """Python reads NaN and Infinity from JSON; a comparison with the first is never true, so no limit would hold."""
    message = refusal(manifest(changes(number)))
    assert key in message
    assert "finite number" in message


@pytest.mark.parametrize("name", ["../etc", "a/b", "a b", "", "é", "x" * 65])
def test_unsafe_profile_names_are_refused(manifest, name):
    with pytest.raises(UnsafeNameError) as refused:
        load_manifest(manifest(profiles={"default": {}, name: {}}))
    assert repr(name) in str(refused.value)
    with pytest.raises(UnsafeNameError):
        load_manifest(manifest(profiles={"default": {}, name: "default"}))


def test_unsafe_symbols_in_aliases_are_refused(manifest):
    with pytest.raises(UnsafeNameError, match="etc"):
        load_manifest(manifest(symbology={"aliases": {"AMEX:SPY": "../../etc/passwd"}}))


def test_an_unknown_profile_suggests_the_nearest(manifest):
    loaded = load_manifest(manifest(profiles={"default": {}, "momentum": {}, "production": "momentum"}))
    with pytest.raises(UnknownNameError, match="Did you mean 'momentum'"):
        loaded.profile("momentun")
    with pytest.raises(UnknownNameError, match="Did you mean 'production'"):
        loaded.profile("productoin")
    assert loaded.resolve("production") == "momentum"


def test_aliases_of_aliases_resolve_and_have_no_profile_of_their_own(manifest):
    loaded = load_manifest(manifest(profiles={"default": {}, "b": "default", "a": "b"}))
    assert (loaded.resolve("a"), loaded.resolve("b")) == ("default", "default")
    assert list(loaded.active_profiles) == ["default"]


def test_defaults_merge_deeply_and_lists_replace(manifest):
    loaded = load_manifest(
        manifest(
            defaults={"discovery": {"lists": ["a", "b"]}, "selection": {"top_n": 5, "min_price": 3}},
            profiles={"default": {}, "own": {"discovery": {"lists": ["c"]}, "selection": {"top_n": 9}}},
        )
    )
    assert loaded.profile("default").discovery.lists == ("a", "b")
    assert loaded.profile("own").discovery.lists == ("c",)
    assert (loaded.profile("own").selection.top_n, loaded.profile("own").selection.min_price) == (9, 3)


def test_the_longest_window_is_of_active_profiles_only(manifest):
    data = {"lookback_sessions": 900, "min_sessions_floor": 2}
    profiles = {"default": {}, "old": {"active": False, "data": data}}
    assert load_manifest(manifest(profiles=profiles)).max_lookback_sessions == 500


def test_a_loaded_manifest_cannot_be_changed(manifest):
    with pytest.raises(ValueError, match="frozen"):
        load_manifest(manifest()).tws.port = 1


# ------------------------------------------------------------------ environment and command line


def test_precedence_command_line_over_environment_over_file_over_defaults(manifest):
    path = manifest(tws={"host": "file", "port": 1111})
    env = {"QUANT_CONFIGS": str(path.parent), "QUANT_TWS_PORT": "2222", "QUANT_DATA": "/from/env"}
    settings = Settings.from_env(env)
    assert settings.manifest.tws.host == "file"
    assert settings.manifest.tws.port == 2222
    assert settings.manifest.tws.client_id == 31
    assert settings.data == Path("/from/env")
    assert Settings.from_env(env, data=Path("/from/cli")).data == Path("/from/cli")
    assert Settings.from_env({"QUANT_CONFIGS": "/nowhere"}, configs=path.parent).manifest.tws.port == 1111


@pytest.mark.parametrize(
    ("variable", "value", "read"),
    [
        ("QUANT_TWS_MODE", "live", lambda m: m.tws.mode == "live"),
        ("QUANT_TWS_HOST", "box", lambda m: m.tws.host == "box"),
        ("QUANT_TWS_PORT", "4001", lambda m: m.tws.port == 4001),
        ("QUANT_TWS_CLIENT_ID", "0", lambda m: m.tws.client_id == 0),
        ("QUANT_REPLAY_MARKET", "bars.parquet", lambda m: m.replay.market == "bars.parquet"),
        ("QUANT_REPLAY_SEED", "11", lambda m: m.replay.seed == 11),
        ("QUANT_REPLAY_TIME_SCALE", "1", lambda m: m.replay.time_scale == 1.0),
        ("QUANT_START_SESSION", "2024-06-03", lambda m: str(m.lakehouse.start_session) == "2024-06-03"),
    ],
)
def test_every_variable_changes_its_key(manifest, variable, value, read):
    configs = {"QUANT_CONFIGS": str(manifest().parent)}
    assert not read(Settings.from_env(configs).manifest)
    assert read(Settings.from_env({**configs, variable: value}).manifest)
    assert variable in Settings.__doc__


def test_empty_variables_count_as_absent(manifest):
    env = {"QUANT_CONFIGS": str(manifest().parent), "QUANT_TWS_PORT": "", "QUANT_DATA": ""}
    assert Settings.from_env(env).manifest.tws.port == 7497
    assert Settings.from_env(env).data == Path("data").absolute()


def test_a_bad_variable_is_refused_with_its_key_and_its_name(manifest):
    env = {"QUANT_CONFIGS": str(manifest().parent), "QUANT_TWS_PORT": "seventy"}
    with pytest.raises(
        ConfigurationError, match=r"^environment variable QUANT_TWS_PORT, key 'tws\.port': .*integer.*'seventy'"
    ):
        _ = Settings.from_env(env).manifest


def test_another_timeframe_than_the_tables_are_declared_in_is_refused(manifest):
    assert load_manifest(manifest(lakehouse={"canonical_timeframe": "1 min"})).lakehouse.canonical_timeframe == "1 min"
    with pytest.raises(ConfigurationError, match=r"lakehouse\.canonical_timeframe'.*'1 min'"):
        load_manifest(manifest(lakehouse={"canonical_timeframe": "5 mins"}))


def test_a_variable_over_a_section_that_is_no_object(manifest):
    with pytest.raises(ConfigurationError, match="key 'tws'"):
        load_manifest(manifest(tws=3), {"tws": {"port": "1"}})


def test_a_data_directory_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "data").write_text("x")
    with pytest.raises(ConfigurationError, match="cannot be made"):
        Settings.from_env({}, data=tmp_path / "data").check_data_directory()
    Settings.from_env({}, data=tmp_path / "other").check_data_directory()
    assert (tmp_path / "other").is_dir()


def test_settings_import_nothing_heavy():
    heavy = ["polars", "pandera", "duckdb", "dagster", "skfolio", "exchange_calendars", "pandas"]
    code = f"import sys, quant_assets.settings; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout == "[]\n"


def test_every_field_of_the_manifest_is_documented_by_its_section():
    assert Manifest.__doc__
    for name, field in Manifest.model_fields.items():
        if hasattr(field.annotation, "model_fields"):
            assert field.annotation.__doc__, name


# ------------------------------------------------------------------ names

UNSAFE = ["../etc", "..", ".", "", "/etc", "a/b", "a\\b", "A\n", "A\0", "~", "A B/", "a..b", " A", "A ", "\uff21"]


@pytest.mark.parametrize("check", [safe_symbol, safe_exchange, lambda text: safe_name("run id", text)])
@pytest.mark.parametrize("text", UNSAFE)
def test_names_that_could_leave_a_directory_are_refused(check, text):
    with pytest.raises(UnsafeNameError):
        check(text)


@pytest.mark.parametrize("text", ["AAPL", "BRK B", "BRK.B", "A", "7203", "BF-B", "ES"])
def test_real_symbols_pass(text):
    assert safe_symbol(text) == text


@pytest.mark.parametrize("text", ["aapl", "A" * 22, "A..B", ".A", "A.", "A*", "A:B"])
def test_other_symbols_do_not(text):
    with pytest.raises(UnsafeNameError):
        safe_symbol(text)


def test_qualified_symbols():
    assert split_qualified("NASDAQ:AAPL") == ("NASDAQ", "AAPL")
    assert split_qualified(" AAPL ") == ("", "AAPL")
    with pytest.raises(UnsafeNameError):
        split_qualified("NASDAQ:../etc")
    with pytest.raises(UnsafeNameError):
        split_qualified("../etc:AAPL")


def test_leaves_have_dotted_keys_and_lists_are_opened_on_request():
    value = {"a": {"b": 1, "c": {}}, "d": [{"e": 2}, {"e": 3}], "f": [4, 5], "g": []}
    closed = {"a.b": 1, "a.c": {}, "d": [{"e": 2}, {"e": 3}], "f": [4, 5], "g": []}
    assert dict(leaves(value)) == closed
    assert dict(leaves(value, opens_lists=True)) == {
        "a.b": 1, "a.c": {}, "d.0.e": 2, "d.1.e": 3, "f": [4, 5], "g": [],
    }  # fmt: skip
    assert list(leaves(7, "here")) == [("here", 7)]

"""Scanner files: what inherits, what replaces, and in which words a mistake is refused."""

from pathlib import Path

import pytest
import yaml

from quant_assets.connectors.scanners import LAYERS, list_scanners, load_scanner
from quant_assets.errors import ConfigurationError, UnknownNameError, UnsafeNameError

CONFIGS = Path(__file__).parents[3] / "configs"


@pytest.fixture
def tree(tmp_path):
    """Write scanner files and return the configuration directory."""

    def write(**files):
        for name, content in files.items():
            path = tmp_path / "scanners" / f"{name.replace('__', '/')}.yaml"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
        return tmp_path

    return write


GROUND = {"source": "lakehouse", "limit": 10, "exchanges": ["NYSE", "ARCA"]}
PRICE = {"field": "curated_tws_1d_bars.close", "op": ">=", "value": 5}
RSI = {"field": "tv_technicals_1d.rsi", "op": "<", "value": 30}


def test_values_and_lists_replace_and_mappings_merge_over_five_layers(tree):
    here = tree(
        universe__all=GROUND,
        hygiene__liquid={"base_preset": "universe/all", "filters": {"price": PRICE}, "limit": 20},
        template__stocks={"base_preset": "hygiene/liquid", "exchanges": ["NASDAQ"]},
        strategy__dip={"base_preset": "template/stocks", "filters": {"oversold": RSI}, "rank": {"by": RSI["field"]}},
        entry={"base_preset": "strategy/dip", "filters": {"price": {"value": 50}}, "rank": {"descending": False}},
    )
    resolved = load_scanner(here, "entry")
    scanner = resolved.scanner
    assert scanner.limit == 20
    assert scanner.exchanges == ("NASDAQ",), "a list replaces"
    assert {c.name: (c.op, c.value) for c in scanner.conditions()} == {"oversold": ("<", 30), "price": (">=", 50)}
    assert (scanner.rank.by, scanner.rank.descending) == ("tv_technicals_1d.rsi", False)
    assert resolved.files == (
        "universe/all.yaml",
        "hygiene/liquid.yaml",
        "template/stocks.yaml",
        "strategy/dip.yaml",
        "entry.yaml",
    )
    origins = {key: origin for key, _, origin in resolved.values()}
    assert origins["source"] == "universe/all.yaml"
    assert origins["limit"] == "hygiene/liquid.yaml"
    assert origins["exchanges"] == "template/stocks.yaml"
    assert origins["filters.price.op"] == "hygiene/liquid.yaml"
    assert origins["filters.price.value"] == "entry.yaml"
    assert origins["rank.by"] == "strategy/dip.yaml"


def test_null_switches_an_inherited_filter_off(tree):
    here = tree(
        hygiene__liquid={**GROUND, "filters": {"price": PRICE, "oversold": RSI}},
        entry={"base_preset": "hygiene/liquid", "filters": {"price": None}},
    )
    assert [c.name for c in load_scanner(here, "entry").scanner.conditions()] == ["oversold"]


def test_a_layer_may_stand_on_its_own_layer(tree):
    here = tree(
        strategy__a=GROUND,
        strategy__b={"base_preset": "strategy/a", "limit": 3},
        entry={"base_preset": "strategy/b"},
    )
    assert load_scanner(here, "entry").scanner.limit == 3


@pytest.mark.parametrize(
    ("files", "words"),
    [
        (
            {"strategy__a": {"base_preset": "strategy/b"}, "strategy__b": {"base_preset": "strategy/a"}},
            ["entry → strategy/a → strategy/b → strategy/a", "strategy/b.yaml, key 'base_preset'", "cycle"],
        ),
        ({"strategy__a": {"base_preset": "strategy/a"}}, ["strategy/a → strategy/a"]),
        (
            {"strategy__a": {"base_preset": "universe/al"}, "universe__all": GROUND},
            ["strategy/a.yaml, key 'base_preset'", "'universe/al'", "Did you mean 'universe/all'", "strategy/a"],
        ),
        ({"strategy__a": {"base_preset": "entry"}}, ["there is no preset 'entry'"]),
        (
            {
                "strategy__a": {"base_preset": "universe/u"},
                "universe__u": {"base_preset": "hygiene/h"},
                "hygiene__h": GROUND,
            },
            ["universe/u.yaml", "'hygiene/h' lies above 'universe/u'", "universe → hygiene → template"],
        ),
        (
            {"strategy__a": {**GROUND, "filter": {}}},
            ["strategy/a.yaml, key 'filter'", "no such key", "filters", "rank"],
        ),
        (
            {"strategy__a": {**GROUND, "filters": {"x": {**RSI, "operator": ">"}}}},
            ["strategy/a.yaml, key 'filters.x.operator'", "Known: field, op, value"],
        ),
        ({"strategy__a": {**GROUND, "rank": {"by": "a", "desc": True}}}, ["'rank.desc'", "Known: by, descending"]),
        (
            {"strategy__a": {**GROUND, "source": "yahoo"}},
            ["'source'", "'tws', 'tradingview' or 'lakehouse'", "'yahoo'"],
        ),
        ({"strategy__a": {**GROUND, "limit": 0}}, ["'limit'", "greater than or equal to 1", "got 0"]),
        ({"strategy__a": {**GROUND, "filters": {"x": {**RSI, "op": "=>"}}}}, ["'filters.x.op'", "'>='", "'=>'"]),
        (
            {"strategy__a": {**GROUND, "filters": {"x": {**RSI, "field": "tv_technicals_1d.rsj"}}}},
            ["tv_technicals_1d.rsi"],
        ),
        ({"strategy__a": {**GROUND, "filters": {"x": {**RSI, "value": "high"}}}}, ["holds numbers, not 'high'"]),
        ({"strategy__a": {**GROUND, "filters": {"x": {**RSI, "op": "between"}}}}, ["two values"]),
        ({"strategy__a": {**GROUND, "filters": {"x": {**RSI, "op": "between", "value": [3, 1]}}}}, ["lower one first"]),
        ({"strategy__a": {**GROUND, "filters": {"x": {**RSI, "op": "is_null"}}}}, ["takes no value"]),
        ({"strategy__a": {**GROUND, "rank": {"by": "metrics.momentun"}}}, ["Did you mean 'metrics.momentum'"]),
        ({"strategy__a": {**GROUND, "tws": {"scan_code": "X"}}}, ["source is tws", "lakehouse"]),
        ({"strategy__a": {"source": "tws"}}, ["tws.scan_code"]),
        ({"strategy__a": {"source": "tws", "tws": {"scan_code": "X"}, "limit": 60}}, ["50 rows at the most"]),
        ({"strategy__a": {"source": "tws", "tws": {"scan_code": "X"}, "filters": {"x": RSI}}}, ["tws.filters"]),
        ({"strategy__a": {"source": "tradingview", "rank": {"by": "a b"}}}, ["no column of TradingView", "'a b'"]),
        ({"strategy__a": {"description": "no source"}}, ["'source'", "required"]),
        ({"strategy__a": "a: [1"}, ["strategy/a.yaml", "not valid YAML"]),
        ({"strategy__a": "- a"}, ["strategy/a.yaml", "must be a mapping"]),
    ],
    ids=str,
)
def test_mistakes_name_file_key_and_what_is_legal(tree, files, words):
    here = tree(entry={"base_preset": "strategy/a"}, **files)
    with pytest.raises(ConfigurationError) as refused:
        load_scanner(here, "entry")
    for word in words:
        assert word in str(refused.value)


def test_an_unknown_entry_suggests_the_nearest(tree):
    here = tree(most_active={"source": "tws", "tws": {"scan_code": "MOST_ACTIVE"}})
    with pytest.raises(UnknownNameError, match="Did you mean 'most_active'"):
        load_scanner(here, "most_activ")
    with pytest.raises(UnsafeNameError):
        load_scanner(here, "../lists/core")


@pytest.mark.parametrize("name", list_scanners(CONFIGS))
def test_shipped_scanners_resolve_with_an_origin_for_every_value(name):
    resolved = load_scanner(CONFIGS, name)
    values = resolved.values()
    assert values
    assert all((CONFIGS / "scanners" / origin).is_file() for _, _, origin in values)


def test_the_shipped_tree_has_every_layer_and_no_layer_is_unused():
    used = {file for name in list_scanners(CONFIGS) for file in load_scanner(CONFIGS, name).files}
    there = {path.relative_to(CONFIGS / "scanners").as_posix() for path in (CONFIGS / "scanners").rglob("*.yaml")}
    assert used == there
    assert {file.partition("/")[0] for file in there if "/" in file} == set(LAYERS)

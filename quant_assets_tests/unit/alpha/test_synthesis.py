import numpy as np
import polars as pl
import pytest

from quant_assets.domain.synthesis import (
    Atom,
    atoms_of,
    composition,
    directed,
    flatten,
    sign_problems,
    signal,
    synthesize,
)
from quant_assets.errors import NotEnoughReturnsError
from quant_assets.settings.manifest import AtomConfig
from quant_assets_tests.unit.alpha import scenario

LONG_ONLY = AtomConfig()


def config(logic: str, direction: str = "LONG", timescale: int = 2) -> AtomConfig:
    return AtomConfig(logic=logic, direction=direction, timescale=timescale)


def frame(returns: np.ndarray) -> pl.DataFrame:
    columns = {str(101 + k): returns[:, k] for k in range(returns.shape[1])}
    return pl.DataFrame({"session": scenario.weekdays(len(returns)), **columns})


def made(prices: np.ndarray, *configs: AtomConfig):
    ids = range(101, 101 + prices.shape[1])
    return synthesize(frame(prices[1:] / prices[:-1] - 1), np.log(prices), ids, configs)


PATH = np.array([[100.0], [110.0], [121.0], [100.0], [90.0], [80.0], [100.0]])
"""Up, up, down, down, down, up."""


def test_long_only_atoms_are_the_instruments_themselves():
    prices = scenario.closes(50, 3)
    found = made(prices, LONG_ONLY)
    assert found.matrix.drop("session").to_numpy().tolist() == (prices[1:] / prices[:-1] - 1).tolist()
    assert [atom.name for atom in found.kept] == [
        "101-long_only-LONG-0",
        "102-long_only-LONG-0",
        "103-long_only-LONG-0",
    ]
    assert flatten({"101-long_only-LONG-0": 0.4, "103-long_only-LONG-0": 0.6}, found.atoms) == {
        101: 0.4,
        102: 0.0,
        103: 0.6,
    }


def test_momentum_holds_the_session_after_a_rise_by_hand():
    held = signal(np.log(PATH), config("momentum"))[:, 0].tolist()
    assert held == [0, 0, 1, 0, 0, 0, 1]  # 121 > 100; 100 < 110; 90 < 121; 80 < 100; 100 > 90
    found = made(PATH, config("momentum"))
    stream = found.matrix.to_series(1).to_list()
    assert stream == pytest.approx([0, 0, 100 / 121 - 1, 0, 0, 0])  # it was decided at 121, before the fall
    assert (found.atoms[0].live, found.atoms[0].n_active) == (1, 1)


def test_trend_and_reversion_by_hand():
    assert signal(np.log(PATH), config("trend", timescale=3))[:, 0].tolist() == [0, 0, 1, 0, 0, 0, 1]
    assert signal(np.log(PATH), config("trend", "SHORT", 3))[:, 0].tolist() == [0, 0, 0, 1, 1, 1, 0]
    # 80 against (100, 90, 80) and 100 against (110, 121, 100) are more than one deviation below their mean.
    assert signal(np.log(PATH), config("reversion", timescale=3))[:, 0].tolist() == [0, 0, 0, 1, 1, 1, 0]
    assert signal(np.log(PATH), config("reversion", "SHORT", 3))[:, 0].tolist() == [0, 0, 1, 0, 0, 0, 1]


def test_a_short_earns_the_inverse_and_loses_no_more_than_everything():
    assert directed(np.array([0.5, -0.3, 1.7, 0.0]), "SHORT").tolist() == [-0.5, 0.3, -1.0, 0.0]
    assert directed(np.array([0.5, -0.3]), "LONG").tolist() == [0.5, -0.3]


@pytest.mark.parametrize("direction", ["LONG", "SHORT"])
@pytest.mark.parametrize("logic", ["momentum", "reversion", "trend"])
def test_the_sign_test_proves_the_inversion_both_ways(logic, direction):
    prices = scenario.closes(200, 4)
    found = made(prices, config(logic, direction, 5))
    returns = frame(prices[1:] / prices[:-1] - 1)
    assert sign_problems(found.matrix, returns, found.kept) == []
    inverted = found.matrix.with_columns(-pl.exclude("session"))
    assert len(sign_problems(inverted, returns, found.kept)) == len(found.kept)
    other = {"LONG": "SHORT", "SHORT": "LONG"}[direction]
    mislabelled = [Atom(a.con_id, a.logic, other, a.timescale, a.n_active, a.live, "") for a in found.kept]
    renamed = found.matrix.rename({a.name: b.name for a, b in zip(found.kept, mislabelled, strict=True)})
    assert len(sign_problems(renamed, returns, mislabelled)) == len(mislabelled)


def test_long_and_short_of_one_logic_never_hold_together():
    prices = np.log(scenario.closes(200, 4))
    for logic in ("momentum", "reversion", "trend"):
        both = signal(prices, config(logic, "LONG", 7)) * signal(prices, config(logic, "SHORT", 7))
        assert not both.any()


def test_flattening_uses_the_live_signal_and_nets():
    atoms = (
        Atom(1, "momentum", "LONG", 5, 10, 1, ""),
        Atom(1, "trend", "SHORT", 5, 10, 1, ""),
        Atom(2, "momentum", "LONG", 5, 10, 0, ""),
        Atom(3, "momentum", "SHORT", 5, 10, 1, ""),
        Atom(4, "momentum", "SHORT", 5, 0, 0, "never_active"),
    )
    weights = dict(zip([atom.name for atom in atoms], [0.3, 0.1, 0.4, 0.2], strict=False))
    assert flatten(weights, atoms) == {1: pytest.approx(0.2), 2: 0.0, 3: -0.2, 4: 0.0}


def test_the_future_changes_no_signal():
    prices = np.log(scenario.closes(120, 3))
    for logic in ("momentum", "reversion", "trend"):
        one = config(logic, timescale=9)
        assert (signal(prices, one)[:80] == signal(prices[:80], one)).all()


def test_missing_returns_stay_missing_and_unknown_pasts_hold_nothing():
    prices = scenario.closes(60, 1)
    returns = prices[1:] / prices[:-1] - 1
    returns[30] = np.nan
    logs = np.log(prices)
    logs[:20] = np.nan  # not listed yet
    found = synthesize(frame(returns), logs, [101], [config("trend", timescale=5)])
    stream = found.matrix.to_series(1)
    assert stream[30] is None
    assert stream[:24].to_list() == [0.0] * 24


def test_atoms_that_never_held_are_dropped_with_their_reason_and_all_of_them_is_an_error():
    falling = np.linspace(100, 50, 30)[:, None]
    found = made(falling, LONG_ONLY, config("momentum"))
    assert [(atom.logic, atom.reason) for atom in found.atoms] == [("long_only", ""), ("momentum", "never_active")]
    with pytest.raises(NotEnoughReturnsError, match=r"None of 1 atoms ever held"):
        made(falling, config("momentum"))
    with pytest.raises(NotEnoughReturnsError):
        made(falling, config("trend", timescale=500))


def test_the_composition_map_gives_the_atoms_back():
    found = made(scenario.closes(80, 2), LONG_ONLY, config("trend", "SHORT", 9))
    rows = composition(found, {101: "A:B", 102: "A:C"}, session=scenario.weekdays(1)[0], profile="p", run_id="r")
    assert {atom.name: atom for atom in atoms_of(rows)} == {atom.name: atom for atom in found.atoms}
    assert rows["atom"].to_list() == sorted(atom.name for atom in found.atoms)

import pytest

from quant_assets.domain.costs import SCHEDULES, estimate

IBKR = SCHEDULES["ibkr_fixed_us"]


@pytest.mark.parametrize(
    ("shares", "price", "commission"),
    [(100, 25.0, 1.00), (1000, 25.0, 5.00), (1000, 0.25, 2.50)],  # the examples of the price list itself
)
def test_the_examples_of_the_published_schedule(shares, price, commission):
    assert IBKR.commission(shares, price) == pytest.approx(commission)


def test_the_maximum_beats_the_minimum_and_nothing_costs_nothing():
    assert IBKR.commission(1, 50.0) == pytest.approx(0.50)
    assert IBKR.commission(0, 50.0) == 0.0


def test_orders_are_changes_of_weight_in_either_direction():
    costs = estimate(IBKR, 100_000.0, {1: 0.25, 2: -0.5, 3: 0.0, 4: 0.1, 5: 0.1}, {1: 25.0, 2: 10.0, 3: 1.0, 4: None})
    assert costs.by_instrument == {1: pytest.approx(5.0), 2: pytest.approx(25.0)}
    assert costs.unpriced == (4, 5)
    assert costs.total == pytest.approx(30.0)
    assert costs.fraction == pytest.approx(3e-4)

import numpy as np
import pytest

from quant_assets.domain.verification import errors, exposure, risk_contributions, verify_weights

RETURNS = np.array([[1.0, 2.0], [1.0, -2.0], [-1.0, 2.0], [-1.0, -2.0]]) / 100
SECTORS = {1: "a", 2: "b"}


def check(first: float, second: float, cash: float = 0.0, sectors=SECTORS, returns=RETURNS, **limits: object):
    limits = {"max_weight": 0.8, "sector_cap": 0.9, **limits}
    return verify_weights({1: first, 2: second}, cash, returns, sectors, **limits)


@pytest.mark.parametrize(
    ("broken", "findings"),
    [
        ("budget", check(0.5, 0.4)),
        ("budget", check(0.5, 0.4, cash=0.2)),
        ("instrument_cap", check(0.81, 0.19)),
        ("sector_cap", check(0.5, 0.5, sectors={1: "a", 2: "a"})),
        ("long_only", check(-0.2, 0.8)),
        ("cash", check(0.6, 0.5, cash=-0.1)),
        ("finite", check(float("nan"), 0.5)),
    ],
)
def test_each_broken_constraint_is_found_alone(broken, findings):
    assert [one.check for one in errors(findings)] == [broken]


def test_sound_weights_pass_every_check_within_the_tolerance():
    assert errors(check(0.5, 0.5)) == []
    assert errors(check(0.5, 0.3, cash=0.2)) == []
    assert errors(check(0.8 + 9e-7, 0.2 - 9e-7)) == []


def test_shorts_count_by_their_size():
    assert errors(check(-0.5, 0.5, long_only=False, sectors={1: "a", 2: "a"}, max_weight=0.5, sector_cap=1.0)) == []


def test_risk_contributions_by_hand():
    # Variances 1 : 4, no covariance, weights 0.8 and 0.2 → 0.64 and 0.16 of 0.80.
    assert risk_contributions(np.array([0.8, 0.2]), RETURNS) == pytest.approx([0.8, 0.2])


def test_a_portfolio_without_variance_and_a_singular_covariance_are_warnings():
    flat = check(0.5, 0.5, returns=np.zeros((4, 2)))
    assert {one.check for one in flat if one.severity == "warn"} == {"risk_contributions", "condition_number"}
    twins = check(0.5, 0.5, returns=RETURNS[:, [0, 0]])
    assert [one.check for one in twins if one.severity == "warn"] == ["condition_number"]
    assert errors(flat) == errors(twins) == []


def test_exposure_sums_by_hand():
    sums = exposure({1: 0.5, 2: -0.2, 3: 0.1}, {1: "b", 2: "a"}, 0.2)
    assert (sums.net, sums.gross, sums.cash) == pytest.approx((0.4, 0.8, 0.2))
    assert list(sums.sectors.items()) == [("a", -0.2), ("b", 0.5), ("unknown", 0.1)]

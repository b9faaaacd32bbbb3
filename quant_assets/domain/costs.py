"""What trading costs, from published commission schedules kept as data. Estimates: an order may fill in parts."""

from collections.abc import Mapping
from dataclasses import dataclass

import polars as pl


@dataclass(frozen=True, slots=True)
class Schedule:
    """A commission per share with a minimum per order and a maximum as a fraction of the order's value."""

    name: str
    currency: str
    per_share: float
    minimum: float
    maximum_fraction: float
    source: str

    def commission(self, shares: float, price: float) -> float:
        """Return the commission of one order; where the maximum is below the minimum, the maximum counts."""
        if shares <= 0:
            return 0.0
        return min(max(self.per_share * shares, self.minimum), self.maximum_fraction * shares * price)

    def commissions(self, shares: pl.Expr, price: pl.Expr) -> pl.Expr:
        """Return the commission of one order per row; null where shares or price are."""
        usual = pl.max_horizontal(self.per_share * shares, pl.lit(self.minimum))
        cost = pl.min_horizontal(usual, self.maximum_fraction * shares * price)
        return pl.when(shares.is_not_null() & price.is_not_null()).then(cost)


SCHEDULES: Mapping[str, Schedule] = {
    "ibkr_fixed_us": Schedule(
        name="ibkr_fixed_us",
        currency="USD",
        per_share=0.005,
        minimum=1.00,
        maximum_fraction=0.01,
        source="Interactive Brokers, Pricing > Stocks > North America, Fixed: USD 0.005 per share, minimum USD 1.00, "
        "maximum 1.0 % of trade value; exchange and regulatory fees are not in it",
    ),
}
"""By the name that `costs.schedule` uses."""


@dataclass(frozen=True, slots=True)
class Costs:
    """Commissions per instrument, in the schedule's currency, and who could not be priced."""

    schedule: str
    capital: float
    by_instrument: Mapping[int, float]
    unpriced: tuple[int, ...]

    @property
    def total(self) -> float:
        """The sum of all commissions."""
        return sum(self.by_instrument.values())

    @property
    def fraction(self) -> float:
        """The sum as a fraction of capital."""
        return self.total / self.capital


def estimate(
    schedule: Schedule, capital: float, changes: Mapping[int, float], prices: Mapping[int, float | None]
) -> Costs:
    """Estimate the commissions of going from one set of weights to another.

    Args:
        schedule: the price list.
        capital: what the weights are fractions of, in the schedule's currency.
        changes: signed change of weight by con_id; 0 is no order.
        prices: last price per share by con_id in the schedule's currency; None where it is in another one, or unknown.
    """
    priced = {
        con_id: schedule.commission(abs(change) * capital / price, price)
        for con_id, change in changes.items()
        if (price := prices.get(con_id)) and change
    }
    unpriced = tuple(con_id for con_id, change in changes.items() if change and not prices.get(con_id))
    return Costs(schedule.name, capital, priced, unpriced)

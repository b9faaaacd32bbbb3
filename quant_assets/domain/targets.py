"""From weights to quantities: what would have to be held, what that changes, and what it would cost. Never an order."""

from collections.abc import Mapping
from dataclasses import dataclass

import polars as pl

from quant_assets.domain.costs import Schedule
from quant_assets.errors import ConfigurationError, ShapeError

QUOTES_SHAPE = {"con_id": pl.Int64, "price": pl.Float64, "currency": pl.String, "lot": pl.Float64}
HELD_SHAPE = {
    "con_id": pl.Int64,
    "symbol": pl.String,
    "quantity": pl.Float64,
    "mark": pl.Float64,
    "mark_currency": pl.String,
}

COLUMNS = (
    "con_id",
    "symbol",
    "weight",
    "price",
    "held",
    "target",
    "delta",
    "value",
    "weight_after",
    "commission",
    "slippage",
    "note",
)
"""Columns of the answer; price, value and costs are in the base currency, quantities in shares or contracts."""

_NIL = 1e-9
"""Shares by which a product of floats may fall short of a whole lot and still be that lot."""


@dataclass(frozen=True, slots=True)
class Targets:
    """Target quantities, one row per instrument that is or shall be held, the largest change first."""

    frame: pl.DataFrame
    net_liquidation: float
    currency: str
    schedule: str

    @property
    def unpriced(self) -> list[str]:
        """Instruments for which no quantity could be told."""
        return self.frame.filter(pl.col("target").is_null())["symbol"].to_list()

    def summary(self) -> dict[str, float | str | int]:
        """Return totals in the base currency; `cash_after` is what is left once everything is held and paid."""
        sums = self.frame.select(
            pl.col("value").sum().alias("net"),
            pl.col("value").abs().sum().alias("gross"),
            (pl.col("delta") * pl.col("price")).abs().sum().alias("traded"),
            pl.col("commission").sum(),
            pl.col("slippage").sum(),
            (pl.col("delta") != 0).sum().alias("n_changes"),
        ).row(0, named=True)
        costs = sums["commission"] + sums["slippage"]
        return {
            "currency": self.currency,
            "net_liquidation": self.net_liquidation,
            **sums,
            "costs": costs,
            "costs_fraction": costs / self.net_liquidation,
            "turnover": sums["traded"] / (2 * self.net_liquidation),
            "cash_after": self.net_liquidation - sums["net"] - costs,
            "schedule": self.schedule,
        }


def targets(
    weights: pl.DataFrame,
    quotes: pl.DataFrame,
    held: pl.DataFrame,
    *,
    net_liquidation: float,
    currency: str,
    schedule: Schedule | None,
    slippage_bps: float,
    rates: Mapping[str, float] | None = None,
) -> Targets:
    """Turn weights into quantities.

    Quantities are rounded towards zero to whole lots, so that no cap is exceeded and no money is spent that is not
    there; `weight_after` says what is left of a weight. What is held and has no weight goes to zero.

    Args:
        weights: con_id, symbol, weight (signed fraction of net liquidation); one row per instrument.
        quotes: con_id, price (per share, in `currency` of the same row), currency, lot (step of quantities; null is
            1); one row per instrument. An instrument without a price keeps a row without a target.
        held: con_id, symbol, quantity (signed), and mark with mark_currency: the price that the account is valued at,
            used where `quotes` has none; one row per instrument.
        net_liquidation: value of the account in the base currency.
        currency: the base currency.
        schedule: commissions, for instruments in the schedule's own currency; None for none.
        slippage_bps: assumed distance between the price and the fill, in basis points of the traded value.
        rates: base currency per unit of another one; an instrument in a currency that is not there has no price.

    Raises:
        ConfigurationError: net liquidation is not a positive number.
        ShapeError: an instrument has two rows.
    """
    if not 0 < net_liquidation < float("inf"):
        raise ConfigurationError(
            "net liquidation",
            f"it must be a positive amount (got {net_liquidation:g}).",
            "Give --net-liquidation, or look at the account.",
        )
    for name, frame in (("weights", weights), ("quotes", quotes), ("positions", held)):
        if frame["con_id"].is_duplicated().any():
            raise ShapeError(name, [f"con_id {frame.filter(frame['con_id'].is_duplicated())['con_id'][0]} twice"])
    joined = (
        weights.join(held, on="con_id", how="full", coalesce=True)
        .with_columns(pl.coalesce("symbol", "symbol_right").alias("symbol"))
        .join(quotes, on="con_id", how="left")
        .with_columns(
            currency=pl.when(pl.col("price").is_null()).then("mark_currency").otherwise("currency"),
            price=pl.coalesce("price", "mark"),
        )
    )
    priced = joined.with_columns(
        weight=pl.col("weight").fill_null(0.0),
        held=pl.col("quantity").fill_null(0.0),
        lot=pl.col("lot").fill_null(1.0),
        rate=pl.col("currency").replace_strict({currency: 1.0, **(rates or {})}, default=None, return_dtype=pl.Float64),
    ).with_columns(
        price=pl.when(pl.col("price").is_finite() & (pl.col("price") > 0)).then(pl.col("price") * pl.col("rate"))
    )
    counted = priced.with_columns(target=_whole(pl.col("weight") * net_liquidation / pl.col("price"), pl.col("lot")))
    counted = counted.with_columns(
        target=pl.when(pl.col("weight") == 0).then(0.0).otherwise("target"),
    ).with_columns(delta=pl.col("target") - pl.col("held"))
    value = pl.when(pl.col("target") == 0).then(0.0).otherwise(pl.col("target") * pl.col("price"))
    frame = counted.with_columns(
        value=value,
        weight_after=value / net_liquidation,
        commission=_commission(schedule, currency),
        slippage=(pl.col("delta") * pl.col("price")).abs() * slippage_bps / 1e4,
        note=_notes(schedule),
    )
    ordered = frame.sort((pl.col("delta") * pl.col("price")).abs(), "con_id", descending=[True, False], nulls_last=True)
    return Targets(ordered.select(COLUMNS), net_liquidation, currency, schedule.name if schedule else "none")


def _whole(quantity: pl.Expr, lot: pl.Expr) -> pl.Expr:
    """Round towards zero to whole lots."""
    return quantity.sign() * ((quantity.abs() + _NIL) / lot).floor() * lot + 0.0


def _commission(schedule: Schedule | None, currency: str) -> pl.Expr:
    if schedule is None:
        return pl.lit(0.0)
    local = pl.col("price") / pl.col("rate")
    cost = schedule.commissions(pl.col("delta").abs(), local) * pl.col("rate")
    is_told = pl.col("currency").fill_null(currency) == schedule.currency
    return pl.when(pl.col("delta") == 0).then(0.0).when(is_told).then(cost)


def _notes(schedule: Schedule | None) -> pl.Expr:
    other = pl.col("currency") != schedule.currency if schedule else pl.lit(value=False)
    return (
        pl.when(pl.col("currency").is_not_null() & pl.col("rate").is_null())
        .then(pl.format("no rate for {}", "currency"))
        .when(pl.col("price").is_null() & (pl.col("weight") == 0))
        .then(pl.lit("held, no weight; no price, so no costs"))
        .when(pl.col("price").is_null())
        .then(pl.lit("no price"))
        .when((pl.col("weight") == 0) & (pl.col("held") != 0))
        .then(pl.lit("held, no weight"))
        .when((pl.col("target") == 0) & (pl.col("weight") != 0))
        .then(pl.lit("less than one lot"))
        .when(other & (pl.col("delta") != 0))
        .then(pl.lit("commission not told by the schedule"))
        .otherwise(pl.lit(""))
    )

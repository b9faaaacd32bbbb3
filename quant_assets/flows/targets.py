"""Target quantities of a finished run, from its frozen prices and what an account holds."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from quant_assets.domain.costs import SCHEDULES
from quant_assets.domain.run_files import WEIGHTS_FRAME
from quant_assets.domain.tables import ACCOUNTS, INSTRUMENTS, POSITIONS
from quant_assets.domain.targets import HELD_SHAPE, QUOTES_SHAPE, Targets, targets
from quant_assets.errors import ConfigurationError, NotPublishedError, UnknownNameError
from quant_assets.flows.alpha.compute import label, profile_of
from quant_assets.flows.work import Work
from quant_assets.lakehouse.layout import Partition
from quant_assets.lakehouse.runs import RunDirectory


@dataclass(frozen=True, slots=True)
class Account:
    """What an account holds, and what it is worth where that is known."""

    held: pl.DataFrame
    """con_id, symbol, quantity, mark, mark_currency."""
    net_liquidation: float | None
    told: str
    """Where this comes from, in words for people."""


FROM_CASH = Account(pl.DataFrame(schema=HELD_SHAPE), None, "cash")


def targets_of(
    work: Work,
    run: RunDirectory,
    account: Account,
    *,
    net_liquidation: float | None = None,
    is_fractional: bool = False,
    rates: Mapping[str, float] | None = None,
) -> Targets:
    """Return what an account would have to hold to have a run's weights.

    Args:
        work: for the steps of order sizes, where the session's instruments are published.
        run: a run with weights.
        account: what is held.
        net_liquidation: overrides what the account says.
        is_fractional: allow the exchange's own steps below one share.
        rates: base currency per unit of another one.

    Raises:
        ConfigurationError: nobody says what the account is worth.
        CorruptFileError: the run has no weights.
    """
    worth = net_liquidation if net_liquidation is not None else account.net_liquidation
    if worth is None:
        raise ConfigurationError(
            "net liquidation", "nothing says what the account is worth.", "Give --net-liquidation AMOUNT."
        )
    costs = profile_of(run).costs
    return targets(
        run.read_frame(WEIGHTS_FRAME).select("con_id", "symbol", "weight"),
        _quotes(run, _lots(work, run, is_fractional=is_fractional)),
        account.held,
        net_liquidation=worth,
        currency=work.settings.manifest.lakehouse.base_currency,
        schedule=None if costs.schedule == "none" else SCHEDULES[costs.schedule],
        slippage_bps=costs.slippage_bps,
        rates=rates,
    )


def _quotes(run: RunDirectory, lots: Mapping[int, float]) -> pl.DataFrame:
    """Return the last frozen close of every instrument: not adjusted for dividends, as it was quoted."""
    rows = [
        {
            "con_id": one["con_id"],
            "price": float(run.read_frame(one["file"])["close"][-1]),
            "currency": one["currency"],
            "lot": lots.get(one["con_id"], 1.0),
        }
        for one in run.inputs["instruments"]
    ]
    return pl.DataFrame(rows, schema=QUOTES_SHAPE)


def _lots(work: Work, run: RunDirectory, *, is_fractional: bool) -> dict[int, float]:
    """Return the step of order sizes per instrument; whole shares where nothing is published."""
    try:
        details = work.lake.curated.read(INSTRUMENTS, Partition(label(run)["session"]))
    except NotPublishedError:
        return {}
    known = details.filter(pl.col("size_increment") > 0).sort("valid_from").select("con_id", "size_increment")
    floor = 0.0 if is_fractional else 1.0
    return {con_id: max(step, floor) for con_id, step in known.iter_rows()}


def account_from_file(path: Path, run: RunDirectory, account: str | None = None) -> Account:
    """Read positions from a CSV or Parquet file.

    Columns: quantity, and con_id or symbol. Used where they are there: account, net_liquidation, and market_value with
    currency, which price what is held and is not in the run.

    Raises:
        ConfigurationError: the file cannot be read, lacks a column, or names an instrument that nobody knows.
    """
    try:
        frame = pl.read_parquet(path) if path.suffix == ".parquet" else pl.read_csv(path)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise ConfigurationError(str(path), f"no positions can be read ({str(error).splitlines()[0]}).") from None
    if "quantity" not in frame.columns or not {"con_id", "symbol"} & set(frame.columns):
        raise ConfigurationError(
            str(path), f"its columns are {', '.join(frame.columns)}.", "Needed: quantity, and con_id or symbol."
        )
    if not frame["quantity"].dtype.is_numeric() or frame["quantity"].is_null().any():
        raise ConfigurationError(str(path), "column quantity must hold a number in every row.")
    if "con_id" not in frame.columns:
        frame = frame.with_columns(con_id=pl.Series(_ids(frame["symbol"].to_list(), run, path), dtype=pl.Int64))
    return _account(frame, account, str(path))


def _ids(symbols: list[str], run: RunDirectory, path: Path) -> list[int]:
    """Return the con_ids of symbols, qualified or bare, by the run's own names."""
    known: dict[str, set[int]] = {}
    for one in run.inputs["instruments"]:
        for name in {one["symbol"], one["symbol"].partition(":")[2] or one["symbol"]}:
            known.setdefault(name, set()).add(one["con_id"])
    unknown = [symbol for symbol in symbols if len(known.get(symbol, ())) != 1]
    if unknown:
        raise ConfigurationError(
            f"{path}, symbol {unknown[0]!r}",
            "the run has no such instrument, or several of them.",
            "Give a column con_id: an instrument that is held and not in the run is known by that alone.",
        )
    return [next(iter(known[symbol])) for symbol in symbols]


def account_from_lake(work: Work, account: str | None = None) -> Account:
    """Read the newest published positions, and what their accounts are worth.

    Raises:
        ConfigurationError: there are none, or several accounts and none was named.
    """
    newest = work.lake.curated.newest(POSITIONS)
    if newest is None:
        raise ConfigurationError(
            "positions",
            "none are published.",
            "Give --net-liquidation AMOUNT to start from cash, or --positions FILE (columns con_id, quantity).",
        )
    held = work.lake.curated.read(POSITIONS, newest)
    worth = work.lake.curated.read_many(ACCOUNTS, [newest], ["account", "net_liquidation"])
    valued = held.join(worth, on="account", how="full", coalesce=True)
    return _account(valued, account, f"positions of {newest.session}")


def _account(frame: pl.DataFrame, account: str | None, told: str) -> Account:
    if "account" in frame.columns:
        names = sorted(frame["account"].drop_nulls().unique().to_list())
        if account is not None and account not in names:
            raise UnknownNameError("account", account, names)
        if account is None and len(names) > 1:
            raise ConfigurationError(told, f"there are {len(names)} accounts.", f"Give --account: {', '.join(names)}.")
        frame = frame.filter(pl.col("account") == (account or names[0])) if names else frame
    worth = frame["net_liquidation"].drop_nulls() if "net_liquidation" in frame.columns else pl.Series([])
    marks = {"market_value", "currency"} <= set(frame.columns)
    symbol = pl.col("symbol") if "symbol" in frame.columns else pl.format("con_id {}", "con_id").alias("symbol")
    held = frame.filter(pl.col("quantity") != 0).select(
        pl.col("con_id").cast(pl.Int64),
        symbol.cast(pl.String),
        pl.col("quantity").cast(pl.Float64),
        ((pl.col("market_value") / pl.col("quantity")) if marks else pl.lit(None)).cast(pl.Float64).alias("mark"),
        (pl.col("currency") if marks else pl.lit(None)).cast(pl.String).alias("mark_currency"),
    )
    return Account(held, float(worth[0]) if len(worth) else None, told)

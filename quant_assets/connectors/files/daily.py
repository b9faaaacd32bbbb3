"""One file of daily history: symbol, date, open, high, low, close, adj_close, volume; and a file of sectors.

Nothing in such a file says when it was known, so its basis is `assumed` and it is never point in time. Rows that are no
bar are left out, each with its reason; what stands twice with different prices is refused.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from quant_assets.errors import ConfigurationError, CorruptFileError
from quant_assets.settings.quality import PRICES

_PRICED = (*PRICES, "adj_close")
_NEEDED = {"symbol": pl.String, "session": pl.Date, **dict.fromkeys(_PRICED, pl.Float64), "volume": pl.Float64}
_ALIASES = {"date": "session", "Date": "session", "adjusted_close": "adj_close", "Adj Close": "adj_close"}
_MEND = "Take the offending rows out, or fetch the file again."
UNKNOWN_SECTOR = "unknown"


@dataclass(frozen=True, slots=True)
class DailyFile:
    """What a file holds. `con_id` is the place of the symbol in the alphabet of the file, unless the file has its own.

    `bars`: session, con_id, symbol, open, high, low, close, volume, adj_close. `members`: con_id, symbol, sector,
    long_name. `rejected`: the rows that are no bar, with `reason`.
    """

    bars: pl.DataFrame
    members: pl.DataFrame
    rejected: pl.DataFrame
    digests: dict[str, str]
    """sha256 of each file by its name."""


def read_daily(path: Path, sectors: Path | None = None) -> DailyFile:
    """Read daily history and sectors.

    Args:
        path: Parquet or CSV with symbol, date (or session), open, high, low, close, adj_close, volume, and con_id
            where there is one. Without adj_close, the close is taken.
        sectors: CSV with symbol, sector and, where there is one, company.

    Raises:
        ConfigurationError: a file is not there, or lacks a column.
        CorruptFileError: a column holds something else, or a key stands twice with different prices.
    """
    raw = _columns(_read(path), path)
    reason = _reasons()
    judged = raw.with_columns(reason.alias("reason"))
    rejected = judged.filter(pl.col("reason") != "")
    bars = judged.filter(pl.col("reason") == "").drop("reason").unique(maintain_order=True)
    if bars.is_empty():
        raise CorruptFileError(path, f"none of its {raw.height} rows is a bar", _MEND)
    if (twice := bars.filter(pl.struct("con_id", "session").is_duplicated())).height:
        one = twice.row(0, named=True)
        raise CorruptFileError(path, f"{one['symbol']} stands twice on {one['session']} with other numbers", _MEND)
    named = bars.select("con_id", "symbol").unique().sort("con_id")
    digests = {one.name: hashlib.sha256(one.read_bytes()).hexdigest() for one in (path, sectors) if one}
    return DailyFile(bars.sort("con_id", "session"), _members(named, sectors), rejected, digests)


def _read(path: Path) -> pl.DataFrame:
    if not path.is_file():
        raise ConfigurationError(str(path), "there is no such file.")
    try:
        return pl.read_parquet(path) if path.suffix == ".parquet" else pl.read_csv(path, infer_schema_length=None)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise CorruptFileError(path, str(error).splitlines()[0][:200], _MEND) from None


def _columns(frame: pl.DataFrame, path: Path) -> pl.DataFrame:
    found = frame.rename({name: real for name, real in _ALIASES.items() if name in frame.columns and real not in frame})
    if "adj_close" not in found.columns and "close" in found.columns:
        found = found.with_columns(adj_close="close")
    if missing := [name for name in _NEEDED if name not in found.columns]:
        raise ConfigurationError(
            str(path),
            f"it lacks {', '.join(missing)} (it has {', '.join(frame.columns)}).",
            "Needed: symbol, date, open, high, low, close, volume; adj_close and con_id where there are any.",
        )
    try:
        typed = found.with_columns(
            pl.col("session").str.to_date() if found["session"].dtype == pl.String else pl.col("session").cast(pl.Date),
            *(pl.col(name).cast(dtype) for name, dtype in _NEEDED.items() if name != "session"),
        )
    except pl.exceptions.PolarsError as error:
        raise CorruptFileError(path, str(error).splitlines()[0][:200], _MEND) from None
    if "con_id" not in typed.columns:
        typed = typed.with_columns(con_id=pl.col("symbol").rank("dense").cast(pl.Int64))
    return typed.select("session", "con_id", "symbol", *PRICES, "volume", "adj_close")


def _reasons() -> pl.Expr:
    """Return why a row is no bar; empty where it is one."""
    unpriced = [pl.col(name).is_null() | ~pl.col(name).is_finite() for name in _PRICED]
    return (
        pl.when(pl.col("symbol").is_null() | pl.col("session").is_null())
        .then(pl.lit("no_key"))
        .when(pl.any_horizontal(unpriced))
        .then(pl.lit("no_price"))
        .when(pl.min_horizontal(*_PRICED) <= 0)
        .then(pl.lit("not_positive"))
        .when(pl.col("volume").is_null() | (pl.col("volume") < 0))
        .then(pl.lit("no_volume"))
        .otherwise(pl.lit(""))
    )


def _members(named: pl.DataFrame, sectors: Path | None) -> pl.DataFrame:
    if sectors is None:
        return named.with_columns(sector=pl.lit(UNKNOWN_SECTOR), long_name="symbol")
    told = _read(sectors)
    if missing := {"symbol", "sector"} - set(told.columns):
        raise ConfigurationError(str(sectors), f"it lacks {', '.join(sorted(missing))}.", "Needed: symbol, sector.")
    company = pl.col("company") if "company" in told.columns else pl.col("symbol")
    known = told.select("symbol", "sector", company.alias("long_name")).unique("symbol", keep="first")
    return named.join(known, on="symbol", how="left", maintain_order="left").with_columns(
        pl.col("sector").fill_null(UNKNOWN_SECTOR), pl.col("long_name").fill_null(pl.col("symbol"))
    )

"""The returns matrix: simple returns of adjusted closes, sessions by instruments, with a fate for every instrument.

Gap policy: a missing close stays missing. Nothing is filled forward, and no session is dropped because one
instrument lacks it, so that the youngest instrument never shortens the history of the others.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np
import numpy.typing as npt
import polars as pl

from quant_assets.domain.tables import RETURNS_MATRIX
from quant_assets.errors import NotEnoughReturnsError, ShapeError

SESSIONS_PER_YEAR = 252
"""What is measured per session is brought to a year with this, whichever exchange it is of."""
MIN_COMPLETE_FRACTION = 0.5
"""Estimation refuses to work on less than this share of the matrix's sessions."""


@dataclass(frozen=True, slots=True)
class ReturnsMatrix:
    """The matrix of the kept instruments and the verdict on each one that was asked for.

    `matrix`: `session` ascending, then one Float64 column per kept con_id, ascending; fraction per session, null = no
    return. `verdicts`: con_id, verdict, reason, n_returns, missing_fraction, first_session, last_session.
    """

    matrix: pl.DataFrame
    verdicts: pl.DataFrame

    @property
    def con_ids(self) -> list[int]:
        """The kept instruments, ascending."""
        return con_ids(self.matrix)


@dataclass(frozen=True, slots=True)
class CompleteCases:
    """The sessions on which every instrument of a matrix has a return."""

    values: npt.NDArray[np.float64]
    sessions: list[date]
    con_ids: list[int]
    n_sessions: int
    """Sessions of the matrix, complete or not."""


def closes_matrix(bars: pl.DataFrame, sessions: Sequence[date], instruments: Sequence[int]) -> pl.DataFrame:
    """Pivot adjusted closes onto a calendar.

    Args:
        bars: session, con_id, adj_close; other columns and other sessions are ignored.
        sessions: the calendar's sessions; each becomes a row even when no instrument has it.
        instruments: con_ids; each becomes a column even when it has no bar.

    Returns:
        `session` ascending, then one Float64 column per con_id, ascending; null = no usable close (absent, not
        finite or not positive).

    Raises:
        ShapeError: an instrument has two bars in one session.
    """
    price = pl.col("adj_close")
    usable = bars.filter(price.is_finite() & (price > 0)).select("session", "con_id", "adj_close")
    if usable.select("session", "con_id").is_duplicated().any():
        raise ShapeError("curated_tws_1d_bars", ["an instrument has two bars in one session"])
    wide = pl.DataFrame({"session": sorted(set(sessions))}, schema={"session": pl.Date})
    by_id = usable.partition_by("con_id", as_dict=True, include_key=False)
    for con_id in sorted(set(instruments)):
        column = by_id.get((con_id,), usable.drop("con_id").clear()).rename({"adj_close": str(con_id)})
        wide = wide.join(column, on="session", how="left", maintain_order="left")
    return wide.with_columns(pl.exclude("session").cast(pl.Float64))


def simple_returns(closes: pl.DataFrame) -> pl.DataFrame:
    """Turn closes into simple returns.

    Args:
        closes: `session` ascending, then one Float64 column per con_id; (n_sessions, 1 + n_instruments).

    Returns:
        (n_sessions - 1, 1 + n_instruments); fraction per session (0.01 = +1 %). A null close nulls both returns
        beside it; nothing is filled.

    Raises:
        ShapeError: sessions are not strictly ascending.
    """
    sessions = closes.get_column("session")
    if sessions.n_unique() != sessions.len() or not sessions.is_sorted():
        raise ShapeError("returns_matrix", ["sessions are not strictly ascending"])
    values = pl.exclude("session")
    return closes.with_columns(values / values.shift(1) - 1).slice(1)


def returns_matrix(
    closes: pl.DataFrame, *, floor_sessions: int, max_abs_return: float, max_missing_fraction: float
) -> ReturnsMatrix:
    """Compute returns and decide on each instrument by itself; one instrument's gap never costs another anything.

    Args:
        closes: as `closes_matrix` returns it.
        floor_sessions: closes that an instrument must have, which is one more than its returns.
        max_abs_return: an instrument with a larger simple return is dropped, whatever its sign.
        max_missing_fraction: of the matrix's sessions; an instrument that misses more is dropped.

    Raises:
        NotEnoughReturnsError: no instrument is kept.
    """
    returns = simple_returns(closes)
    verdicts = [
        _verdict(
            closes.select("session", name),
            returns.get_column(name),
            floor_sessions,
            max_abs_return,
            max_missing_fraction,
        )
        for name in returns.columns[1:]
    ]
    schema = {name: RETURNS_MATRIX.schema[name] for name in _VERDICT_COLUMNS}
    frame = pl.DataFrame(verdicts, schema=schema, orient="row").sort("con_id")
    kept = frame.filter(pl.col("verdict") == "kept").get_column("con_id")
    if kept.is_empty():
        reasons = "; ".join(f"{row[0]}: {row[2]}" for row in frame.head(5).iter_rows())
        raise NotEnoughReturnsError(
            f"None of {frame.height} instruments is fit for the returns matrix ({reasons}).",
            "Fetch more with `quant flow data`, or loosen data.min_sessions_floor or risk.max_missing_fraction.",
        )
    return ReturnsMatrix(returns.select("session", *map(str, kept.to_list())), frame)


_VERDICT_COLUMNS = ("con_id", "verdict", "reason", "n_returns", "missing_fraction", "first_session", "last_session")


def _verdict(
    closes: pl.DataFrame, returns: pl.Series, floor: int, max_abs: float, max_missing: float
) -> tuple[object, ...]:
    name = returns.name
    present = closes.filter(pl.col(name).is_not_null()).get_column("session")
    values = returns.drop_nulls()
    missing = returns.null_count() / returns.len() if returns.len() else 1.0
    reasons = []
    if present.len() < floor:
        reasons.append(f"too_short: {present.len()} of {floor} sessions")
    if missing > max_missing:
        reasons.append(f"missing: {missing:.1%} of returns, limit {max_missing:.1%}")
    reasons += _wild(values, max_abs)
    first, last = (present.min(), present.max()) if present.len() else (None, None)
    return (int(name), "dropped" if reasons else "kept", ";".join(reasons), values.len(), missing, first, last)


def _wild(values: pl.Series, max_abs: float) -> list[str]:
    """Return what is wrong with the values themselves."""
    if values.is_empty():
        return ["no_returns"]
    array = values.to_numpy()
    extreme = float(array[np.abs(array).argmax()])
    reasons = [f"extreme: return {extreme:+.4g}, limit ±{max_abs:g}"] if abs(extreme) > max_abs else []
    return [*reasons, "zero_variance"] if array.min() == array.max() else reasons


def con_ids(matrix: pl.DataFrame) -> list[int]:
    """Return the instruments of a returns matrix, in column order."""
    return [int(name) for name in matrix.columns if name != "session"]


def complete_cases(matrix: pl.DataFrame, min_fraction: float = MIN_COMPLETE_FRACTION) -> CompleteCases:
    """Return the sessions on which all kept instruments have a return: what risk is estimated from.

    Risk is estimated on complete cases. A pairwise covariance would use every number but need not be positive
    semi-definite, and repairing it changes every entry; hierarchical methods also need the observations themselves.
    Instruments that miss many sessions were dropped before, so the loss is small, and it is reported. What is left
    out here is sessions for the estimate; no instrument and no row of the matrix disappears.

    Raises:
        NotEnoughReturnsError: fewer than `min_fraction` of the sessions, or fewer than two, are complete.
    """
    complete = matrix.drop_nulls()
    needed = max(2, int(np.ceil(min_fraction * matrix.height)))
    if complete.height < needed:
        worst = sorted(((matrix.get_column(name).null_count(), name) for name in matrix.columns[1:]), reverse=True)[:5]
        raise NotEnoughReturnsError(
            f"Only {complete.height} of {matrix.height} sessions have a return of every instrument; {needed} are "
            f"needed. Most is missing of con_id {', '.join(f'{name} ({count})' for count, name in worst)}.",
            "Lower risk.max_missing_fraction so that such instruments are dropped, or repair their gaps.",
        )
    values = np.ascontiguousarray(complete.drop("session").to_numpy(), dtype=np.float64)
    return CompleteCases(values, complete.get_column("session").to_list(), con_ids(matrix), matrix.height)


def certificate(
    verdicts: pl.DataFrame, symbols: Mapping[int, str], *, session: date, profile: str, run_id: str
) -> pl.DataFrame:
    """Return the coverage certificate of a matrix as rows of RETURNS_MATRIX."""
    ids = verdicts.get_column("con_id").to_list()
    frame = verdicts.with_columns(
        pl.lit(session).alias("session"),
        pl.lit(profile).alias("profile"),
        pl.lit(run_id).alias("run_id"),
        pl.Series("symbol", [symbols[con_id] for con_id in ids], dtype=pl.String),
    )
    return RETURNS_MATRIX.conform(frame)

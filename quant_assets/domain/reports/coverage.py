"""Heat maps of the minutes: which share of them has a bar, and where the others went, session by session."""

import io
from typing import Any

import polars as pl

_MAX_LABELS = 60
_COLORS = "YlGnBu"
_LOST = "Reds"
_REASONS = "tab20"
_SMALL = 7


def coverage_png(coverage: pl.DataFrame) -> bytes:
    """Draw one row per instrument and one column per session.

    Args:
        coverage: session, con_id, symbol, coverage in [0, 1]; pairs without a bar may be absent and are drawn empty.

    Returns:
        A PNG.
    """
    grid = _grid(coverage, "coverage")
    figure = _figure(grid, 0.0)
    axes = figure.add_subplot()
    _heat(figure, axes, grid, _COLORS, 1.0)
    _label(axes, grid.columns[1:])
    axes.set_title("Coverage: minutes with a bar ÷ expected minutes", fontsize=9, loc="left")
    return _png(figure)


def accounting_png(accounted: pl.DataFrame) -> bytes:
    """Draw the unexplained share of each instrument and session, and below it what the minutes without a bar are.

    Args:
        accounted: rows of `bar_accounting` of some sessions.

    Returns:
        A PNG.
    """
    import matplotlib as mpl

    minutes = pl.col("minutes").filter(pl.col("kind") == "unexplained").sum()
    lost = accounted.group_by("session", "con_id", "symbol").agg(
        (minutes / pl.col("expected").first().clip(1)).alias("lost")
    )
    grid = _grid(lost, "lost")
    figure = _figure(grid, 2.2)
    top, below = figure.subplots(2, 1, sharex=True, height_ratios=[max(2.0, 0.17 * grid.height), 2.0])
    _heat(figure, top, grid, _LOST, max(0.01, float(lost["lost"].max() or 0.0)))  # type: ignore[arg-type]
    top.tick_params(labelbottom=False)
    top.set_title("Unexplained minutes ÷ expected minutes", fontsize=9, loc="left")
    shares = absences(accounted)
    foot = [0.0] * (grid.width - 1)
    colors = mpl.colormaps[_REASONS].colors  # type: ignore[attr-defined]
    for place, (reason, *values) in enumerate(shares.iter_rows()):
        below.bar(range(len(values)), values, 0.8, bottom=foot, label=reason, color=colors[place % len(colors)])
        foot = [bottom + value for bottom, value in zip(foot, values, strict=True)]
    below.set_title("Minutes that did not trade, in % of the expected ones, by reason", fontsize=9, loc="left")
    below.tick_params(labelsize=_SMALL)
    if not shares.is_empty():
        below.legend(fontsize=_SMALL, loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False)
    _label(below, grid.columns[1:])
    return _png(figure)


def absences(accounted: pl.DataFrame) -> pl.DataFrame:
    """Return reason, and per session, ascending, its minutes in percent of the expected ones; the largest first.

    Args:
        accounted: rows of `bar_accounting` of some sessions.
    """
    expected = accounted.unique(["session", "con_id"]).group_by("session").agg(pl.col("expected").sum().alias("_all"))
    by_reason = (
        accounted.filter(pl.col("reason") != "present").group_by("session", "reason").agg(pl.col("minutes").sum())
    )
    percent = (100 * pl.col("minutes") / pl.col("_all").clip(1)).alias("percent")
    shares = by_reason.join(expected, on="session").select("session", "reason", percent)
    sessions = expected.select("session").sort("session")
    every = sessions.join(by_reason.select("reason").unique(), how="cross")
    whole = every.join(shares, on=["session", "reason"], how="left").with_columns(pl.col("percent").fill_null(0.0))
    order = whole.group_by("reason").agg(pl.col("percent").sum().alias("_sum"))
    table = whole.sort("session").pivot(on="session", index="reason", values="percent")
    return table.join(order, on="reason").sort("_sum", "reason", descending=[True, False]).drop("_sum")


def _grid(cells: pl.DataFrame, values: str) -> pl.DataFrame:
    grid = cells.sort("session").pivot(on="session", index="symbol", values=values, aggregate_function="max")
    return grid.sort("symbol")


def _figure(grid: pl.DataFrame, extra: float) -> Any:
    from matplotlib.figure import Figure

    width, height = max(5.0, 2.4 + 0.34 * (grid.width - 1)), 1.4 + 0.17 * grid.height
    return Figure(figsize=(width + (1.2 if extra else 0.0), height + extra), dpi=100, layout="constrained")


def _heat(figure: Any, axes: Any, grid: pl.DataFrame, colors: str, most: float) -> None:
    import matplotlib as mpl

    symbols = grid["symbol"].to_list()
    values = grid.select(grid.columns[1:]).cast(pl.Float64).to_numpy()
    shades = mpl.colormaps[colors].with_extremes(bad="#f4f4f4")
    image = axes.imshow(values, aspect="auto", vmin=0.0, vmax=most, cmap=shades, interpolation="nearest")
    if len(symbols) <= _MAX_LABELS:
        axes.set_yticks(range(len(symbols)), symbols, fontsize=_SMALL)
    bar = figure.colorbar(image, ax=axes, fraction=0.04, pad=0.02)
    bar.ax.tick_params(labelsize=_SMALL)


def _label(axes: Any, sessions: list[str]) -> None:
    axes.set_xticks(range(len(sessions)), sessions, rotation=90, fontsize=_SMALL)


def _png(figure: Any) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()

"""The coverage heat map: which instruments have which share of their expected minutes, session by session."""

import io

import polars as pl

_MAX_LABELS = 60
_COLORS = "YlGnBu"


def coverage_png(coverage: pl.DataFrame) -> bytes:
    """Draw one row per instrument and one column per session.

    Args:
        coverage: session, con_id, symbol, coverage in [0, 1]; pairs without a bar may be absent and are drawn empty.

    Returns:
        A PNG.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure

    grid = coverage.sort("session").pivot(on="session", index="symbol", values="coverage", aggregate_function="max")
    grid = grid.sort("symbol")
    sessions, symbols = grid.columns[1:], grid["symbol"].to_list()
    values = grid.select(sessions).cast(pl.Float64).to_numpy()
    figure = Figure(
        figsize=(max(5.0, 2.4 + 0.34 * len(sessions)), 1.4 + 0.17 * len(symbols)), dpi=100, layout="constrained"
    )
    axes = figure.add_subplot()
    colors = mpl.colormaps[_COLORS].with_extremes(bad="#f4f4f4")
    image = axes.imshow(values, aspect="auto", vmin=0.0, vmax=1.0, cmap=colors, interpolation="nearest")
    axes.set_xticks(range(len(sessions)), sessions, rotation=90, fontsize=7)
    if len(symbols) <= _MAX_LABELS:
        axes.set_yticks(range(len(symbols)), symbols, fontsize=7)
    axes.set_title("Coverage: minutes with a bar ÷ expected minutes", fontsize=9, loc="left")
    bar = figure.colorbar(image, ax=axes, fraction=0.04, pad=0.02)
    bar.ax.tick_params(labelsize=7)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()

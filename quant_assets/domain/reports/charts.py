"""Pictures as SVG text, drawn by hand: no library's version, font cache or clock can change a byte."""

from collections.abc import Callable, Mapping, Sequence
from datetime import date
from html import escape

from quant_assets.domain.reports.data import Correlation, Position, Track, Tree

INK, MUTED, RULE, ACCENT, LOSS = "#1d2733", "#6b7785", "#dde2e8", "#2b5c8a", "#a4452c"
_WIDTH = 920
_CLUSTERS = (
    "#2b5c8a",
    "#a4452c",
    "#3f7d5a",
    "#8a6d1f",
    "#6b4a8c",
    "#2f7f8a",
    "#9c4a73",
    "#5d6b2f",
    "#7a5542",
    "#4a5a99",
)


def bars(positions: Sequence[Position], limit: int = 40) -> str:
    """Draw weights as bars and risk contributions as marks beside them."""
    shown = positions[:limit]
    top = max([abs(one.weight) for one in shown] + [one.risk_contribution or 0.0 for one in shown] + [0.01])
    left, right, row = 120, 60, 24
    scale = (_WIDTH - left - right) / top
    lines = []
    for i, one in enumerate(shown):
        y = i * row + 4
        lines.append(_text(left - 10, y + 12, one.symbol.partition(":")[2] or one.symbol, anchor="end"))
        lines.append(_rect(left, y + 2, abs(one.weight) * scale, 13, ACCENT if one.weight >= 0 else LOSS))
        if one.risk_contribution is not None:
            x = left + max(one.risk_contribution, 0.0) * scale
            lines.append(f'<path d="M{x:.2f} {y:.2f}v17" stroke="{LOSS}" stroke-width="2.4"/>')
        end = left + max(abs(one.weight), one.risk_contribution or 0.0) * scale + 8
        lines.append(_text(end, y + 12, f"{one.weight:.2%}", fill=MUTED))
    return _svg(len(shown) * row + 8, lines, "Weights as bars, risk contributions as marks")


def heat_map(matrix: Correlation) -> str:
    """Draw correlations as coloured cells, with their numbers where there is room."""
    n = len(matrix.symbols)
    left, top = 92, 74
    cell = min(46.0, (_WIDTH - left) / max(n, 1))
    names = [symbol.partition(":")[2] or symbol for symbol in matrix.symbols]
    lines = []
    for i, name in enumerate(names):
        middle = i * cell + cell / 2
        lines.append(_text(left - 8, top + middle + 4, name, anchor="end"))
        where = f"{left + middle + 4:.2f} {top - 8:.2f}"
        lines.append(f'<text transform="translate({where}) rotate(-60)" fill="{INK}">{escape(name)}</text>')
    for i, row in enumerate(matrix.values):
        for j, value in enumerate(row):
            x, y = left + j * cell, top + i * cell
            lines.append(_rect(x, y, cell - 1, cell - 1, _shade(value)))
            if cell >= 30:  # noqa: PLR2004 - pixels that two digits need
                colour = "#ffffff" if abs(value) > 0.62 else INK  # noqa: PLR2004
                lines.append(_text(x + cell / 2, y + cell / 2 + 4, f"{value:.2f}", anchor="middle", fill=colour))
    return _svg(top + n * cell + 6, lines, "Correlation of daily returns", width=max(left + n * cell + 30, 320))


def dendrogram(tree: Tree, weights: Mapping[str, float]) -> str:
    """Draw a tree with its leaves on the right, joints as far left as they are high, and each cluster in one colour."""
    left, row, top = 10, 17, 6
    n, width = len(tree.symbols), _WIDTH - 220
    highest = max(height for _, _, height in tree.merges) or 1.0
    places: dict[int, tuple[float, float]] = {}
    groups: dict[int, int | None] = {}
    lines = []
    for place, leaf in enumerate(tree.order):
        y = top + place * row + row / 2
        symbol, cluster = tree.symbols[leaf], tree.clusters[leaf]
        places[leaf], groups[leaf] = (left + width, y), cluster
        name = symbol.partition(":")[2] or symbol
        lines.append(_text(left + width + 8, y + 4, name, fill=_colour(cluster)))
        lines.append(_text(_WIDTH - 60, y + 4, f"{weights.get(symbol, 0.0):.2%}", anchor="end", fill=MUTED))
        lines.append(_text(_WIDTH - 8, y + 4, str(cluster), anchor="end", fill=MUTED))
    for number, (a, b, height) in enumerate(tree.merges, start=n):
        (xa, ya), (xb, yb) = places[a], places[b]
        x = left + width * (1 - height / highest)
        groups[number] = groups[a] if groups[a] == groups[b] else None
        colour = MUTED if groups[number] is None else _colour(groups[number])
        path = f"M{xa:.2f} {ya:.2f}H{x:.2f}V{yb:.2f}H{xb:.2f}"
        lines.append(f'<path d="{path}" fill="none" stroke="{colour}" stroke-width="1.5"/>')
        places[number] = (x, (ya + yb) / 2)
    return _svg(2 * top + n * row, lines, "Ward's tree of correlation distances")


def _colour(cluster: int | None) -> str:
    return MUTED if cluster is None else _CLUSTERS[(cluster - 1) % len(_CLUSTERS)]


def growth(track: Track) -> str:
    """Draw cumulative growth above the drawdown, on one time axis."""
    percent = [value - 1.0 for value in track.growth]
    upper = _curve(track.sessions, [0.0, *percent], top=20, height=210, colour=ACCENT)
    lower = _curve(track.sessions, [0.0, *track.drawdown], top=272, height=110, colour=LOSS, fill=True)
    labels = [_text(60, 11, "cumulative return", fill=MUTED), _text(60, 263, "drawdown", fill=MUTED)]
    return _svg(
        412, [*labels, *upper, *lower, *_months(track.sessions, 402)], "Cumulative return and drawdown, in sample"
    )


def _curve(
    sessions: Sequence[date], values: Sequence[float], *, top: float, height: float, colour: str, fill: bool = False
) -> list[str]:
    low, high = min(values), max(values)
    step = _step((high - low) or 0.01)
    low, high = step * _floor(low / step), step * -_floor(-high / step)
    high = high if high > low else low + step
    x, _ = _axis(len(sessions) + 1)

    def y(value: float) -> float:
        return top + height * (high - value) / (high - low)

    lines, digits = [], int(round(100 * step, 9) % 1 > 0)
    for k in range(round((high - low) / step) + 1):
        level = low + k * step
        lines.append(f'<path d="M60 {y(level):.2f}H{_WIDTH - 8}" stroke="{RULE}"/>')
        lines.append(
            _text(52, y(level) + 4, f"{level:+.{digits}%}" if abs(level) > step / 2 else "0%", anchor="end", fill=MUTED)
        )
    points = " ".join(f"{x(i):.2f},{y(value):.2f}" for i, value in enumerate(values))
    if fill:
        area = f"60,{y(0.0):.2f} {points} {x(len(values) - 1):.2f},{y(0.0):.2f}"
        lines.append(f'<polygon points="{area}" fill="{colour}" fill-opacity="0.16"/>')
    lines.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.6"/>')
    return lines


def _axis(n: int) -> tuple[Callable[[int], float], float]:
    width = (_WIDTH - 8 - 60) / max(n - 1, 1)
    return (lambda i: 60 + i * width), width


def _months(sessions: Sequence[date], y: float) -> list[str]:
    """Label the first session of every quarter, thinned to what fits."""
    x, _ = _axis(len(sessions) + 1)
    firsts = [
        (i + 1, day)
        for i, day in enumerate(sessions)
        if (i == 0 or sessions[i - 1].month != day.month) and day.month % 3 == 1
    ]
    every = max(1, -(-len(firsts) // 10))
    return [_text(x(i), y, f"{day:%Y-%m}", anchor="middle", fill=MUTED) for i, day in firsts[::every]]


def _step(span: float) -> float:
    """Return a round step that cuts a span into about four."""
    magnitude = 1.0
    while magnitude > span:
        magnitude /= 10
    choices = (m * magnitude / 10 for m in (1, 2, 2.5, 5, 10, 20, 25, 50, 100))
    return next((step for step in choices if span / step <= 4.5), span)  # noqa: PLR2004


def _floor(value: float) -> int:
    return int(value // 1)


def _shade(value: float) -> str:
    """Mix white with blue for positive, with rust for negative correlation."""
    red, green, blue = (0x2B, 0x5C, 0x8A) if value >= 0 else (0xA4, 0x45, 0x2C)
    part = min(abs(value), 1.0)
    return "#" + "".join(f"{round(255 + (channel - 255) * part):02x}" for channel in (red, green, blue))


def _rect(x: float, y: float, width: float, height: float, colour: str) -> str:
    return f'<rect x="{x:.2f}" y="{y:.2f}" width="{max(width, 0.0):.2f}" height="{height:.2f}" fill="{colour}"/>'


def _text(x: float, y: float, text: str, *, anchor: str = "start", fill: str = INK) -> str:
    return f'<text x="{x:.2f}" y="{y:.2f}" text-anchor="{anchor}" fill="{fill}">{escape(text)}</text>'


def _svg(height: float, lines: Sequence[str], title: str, width: float = _WIDTH) -> str:
    """Wrap shapes; inside HTML an SVG needs no namespace, so the report names no address at all."""
    body = "".join(lines)
    return (
        f'<svg viewBox="0 0 {width:.0f} {height:.0f}" style="max-width:{width:.0f}px" role="img" font-size="12">'
        f"<title>{escape(title)}</title>{body}</svg>"
    )

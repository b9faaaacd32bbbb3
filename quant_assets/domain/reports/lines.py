"""Several curves in one picture, as SVG text."""

from collections.abc import Mapping, Sequence
from datetime import date
from html import escape

from quant_assets.domain.reports.charts import ACCENT, INK, LOSS, MUTED, RULE

COLOURS = (ACCENT, "#d59b1f", "#6b7785", LOSS, "#3f7f5f")
_WIDTH, _LEFT, _RIGHT = 920, 60, 150
_LABEL_ROOM = 14


def curves(
    sessions: Sequence[date],
    series: Mapping[str, Sequence[float]],
    *,
    title: str,
    height: int = 260,
    fill: bool = False,
) -> str:
    """Draw curves that start at 0 before the first session, each with its name and last value at its end.

    Args:
        sessions: one per value.
        series: name → values, fractions.
        title: for readers who cannot see the picture.
        height: of the drawing area, in pixels.
        fill: shade the area between the first curve and 0.
    """
    values = [value for one in series.values() for value in one] + [0.0]
    step = _step((max(values) - min(values)) or 0.01)
    low, high = step * (min(values) // step), step * -(-max(values) // step)
    high = high if high > low else low + step
    top, width = 12, _WIDTH - _LEFT - _RIGHT

    def x(place: int) -> float:
        return _LEFT + width * place / max(len(sessions), 1)

    def y(value: float) -> float:
        return top + height * (high - value) / (high - low)

    lines = []
    for k in range(round((high - low) / step) + 1):
        level = low + k * step
        lines.append(f'<path d="M{_LEFT} {y(level):.2f}H{_LEFT + width}" stroke="{RULE}"/>')
        digits = 1 if round(100 * step, 9) % 1 else 0
        told = "0%" if abs(level) < step / 2 else f"{level:+.{digits}%}"
        lines.append(_text(_LEFT - 8, y(level) + 4, told, MUTED, "end"))
    lines += _dates(sessions, x, top + height + 18)
    ends = _spread([(y(one[-1]), name) for name, one in series.items()])
    for colour, (name, one) in zip(COLOURS, series.items(), strict=False):
        points = " ".join(f"{x(place):.2f},{y(value):.2f}" for place, value in enumerate([0.0, *one]))
        if fill and name == next(iter(series)):
            area = f"{x(0):.2f},{y(0.0):.2f} {points} {x(len(one)):.2f},{y(0.0):.2f}"
            lines.append(f'<polygon points="{area}" fill="{colour}" fill-opacity="0.16"/>')
        lines.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.6"/>')
        lines.append(_text(_LEFT + width + 8, ends[name] + 4, f"{name} {one[-1]:+.1%}", colour))
    box = f"0 0 {_WIDTH} {top + height + 26}"
    return (
        f'<svg viewBox="{box}" style="max-width:{_WIDTH}px" role="img" font-size="12">'
        f"<title>{escape(title)}</title>{''.join(lines)}</svg>"
    )


def columns(labels: Sequence[str], values: Sequence[float], *, title: str, height: int = 120) -> str:
    """Draw one column per label, above and below 0."""
    top, width = 12, _WIDTH - _LEFT - 24
    high, low = max([*values, 0.0]), min([*values, 0.0])
    span = (high - low) or 0.01
    each = width / max(len(values), 1)
    zero = top + height * high / span
    lines = [f'<path d="M{_LEFT} {zero:.2f}H{_LEFT + width}" stroke="{MUTED}"/>']
    for place, value in enumerate(values):
        tall = height * abs(value) / span
        colour = ACCENT if value >= 0 else LOSS
        up = zero - tall if value >= 0 else zero
        left = _LEFT + place * each + 1
        lines.append(
            f'<rect x="{left:.2f}" y="{up:.2f}" width="{max(each - 2, 1):.2f}" height="{tall:.2f}" fill="{colour}"/>'
        )
    levels = sorted({high, low} - {0.0})
    lines += [_text(_LEFT - 8, zero - height * one / span + 4, f"{one:+.1%}", MUTED, "end") for one in levels]
    every = max(1, -(-len(labels) // 12))
    lines += [
        _text(_LEFT + (place + 0.5) * each, top + height + 18, labels[place], MUTED, "middle")
        for place in range(0, len(labels), every)
    ]
    box = f"0 0 {_WIDTH} {top + height + 26}"
    return (
        f'<svg viewBox="{box}" style="max-width:{_WIDTH}px" role="img" font-size="12">'
        f"<title>{escape(title)}</title>{''.join(lines)}</svg>"
    )


def _dates(sessions: Sequence[date], x: object, y: float) -> list[str]:
    """Label the first session of quarters, thinned to what fits."""
    firsts = [
        (place + 1, day)
        for place, day in enumerate(sessions)
        if place and sessions[place - 1].month != day.month and day.month % 3 == 1
    ]
    every = max(1, -(-len(firsts) // 9))
    return [_text(x(place), y, f"{day:%Y-%m}", MUTED, "middle") for place, day in firsts[::every]]  # type: ignore[operator]


def _spread(wanted: list[tuple[float, str]]) -> dict[str, float]:
    """Move labels apart until none covers another."""
    placed: dict[str, float] = {}
    last = float("-inf")
    for where, name in sorted(wanted):
        last = max(where, last + _LABEL_ROOM)
        placed[name] = last
    return placed


def _step(span: float) -> float:
    """Return a round step that cuts a span into about five."""
    magnitude = 1.0
    while magnitude > span:
        magnitude /= 10
    rounds = (factor * magnitude for factor in (0.1, 0.2, 0.25, 0.5, 1, 2, 2.5, 5, 10, 20, 50, 100))
    return next((step for step in rounds if span / step <= 5.5), span)  # noqa: PLR2004 - lines of a grid


def _text(x: float, y: float, text: str, colour: str = INK, anchor: str = "start") -> str:
    return f'<text x="{x:.2f}" y="{y:.2f}" text-anchor="{anchor}" fill="{colour}">{escape(text)}</text>'

"""Prices that cannot be: bad bars are told from a real move by the levels on both of their sides."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

MAX_LOG_JUMP = math.log(6.0)
"""|ln(p / p_ref)| above this is no ordinary move: the log form of +500 %, the same size up and down."""

_PRICES = ("open", "high", "low", "close")


def judge(bars: pl.DataFrame, reference: pl.DataFrame) -> pl.DataFrame:
    """Give every bar a toxic verdict.

    A `bad_print` has a price that jumps away from the close before it and back again to the close after it, so that
    100 → 0.01 → 100 rejects the bad bar and not the good ones; of several in a row each is one, when the prices on
    both sides of the row agree. A `level_shift` jumps and stays: a split that the source did not adjust, or a real
    move; the one bar at the edge is held back until something explains it, and the bars after it stay.

    Args:
        bars: one row per (con_id, ts), sorted by it, one session; columns open, high, low, close.
        reference: con_id, previous_close: the last close before the session, where one is known.

    Returns:
        `bars` with `toxic` ("bad_print", "level_shift" or null) and `toxic_evidence` (text).
    """
    close = pl.col("close")
    known = bars.join(reference, on="con_id", how="left", maintain_order="left").with_columns(
        pl.coalesce(close.shift(1).over("con_id"), "previous_close", close.shift(-2).over("con_id")).alias("_before"),
        pl.coalesce(close.shift(-1).over("con_id"), close.shift(2).over("con_id"), "previous_close").alias("_after"),
    )
    jumps = (pl.max_horizontal(_worst("_before"), _worst("_after")) > MAX_LOG_JUMP).fill_null(value=False)
    suspects = known.with_row_index("_row").filter(jumps.any().over("con_id"))
    verdicts: dict[int, str] = {}
    for part in suspects.partition_by("con_id", maintain_order=True):
        found = _Session.of(part).verdicts()
        verdicts |= {part["_row"][place]: verdict for place, verdict in found.items()}
    rows = pl.DataFrame({"_row": list(verdicts), "toxic": list(verdicts.values())}, schema=_VERDICTS)
    sides = (pl.col(side).cast(pl.String).fill_null("none") for side in ("_before", "_after"))
    evidence = pl.format("close {} against {} before and {} after", close, *sides)
    judged = known.with_row_index("_row").join(rows, on="_row", how="left", maintain_order="left")
    return judged.with_columns(pl.when(pl.col("toxic").is_not_null()).then(evidence).alias("toxic_evidence")).select(
        *bars.columns, "toxic", "toxic_evidence"
    )


_VERDICTS = pl.Schema({"_row": pl.UInt32, "toxic": pl.String})


def _worst(reference: str) -> pl.Expr:
    """Return the largest |ln(price / reference)| over the four prices of a bar."""
    return pl.max_horizontal((pl.col(price) / pl.col(reference)).log().abs() for price in _PRICES)


def _far(left: float, right: float) -> bool:
    return abs(math.log(left / right)) > MAX_LOG_JUMP


@dataclass(slots=True)
class _Level:
    """Bars of which each is within reach of the one before it."""

    places: list[int]
    first: float
    last: float


@dataclass(frozen=True, slots=True)
class _Session:
    """One instrument's bars of a session, few of which are absurd: only these instruments are looked at bar by bar."""

    bars: Sequence[tuple[float, ...]]
    """(open, high, low, close) per bar."""
    previous_close: float | None

    @classmethod
    def of(cls, part: pl.DataFrame) -> "_Session":
        return cls(part.select(_PRICES).rows(), part["previous_close"][0])

    def verdicts(self) -> dict[int, str]:
        """Return the verdict of every bar that has one, by its place."""
        bad, levels = self._bad_levels()
        sound = [place for place in range(len(self.bars)) if place not in bad]
        bad |= {place for at, place in enumerate(sound) if self._has_wick(sound, at)}
        before = [self.previous_close, *(level.last for level in levels)]
        pairs = zip(before, levels, strict=False)
        edges = [level.places[0] for close, level in pairs if close is not None and _far(level.first, close)]
        shifts = {place: "level_shift" for place in edges if place not in bad}
        return shifts | dict.fromkeys(bad, "bad_print")

    def _levels(self) -> list[_Level]:
        levels: list[_Level] = []
        for place, (*_, close) in enumerate(self.bars):
            if levels and not _far(close, levels[-1].last):
                levels[-1].places.append(place)
                levels[-1].last = close
            else:
                levels.append(_Level([place], close, close))
        return levels

    def _bad_levels(self) -> tuple[set[int], list[_Level]]:
        """Take out levels whose both sides agree, the shortest first; then lone bars that agree with neither side."""
        levels, bad = self._levels(), set[int]()
        while (at := self._most_doubtful(levels)) is not None:
            bad |= set(levels.pop(at).places)
            if 0 < at < len(levels):
                after = levels.pop(at)
                levels[at - 1].places += after.places
                levels[at - 1].last = after.last
        n_levels = len(levels) + (self.previous_close is not None)
        lone = [level for level in levels if len(level.places) == 1] if n_levels > 1 else []
        if len(lone) == len(levels) > 1:  # nothing but lone bars: which of them is sound cannot be told
            lone = []
        bad |= {level.places[0] for level in lone if level is not levels[0] or self._is_far_from_reference(level)}
        return bad, [level for level in levels if level.places[0] not in bad]

    def _is_far_from_reference(self, level: _Level) -> bool:
        return self.previous_close is None or _far(level.first, self.previous_close)

    def _most_doubtful(self, levels: Sequence[_Level]) -> int | None:
        """Return the level between two that agree which has the fewest bars, then the most bars around it."""
        rated = []
        for at, level in enumerate(levels[:-1]):
            before = levels[at - 1].last if at else self.previous_close
            if before is None or not _far(level.first, before) or _far(before, levels[at + 1].first):
                continue
            around = len(levels[at + 1].places) + (len(levels[at - 1].places) if at else len(self.bars))
            if len(level.places) < around:
                rated.append((len(level.places), -around, at))
        return min(rated)[2] if rated else None

    def _has_wick(self, sound: Sequence[int], at: int) -> bool:
        """Return whether one of a bar's prices is far from the sound closes on both of its sides."""
        closes = [self.bars[place][-1] for place in sound]
        before = closes[at - 1] if at else self.previous_close or (closes[2] if len(closes) > 2 else None)  # noqa: PLR2004
        beyond = closes[at - 2] if at > 1 else self.previous_close
        after = closes[at + 1] if at + 1 < len(closes) else beyond
        prices = self.bars[sound[at]]
        return all(side is not None and any(_far(price, side) for price in prices) for side in (before, after))

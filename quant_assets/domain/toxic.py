"""Prices that cannot be: bad bars are told from a real move by the levels on both of their sides."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from quant_assets.settings.quality import PRICES as _PRICES

MAX_JUMP = 6.0
"""Factor above which a step of a price is no ordinary move: +500 %, and the same size down."""
MAX_LOG_JUMP = math.log(MAX_JUMP)
NORMAL_VOLUME = 0.5
"""Share of an ordinary session's volume that a real move has at least."""
FOLD = 3.0
"""How far, as a factor, the dollars of a session after a split may be from the usual ones."""


def judge(bars: pl.DataFrame, reference: pl.DataFrame) -> pl.DataFrame:
    """Give every bar a toxic verdict.

    A `bad_print` has a price that jumps away from the close before it and back again to the close after it, so that
    100 → 0.01 → 100 rejects the bad bar and not the good ones; of several in a row each is one, when the prices on
    both sides of the row agree. Several in a row that are off by a power of ten are a `unit_error`.

    A price that jumps and stays is explained by what else is known of the day. The day's own bar agrees with the new
    level: a `real_move`, or, overnight with the volume that a split leaves behind, a `missed_split`, unless somebody
    says that the price moved. The day's bar denies it: the level is bad, bar by bar; unless all volumes carry the
    inverse factor, which is another price basis, a `missed_split`. Nothing else is known: a `level_shift`. Of missed
    splits and level shifts the one bar at the edge is held back until something explains it.

    Args:
        bars: one row per (con_id, ts), sorted by it, one session; columns open, high, low, close; volume if known.
        reference: con_id, previous_close: the last close before the session, where one is known; and, where they are
            known, day_high, day_low, day_close, day_volume (the session's daily bar), usual_volume (shares of an
            ordinary session), real_move (by how much the price moved over night, as somebody says who knows), max_jump
            and tolerance. Prices stand on the basis of the bars.

    Returns:
        `bars` with `toxic` (one of VERDICTS, or null) and `toxic_evidence` (text).
    """
    close = pl.col("close")
    told = reference.select(
        "con_id",
        *(name if name in reference.columns else pl.lit(None, pl.Float64).alias(name) for name in _DAY),
    )
    added = [name for name in _DAY if name not in bars.columns]
    known = bars.join(told, on="con_id", how="left", maintain_order="left").with_columns(
        pl.coalesce(close.shift(1).over("con_id"), "previous_close", close.shift(-2).over("con_id")).alias("_before"),
        pl.coalesce(close.shift(-1).over("con_id"), close.shift(2).over("con_id"), "previous_close").alias("_after"),
    )
    limit = pl.col("max_jump").fill_null(math.exp(MAX_LOG_JUMP)).log()
    jumps = (pl.max_horizontal(_worst("_before"), _worst("_after")) > limit).fill_null(value=False)
    suspects = known.with_row_index("_place").filter(jumps.any().over("con_id"))
    verdicts: dict[int, str] = {}
    for part in suspects.partition_by("con_id", maintain_order=True):
        found = _Session.of(part).verdicts()
        verdicts |= {part["_place"][place]: verdict for place, verdict in found.items()}
    rows = pl.DataFrame({"_place": list(verdicts), "toxic": list(verdicts.values())}, schema=_SCHEMA)
    sides = (pl.col(side).cast(pl.String).fill_null("none") for side in ("_before", "_after"))
    evidence = pl.concat_str(
        pl.format("close {} against {} before and {} after", close, *sides),
        pl.format("; the day's bar {} to {}, volume {}", "day_low", "day_high", pl.col("day_volume")).fill_null(""),
        pl.format(" of usually {}", pl.col("usual_volume").round(0)).fill_null(""),
    )
    judged = known.with_row_index("_place").join(rows, on="_place", how="left", maintain_order="left")
    return judged.with_columns(pl.when(pl.col("toxic").is_not_null()).then(evidence).alias("toxic_evidence")).select(
        *(name for name in bars.columns if name not in added), "toxic", "toxic_evidence"
    )


BAD_PRINT, UNIT_ERROR, REAL_MOVE, MISSED_SPLIT, LEVEL_SHIFT = VERDICTS = (
    "bad_print",
    "unit_error",
    "real_move",
    "missed_split",
    "level_shift",
)
"""What a jump can be; only a real move leaves its bar in silver."""

_DAY = (
    "previous_close",
    "day_high",
    "day_low",
    "day_close",
    "day_volume",
    "usual_volume",
    "real_move",
    "max_jump",
    "tolerance",
)
_SCHEMA = pl.Schema({"_place": pl.UInt32, "toxic": pl.String})
_TOLERANCE = 0.005
_THOUSAND = 3
"""The largest power of ten that a unit is off by."""
_UNIT = math.log(1.03)
"""How far a factor may be from a power of ten to be one."""
_EXPLAINED = math.log(2.0)
"""How far a jump may be from a move that somebody tells of, to be that and a night's own."""


def _worst(reference: str) -> pl.Expr:
    """Return the largest |ln(price / reference)| over the four prices of a bar."""
    return pl.max_horizontal((pl.col(price) / pl.col(reference)).log().abs() for price in _PRICES)


def _is_power_of_ten(ratio: float) -> bool:
    """Return whether a factor is 10, 100 or 1000, or one of them divided: prices in cents, in thousands, a slip."""
    exponent = round(math.log10(ratio))
    return 1 <= abs(exponent) <= _THOUSAND and abs(math.log(ratio) - exponent * math.log(10)) <= _UNIT


@dataclass(slots=True)
class _Level:
    """Bars of which each is within reach of the one before it."""

    places: list[int]
    first: float
    last: float


@dataclass(frozen=True, slots=True)
class _Day:
    """What else is known of the session."""

    previous_close: float | None
    high: float | None
    low: float | None
    close: float | None
    volume: float | None
    usual_volume: float | None
    real_move: float | None
    max_log_jump: float
    tolerance: float

    @classmethod
    def of(cls, row: dict[str, float | None]) -> "_Day":
        jump, tolerance = row["max_jump"], row["tolerance"]
        return cls(
            row["previous_close"],
            row["day_high"],
            row["day_low"],
            row["day_close"],
            row["day_volume"],
            row["usual_volume"],
            row["real_move"],
            math.log(jump) if jump else MAX_LOG_JUMP,
            _TOLERANCE if tolerance is None else tolerance,
        )

    def knows(self, price: float) -> bool:
        """Return whether the day's bar holds a price; False when there is no bar."""
        if self.high is None or self.low is None:
            return False
        return self.low * (1 - self.tolerance) <= price <= self.high * (1 + self.tolerance)

    def is_said_to_move(self, ratio: float) -> bool:
        """Return whether somebody says that the price moved by this ratio over night.

        Whether the word is about this break was decided by the daily bars. Here the first minute's close stands for the
        day's open, and a first minute of such a day may be far from it: the bound only keeps out another jump.
        """
        return bool(self.real_move and abs(math.log(ratio / self.real_move)) <= _EXPLAINED)

    def looks_split(self, ratio: float, volume: float) -> bool:
        """Return whether the day's shares changed as by a split: fewer at a higher price, or as many dollars."""
        if not self.usual_volume or not volume:
            return False
        shares = volume / self.usual_volume
        return shares < NORMAL_VOLUME if ratio > 1 else 1 / FOLD <= shares * ratio <= FOLD

    def is_other_basis(self, ratio: float, volume: float) -> bool:
        """Return whether the minutes' volume differs from the day's by the inverse of a price ratio."""
        return bool(self.volume and volume and abs(math.log(volume / self.volume * ratio)) <= math.log(1.2))


@dataclass(frozen=True, slots=True)
class _Session:
    """One instrument's bars of a session, few of which are absurd: only these instruments are looked at bar by bar."""

    bars: Sequence[tuple[float, ...]]
    """(open, high, low, close) per bar."""
    day: _Day
    volume: float

    @classmethod
    def of(cls, part: pl.DataFrame) -> "_Session":
        volume = part["volume"].sum() if "volume" in part.columns else 0.0
        return cls(part.select(_PRICES).rows(), _Day.of(part.select(_DAY).row(0, named=True)), float(volume))

    def _far(self, left: float, right: float) -> bool:
        return abs(math.log(left / right)) > self.day.max_log_jump

    def verdicts(self) -> dict[int, str]:
        """Return the verdict of every bar that has one, by its place."""
        bad, levels = self._bad_levels()
        sound = [place for place in range(len(self.bars)) if place not in bad]
        closes = [self.bars[place][-1] for place in sound]
        wicks = {place: BAD_PRINT for at, place in enumerate(sound) if self._has_wick(place, closes, at)}
        found = {**bad, **wicks}
        before = self.day.previous_close
        for level in levels:
            if before is not None and self._far(level.first, before):
                said = self._explained(level, before, n_sound=len(sound))
                found = {**said, **found}
                if len(said) == len(level.places) and REAL_MOVE not in said.values():
                    continue  # the whole level is bad: the next one is compared with what stood before it
            before = level.last
        return found

    def _explained(self, level: _Level, before: float, *, n_sound: int) -> dict[int, str]:
        """Return the verdicts of a level that stays."""
        day, edge, ratio = self.day, level.places[0], level.first / before
        overnight = before == day.previous_close
        known = [day.knows(self.bars[place][-1]) for place in level.places]
        if day.high is None or (any(known) and not all(known)):
            return {edge: LEVEL_SHIFT}
        if all(known):
            return {edge: self._agreed(ratio, overnight=overnight)}
        is_whole = len(level.places) == n_sound
        # of a whole session the day's own close, not the one before it, is what the prices are measured by
        factor = level.last / day.close if is_whole and day.close else ratio
        if is_whole and day.is_other_basis(factor, self.volume):
            return {edge: MISSED_SPLIT}
        return dict.fromkeys(level.places, UNIT_ERROR if _is_power_of_ten(factor) else BAD_PRINT)

    def _agreed(self, ratio: float, *, overnight: bool) -> str:
        """Return the verdict of a level that the day's own bar agrees with."""
        if overnight and self.day.is_said_to_move(ratio):
            return REAL_MOVE
        if overnight and self.day.looks_split(ratio, self.volume):
            return MISSED_SPLIT
        is_normal = not self.day.usual_volume or self.volume >= NORMAL_VOLUME * self.day.usual_volume
        return REAL_MOVE if is_normal else LEVEL_SHIFT

    def _levels(self) -> list[_Level]:
        levels: list[_Level] = []
        for place, (*_, close) in enumerate(self.bars):
            if levels and not self._far(close, levels[-1].last):
                levels[-1].places.append(place)
                levels[-1].last = close
            else:
                levels.append(_Level([place], close, close))
        return levels

    def _bad_levels(self) -> tuple[dict[int, str], list[_Level]]:
        """Take out levels whose both sides agree, the shortest first; then lone bars that agree with neither side."""
        levels, bad = self._levels(), dict[int, str]()
        while (at := self._most_doubtful(levels)) is not None:
            before = levels[at - 1].last if at else self.day.previous_close
            out = levels.pop(at)
            unit = len(out.places) > 1 and before and _is_power_of_ten(out.first / before)
            bad |= dict.fromkeys(out.places, UNIT_ERROR if unit else BAD_PRINT)
            if 0 < at < len(levels):
                after = levels.pop(at)
                levels[at - 1].places += after.places
                levels[at - 1].last = after.last
        n_levels = len(levels) + (self.day.previous_close is not None)
        lone = [level for level in levels if len(level.places) == 1] if n_levels > 1 else []
        if len(lone) == len(levels) > 1:  # nothing but lone bars: which of them is sound cannot be told
            lone = []
        for level in lone:
            if (level is not levels[0] or self._is_far_from_reference(level)) and not self.day.knows(level.last):
                bad[level.places[0]] = BAD_PRINT
        return bad, [level for level in levels if level.places[0] not in bad]

    def _is_far_from_reference(self, level: _Level) -> bool:
        return self.day.previous_close is None or self._far(level.first, self.day.previous_close)

    def _most_doubtful(self, levels: Sequence[_Level]) -> int | None:
        """Return the level between two that agree which has the fewest bars, then the most bars around it."""
        rated = []
        for at, level in enumerate(levels[:-1]):
            before = levels[at - 1].last if at else self.day.previous_close
            if before is None or not self._far(level.first, before) or self._far(before, levels[at + 1].first):
                continue
            around = len(levels[at + 1].places) + (len(levels[at - 1].places) if at else len(self.bars))
            if len(level.places) < around:
                rated.append((len(level.places), -around, at))
        return min(rated)[2] if rated else None

    def _has_wick(self, place: int, closes: Sequence[float], at: int) -> bool:
        """Return whether one of a bar's prices is far from the sound closes on both of its sides."""
        previous = self.day.previous_close
        before = closes[at - 1] if at else previous or (closes[2] if len(closes) > 2 else None)  # noqa: PLR2004
        beyond = closes[at - 2] if at > 1 else previous
        after = closes[at + 1] if at + 1 < len(closes) else beyond
        prices = self.bars[place]
        return all(side is not None and any(self._far(price, side) for price in prices) for side in (before, after))

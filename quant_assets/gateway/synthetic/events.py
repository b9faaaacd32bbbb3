"""What is planted in the synthetic market, so that a pipeline can be checked against the truth.

half_day       the exchange's calendar   the session ends early
halt           every 5th session         15-45 minutes without trades; the daily volume agrees with the bars
gap            every 4th session         10-60 minutes lost from the minute bars; the daily bar knows them
bad_print      every 6th session         one minute bar x100 or /100; the daily bar does not show it
split          every 83rd session        on its day the whole history moves to the new price basis
dividend       a payer's every 63rd      changes ADJUSTED_LAST before its day, and nothing in TRADES
listing        fixed, universe.LISTED    first session; nothing before it
delisting      fixed, universe.DELISTED  last session; nothing after it
symbol_change  fixed, universe.RENAMED   first session under the new name; con_id stays

Sessions are counted from hours.FIRST_SESSION. The seed decides the instrument, the minutes and the size. Halts, gaps
and bad prints fall on three disjoint groups of instruments, so that none can hide another; never in the first or last
half hour of a session.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np

from quant_assets.gateway.hours import TradingHours
from quant_assets.gateway.synthetic.randomness import Floats, pick, stream_key
from quant_assets.gateway.synthetic.universe import Listing

HALT_EVERY: Final = 5
GAP_EVERY: Final = 4
BAD_PRINT_EVERY: Final = 6
SPLIT_EVERY: Final = 83
DIVIDEND_EVERY: Final = 63
HALT_MINUTES: Final = (15, 45)
GAP_MINUTES: Final = (10, 60)
BAD_PRINT_FACTORS: Final = (100.0, 0.01)
SPLIT_RATIOS: Final = (2.0, 4.0, 0.25, 3.0, 2.0, 0.125)
"""New shares for one old. Reverse splits are powers of two, so that adjusted volumes stay exact."""
EDGE_MINUTES: Final = 30


@dataclass(frozen=True, slots=True)
class MinuteEvent:
    """Something that happens to a stretch of minutes [first, last] of one session."""

    kind: str
    index: int
    """Position of the instrument in the listing table."""
    first: int
    last: int
    factor: float = 1.0


@dataclass(frozen=True, slots=True)
class Split:
    """From this session on, `ratio` shares stand where one stood."""

    ordinal: int
    index: int
    ratio: float


class Events:
    """The plan of one seed, asked by session ordinal."""

    def __init__(self, seed: int, listed: list[Listing], hours: TradingHours) -> None:
        self._key = stream_key(seed, "events")
        self._hours = hours
        self._listed = listed
        self._of_session = lru_cache(8192)(self._drawn)
        self._plain = [i for i, listing in enumerate(listed) if listing.has_plain_life]
        self.splits = [self._split(n) for n in range(SPLIT_EVERY, len(hours.opens), SPLIT_EVERY)]

    def of_session(self, ordinal: int) -> tuple[MinuteEvent, ...]:
        """Return the halts, gaps and bad prints of one session."""
        return self._of_session(ordinal)

    def _drawn(self, ordinal: int) -> tuple[MinuteEvent, ...]:
        found = []
        if ordinal % HALT_EVERY == 0:
            found.append(self._stretch("halt", ordinal, 0, HALT_MINUTES))
        if ordinal % GAP_EVERY == 0:
            found.append(self._stretch("gap", ordinal, 1, GAP_MINUTES))
        if ordinal % BAD_PRINT_EVERY == 0:
            factor = BAD_PRINT_FACTORS[pick(self._key, ordinal * 64 + 40, 2)]
            found.append(self._stretch("bad_print", ordinal, 2, (1, 1), factor))
        return tuple(found)

    def dividend_ordinals(self, index: int, first: int, last: int) -> range:
        """Return the ex-dividend sessions of an instrument in [first, last]."""
        if self._listed[index].dividend_yield == 0:
            return range(0)
        offset = (7 * index) % DIVIDEND_EVERY
        start = first + (offset - first) % DIVIDEND_EVERY
        return range(max(start, offset + DIVIDEND_EVERY), last + 1, DIVIDEND_EVERY)

    def split_factor(self, index: int, ordinals: np.ndarray[tuple[int, ...], np.dtype[np.int64]], until: int) -> Floats:
        """Return how many shares at `until` one share at each ordinal has become."""
        factor = np.ones(len(ordinals))
        for split in self.splits:
            if split.index == index:
                factor[(ordinals < split.ordinal) & (split.ordinal <= until)] *= split.ratio
                factor[(ordinals >= split.ordinal) & (split.ordinal > until)] /= split.ratio
        return factor

    def _split(self, ordinal: int) -> Split:
        index = self._plain[pick(self._key, ordinal * 64 + 50, len(self._plain))]
        return Split(ordinal, index, SPLIT_RATIOS[(ordinal // SPLIT_EVERY) % len(SPLIT_RATIOS)])

    def _stretch(
        self, kind: str, ordinal: int, group: int, length: tuple[int, int], factor: float = 1.0
    ) -> MinuteEvent:
        at = ordinal * 64 + group * 8
        members = self._plain[group::3]
        n_minutes = int(self._hours.minutes([ordinal])[0])
        n = length[0] + pick(self._key, at + 1, length[1] - length[0] + 1)
        first = EDGE_MINUTES + pick(self._key, at + 2, n_minutes - 2 * EDGE_MINUTES - n)
        return MinuteEvent(kind, members[pick(self._key, at, len(members))], first, first + n - 1, factor)

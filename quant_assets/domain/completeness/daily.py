"""Is an answer with daily bars all there is? Judged against the calendar, who else knows, and an earlier answer."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import Final, Literal, Self

import polars as pl

from quant_assets.domain.outcomes import IN_SHARES, LOTS, LOTS_BARS, LOTS_RATIO, NOTHING

SAME_PRICE: Final = 0.5
"""Closes within a factor of 1 ± this are of one price basis, when volumes a hundred times apart are judged: a split
that moves volumes by a hundred moves closes as far."""
_NAMED: Final = 5
_AGAIN: Final = "another request brought the same"
_MAY_BE_LOTS: Final = "its volumes may be in lots of 100"


@dataclass(frozen=True, slots=True)
class Beginning:
    """What TWS said of a series' first bar."""

    day: date | None
    """None: there is none up to the end of the window."""


@dataclass(frozen=True, slots=True)
class DailyVerdict:
    """What one answer came to: see `outcomes.OUTCOMES` and `outcomes.PROOFS`."""

    outcome: str
    proof: str = ""
    detail: str = ""
    sessions: frozenset[date] = frozenset()
    """Those of the window that the answer has, and its last one."""
    is_outside: bool = False
    """Whether all that it has lies before the window."""
    is_short: bool = False
    """Whether sessions of the window come after its last bar."""
    is_contradicted: bool = False
    """Whether somebody else knows that the instrument traded after all that the answer has."""
    is_unclear: bool = False
    """Whether its volumes may be in lots, for all that it tells itself."""

    @property
    def is_nothing(self) -> bool:
        """Whether the answer has no bar at all."""
        return not self.sessions and self.outcome in NOTHING

    def contradicted_by(self, traded: Collection[date]) -> Self:
        """Return it as doubted when others know of trades after all that the answer has: then no agreement helps.

        Args:
            traded: sessions of the window on which somebody else knows that the instrument traded.
        """
        last = max(self.sessions, default=date.min)
        after = sorted(day for day in traded if day > last)
        if not after or self.outcome == "wrong_unit":
            return self
        outcome = "truncated" if self.sessions and self.proof else self.outcome
        detail = f"{self.detail}; yet it traded on {_named(after)}"
        return replace(self, outcome=outcome, proof="", detail=detail, is_contradicted=True)

    def confirmed_by(
        self, earlier: Collection[Self], beginning: Beginning | None = None, *, is_quiet: bool = False
    ) -> Self:
        """Return it as proved when an earlier answer, cut differently, has the same sessions.

        Whoever lies once lies alike, so that a nothing that is heard again needs more: TWS has to know of no first bar.
        What has one is in doubt until an answer shows where it ends. An end that is heard again needs silence after it.
        Volumes in another unit are mended in TWS, and never believed.

        Args:
            earlier: verdicts on answers to other requests.
            beginning: what TWS said of the first bar; None when it has not told.
            is_quiet: TWS was asked for 1-minute bars after the last one, and has none.
        """
        same = [one for one in earlier if one.sessions == self.sessions and one.outcome != "wrong_unit"]
        if self.proof or self.outcome == "wrong_unit" or self.is_contradicted or not same:
            return self
        if self.sessions and self.is_short and not is_quiet:
            return replace(self, detail=f"{self.detail}; {_AGAIN}, and nothing shows that it did not trade since")
        if self.sessions:
            outcome = "no_trades" if self.is_outside else "bars"
            return replace(self, outcome=outcome, proof="agreement", detail=f"{self.detail}; {_AGAIN}")
        again = replace(self, outcome="no_data" if self.outcome == "no_data" else "suspect_empty")
        if beginning is None:
            return again
        if beginning.day is None:
            outcome = "no_data" if self.outcome == "no_data" else "no_trades"
            return replace(again, outcome=outcome, proof="head", detail=f"{self.detail}; TWS knows of no first bar")
        return replace(again, detail=f"{self.detail}; yet its first bar is of {beginning.day}")

    def among_lots(self) -> Self:
        """Return it as refused when its volumes may be in lots: those of another answer are, and the setting is one."""
        if not self.is_unclear:
            return self
        detail = f"{self.detail or _MAY_BE_LOTS}, as those of others are"
        return replace(self, outcome="wrong_unit", proof="", detail=detail)

    def after_the_end(self, vintage: date) -> Self:
        """Return a nothing as proved because an earlier vintage had shown that the series had ended.

        Args:
            vintage: the one that had shown it.
        """
        if not self.is_nothing or self.is_contradicted:
            return self
        detail = f"{self.detail}; it had ended by the vintage of {vintage}"
        return replace(self, outcome="no_trades", proof="agreement", detail=detail)


def judge_daily(
    bars: pl.DataFrame,
    expected: Sequence[date],
    stored: pl.DataFrame,
    *,
    earliest: date,
    newest_vintage: date | None,
    words: str = "",
    is_share: bool = True,
    may_be_lots: bool = False,
) -> DailyVerdict:
    """Say what one answer of a daily series came to.

    Args:
        bars: session, close, volume, bar_count of the answer, no session after the vintage.
        expected: sessions of the instrument's calendar in the window, ascending; the last is the vintage's.
        stored: session, close, volume of the same instrument, as earlier answers and its other series told them.
        earliest: first session that the request can reach.
        newest_vintage: when what is stored was fetched; None when nothing is.
        words: TWS's own, when it said that there is no data.
        is_share: its volume counts shares, of which a trade has at least one.
        may_be_lots: TWS has a setting that counts its volume in lots, and nothing is believed that may be.

    Returns:
        `complete` when no session is missing that the calendar or the store knows of; `agreement` when it ends where
        an earlier vintage had ended already (a delisting, for instance); else in doubt.
    """
    said = _judged(bars, expected, stored, earliest, newest_vintage, words, is_share=is_share)
    if not may_be_lots or said.outcome == "wrong_unit" or bars.is_empty() or _is_in_shares(bars, stored):
        return said
    detail = "; ".join(text for text in (said.detail, _MAY_BE_LOTS) if text)
    if unit_of(bars) == "unknown":
        return replace(said, is_unclear=True)
    outcome = "unconfirmed" if said.proof else said.outcome
    return replace(said, outcome=outcome, proof="", detail=detail, is_unclear=True)


def _judged(
    bars: pl.DataFrame,
    expected: Sequence[date],
    stored: pl.DataFrame,
    earliest: date,
    newest_vintage: date | None,
    words: str,
    *,
    is_share: bool,
) -> DailyVerdict:
    if bars.is_empty():
        said = "TWS sent no bar, and did not say why"
        return DailyVerdict("no_data" if words else "empty", detail=words or said)
    first, last = bars["session"].min(), bars["session"].max()
    assert isinstance(first, date)
    assert isinstance(last, date)
    inside = frozenset(bars["session"].to_list()) & frozenset(expected)
    found = inside | {last}
    if is_share and _is_in_lots(bars, stored):
        return DailyVerdict("wrong_unit", detail=f"{bars.height} bars with volumes in lots of 100", sessions=found)
    if last < expected[-1] and first < earliest:
        text = f"asked for {earliest} to {expected[-1]}, got {first} to {last}"
        return DailyVerdict("shifted", detail=text, sessions=found, is_outside=not inside, is_short=True)
    known = frozenset(stored["session"].to_list())
    lacking = [day for day in expected if day not in found and (day > first or day in known)]
    if not lacking:
        return DailyVerdict("bars", "complete", sessions=found)
    text = f"lacks {_named(lacking)}"
    ends_alike = newest_vintage is not None and newest_vintage > last and stored["session"].max() == last
    if ends_alike and all(day > last for day in lacking):
        said = "bars" if inside else "no_trades"
        return DailyVerdict(said, "agreement", f"{text}; so did the vintage of {newest_vintage}", found)
    is_short = last < expected[-1]
    said = "truncated" if is_short else "unconfirmed"
    return DailyVerdict(said, "", text, found, is_outside=not inside, is_short=is_short)


def unit_of(bars: pl.DataFrame) -> Literal["shares", "lots", "unclear", "unknown"]:
    """Return what volumes count, as far as bars of a share tell it themselves.

    Fewer shares than trades cannot be, and trades that are large for their price are no lots. Unknown is what does not
    count its trades: recordings may not, TWS does.

    Args:
        bars: close, volume, bar_count.
    """
    traded = bars.filter((pl.col("volume") > 0) & (pl.col("bar_count") > 0))
    if traded.is_empty():
        return "unknown"
    trade = pl.col("volume") / pl.col("bar_count")
    odd, size = traded.select((trade < 1).mean(), (pl.col("close") * trade.pow(2)).median().alias("size")).row(0)
    if odd > LOTS_BARS:
        return "lots"
    return "shares" if size >= IN_SHARES else "unclear"


def _is_in_lots(bars: pl.DataFrame, stored: pl.DataFrame) -> bool:
    """Return whether bars have fewer shares than trades, or a hundredth of the volumes that are known."""
    return unit_of(bars) == "lots" or _is_near(LOTS, _ratio(bars, stored))


def _is_in_shares(bars: pl.DataFrame, stored: pl.DataFrame) -> bool:
    """Return whether bars have the volumes that are known, or trades of a size that lots cannot have."""
    has_volume = not bars.filter(pl.col("volume") > 0).is_empty()
    return not has_volume or unit_of(bars) == "shares" or _is_near(1.0, _ratio(bars, stored))


def other_units(bars: pl.DataFrame, stored: pl.DataFrame) -> bool:
    """Return whether volumes are a hundred times those that are known: what is known was in lots.

    Args:
        bars: session, close, volume.
        stored: the same columns, of the same series.
    """
    return _is_near(1 / LOTS, _ratio(bars, stored))


def _is_near(factor: float, ratio: float | None) -> bool:
    return ratio is not None and abs(factor * ratio - 1) <= LOTS_RATIO


def _ratio(bars: pl.DataFrame, stored: pl.DataFrame) -> float | None:
    """Return the median of volumes, as shares of those that are known, where prices are of one basis."""
    both = bars.join(stored, on="session", suffix="_stored").filter(pl.col("volume_stored") > 0)
    same_price = (pl.col("close") / pl.col("close_stored") - 1).abs() <= SAME_PRICE
    found = both.filter(same_price).select((pl.col("volume") / pl.col("volume_stored")).median()).item()
    return None if found is None else float(found)


def _named(days: Sequence[date]) -> str:
    shown = ", ".join(map(str, days[:_NAMED]))
    return f"{len(days)} sessions: {shown}{' …' if len(days) > _NAMED else ''}"

"""The kinds of rules: what each looks for, as an expression over the rows of its scope."""

from dataclasses import dataclass
from typing import Protocol

import polars as pl

from quant_assets.domain.hours import HOURS, is_open
from quant_assets.settings.quality import HARD, PRICES, RuleName, Severity

MINUTE_S = 60


class Terms(Protocol):
    """The numbers of an instrument and a session, by name, as expressions over its rows."""

    def __getitem__(self, name: str) -> pl.Expr:
        """Return one of them: a threshold, one of HOURS, `session`."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """A declared rule. Subclasses add the expression over the rows of their scope."""

    name: RuleName
    severity: Severity
    verdict: str
    """What a row that breaks it is taken for."""
    about: str
    parameters: tuple[str, ...] = ()
    """Thresholds of configs/manifest.json that it compares with."""

    @property
    def is_hard(self) -> bool:
        """Whether silver's own schema rests on it: neither configuration nor a release lifts it."""
        return self.name in HARD


@dataclass(frozen=True, slots=True, kw_only=True)
class RowRule(Rule):
    """A rule that looks at one row alone."""

    def broken(self, terms: Terms) -> pl.Expr:
        """Return whether a row breaks it."""
        raise NotImplementedError

    def evidence(self, terms: Terms) -> pl.Expr:  # noqa: ARG002 - some rules need them
        """Return the numbers that the verdict rests on, as text."""
        return pl.format("open {} high {} low {} close {}", *(text(name) for name in PRICES))


@dataclass(frozen=True, slots=True, kw_only=True)
class FiniteRule(RowRule):
    """Each column holds a number."""

    columns: tuple[str, ...]

    def broken(self, terms: Terms) -> pl.Expr:  # noqa: ARG002
        """Return whether a number is missing."""
        return ~pl.all_horizontal(pl.col(self.columns).is_finite().fill_null(value=False))


@dataclass(frozen=True, slots=True, kw_only=True)
class RangeRule(RowRule):
    """Each column lies within bounds; a bound is a number, or the name of a threshold. Null is within."""

    columns: tuple[str, ...]
    above: float | None = None
    least: float | None = None
    most: str | None = None

    def broken(self, terms: Terms) -> pl.Expr:
        """Return whether a value is out of bounds; one that is no number is."""
        return pl.any_horizontal(out for name in self.columns for out in self._out(pl.col(name), terms))

    def _out(self, value: pl.Expr, terms: Terms) -> list[pl.Expr]:
        return [
            *([value <= self.above] if self.above is not None else []),
            *([value < self.least, ~value.cast(pl.Float64).is_finite()] if self.least is not None else []),
            *([value > terms[self.most]] if self.most is not None else []),
        ]

    def evidence(self, terms: Terms) -> pl.Expr:
        """Return the values."""
        if self.columns == PRICES:
            return RowRule.evidence(self, terms)
        return pl.format("volume {} in {} trades", text("volume"), text("bar_count"))


@dataclass(frozen=True, slots=True, kw_only=True)
class EnumRule(RowRule):
    """A column holds one of the legal values, which a term names."""

    column: str
    legal: str

    def broken(self, terms: Terms) -> pl.Expr:
        """Return whether the value is another one; without a legal value, every value is legal."""
        legal = terms[self.legal]
        return ~pl.col(self.column).is_in(legal) if self.legal == "series" else pl.col(self.column) != legal

    def evidence(self, terms: Terms) -> pl.Expr:
        """Return the value and the legal ones."""
        legal = terms[self.legal]
        shown = legal.list.join(", ") if self.legal == "series" else legal.cast(pl.String)
        return pl.format("{} is {}, not {}", pl.lit(self.column), text(self.column), shown)


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionRule(RowRule):
    """A bar starts within its instrument's own hours."""

    def broken(self, terms: Terms) -> pl.Expr:
        """Return whether it starts outside; without hours that day, every bar does."""
        return ~is_open(*(terms[name] for name in HOURS))

    def evidence(self, terms: Terms) -> pl.Expr:
        """Return the hours."""
        opens, closes, pauses, resumes = (terms[name].dt.strftime("%H:%M") for name in HOURS)
        whole, pause = pl.format("session {} to {} UTC", opens, closes), pl.format(", paused {} to {}", pauses, resumes)
        return (whole + pause.fill_null("")).fill_null("its exchange is closed that day")


@dataclass(frozen=True, slots=True, kw_only=True)
class GridRule(RowRule):
    """A bar starts on a whole minute."""

    def broken(self, terms: Terms) -> pl.Expr:  # noqa: ARG002
        """Return whether it does not."""
        return pl.col("ts").dt.epoch("us") % (MINUTE_S * 1_000_000) != 0

    def evidence(self, terms: Terms) -> pl.Expr:  # noqa: ARG002
        """Return the sentence."""
        return pl.lit("the bar does not start on a minute")


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderRule(RowRule):
    """High is the highest of the four prices, low the lowest."""

    def broken(self, terms: Terms) -> pl.Expr:  # noqa: ARG002
        """Return whether one is not."""
        return (pl.col("high") < pl.max_horizontal("open", "low", "close")) | (
            pl.col("low") > pl.min_horizontal("open", "close")
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class WithinBarRule(RowRule):
    """A bar's average price lies between its low and its high, give or take a share of them.

    Trades that are reported late count for the average and not for high and low, hence the share. The average of no
    trade says nothing.
    """

    column: str
    tolerance: str

    def broken(self, terms: Terms) -> pl.Expr:
        """Return whether it lies outside; null is within."""
        value, share = pl.col(self.column), terms[self.tolerance]
        outside = (value > pl.col("high") * (1 + share)) | (value < pl.col("low") * (1 - share))
        return outside & (pl.col("volume") > 0).fill_null(value=True)

    def evidence(self, terms: Terms) -> pl.Expr:  # noqa: ARG002
        """Return the average and the two prices that hold it."""
        return pl.format("{} {}, low {} high {}", pl.lit(self.column), text(self.column), text("low"), text("high"))


@dataclass(frozen=True, slots=True, kw_only=True)
class TradesRule(RowRule):
    """A bar without volume has no trades, and its price stands still; where trades are not counted, nothing is said."""

    def broken(self, terms: Terms) -> pl.Expr:  # noqa: ARG002
        """Return whether volume, trades and prices contradict each other."""
        count = pl.col("bar_count")
        return (pl.col("volume") == 0) & ((count > 0) | ((count == 0) & (pl.col("high") > pl.col("low"))))

    def evidence(self, terms: Terms) -> pl.Expr:  # noqa: ARG002
        """Return the three."""
        return pl.format(
            "volume {} in {} trades from {} to {}", text("volume"), text("bar_count"), text("low"), text("high")
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class FinishedRule(RowRule):
    """A bar arrived after its minute had ended."""

    def broken(self, terms: Terms) -> pl.Expr:  # noqa: ARG002
        """Return whether it arrived before."""
        return pl.col("ts") > pl.col("ingested_at") - pl.duration(seconds=MINUTE_S)

    def evidence(self, terms: Terms) -> pl.Expr:  # noqa: ARG002
        """Return when it arrived."""
        return pl.format("received at {}, before its minute ended", pl.col("ingested_at").dt.strftime("%H:%M:%S UTC"))


@dataclass(frozen=True, slots=True, kw_only=True)
class MonotonicTimeRule(Rule):
    """Within one answer, each row starts no earlier than the latest before it."""

    def broken(self) -> pl.Expr:
        """Return whether a row starts earlier; over rows in the order they were sent."""
        latest_before = pl.col("ts").cum_max().shift(1).over("con_id", "request_id")
        return (pl.col("ts") < latest_before).fill_null(value=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class DuplicateRule(Rule):
    """A minute has one row; `differs` tells the two kinds of repetition apart."""

    differs: bool

    def broken(self) -> pl.Expr:
        """Return whether a row is one too many; over the rows of a repeated minute, the one that stays first."""
        minute = ["con_id", "ts"]
        values = [*PRICES, "volume"]
        other = pl.any_horizontal(pl.col(name).ne_missing(pl.col(name).first().over(minute)) for name in values)
        return (pl.int_range(pl.len()).over(minute) > 0) & (other if self.differs else ~other)


@dataclass(frozen=True, slots=True, kw_only=True)
class StaleRule(Rule):
    """A bar does not repeat the one before it in every value, many times over; bars without volume are fillers."""

    def repeats(self) -> pl.Expr:
        """Return whether a row repeats the row before it; over one instrument's rows in time order."""
        same = [pl.col(name).eq_missing(pl.col(name).shift(1)) for name in (*PRICES, "volume", "bar_count")]
        return pl.all_horizontal(pl.col("con_id") == pl.col("con_id").shift(1), *same) & (
            (pl.col("volume") > 0) | pl.col("volume").is_null()
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class FillerRule(Rule):
    """A bar without volume and trades, flat: the vendor's way to say that nothing traded."""

    def broken(self) -> pl.Expr:
        """Return whether a row is one."""
        flat = (pl.col("high") == pl.col("low")) & (pl.col("open") == pl.col("close"))
        return (pl.col("volume") == 0) & (pl.col("bar_count").fill_null(0) == 0) & flat


@dataclass(frozen=True, slots=True, kw_only=True)
class DailyRangeRule(Rule):
    """A minute's prices lie within the day's own bar, give or take a share of it."""

    tolerance: str

    def broken(self, terms: Terms) -> pl.Expr:
        """Return whether one does not; over rows beside `day_high` and `day_low`."""
        share = terms[self.tolerance]
        return (pl.col("high") > pl.col("day_high") * (1 + share)) | (pl.col("low") < pl.col("day_low") * (1 - share))


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitRule(Rule):
    """A bar's mean trade is of the size of its session's; else its volume is in other units."""

    unit: float
    """What the volume would be off by."""
    factor: str
    """Threshold: how many times larger or smaller a mean trade may be."""
    is_two_sided: bool = True
    """Whether volumes that are too small are looked for, too."""

    def broken(self, terms: Terms) -> pl.Expr:
        """Return whether it is not; over rows beside `mean_trade`, the session's shares per trade."""
        size = self._size() / pl.col("mean_trade")
        large = size > terms[self.factor]
        return large | (size < 1 / terms[self.factor]) if self.is_two_sided else large

    def mended(self) -> pl.Expr:
        """Return the volume in the unit of the others."""
        large = self._size() > pl.col("mean_trade")
        return pl.when(large).then(pl.col("volume") / self.unit).otherwise(pl.col("volume") * self.unit)

    @staticmethod
    def _size() -> pl.Expr:
        return pl.col("volume") / pl.col("bar_count")


def text(name: str) -> pl.Expr:
    """Return a value as text for evidence: one that is missing is told, too, and does not make the sentence null."""
    return pl.col(name).cast(pl.String).fill_null("none")

"""The rules, as values: what each looks for, what it makes of a row, and which numbers it compares with.

A rule is declared once, here. Curation evaluates the expressions, quarantine has a column per rule, `quant quarantine
rules` and docs/quality.md print the declarations, and configs/manifest.json changes severities and numbers.
"""

from collections.abc import Mapping, Sequence
from typing import cast

from quant_assets.domain import toxic
from quant_assets.domain.breaks import UNEXPLAINED_BREAK
from quant_assets.domain.quality.kinds import (
    DailyRangeRule,
    DuplicateRule,
    EnumRule,
    FillerRule,
    FinishedRule,
    FiniteRule,
    GridRule,
    MonotonicTimeRule,
    OrderRule,
    RangeRule,
    RowRule,
    Rule,
    SessionRule,
    StaleRule,
    TradesRule,
    UnitRule,
    WithinBarRule,
)
from quant_assets.settings.quality import PRICES, QualityConfig, Severity

RULES: tuple[Rule, ...] = (
    FiniteRule(
        name="price_missing",
        severity="quarantine",
        verdict="unusable",
        about="A price is missing, NaN or infinite",
        columns=PRICES,
    ),
    RangeRule(
        name="price_not_positive",
        severity="quarantine",
        verdict="unusable",
        about="A price is zero or negative",
        columns=PRICES,
        above=0.0,
    ),
    RangeRule(
        name="price_above_limit",
        severity="quarantine",
        verdict="unusable",
        about="A price is above what the asset class knows",
        columns=PRICES,
        most="max_price",
        parameters=("max_price",),
    ),
    SessionRule(
        name="outside_session",
        severity="quarantine",
        verdict="not_a_regular_minute",
        about="The bar starts outside its exchange's hours of the session",
    ),
    GridRule(
        name="off_minute",
        severity="quarantine",
        verdict="not_a_regular_minute",
        about="The bar does not start on a whole minute",
    ),
    OrderRule(
        name="ohlc_order",
        severity="quarantine",
        verdict="unusable",
        about="High is not the highest, or low not the lowest price",
    ),
    RangeRule(
        name="volume_negative",
        severity="quarantine",
        verdict="unusable",
        about="Volume or number of trades is negative, or no number",
        columns=("volume", "bar_count"),
        least=0.0,
    ),
    TradesRule(
        name="volume_contradicted",
        severity="quarantine",
        verdict="unusable",
        about="Volume is zero, but trades are counted, or none is and the price moved",
    ),
    EnumRule(
        name="unknown_series",
        severity="quarantine",
        verdict="other_series",
        about="The row is of a TWS series that the asset class is not made from",
        column="what_to_show",
        legal="series",
        parameters=("series",),
    ),
    EnumRule(
        name="other_session",
        severity="quarantine",
        verdict="other_session",
        about="The row is labelled with another session than the one it is stored in",
        column="session",
        legal="session",
    ),
    EnumRule(
        name="other_symbol",
        severity="quarantine",
        verdict="other_instrument",
        about="The row carries another symbol than its instrument has in the session's universe",
        column="symbol",
        legal="expected_symbol",
    ),
    FinishedRule(
        name="unfinished_bar",
        severity="quarantine",
        verdict="unfinished_bar",
        about="The bar was received before its minute ended",
    ),
    Rule(
        name="shifted_hours",
        severity="quarantine",
        verdict="shifted",
        about="Bars spill over one end of the session while as many minutes are missing at the other",
        parameters=("shifted_minutes", "shifted_dense_minutes"),
    ),
    DuplicateRule(
        name="duplicate_conflicting",
        severity="quarantine",
        verdict="repeated_minute",
        about="Another row of the minute, with other values, has more volume or was sent later",
        differs=True,
    ),
    DuplicateRule(
        name="duplicate_equal",
        severity="quarantine",
        verdict="repeated_minute",
        about="The minute was sent again with equal values",
        differs=False,
    ),
    Rule(
        name="toxic_price",
        severity="quarantine",
        verdict="bad_print",
        about="A price is farther than max_jump from both sides, or jumps and nothing explains it",
        parameters=("max_jump",),
    ),
    DailyRangeRule(
        name="far_outside_daily_range",
        severity="quarantine",
        verdict="bad_print",
        about="A price is far outside the day's own bar, which the instrument's other minutes keep",
        tolerance="daily_reject",
        parameters=("daily_reject",),
    ),
    UnitRule(
        name="volume_unit",
        severity="quarantine",
        verdict="unit_error",
        about="The bar's volume is a hundred times too large or too small, and the daily volume agrees that it is",
        unit=100.0,
        factor="trade_size_factor",
        parameters=("trade_size_factor",),
    ),
    Rule(
        name="confirmed",
        severity="quarantine",
        verdict="confirmed",
        about="Somebody looked at the row and confirmed that it is bad; whatever the rules say, it stays out",
    ),
    Rule(
        name="session_volume_unit",
        severity="error",
        verdict="unit_error",
        about="All volumes of the instrument are a hundred times the daily bar's, or a hundredth: lots for shares",
        parameters=("volume_tolerance",),
    ),
    UnitRule(
        name="volume_tenfold",
        severity="error",
        verdict="unit_error",
        about="The bar's volume is ten times too large, and the daily volume agrees that it is",
        unit=10.0,
        factor="trade_size_doubt",
        is_two_sided=False,
        parameters=("trade_size_doubt",),
    ),
    MonotonicTimeRule(
        name="out_of_order",
        severity="warn",
        verdict="put_in_place",
        about="The row was sent after a row of a later minute; it is put in its place",
    ),
    Rule(
        name="real_move",
        severity="warn",
        verdict="real_move",
        about="The price jumps, and the day's own bar and volume agree with it",
        parameters=("max_jump",),
    ),
    Rule(
        name=UNEXPLAINED_BREAK,
        severity="warn",
        verdict="other_basis",
        about="The price jumped and stayed, and nothing explains it: the bar is on another basis than those before",
        parameters=("max_jump",),
    ),
    Rule(
        name="rescaled",
        severity="warn",
        verdict="rescaled",
        about="The row is of an older answer and was put on the price basis of a newer one, a split away",
    ),
    WithinBarRule(
        name="wap_outside_bar",
        severity="warn",
        verdict="unit_error",
        about="The volume-weighted average price is outside the bar's own low and high",
        column="wap",
        tolerance="wap_tolerance",
        parameters=("wap_tolerance",),
    ),
    StaleRule(
        name="stale_repeat",
        severity="warn",
        verdict="stale_feed",
        about="The bar repeats the one before it in every value, for at least stale_bars bars",
        parameters=("stale_bars",),
    ),
    DailyRangeRule(
        name="outside_daily_range",
        severity="warn",
        verdict="not_reconciled",
        about="A price is outside the day's own bar",
        tolerance="daily_tolerance",
        parameters=("daily_tolerance",),
    ),
    Rule(
        name="other_basis",
        severity="ok",
        verdict="other_basis",
        about="Minutes and daily bar differ by one factor in price and its inverse in volume: another price basis",
        parameters=("daily_tolerance",),
    ),
    FillerRule(
        name="filler",
        severity="ok",
        verdict="filler",
        about="A flat bar without volume and trades: the vendor says that nothing traded",
    ),
)
"""Every rule, most telling first: of several that a row breaks, the first is its reason."""

BY_NAME: Mapping[str, Rule] = {rule.name: rule for rule in RULES}

VERDICTS: Sequence[str] = sorted({*(rule.verdict for rule in RULES), *toxic.VERDICTS})
"""What a row can be taken for, whatever the severities."""

_WORST: Sequence[Severity] = ("quarantine", "error", "warn", "ok")


def severities(config: QualityConfig) -> dict[str, Severity]:
    """Return rule → severity, as configured."""
    return {rule.name: config.severities.get(rule.name, rule.severity) for rule in RULES}


def by_urgency(config: QualityConfig) -> list[str]:
    """Return the rules' names, the severest first, then as they are declared."""
    found = severities(config)
    return sorted(found, key=lambda name: _WORST.index(found[name]))


def row_rules() -> tuple[RowRule, ...]:
    """Return the rules that look at one row alone; `other_symbol` is apart, since it needs the universe's names."""
    return tuple(rule for rule in RULES if isinstance(rule, RowRule) and rule.name != "other_symbol")


def monotonic() -> MonotonicTimeRule:
    """Return the rule of the order of rows."""
    return cast("MonotonicTimeRule", BY_NAME["out_of_order"])


def stale() -> StaleRule:
    """Return the rule of repeated bars."""
    return cast("StaleRule", BY_NAME["stale_repeat"])


def filler() -> FillerRule:
    """Return the rule of filler bars."""
    return cast("FillerRule", BY_NAME["filler"])


def units() -> tuple[UnitRule, ...]:
    """Return the rules of a single bar's volume, the larger unit first."""
    return tuple(rule for rule in RULES if isinstance(rule, UnitRule))


def daily_range(name: str) -> DailyRangeRule:
    """Return one of the two rules of the day's range."""
    return cast("DailyRangeRule", BY_NAME[name])


def duplicates() -> tuple[DuplicateRule, ...]:
    """Return the two rules of repeated minutes."""
    return tuple(rule for rule in RULES if isinstance(rule, DuplicateRule))

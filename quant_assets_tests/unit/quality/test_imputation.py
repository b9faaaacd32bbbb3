"""Filling in, on request: what is filled, how far, that it is masked, and that features do not see it."""

from datetime import timedelta

import polars as pl
import pytest
from pydantic import ValidationError

from quant_assets.domain.features import GROUPS
from quant_assets.domain.quality.imputation import impute
from quant_assets.domain.tables import CURATED_TWS_1M_BARS
from quant_assets.domain.validation import validate
from quant_assets.settings.quality import Imputation, QualityConfig
from quant_assets_tests.builders import CALENDAR, SESSION, curated_bars, minute, paused, trading

PRICES = ("open", "high", "low", "close")
HELD = [10.0, 11.0, None, None, 14.0, None, None, None, 18.0]
"""Two holes inside, of two and of three minutes."""


def filled(method, *, most=2, held=HELD, volume=None):
    ways = dict.fromkeys(PRICES, Imputation(method=method, max_minutes=most)) if method else {}
    config = QualityConfig(imputation={**ways, **({"volume": volume} if volume else {})})
    found = impute(curated_bars(held), trading(), config.imputation)
    assert validate(CURATED_TWS_1M_BARS, CURATED_TWS_1M_BARS.conform(found)) == []
    return found


def test_nothing_is_imputed_unless_asked_for():
    bars = curated_bars(HELD)
    assert impute(bars, trading(), QualityConfig().imputation).equals(bars)


@pytest.mark.parametrize(("method", "third", "fourth"), [("ffill", 11.0, 11.0), ("interpolate", 12.0, 13.0)])
def test_a_short_hole_is_filled_and_a_longer_one_is_not(method, third, fourth):
    found = filled(method)
    assert dict(found.select("ts", "close").iter_rows()) == {
        minute(0): 10.0,
        minute(1): 11.0,
        minute(2): third,
        minute(3): fourth,
        minute(4): 14.0,
        minute(8): 18.0,
    }


def test_a_pause_is_not_filled_and_does_not_count_as_a_hole():
    """Minutes 119 and 180 are neighbours in trading: the hole of two between 118 and 181 is short enough."""
    held = [10.0 if number in (118, 181) else None for number in range(182)]
    ways = dict.fromkeys(PRICES, Imputation(method="ffill", max_minutes=2))
    found = impute(curated_bars(held), paused(), ways)
    assert found["ts"].to_list() == [minute(118), minute(119), minute(180), minute(181)]
    assert found["is_imputed_close"].to_list() == [False, True, True, False]


def test_what_is_filled_is_masked_marked_and_has_no_trades():
    found = filled("ffill").filter(pl.col("ts").is_in([minute(2), minute(3)]))
    for name in PRICES:
        assert found[f"is_imputed_{name}"].to_list() == [True, True]
    assert found.select("dq_status", "dq_rules", "volume", "bar_count", "is_imputed_volume").unique().rows() == [
        ("warn", "imputed", None, None, False)
    ]
    assert found["known_at"].to_list() == [curated_bars([1.0])["known_at"][0]] * 2


def test_observed_bars_keep_every_value():
    found = filled("interpolate").filter(~pl.col("is_imputed_close"))
    assert found.equals(curated_bars(HELD))


def test_nothing_is_filled_before_the_first_bar_or_after_the_last():
    found = filled("ffill", most=390, held=[None, None, 5.0, None, 6.0, None])
    assert found["ts"].to_list() == [minute(2), minute(3), minute(4)]


def test_volume_is_filled_by_a_constant_beside_prices():
    found = filled("ffill", volume=Imputation(method="constant", value=0.0, max_minutes=5))
    added = found.filter("is_imputed_close")
    assert added["volume"].to_list() == [0.0, 0.0]
    assert added["is_imputed_volume"].to_list() == [True, True]


EARLY, LATE = curated_bars([1.0])["known_at"][0], curated_bars([1.0])["known_at"][0] + timedelta(days=1)
OBSERVED, ASSUMED = (EARLY, "observed"), (LATE, "assumed")


def of_three(before, own, after):
    """Bars of three minutes with prices 100, 101 and 102, known as given; None is a minute without a bar."""
    known = {n: one for n, one in enumerate((before, own, after)) if one}
    bars = curated_bars([100.0 + n if n in known else None for n in range(3)])
    at, basis = zip(*known.values(), strict=True)
    return bars.with_columns(pl.Series("known_at", at, dtype=bars.schema["known_at"]), pl.Series("known_basis", basis))


@pytest.mark.parametrize(
    ("method", "before", "own", "after", "expected"),
    [
        ("interpolate", OBSERVED, OBSERVED, ASSUMED, ASSUMED),
        ("interpolate", ASSUMED, OBSERVED, OBSERVED, ASSUMED),
        ("interpolate", (EARLY, "assumed"), OBSERVED, (LATE, "observed"), ASSUMED),
        ("interpolate", OBSERVED, ASSUMED, OBSERVED, ASSUMED),
        ("interpolate", OBSERVED, OBSERVED, OBSERVED, OBSERVED),
        ("ffill", OBSERVED, OBSERVED, ASSUMED, OBSERVED),
        ("ffill", ASSUMED, OBSERVED, OBSERVED, ASSUMED),
        ("ffill", OBSERVED, ASSUMED, OBSERVED, ASSUMED),
        ("constant", ASSUMED, OBSERVED, ASSUMED, OBSERVED),
        ("constant", OBSERVED, ASSUMED, OBSERVED, ASSUMED),
    ],
)
def test_a_volume_filled_into_a_bar_is_known_as_late_and_as_well_as_what_it_is_made_from(
    method, before, own, after, expected
):
    bars = of_three(before, own, after)
    bars = bars.with_columns(pl.Series("volume", [1000.0, None, 3000.0]))
    way = Imputation(method=method, max_minutes=5, value=0.0 if method == "constant" else None)
    found = impute(bars, trading(), {"volume": way})
    assert found["is_imputed_volume"].to_list() == [False, True, False]
    assert found.select("known_at", "known_basis").rows() == [before, expected, after]


@pytest.mark.parametrize(
    ("method", "before", "after", "expected"),
    [
        ("interpolate", OBSERVED, ASSUMED, ASSUMED),
        ("interpolate", ASSUMED, OBSERVED, ASSUMED),
        ("interpolate", OBSERVED, OBSERVED, OBSERVED),
        ("ffill", OBSERVED, ASSUMED, OBSERVED),
        ("ffill", ASSUMED, OBSERVED, ASSUMED),
    ],
)
def test_a_filled_minute_is_known_as_late_and_as_well_as_what_it_is_made_from(method, before, after, expected):
    found = impute(
        of_three(before, None, after), trading(), dict.fromkeys(PRICES, Imputation(method=method, max_minutes=5))
    )
    assert found["is_imputed_close"].to_list() == [False, True, False]
    assert found.select("known_at", "known_basis").rows() == [before, expected, after]


def test_each_filled_column_adds_the_bars_that_it_is_made_from():
    """Prices repeat the bar before; the volume is drawn from that of minute 0 to that of minute 4, over two without."""
    bars = curated_bars([100.0, 101.0, None, 103.0, 104.0]).with_columns(
        pl.Series("volume", [1000.0, None, None, 4000.0]),
        pl.Series("known_at", [EARLY, EARLY, EARLY, LATE], dtype=pl.Datetime("us", "UTC")),
        pl.Series("known_basis", ["assumed", "observed", "observed", "observed"]),
    )
    prices, volume = Imputation(method="ffill", max_minutes=5), Imputation(method="interpolate", max_minutes=5)
    found = impute(bars, trading(), {**dict.fromkeys(PRICES, prices), "volume": volume})
    assert found["volume"].to_list() == [1000.0, 1750.0, 2500.0, 3250.0, 4000.0]
    assert found.select("known_at", "known_basis").rows() == [
        (EARLY, "assumed"), (LATE, "assumed"), (LATE, "assumed"), (LATE, "assumed"), (LATE, "observed"),
    ]  # fmt: skip


@pytest.mark.parametrize("group", [group for group in GROUPS.values() if not group.is_daily], ids=lambda g: g.name)
def test_features_see_an_imputed_minute_as_missing(group):
    minutes = CALENDAR.minutes([SESSION])
    closes = [100.0 + number for number in range(30)]
    held = [None if number in (20, 21) else close for number, close in enumerate(closes)]
    plain = group.compute(curated_bars(held).select(group.inputs.columns), minutes)
    imputed = impute(
        curated_bars(held), trading(), dict.fromkeys(PRICES, Imputation(method="interpolate", max_minutes=5))
    )
    assert imputed.height == 30
    assert group.compute(imputed.select(group.inputs.columns), minutes).equals(plain)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"close": {"method": "ffill"}}, "four prices or none"),
        ({name: {"method": "constant", "value": 1.0} for name in PRICES}, "cannot be made up"),
        ({"volume": {"method": "constant"}}, "`value` goes with method `constant`"),
        ({"wap": {"method": "ffill"}}, "Input should be"),
        ({"volume": {"method": "ffill", "max_minutes": 0}}, "greater than or equal to 1"),
    ],
)
def test_what_makes_no_sense_is_refused(given, told):
    with pytest.raises(ValidationError, match=told):
        QualityConfig(imputation=given)

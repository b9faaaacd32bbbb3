"""A vendor that serves later prices on another basis, through the real client and every table: seen, and contained.

The synthetic market serves QFID at 80 times its price, and with a quarter of its shares, from one session on. No vintage
is restated, so nothing tells of a split.
"""

from dataclasses import dataclass
from datetime import date
from typing import Any

import polars as pl
import pytest

from quant_assets.domain.candidates import metrics
from quant_assets.domain.tables import (
    ADJUSTMENT_FACTORS,
    CERTIFIED_SESSIONS,
    CURATED_TWS_1D_BARS,
    CURATED_TWS_1M_BARS,
    FEATURES_PRICE_1M_V1,
    QUARANTINE_TWS_BARS,
    TV_TECHNICALS_1D,
)
from quant_assets.errors import UnexplainedBreakError
from quant_assets.flows.adjust import EXPLAINED
from quant_assets.flows.certify import certify
from quant_assets.flows.data_audit import audit_data
from quant_assets.flows.derive import publish_group
from quant_assets.lakehouse.features import FeatureStore
from quant_assets.lakehouse.layout import Partition
from quant_assets_tests.builders import CALENDAR
from quant_assets_tests.unit.flows.broken import BEFORE, BREAK, DAYS, LATER, TECHNICALS, broken_market
from quant_assets_tests.unit.flows.lab import Lab, after


@dataclass(frozen=True)
class Lived:
    lab: Lab
    store: FeatureStore
    warnings: dict[date, tuple[str, ...]]

    def rows(self, table: Any, session: date, symbol: str = "QFID") -> pl.DataFrame:
        return self.lab.lake.curated.read(table, Partition(session)).filter(pl.col("symbol") == symbol)

    def bars(self, first: date, last: date, adjust: str = "splits", **options: Any) -> pl.DataFrame:
        return self.store.get_curated_bars(["QFID"], first, last, adjust=adjust, **options)


@pytest.fixture(scope="module")
def lived(tmp_path_factory) -> Lived:
    """Three evenings; on the second the prices stand on another basis."""
    lab = Lab(tmp_path_factory.mktemp("break"), symbols=("ARCA:QMKT", "NYSE:QFID"), market=broken_market)
    for day in DAYS:
        assert all(published.is_committed for published in lab.run([day]).published)
        with lab.at(after(day)) as work:
            assert publish_group(work, TECHNICALS, day).is_committed
            assert certify(work, day).is_committed
    footers = {day: lab.lake.curated.footer(ADJUSTMENT_FACTORS, Partition(day)) for day in DAYS}
    warnings = {day: tuple(footer.warnings) for day, footer in footers.items()}
    return Lived(lab, FeatureStore(lab.lake.layout, CALENDAR), warnings)


def test_the_bar_at_the_edge_is_held_back_and_every_bar_beyond_it_is_marked(lived):
    assert lived.rows(QUARANTINE_TWS_BARS, BREAK).select("rule", "verdict").rows() == [("toxic_price", "missed_split")]
    marked = lived.rows(CURATED_TWS_1M_BARS, BREAK)
    assert marked.height == 389
    assert marked.select("dq_status", "dq_rules").unique().rows() == [("warn", "unexplained_break")]


def test_bars_on_either_side_are_sound_and_none_is_lost(lived):
    for day in (BEFORE, LATER):
        assert lived.rows(CURATED_TWS_1M_BARS, day).height == 390
        assert "unexplained_break" not in lived.rows(CURATED_TWS_1M_BARS, day)["dq_rules"].to_list()


def test_a_row_of_the_factors_tells_of_it_and_makes_nothing_up(lived):
    row = lived.rows(ADJUSTMENT_FACTORS, BREAK).filter(pl.col("session") == BEFORE).row(0, named=True)
    assert (row["kind"], row["split_factor"], row["total_return_factor"]) == ("unexplained_break", 1.0, 1.0)
    days = lived.rows(CURATED_TWS_1D_BARS, BREAK).sort("session").tail(2)
    assert row["observed_ratio"] == pytest.approx(days["open"][1] / days["close"][0], rel=1e-12)
    assert f"close {days['close'][0]} before" in row["evidence"]
    for day in (BEFORE, LATER):
        assert set(lived.rows(ADJUSTMENT_FACTORS, day)["kind"]) <= {"none", "dividend"}
    assert EXPLAINED in lived.warnings[BREAK]
    assert EXPLAINED not in lived.warnings[BEFORE] + lived.warnings[LATER]


def test_of_the_daily_window_the_rows_on_the_older_basis_are_in_error(lived):
    assert set(lived.rows(CURATED_TWS_1D_BARS, BEFORE)["dq_status"]) == {"ok"}, "nobody knew of it then"
    for as_of, newest in ((BREAK, ["warn"]), (LATER, ["warn", "ok"])):
        rows = lived.rows(CURATED_TWS_1D_BARS, as_of).sort("session")
        assert rows["dq_status"].to_list() == ["error"] * (rows.height - len(newest)) + newest
        said = rows["dq_rules"].to_list()
        assert said[: -len(newest) + 1 or None] == ["unexplained_break"] * (rows.height - len(newest) + 1)
        assert set(lived.rows(CURATED_TWS_1D_BARS, as_of, "QMKT")["dq_status"]) == {"ok"}


@pytest.mark.parametrize("adjust", ["splits", "total"])
def test_adjusted_bars_across_the_break_are_refused_with_a_way_out(lived, adjust):
    for frequency in ("1min", "1d"):
        with pytest.raises(UnexplainedBreakError) as caught:
            lived.bars(BEFORE, LATER, adjust, frequency=frequency)
        text = str(caught.value)
        assert text.startswith(f"QFID is on another price basis from {BREAK} on, and nothing explains it")
        assert f'Ask with adjust="as_served", from {BREAK} on, up to {BEFORE}, or without QFID. If the price' in text
        assert lived.bars(BREAK, LATER, adjust, frequency=frequency).height > 0
        assert lived.bars(BEFORE, BEFORE, adjust, frequency=frequency).height > 0
        assert lived.bars(BEFORE, LATER, "as_served", frequency=frequency).height > 0
    assert lived.store.get_curated_bars(["QMKT"], BEFORE, LATER, adjust=adjust).height == 3 * 390


def test_adjusted_features_across_the_break_are_refused(lived):
    groups = (["price_1m"], ["v1"], ["QFID"])
    with pytest.raises(UnexplainedBreakError, match="QFID"):
        lived.store.get_features_for_training(*groups, BEFORE, LATER, adjust="splits")
    assert lived.store.get_features_for_training(*groups, BREAK, LATER, adjust="splits")["features"].height > 0


def test_adjusted_minutes_beside_days_start_at_the_lakes_first_session(lived):
    """Before it there is no row of a day, and so none that needs a basis; a later start needs that of the day before."""
    groups = (["price_1m", "tv_technicals_1d"], ["v1", "v1"])
    whole = lived.store.get_features_for_training(*groups, ["QMKT"], BEFORE, LATER, adjust="splits")["features"]
    assert whole.height == 3 * 390
    assert whole.filter(pl.col("session") == BEFORE)["perf_w"].null_count() == 390
    assert whole.filter(pl.col("session") == BREAK)["perf_w"].null_count() == 0
    told = rf'Ask with adjust="as_served", from {LATER} on, or without QFID\.'
    with pytest.raises(UnexplainedBreakError, match=told):  # the row beside the minutes is of the day before the break
        lived.store.get_features_for_training(*groups, ["QFID"], BREAK, LATER, adjust="splits")
    assert (
        lived.store.get_features_for_training(*groups, ["QFID"], LATER, LATER, adjust="splits")["features"].height > 0
    )


def test_daily_features_are_computed_from_one_basis_or_not_at_all(lived):
    """A week's performance needs the close of five sessions ago: it is there before the break, and null after it."""
    names = [feature.name for feature in TECHNICALS.features]
    perf = [lived.rows(TV_TECHNICALS_1D, day)["perf_w"].to_list() for day in DAYS]
    assert perf[0][0] is not None
    assert perf[1:] == [[None], [None]]
    now = lived.rows(TV_TECHNICALS_1D, LATER).select(names).row(0, named=True)
    quoted = lived.rows(CURATED_TWS_1D_BARS, LATER).sort("session").tail(2)
    assert quoted["dq_status"].to_list() == ["warn", "ok"]
    low, high = quoted["low"].min(), quoted["high"].max()
    prices = {name: now[name] for name in names if TECHNICALS.unit(name) == "quote currency per share" and now[name]}
    assert all(low <= abs(value) <= high for name, value in prices.items() if name.startswith(("sma", "ema")))
    assert lived.rows(TV_TECHNICALS_1D, LATER, "QMKT")["perf_w"][0] is not None


def test_the_screen_sees_the_sessions_on_the_newest_basis_only(lived):
    daily = lived.lab.lake.curated.read(CURATED_TWS_1D_BARS, Partition(LATER))
    seen = metrics(daily, LATER, 30).join(daily.select("con_id", "symbol").unique(), on="con_id")
    assert dict(seen.select("symbol", "n_sessions").iter_rows()) == {"QFID": 2, "QMKT": 30}


def test_minutes_of_the_day_have_features_of_one_basis(lived):
    rows = lived.rows(FEATURES_PRICE_1M_V1, BREAK)
    assert rows.height == 389
    assert rows["ret_20"].abs().max() < 1.0


def test_certificate_health_and_audit_name_the_instrument(lived):
    said = lived.lab.lake.curated.read(CERTIFIED_SESSIONS, Partition(BREAK))["degraded"].unique().to_list()
    assert len(said) == 1
    assert said[0].startswith("QFID on another price basis, ")
    for day in (BEFORE, LATER):
        assert set(lived.lab.lake.curated.read(CERTIFIED_SESSIONS, Partition(day))["degraded"]) == {""}
    summary = {row["symbol"]: row for row in lived.store.get_data_quality_summary(None, BEFORE, LATER).to_dicts()}
    assert summary["QFID"]["health"] == "YELLOW"
    assert "1 session on another price basis than before, and nothing explains it" in summary["QFID"]["reasons"]
    assert "basis" not in summary["QMKT"]["reasons"]
    with lived.lab.at(after(LATER)) as work:
        told = [one for one in audit_data(work) if one.table == "adjustment_factors"]
    assert len(told) == 1
    assert (told[0].severity, told[0].what.split(",")[0]) == (
        "warn",
        f"{BREAK}: QFID is on another price basis than before",
    )
    assert str(BREAK) in told[0].mend

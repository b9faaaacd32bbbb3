"""Dividends beside a calendar of every day, evening by evening: minutes meet the days as on one calendar."""

from datetime import date

import pytest

from quant_assets.lakehouse.features import FeatureStore
from quant_assets_tests.unit.flows.lab import Lab, after

FRIDAY, MONDAY = date(2024, 3, 15), date(2024, 3, 18)
"""QFIC goes ex 0.96 on Monday; PAXOS trades on the days between, too."""


def test_a_dividend_after_a_weekend_is_taken_out_beside_a_calendar_of_every_day(tmp_path):
    """QFIC closes at 146.37 on Friday; without the dividend of 0.96 that is 145.41."""
    lab = Lab(tmp_path, ("NASDAQ:QFIC", "PAXOS:BTC.USD"), lakehouse={"calendars": ("XNYS", "24/7")})
    for day in (FRIDAY, date(2024, 3, 16), date(2024, 3, 17), MONDAY):
        assert all(published.is_committed for published in lab.run([day]).published)
    with lab.at(after(MONDAY)) as work:
        calendar = work.calendar
    store = FeatureStore(lab.lake.layout, calendar)

    def friday(adjust: str, frequency: str) -> float:
        bars = store.get_curated_bars(["QFIC"], FRIDAY, MONDAY, frequency, adjust=adjust, missing="ignore")
        return bars.filter(bars["session"] == FRIDAY)["close"][-1]

    assert friday("splits", "1min") == pytest.approx(146.37)
    assert friday("total", "1min") == pytest.approx(146.37 - 0.96, abs=0.005)
    assert friday("total", "1min") == pytest.approx(friday("total", "1d"), rel=1e-9)

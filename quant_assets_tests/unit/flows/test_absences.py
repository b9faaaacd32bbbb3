"""Why minutes are missing, on the synthetic market, whose planted events are the truth.

QHEB is halted for 16 minutes on 2024-03-14. QINE trades for the last time on Friday 2024-10-18.
"""

from datetime import date

import polars as pl

from quant_assets.domain.tables import BAR_ACCOUNTING
from quant_assets.lakehouse.layout import Partition
from quant_assets_tests.unit.flows.lab import Lab, after, market


def reasons(lab, session, symbol):
    rows = lab.lake.curated.read(BAR_ACCOUNTING, Partition(session)).filter(pl.col("symbol") == symbol)
    return dict(rows.filter(pl.col("minutes") > 0).select("reason", "minutes").iter_rows())


def test_a_planted_halt_is_called_one(tmp_path):
    session = date(2024, 3, 14)
    (event,) = (
        market()
        .planted_events(session, session)
        .filter(pl.col("kind") == "halt")
        .select("symbol", "detail")
        .iter_rows()
    )
    assert event == ("QHEB", "16 minutes")
    lab = Lab(tmp_path, symbols=("ARCA:QMKT", "NASDAQ:QHEB"))
    lab.run([session])
    assert reasons(lab, session, "QHEB") == {"present": 374, "halt": 16}


def test_nobody_is_delisted_on_the_evening_of_a_day_without_a_trade(tmp_path):
    """20 sessions after 10-18 end with 11-15: on Thursday 11-14, the 19th, it may still be a halt."""
    listed = market().find(after(date(2024, 10, 21)), symbol="QINE").primary_exchange
    lab = Lab(tmp_path, symbols=("ARCA:QMKT", f"{listed}:QINE"), lookback=60)
    for session, reason in [
        (date(2024, 10, 21), "halt"),
        (date(2024, 10, 22), "halt"),
        (date(2024, 11, 14), "halt"),
        (date(2024, 11, 15), "delisted"),
    ]:
        lab.run([session])
        assert reasons(lab, session, "QINE") == {reason: 390}, session

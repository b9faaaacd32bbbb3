"""Two curated sessions, and what tests do with them: curate again, say a word, look at what came of it."""

from datetime import date

import polars as pl

from quant_assets.domain.tables import CURATED_TWS_1M_BARS
from quant_assets.flows.curate import Curator
from quant_assets.flows.overriding import override, rejected
from quant_assets.lakehouse.layout import Partition
from quant_assets_tests.unit.flows.lab import after

SESSION, NEXT = date(2024, 3, 14), date(2024, 3, 15)
SYMBOLS = ("ARCA:QMKT", "NYSE:QEND")


def curated(lab, session=SESSION):
    with lab.at(after(NEXT)) as work:
        return Curator(work).minute_bars(session)


def say(lab, action, row, **options):
    with lab.at(after(NEXT)) as work:
        return override(work, action, row, by="anna", why="the tape says so", **options)


def rows(lab, **filters):
    with lab.at(after(NEXT)) as work:
        return rejected(work, [SESSION], **filters)


def statuses(lab):
    bars = lab.lake.curated.read(CURATED_TWS_1M_BARS, Partition(SESSION))
    return bars.filter(pl.col("dq_status") != "ok").select("close", "dq_status", "dq_rules").rows()

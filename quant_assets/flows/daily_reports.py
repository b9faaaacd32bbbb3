"""A CSV per instrument: its last month of daily bars, what was held back, and its weight in every profile.

For people with a spreadsheet. Nothing reads these files; they are derived, written again whenever they would say
something else, and removed when nobody of that name is in the newest session.
"""

import re
from collections import Counter
from collections.abc import Mapping
from datetime import date

import polars as pl

from quant_assets.control.files import write_text
from quant_assets.domain.tables import CURATED_TWS_1D_BARS, CURATED_TWS_1M_BARS, QUARANTINE_TWS_BARS, WEIGHTS, Table
from quant_assets.flows.work import Work
from quant_assets.lakehouse.layout import Partition
from quant_assets.lakehouse.orphans import daily_reports

N_SESSIONS = 20
_UNSAFE = re.compile(r"[^A-Za-z0-9_-]")
_BARS = [
    "con_id",
    "symbol",
    "session",
    "open",
    "high",
    "low",
    "close",
    "volume",
    "adj_close",
    "dq_status",
    "known_basis",
]


def write_daily_reports(work: Work) -> dict[str, int]:
    """Write `lakehouse/gold/reports/<SYMBOL>_daily_report.csv` of the newest curated session.

    Reports of others go: of who was renamed, or is not in the window any more. While no session is curated, nobody
    can be told to have left, and all of them stay.

    Returns:
        How many reports there are, how many of them were written because they changed, and how many were removed.
    """
    rows = daily_report(work)
    frames = rows.partition_by("con_id", as_dict=True)
    symbols = {con_id: str(frame["symbol"][-1]) for (con_id,), frame in frames.items()}
    names, written = _names(symbols), 0
    for (con_id,), frame in frames.items():
        target, text = work.layout.daily_report(names[con_id]), frame.drop("con_id").write_csv(float_precision=6)
        if not target.is_file() or target.read_text(encoding="utf-8") != text:
            write_text(target, text)
            written += 1
    made = {work.layout.daily_report(name) for name in names.values()}
    gone = [path for path in daily_reports(work.layout) if path not in made] if made else []
    for path in gone:
        path.unlink(missing_ok=True)
    return {"reports": len(frames), "written": written, "removed": len(gone)}


def daily_report(work: Work) -> pl.DataFrame:
    """Return one row per instrument and session of the newest window, ascending.

    Returns:
        con_id, symbol, session, the daily bar, `return` of the adjusted close (null across an
        unexplained break), `minutes` (curated 1-minute bars),
        `quarantined` (those that were held back), and `weight_<profile>`, null where a profile has none.
    """
    curated = work.lake.curated
    newest = curated.newest(CURATED_TWS_1D_BARS)
    if newest is None:
        return pl.DataFrame(schema={"con_id": pl.Int64, "symbol": pl.String})
    window = work.calendar.window(newest.session, N_SESSIONS)
    bars = curated.read(CURATED_TWS_1D_BARS, newest, _BARS).sort("con_id", "session")
    crosses = (pl.col("dq_status") != "error") & (pl.col("dq_status").shift(1).over("con_id") == "error")
    change = pl.when(~crosses.fill_null(value=False)).then(
        pl.col("adj_close") / pl.col("adj_close").shift(1).over("con_id") - 1
    )
    rows = bars.with_columns(change.alias("return")).filter(pl.col("session").is_in(window))
    key = ["con_id", "session"]
    for table, name in ((CURATED_TWS_1M_BARS, "minutes"), (QUARANTINE_TWS_BARS, "quarantined")):
        rows = rows.join(_counted(work, table, window, name), on=key, how="left")
    rows = rows.with_columns(pl.col("minutes", "quarantined").fill_null(0))
    for profile in work.settings.manifest.active_profiles:
        rows = rows.join(_weights(work, profile, window), on=key, how="left")
    return rows.sort(key)


def _counted(work: Work, table: Table, window: list[date], name: str) -> pl.DataFrame:
    store = work.lake.curated
    there = [Partition(session) for session in window if store.exists(table, Partition(session))]
    frames = [store.read(table, one, ["con_id", "session"]) for one in there]
    rows = pl.concat([table.empty().select("con_id", "session"), *frames])
    return rows.group_by("con_id", "session").agg(pl.len().cast(pl.Int64).alias(name))


def _weights(work: Work, profile: str, window: list[date]) -> pl.DataFrame:
    store = work.lake.curated
    there = [one for one in (Partition(session, profile) for session in window) if store.exists(WEIGHTS, one)]
    frames = [store.read(WEIGHTS, one, ["con_id", "session", "weight"]) for one in there]
    rows = pl.concat([WEIGHTS.empty().select("con_id", "session", "weight"), *frames])
    return rows.rename({"weight": f"weight_{profile}"})


def _names(symbols: Mapping[int, str]) -> dict[int, str]:
    """Return symbols as file names; instruments whose names would be one are told apart by their con_id."""
    safe = {con_id: _UNSAFE.sub("-", symbol) for con_id, symbol in symbols.items()}
    counts = Counter(safe.values())
    return {con_id: name if counts[name] == 1 else f"{name}_{con_id}" for con_id, name in safe.items()}

"""The store against bare Polars on the same files."""

import itertools
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from unittest import mock

import polars as pl
from frames import asked, curated, opening, raw
from measure import Line, forget, seconds, side_by_side

from quant_assets.domain import quality
from quant_assets.domain.tables import CURATED_TWS_1M_BARS as BARS
from quant_assets.domain.tables import QUARANTINE_TWS_BARS as QUARANTINE
from quant_assets.domain.tables import RAW_TWS_BARS, RAW_TWS_REQUESTS, UNIVERSE
from quant_assets.domain.tables.core import UTC_MICROS
from quant_assets.domain.validation import validate
from quant_assets.flows.curate import Curator
from quant_assets.flows.work import Work
from quant_assets.lakehouse.layout import Layout, Partition
from quant_assets.lakehouse.store import Lakehouse
from quant_assets.settings import Settings

ROOT = Path(__file__).resolve().parents[1]
MONTH = 21
SESSION = date(2026, 1, 7)


def reading(scratch: Path, *, n_symbols: int, n_sessions: int) -> list[Line]:
    """One symbol and one month of 1-minute bars, out of many of both."""
    lake = Lakehouse(Layout(scratch / "reading"))
    weekdays = (SESSION - timedelta(days=n) for n in itertools.count())
    days = sorted(itertools.islice((day for day in weekdays if day.weekday() < 5), n_sessions))
    for day in days:
        lake.curated.write(BARS, Partition(day), curated(day, n_symbols))
    month = [Partition(day) for day in days[-MONTH:]]
    files = [lake.layout.file(BARS, partition) for partition in month]
    wanted = pl.col("con_id") == n_symbols // 2

    def ours() -> pl.DataFrame:
        return lake.curated.read_many(BARS, month).filter(wanted)

    def bare() -> pl.DataFrame:
        return pl.scan_parquet(files, hive_partitioning=False).filter(wanted).collect()

    assert ours().height == bare().height == len(month) * 390
    opened = _files_opened(ours)
    warm, baseline = side_by_side(5, ours, bare)
    forget(files)
    cold = seconds(ours)
    what = f"read 1 symbol × {len(month)} sessions out of {n_symbols} × {n_sessions}"
    return [
        Line(what, "< 5 ms", f"{1e3 * warm:.1f} ms (Polars {1e3 * baseline:.1f} ms)", warm / baseline, warm < 0.005),
        Line("the same, files not in the page cache", "< 50 ms", f"{1e3 * cold:.1f} ms", None, cold < 0.050),
        Line("files opened for it", f"{len(month)}", f"{opened}", None, opened == len(month)),
    ]


def _files_opened(work: Callable[[], object]) -> int:
    with (
        mock.patch.object(pl, "read_parquet", wraps=pl.read_parquet) as read,
        mock.patch.object(pl, "scan_parquet", wraps=pl.scan_parquet) as scan,
    ):
        work()
    sources = [call.args[0] for call in (*read.call_args_list, *scan.call_args_list)]
    return sum(len(source) if isinstance(source, list) else 1 for source in sources)


def writing(scratch: Path, *, repeats: int) -> list[Line]:
    """One partition of 100 rows."""
    lake = Lakehouse(Layout(scratch / "writing"))
    frame, bare_file = curated(SESSION, 1).head(100), scratch / "bare.parquet"
    volumes = itertools.count(1)

    def ours() -> None:
        lake.curated.write(BARS, Partition(SESSION), frame.with_columns(pl.lit(float(next(volumes))).alias("volume")))

    def bare() -> None:
        frame.with_columns(pl.lit(float(next(volumes))).alias("volume")).write_parquet(bare_file)

    ours_s, bare_s = side_by_side(repeats, ours, bare)
    again = min(seconds(lambda: lake.curated.write(BARS, Partition(SESSION), _standing(lake))) for _ in range(repeats))
    return [
        Line(
            "write one partition of 100 rows, durably",
            "< 5 ms",
            f"{1e3 * ours_s:.1f} ms (Polars {1e3 * bare_s:.1f} ms, not durable)",
            ours_s / bare_s,
            ours_s < 0.005,
        ),
        Line("write the same content again", "no file written", f"{1e3 * again:.1f} ms", None, None),
    ]


def _standing(lake: Lakehouse) -> pl.DataFrame:
    return lake.curated.read(BARS, Partition(SESSION))


def curating(scratch: Path, *, n_instruments: int, repeats: int) -> list[Line]:
    """Raw to curated and quarantine, checks included, against reading and writing the same bytes."""
    settings = Settings(data=scratch / "curating", configs=ROOT / "configs", overrides={})
    work = Work(settings, gate=_no_gate(), run_id="bench")
    partition = Partition(SESSION)
    universe, ledger = asked(SESSION, n_instruments)
    work.lake.curated.write(UNIVERSE, partition, universe)
    work.lake.raw.append(RAW_TWS_BARS, partition, raw(SESSION, n_instruments), "bench")
    work.lake.raw.append(RAW_TWS_REQUESTS, partition, ledger, "bench")
    (source,) = work.lake.raw.batches(RAW_TWS_BARS, partition)
    outputs = [work.layout.file(table, partition) for table in (BARS, QUARANTINE)]
    bare_file = scratch / "bare.parquet"

    def ours() -> None:
        for file in outputs:
            file.unlink(missing_ok=True)
        published = Curator(work).minute_bars(SESSION)
        assert all(one.is_committed for one in published), [one.reason for one in published]

    def bare() -> None:
        pl.read_parquet(source).write_parquet(bare_file, compression="zstd")

    hours = universe.select(
        "con_id",
        pl.lit(opening(SESSION)).alias("opens_at"),
        pl.lit(opening(SESSION) + timedelta(minutes=390)).alias("closes_at"),
        *(pl.lit(None, UTC_MICROS).alias(name) for name in ("pauses_at", "resumes_at")),
    )
    reference = pl.DataFrame(schema={"con_id": pl.Int64, "previous_close": pl.Float64})
    rows = pl.read_parquet(source)
    divided = quality.curate_minutes(rows, SESSION, hours, reference)

    def checks() -> None:
        assert not validate(BARS, divided.valid)
        assert not validate(QUARANTINE, divided.quarantine)

    def transform() -> None:
        quality.curate_minutes(rows, SESSION, hours, reference)

    ours_s, bare_s, checks_s, transform_s = side_by_side(repeats, ours, bare, checks, transform)
    what, is_full = f"{n_instruments:,} instruments × 1 session", n_instruments >= 1000  # fewer only inform
    return [
        Line(
            f"raw → curated with checks, {what}",
            "≤ 4 × read + write",
            f"{1e3 * ours_s:.0f} ms (Polars {1e3 * bare_s:.0f} ms)",
            ours_s / bare_s,
            ours_s <= 4 * bare_s if is_full else None,
        ),
        Line(
            f"Pandera validation, {what}",
            "≤ 1 × read + write",
            f"{1e3 * checks_s:.0f} ms",
            checks_s / bare_s,
            checks_s <= bare_s if is_full else None,
        ),
        Line(f"of it, the rules without files, {what}", "—", f"{1e3 * transform_s:.0f} ms", transform_s / bare_s, None),
    ]


def _no_gate() -> mock.Mock:
    """Return a way to TWS that fails when somebody takes it."""
    return mock.Mock(run=mock.Mock(side_effect=AssertionError("curating asks TWS nothing")))

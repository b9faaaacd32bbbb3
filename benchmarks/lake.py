"""The lakehouse beside ArcticDB, bare Parquet and itself after a long history, side by side in one run.

python benchmarks/lake.py            200 instruments × 252 sessions × 390 bars; the first run writes them, some minutes
python benchmarks/lake.py --small    20 × 42, for a quick look (about a minute)

The data are written once into --cache and used again. ArcticDB is the extra `bench`; without it its column is left out
and says so. Peers get the bars' eight numeric columns, an instrument per symbol, which is how ArcticDB is meant to be
used. Nothing here fails because a machine is slow: a miss is printed.
"""

import argparse
import itertools
import os
import platform
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import polars as pl
from cycles import no_op_after
from frames import curated, filled
from measure import Line, forget, markdown, seconds, side_by_side
from storage import ROOT, SESSION, curating, writing

from quant_assets.domain.features import feature_group
from quant_assets.domain.tables import CURATED_TWS_1M_BARS as BARS
from quant_assets.domain.tables import Table
from quant_assets.lakehouse.compaction import compact, months
from quant_assets.lakehouse.layout import Layout, Partition
from quant_assets.lakehouse.reading import plan_reads, read_instruments
from quant_assets.lakehouse.store import CuratedStore

NUMBERS = ["ts", "open", "high", "low", "close", "volume", "wap", "bar_count"]
FEATURES = [feature_group("price_1m", "v1").table, feature_group("volume_1m", "v1").table]


@dataclass(frozen=True)
class Bench:
    """The data of one size, and what is asked of them."""

    store: CuratedStore
    days: list[date]
    n_symbols: int
    arctic: Any
    repeats: int

    @property
    def month(self) -> list[date]:
        """The newest month that is whole."""
        last = self.days[-1].replace(day=1) - timedelta(days=1)
        return [day for day in self.days if (day.year, day.month) == (last.year, last.month)]

    def ours(self, days: Sequence[date], columns: list[str], ids: Sequence[int] | None = None) -> pl.DataFrame:
        """Read as a researcher does."""
        return self.store.read_many(BARS, [Partition(day) for day in days], columns, ids, in_order=False)

    def theirs(self, days: Sequence[date], ids: Sequence[int], columns: list[str] | None = None) -> Callable[[], Any]:
        """Return the same question for ArcticDB."""
        import arcticdb
        import pandas as pd

        span = (pd.Timestamp(days[0]), pd.Timestamp(days[-1]) + pd.Timedelta("1D"))
        asked = [arcticdb.ReadRequest(str(one), date_range=span, columns=columns) for one in ids]
        if len(ids) == 1:
            return lambda: self.arctic.read(str(ids[0]), date_range=span, columns=columns).data
        return lambda: self.arctic.read_batch(asked)

    def lines(self) -> list[Line]:
        """Measure every read."""
        one, many = [self.n_symbols // 2], list(range(1, self.n_symbols // 4 + 1))
        every, day = list(range(1, self.n_symbols + 1)), self.days[-1:]
        closes = ["con_id", "ts", "close"]
        asked = [
            ("1 symbol × 1 month", self.month, NUMBERS, one, "< 5 ms, ≤ 1.0 × ArcticDB"),
            (f"1 symbol × {len(self.days)} sessions", self.days, NUMBERS, one, "≤ 1.0 × ArcticDB"),
            (f"{len(many)} symbols × 1 month", self.month, ["con_id", *NUMBERS], many, "≤ 1.0 × ArcticDB"),
            (f"{len(every)} symbols × 1 session", day, ["con_id", *NUMBERS], None, "≤ 1.0 × ArcticDB"),
            (f"closes of {len(every)} × {len(self.days)} sessions", self.days, closes, None, "≤ 1.0 × ArcticDB"),
        ]
        return [self._line(*question, every) for question in asked]

    def _line(
        self, what: str, days: list[date], columns: list[str], ids: list[int] | None, held: str, every: list[int]
    ) -> Line:
        def read() -> pl.DataFrame:
            return self.ours(days, columns, ids)

        rows = len(ids or every) * len(days) * 390
        assert read().height == rows, what
        works: list[Callable[[], Any]] = [read]
        if self.arctic is not None:
            works.append(self.theirs(days, ids or every, ["close"] if columns[-1] == "close" else None))
        times = side_by_side(self.repeats if rows < 1e6 else 3, *works)
        ratio = times[0] / times[1] if len(times) > 1 else None
        told = f"{1e3 * times[0]:.2f} ms" + (f" (ArcticDB {1e3 * times[1]:.2f} ms)" if ratio else " (no ArcticDB here)")
        quick = "< 5 ms" not in held or times[0] < 0.005
        return Line(f"read {what}", held, told, ratio, None if ratio is None else quick and ratio <= 1.0)

    def cold(self) -> Line:
        """Read one symbol and month with nothing in the page cache, and indexes unknown."""
        from quant_assets.lakehouse import copies

        forget(self.store.layout.copies.rglob("*.parquet"))
        copies._load.cache_clear()  # noqa: SLF001 - a new process knows no index
        took = seconds(lambda: self.ours(self.month, NUMBERS, [self.n_symbols // 2]))
        return Line("read 1 symbol × 1 month, cold", "< 50 ms", f"{1e3 * took:.1f} ms", None, took < 0.05)

    def without_copies(self) -> Line:
        """Read one symbol and month from the session files alone, beside the bare scan of the same files."""
        bare_store = CuratedStore(Layout(self.store.layout.data))
        moved = self.store.layout.copies.with_name("_set_aside")
        self.store.layout.copies.rename(moved)
        files = [self.store.layout.file(BARS, Partition(day)) for day in self.month]
        wanted = [self.n_symbols // 2]
        try:
            ours, bare = side_by_side(
                self.repeats,
                lambda: bare_store.read_many(BARS, [Partition(day) for day in self.month], NUMBERS, wanted),
                lambda: (
                    pl.scan_parquet(files, hive_partitioning=False)
                    .filter(pl.col("con_id") == wanted[0])
                    .select(NUMBERS)
                    .collect()
                ),
            )
        finally:
            moved.rename(self.store.layout.copies)
        told = f"{1e3 * ours:.1f} ms (Polars {1e3 * bare:.1f} ms)"
        return Line("the same from session files, no copy", "≤ 1.5 × Polars", told, ours / bare, ours <= 1.5 * bare)

    def training(self) -> Line:
        """Read all features of many symbols, as `get_features_for_training` does, beside the bare scan."""
        days, ids = self.days[-60:], list(range(1, self.n_symbols // 2 + 1))
        files = {table.name: [self.store.layout.file(table, Partition(day)) for day in days] for table in FEATURES}

        def ours() -> list[pl.DataFrame]:
            return [read_instruments(self.store, plan_reads(self.store, table, days, None), ids) for table in FEATURES]

        def bare() -> list[pl.DataFrame]:
            where = pl.col("con_id").is_between(1, ids[-1])
            return [pl.scan_parquet(one, hive_partitioning=False).filter(where).collect() for one in files.values()]

        assert [one.height for one in ours()] == [one.height for one in bare()]
        mine, theirs = side_by_side(3, ours, bare)
        what = f"training read, {len(ids)} symbols × {len(days)} sessions × all features"
        told = f"{1e3 * mine:.0f} ms (Polars {1e3 * theirs:.0f} ms)"
        return Line(what, "≤ 1.5 × the bare scan", told, mine / theirs, mine <= 1.5 * theirs)


def prepare(root: Path, *, n_symbols: int, n_sessions: int, repeats: int) -> Bench:
    """Write what is not there yet: sessions, month copies, and ArcticDB's library."""
    store = CuratedStore(Layout(root / "ours"))
    weekdays = (SESSION - timedelta(days=n) for n in itertools.count())
    days = sorted(itertools.islice((day for day in weekdays if day.weekday() < 5), n_sessions))
    for day in days:
        if not store.exists(BARS, Partition(day)):
            store.write(BARS, Partition(day), curated(day, n_symbols))
    for table in FEATURES:
        for day in days[-60:]:
            if not store.exists(table, Partition(day)):
                store.write(table, Partition(day), _features(table, day, n_symbols))
    for table in (BARS, *FEATURES):
        for month in months(store, table):
            if month.is_due:
                compact(store, table, month.month)
    return Bench(store, days, n_symbols, _arctic(root, store, days), repeats)


def _features(table: Table, day: date, n_symbols: int) -> pl.DataFrame:
    bars = curated(day, n_symbols).select("session", "con_id", "symbol", "ts", "close")
    names = [name for name, dtype in table.schema.items() if dtype == pl.Float64]
    values = [(pl.col("close") * (1 + place / 7)).alias(name) for place, name in enumerate(names)]
    return filled(table, bars.with_columns(values).drop("close", strict=False))


def _arctic(root: Path, store: CuratedStore, days: Sequence[date]) -> Any:
    """Return ArcticDB's library with an instrument per symbol, or None where it is not installed."""
    try:
        import arcticdb
    except ImportError:
        print("ArcticDB is not installed (pip install 'quant_assets[bench]'): its column is left out.\n")
        return None
    client = arcticdb.Arctic(f"lmdb://{root / 'arctic'}?map_size=20GB")
    library = client.get_library("bars", create_if_missing=True)
    if not library.list_symbols():
        whole = store.read_many(BARS, [Partition(day) for day in days], ["con_id", *NUMBERS])
        for (con_id,), part in whole.partition_by("con_id", as_dict=True).items():
            numbers = part.drop("con_id").with_columns(pl.col("ts").dt.replace_time_zone(None))
            library.write(str(con_id), numbers.to_pandas().set_index("ts"))
    return library


def no_op(scratch: Path, *, n_sessions: int) -> Line:
    """Ask what a run asks when nothing changed (the newest partition, its footer), after a short and a long history."""
    short, long = (_history(scratch / str(n), n) for n in (10, n_sessions))

    def ask(store: CuratedStore) -> None:
        fresh = CuratedStore(store.layout)
        newest = fresh.newest(BARS)
        assert newest is not None
        assert fresh.footer(BARS, newest)

    brief, lasting = side_by_side(10, lambda: ask(short), lambda: ask(long))
    told = f"{1e3 * lasting:.1f} ms (after 10: {1e3 * brief:.1f} ms)"
    return Line(f"of it, a look at one table after {n_sessions:,} sessions", "—", told, lasting / brief, None)


def _history(root: Path, n_sessions: int) -> CuratedStore:
    store = CuratedStore(Layout(root))
    store.write(BARS, Partition(SESSION), curated(SESSION, 1))
    file, manifest = store.layout.file(BARS, Partition(SESSION)), store.layout.manifest(BARS)
    line = manifest.read_text()
    others = []
    for number in range(1, n_sessions):
        day = SESSION - timedelta(days=number)
        copy = store.layout.file(BARS, Partition(day))
        copy.parent.mkdir(parents=True)
        os.link(file, copy)
        others.append(line.replace(str(SESSION), str(day)))
    manifest.write_text("".join(reversed(others)) + line)
    return store


def main() -> None:
    """Measure everything and print one table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true", help="smaller inputs, fewer repetitions")
    parser.add_argument("--cache", type=Path, help="where the data are kept for the next run")
    options = parser.parse_args()
    small = options.small
    cache = options.cache or Path(tempfile.gettempdir()) / f"quant-bench-lake-{'small' if small else 'full'}-v1"
    size = {"n_symbols": 20, "n_sessions": 42} if small else {"n_symbols": 200, "n_sessions": 252}
    bench = prepare(cache, **size, repeats=5 if small else 15)
    with tempfile.TemporaryDirectory(prefix="quant-bench-", ignore_cleanup_errors=True) as directory:
        scratch = Path(directory)
        lines = [
            *bench.lines(),
            bench.cold(),
            bench.without_copies(),
            bench.training(),
            *writing(scratch, repeats=20 if small else 50),
            no_op_after(scratch, ROOT, n_sessions=250 if small else 2500, repeats=1 if small else 3),
            no_op(scratch / "history", n_sessions=250 if small else 2500),
            *curating(scratch, n_instruments=50 if small else 1000, repeats=2 if small else 5),
        ]
    print(f"Python {platform.python_version()}, Polars {pl.__version__}, {os.cpu_count()} cores")
    print(f"{size['n_symbols']} instruments × {size['n_sessions']} sessions × 390 bars, kept in {cache}\n")
    print(markdown(lines))
    if small:
        shutil.rmtree(cache, ignore_errors=True)


if __name__ == "__main__":
    main()

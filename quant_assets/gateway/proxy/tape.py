"""A recording while it is made: every answer is a small file of its own at once, and all are merged at the end.

`FILE.parquet` holds 1-minute bars in the native layout, `FILE.daily.parquet` daily bars as TWS served them, and
`FILE.details.parquet` contract details. While recording, `FILE.parquet.parts/` holds what is not merged yet; readers
take it into account, so that a killed recorder leaves a usable recording, and the next one goes on from it.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Final, Literal, Self

import polars as pl

from quant_assets.control.locks import Hold, hold
from quant_assets.errors import ConfigurationError, CorruptFileError
from quant_assets.gateway.market import MINUTE_BARS, VALUES
from quant_assets.gateway.recording_file import con_id_of

Kind = Literal["minutes", "daily", "details"]

SCHEMAS: Final[Mapping[Kind, pl.Schema]] = {
    "minutes": pl.Schema({"con_id": pl.Int64(), "symbol": pl.String(), **MINUTE_BARS}),
    "daily": pl.Schema(
        {"con_id": pl.Int64(), "symbol": pl.String(), "what": pl.String(), "session": pl.Date(), **VALUES}
    ),
    "details": pl.Schema(
        {"con_id": pl.Int64()}
        | dict.fromkeys(("symbol", "long_name", "primary_exchange", "currency", "sec_type"), pl.String())
        | dict.fromkeys(("market_name", "industry", "category", "stock_type", "isin", "timezone"), pl.String())
        | {"min_tick": pl.Float64()}
    ),
}
_MEND: Final = "Name a file that does not exist yet, or a recording that `quant gateway record` made."


def file_of(path: Path, kind: Kind) -> Path:
    """Return the file that holds one kind of a recording."""
    return path if kind == "minutes" else path.with_suffix(f".{kind}.parquet")


def parts_of(path: Path) -> Path:
    """Return the directory of what is not merged yet."""
    return path.with_name(f"{path.name}.parts")


def load(path: Path, kind: Kind) -> pl.DataFrame:
    """Return one kind of a recording, parts included, later answers replacing earlier ones.

    Raises:
        CorruptFileError: a file of it cannot be read.
    """
    files = [file for file in (file_of(path, kind),) if file.is_file()]
    files += sorted(parts_of(path).glob(f"*-{kind}.parquet"))
    frames = [_read(file, kind) for file in files]
    return _MERGES[kind](frames or [pl.DataFrame(schema=SCHEMAS[kind])])


def scan(path: Path) -> pl.LazyFrame:
    """Return the minutes of a recording, those that a killed recorder left unmerged included."""
    if any(parts_of(path).glob("*.parquet")):
        return identified(load(path, "minutes"), load(path, "details")).lazy()
    return pl.scan_parquet(path)


def _read(file: Path, kind: Kind) -> pl.DataFrame:
    try:
        return pl.read_parquet(file).select(SCHEMAS[kind].names()).cast(dict(SCHEMAS[kind]))  # type: ignore[arg-type]
    except pl.exceptions.PolarsError as cause:
        raise CorruptFileError(file, str(cause).splitlines()[0], _MEND) from cause


def identified(rows: pl.DataFrame, details: pl.DataFrame) -> pl.DataFrame:
    """Give rows that were asked for by symbol alone (con_id 0) the id that their details, or other rows, name."""
    known = pl.concat([details.select("symbol", "con_id"), rows.select("symbol", "con_id")])
    known = known.filter(pl.col("con_id") != 0).unique(maintain_order=True)
    owners = {symbol: con_id for symbol, con_id in known.iter_rows() if known["symbol"].is_in([symbol]).sum() == 1}
    lost = rows.filter(pl.col("con_id") == 0)["symbol"].unique()
    found = {symbol: owners.get(symbol) or con_id_of(symbol) for symbol in lost}
    if not found:
        return rows
    named = pl.col("symbol").replace_strict(found, default=0, return_dtype=pl.Int64())
    return rows.with_columns(pl.when(pl.col("con_id") == 0).then(named).otherwise("con_id").alias("con_id"))


def _numbered(answers: Sequence[pl.DataFrame]) -> pl.DataFrame:
    return pl.concat(
        frame.with_row_index("row").with_columns(pl.lit(number).alias("answer")) for number, frame in enumerate(answers)
    )


def _newest(answers: Sequence[pl.DataFrame], key: Sequence[str]) -> pl.DataFrame:
    """Of each key keep what the latest answer said of it, all of it: duplicates inside one answer are the source's."""
    rows = _numbered(answers)
    return rows.filter(pl.col("answer") == pl.col("answer").max().over(key))


def _merged_minutes(answers: Sequence[pl.DataFrame]) -> pl.DataFrame:
    """Sort by instrument and day; inside a day answers follow each other, each in the order received."""
    day = pl.col("ts").dt.date().alias("day")
    rows = _newest(answers, ("con_id", "symbol", "ts")).with_columns(day)
    begins = pl.col("ts").min().over("con_id", "symbol", "day", "answer").alias("begins")
    ordered = rows.with_columns(begins).sort("con_id", "symbol", "day", "begins", "answer", "row")
    return ordered.select(SCHEMAS["minutes"].names())


def _merged_daily(answers: Sequence[pl.DataFrame]) -> pl.DataFrame:
    key = ("con_id", "symbol", "what", "session")
    return _newest(answers, key).sort(*key, "row").select(SCHEMAS["daily"].names())


def _merged_details(answers: Sequence[pl.DataFrame]) -> pl.DataFrame:
    rows = _newest(answers, ("con_id",)).unique("con_id", keep="last", maintain_order=True)
    return rows.sort("con_id").select(SCHEMAS["details"].names())


_MERGES: Final[Mapping[Kind, Callable[[Sequence[pl.DataFrame]], pl.DataFrame]]] = {
    "minutes": _merged_minutes,
    "daily": _merged_daily,
    "details": _merged_details,
}


class Tape:
    """Appends answers to a recording; use it as a context manager, one recorder per file."""

    def __init__(self, path: Path) -> None:
        self.path, self._parts = path.absolute(), parts_of(path.absolute())
        self._next = 0
        self._lock: AbstractContextManager[Hold] | None = None

    def __enter__(self) -> Self:
        """Take the file, and merge what a killed recorder left.

        Raises:
            ConfigurationError: the file cannot be written, or holds something else.
            LockHeldError: another recorder writes to it.
        """
        try:
            self._parts.mkdir(parents=True, exist_ok=True)
        except OSError as cause:
            raise ConfigurationError(str(self.path), f"cannot be written: {cause.strerror}.", _MEND) from cause
        lock = hold("recorder", self._parts, owner={"stage": "gateway record"})
        lock.__enter__()
        self._lock = lock
        try:
            self.merge()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exc: object) -> None:
        """Let go of the file; `merge` first, or the next reader does it."""
        if self._lock is not None:
            self._lock.__exit__(None, None, None)
            self._lock = None
        if self._parts.is_dir() and not any(self._parts.glob("*.parquet")):
            for left in self._parts.iterdir():
                left.unlink()
            self._parts.rmdir()

    def add(self, kind: Kind, rows: pl.DataFrame) -> None:
        """Keep one answer: it is on disk when this returns."""
        self._next += 1
        _write(self._parts / f"{self._next:09d}-{kind}.parquet", rows.select(SCHEMAS[kind].names()))

    def merge(self) -> None:
        """Fold all parts into the recording.

        A crash in between repeats it: equal answers are one. The minutes are written even when there are none, so
        that the recording exists from the start.

        Raises:
            CorruptFileError: a file is no recording.
        """
        parts = sorted(self._parts.glob("*.parquet"))
        details = load(self.path, "details")
        for kind in SCHEMAS:
            mine = [part for part in parts if part.name.endswith(f"-{kind}.parquet")]
            file = file_of(self.path, kind)
            if not mine and (kind != "minutes" or file.is_file()):
                if file.is_file():
                    _read(file, kind)
                continue
            rows = details if kind == "details" else _MERGES[kind]([identified(load(self.path, kind), details)])
            _write(file, rows)
        for part in parts:
            part.unlink()

    def sizes(self) -> dict[str, Any]:
        """Count what the merged recording holds."""
        minutes, daily, details = (load(self.path, kind) for kind in SCHEMAS)
        return {
            "minute_bars": minutes.height,
            "daily_bars": daily.height,
            "contract_details": details.height,
            "instruments": pl.concat([frame["con_id"] for frame in (minutes, daily, details)]).n_unique(),
        }


def _write(file: Path, rows: pl.DataFrame) -> None:
    staged = file.with_name(f".{file.name}.tmp")
    rows.write_parquet(staged, compression="zstd")
    staged.replace(file)

"""A recording while it is made: every answer is a small file of its own at once, and all are merged at the end.

`FILE.parquet` holds 1-minute bars in the native layout, `FILE.daily.parquet` daily bars as TWS served them,
`FILE.details.parquet` contract details, and `FILE.schedule.parquet` on which days exchanges were open. While
recording, `FILE.parquet.parts/` holds what is not merged yet; readers take it into account, so that a killed recorder
leaves a usable recording, and the next one goes on from it.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import MISSING, asdict, fields
from datetime import date
from pathlib import Path
from typing import Any, Final, Literal, Self

import polars as pl

from quant_assets.control.locks import Hold, hold
from quant_assets.errors import ConfigurationError, CorruptFileError
from quant_assets.gateway.market import MINUTE_BARS, VALUES, Instrument
from quant_assets.gateway.recording_file import con_id_of

Kind = Literal["minutes", "daily", "details", "schedule"]

_INSTANT: Final = MINUTE_BARS["ts"]

SCHEMAS: Final[Mapping[Kind, pl.Schema]] = {
    "minutes": pl.Schema({"con_id": pl.Int64(), "symbol": pl.String(), "what": pl.String(), **MINUTE_BARS}),
    "daily": pl.Schema(
        {"con_id": pl.Int64(), "symbol": pl.String(), "what": pl.String(), "session": pl.Date(), **VALUES}
    ),
    "details": pl.Schema(
        {"con_id": pl.Int64()}
        | dict.fromkeys(("symbol", "long_name", "primary_exchange", "currency", "sec_type"), pl.String())
        | dict.fromkeys(("market_name", "industry", "category", "stock_type", "isin", "timezone"), pl.String())
        | {"min_tick": pl.Float64()}
        | dict.fromkeys(("exchange", "local_symbol", "multiplier", "min_size", "size_step"), pl.String())
        | dict.fromkeys(("valid_exchanges", "other_ids", "trading_hours", "liquid_hours"), pl.String())
        | {"last_trade_date": pl.Date(), "is_told": pl.Boolean()}
    ),
    "schedule": pl.Schema(
        {"con_id": pl.Int64(), "symbol": pl.String(), "session": pl.Date(), "opens": _INSTANT, "closes": _INSTANT}
    ),
}
"""Details are the fields of an `Instrument`; `is_told` is false where only a request named it. A day of a schedule that
has no hours is one on which the exchange was closed."""
_SERIES: Final = "TRADES"
_UNSAID: Final[Mapping[Kind, Mapping[str, object]]] = {
    "minutes": {"what": _SERIES},
    "details": {x.name: x.default for x in fields(Instrument) if x.default is not MISSING} | {"is_told": True},
}
"""What older recordings do not say."""
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
    frames = [_read(file, kind) for file in files] or [pl.DataFrame(schema=SCHEMAS[kind])]
    return _MERGES[kind](frames if kind == "details" else identified(frames, load(path, "details")))


def scan(path: Path) -> pl.LazyFrame:
    """Return the minutes of a recording, those that a killed recorder left unmerged included."""
    if any(parts_of(path).glob("*.parquet")):
        return load(path, "minutes").lazy()
    return pl.scan_parquet(path)


def instruments(path: Path) -> list[Instrument]:
    """Return every instrument that details of a recording describe."""
    return [Instrument(**row) for row in load(path, "details").drop("is_told").to_dicts()]


def _read(file: Path, kind: Kind) -> pl.DataFrame:
    try:
        found = pl.read_parquet(file)
        unsaid = _UNSAID.get(kind, {})
        filled = found.with_columns(pl.lit(unsaid[name]).alias(name) for name in unsaid if name not in found.columns)
        return filled.select(SCHEMAS[kind].names()).cast(dict(SCHEMAS[kind]))  # type: ignore[arg-type]
    except pl.exceptions.PolarsError as cause:
        raise CorruptFileError(file, str(cause).splitlines()[0], _MEND) from cause


def identified(answers: Sequence[pl.DataFrame], details: pl.DataFrame) -> list[pl.DataFrame]:
    """Name all rows of an instrument alike, and give those that were asked for by name alone (con_id 0) its id.

    The id is that which details name, or other rows; where nobody does, one that follows from the name.
    """
    names = pl.concat([frame.select("symbol", "con_id").unique(maintain_order=True) for frame in answers])
    names = names.unique(maintain_order=True)
    made = pl.Series([con_id_of(name) for name in names["symbol"]], dtype=pl.Int64())
    is_named_only = (names["con_id"] == 0) | (names["con_id"] == made)
    spelled = _spellings(details)
    known = pl.concat([spelled.select("symbol", "con_id"), names.filter(~is_named_only)]).unique(maintain_order=True)
    owned = known.filter(pl.len().over("symbol") == 1).rename({"con_id": "owner"})
    labels = spelled.select("con_id", "label").unique("con_id", maintain_order=True)
    found = (
        names.with_columns(made=made, is_named_only=is_named_only)
        .join(owned, on="symbol", how="left", maintain_order="left")
        .with_columns(found=pl.when("is_named_only").then(pl.coalesce("owner", "made")).otherwise("con_id"))
        .join(labels, left_on="found", right_on="con_id", how="left", maintain_order="left")
        .select("symbol", "con_id", "found", pl.coalesce("label", "symbol").alias("label"))
    )
    return [
        frame.join(found, on=["symbol", "con_id"], how="left", maintain_order="left")
        .with_columns(con_id="found", symbol="label")
        .select(frame.columns)
        for frame in answers
    ]


def _spellings(details: pl.DataFrame) -> pl.DataFrame:
    """Return every name under which an instrument may have been asked for: symbol, con_id, and its one label."""
    rows = [
        (spelling, one.con_id, one.label)
        for one in (Instrument(**row) for row in details.drop("is_told").to_dicts())
        for spelling in {one.label, *spellings_of(one.symbol, one.sec_type, one.currency, one.last_trade_date)}
    ]
    schema = {"symbol": pl.String(), "con_id": pl.Int64(), "label": pl.String()}
    return pl.DataFrame(rows, schema=schema, orient="row").sort("con_id", "symbol")


def spellings_of(symbol: str, sec_type: str, currency: str, expires: date | None) -> list[str]:
    """Return the names of an instrument that a request did not name as its exchange does."""
    if sec_type == "FUT":
        return [f"{symbol} {expires:%Y%m%d}", f"{symbol} {expires:%Y%m}"] if expires else []
    is_plain = sec_type not in ("CASH", "CRYPTO") and currency in ("", "USD")
    return [symbol] if is_plain else [f"{symbol}.{currency}"]


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
    rows = _newest(answers, ("con_id", "symbol", "what", "ts")).with_columns(day)
    begins = pl.col("ts").min().over("con_id", "symbol", "what", "day", "answer").alias("begins")
    ordered = rows.with_columns(begins).sort("con_id", "symbol", "what", "day", "begins", "answer", "row")
    return ordered.select(SCHEMAS["minutes"].names())


def _merged_daily(answers: Sequence[pl.DataFrame]) -> pl.DataFrame:
    key = ("con_id", "symbol", "what", "session")
    return _newest(answers, key).sort(*key, "row").select(SCHEMAS["daily"].names())


def _merged_details(answers: Sequence[pl.DataFrame]) -> pl.DataFrame:
    """What TWS told goes before what a request said, whichever came first."""
    rows = _numbered(answers).sort("is_told", "answer", "row").unique("con_id", keep="last", maintain_order=True)
    return rows.sort("con_id").select(SCHEMAS["details"].names())


def _merged_schedule(answers: Sequence[pl.DataFrame]) -> pl.DataFrame:
    key = ("con_id", "symbol", "session")
    parts = [*key, "opens"]  # a session that pauses has two
    return _newest(answers, key).unique(parts, keep="last").sort(parts).select(SCHEMAS["schedule"].names())


_MERGES: Final[Mapping[Kind, Callable[[Sequence[pl.DataFrame]], pl.DataFrame]]] = {
    "minutes": _merged_minutes,
    "daily": _merged_daily,
    "details": _merged_details,
    "schedule": _merged_schedule,
}


def described(instrument: Instrument, *, is_told: bool) -> pl.DataFrame:
    """Return the row of details of one instrument."""
    return pl.DataFrame([asdict(instrument) | {"is_told": is_told}], schema=SCHEMAS["details"])


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
        merged = {kind: load(self.path, kind) for kind in SCHEMAS}
        told = {kind for kind in SCHEMAS for part in parts if part.name.endswith(f"-{kind}.parquet")}
        for kind, rows in merged.items():
            file = file_of(self.path, kind)
            is_named_anew = "details" in told and file.is_file()
            if kind in told or is_named_anew or (kind == "minutes" and not file.is_file()):
                _write(file, rows)
        for part in parts:
            part.unlink()

    def sizes(self) -> dict[str, Any]:
        """Count what the merged recording holds."""
        held = {kind: load(self.path, kind) for kind in SCHEMAS}
        return {
            "minute_bars": held["minutes"].height,
            "daily_bars": held["daily"].height,
            "contract_details": int(held["details"]["is_told"].sum()),
            "schedule_days": held["schedule"].height,
            "instruments": pl.concat([frame["con_id"] for frame in held.values()]).n_unique(),
        }

    def undescribed(self) -> list[str]:
        """Return the names of instruments whose bars are held, and whose contract details TWS did not tell."""
        told = load(self.path, "details").filter("is_told")
        bars = pl.concat([load(self.path, kind).select("con_id", "symbol") for kind in ("minutes", "daily")])
        lost = bars.unique().join(told, on="con_id", how="anti")
        return (
            lost.with_columns(name=pl.coalesce(pl.col("symbol").replace("", None), pl.col("con_id").cast(pl.String)))[
                "name"
            ]
            .sort()
            .to_list()
        )


def _write(file: Path, rows: pl.DataFrame) -> None:
    staged = file.with_name(f".{file.name}.tmp")
    rows.write_parquet(staged, compression="zstd")
    staged.replace(file)

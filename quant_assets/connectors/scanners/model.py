"""What a scanner is once its layers are merged."""

import re
from collections.abc import Mapping
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from quant_assets.connectors.base import ScanRequest
from quant_assets.domain.screens import Condition, Op, Value, check_condition, check_value, fields
from quant_assets.errors import UnknownNameError

Source = Literal["tws", "tradingview", "lakehouse"]
TWS_ROWS = 50
"""TWS answers a scan with no more rows than this."""

_TV_FIELD = re.compile(r"[A-Za-z][A-Za-z0-9_.\[\]]*")


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Filter(_Part):
    """One condition that a row has to keep."""

    field: str
    """Of a lakehouse screen `table.column`, of a TradingView scan a column of its scanner."""
    op: Op
    value: Value = None

    @model_validator(mode="after")
    def _value_fits(self) -> "Filter":
        check_value(self.op, self.value)
        return self


class Rank(_Part):
    """By what the rows are ordered before `limit` cuts them."""

    by: str
    descending: bool = True


class TwsScan(_Part):
    """What a TWS market scan asks for, in TWS's words."""

    scan_code: str = ""
    instrument: str = "STK"
    location: str = "STK.US.MAJOR"
    filters: Mapping[str, str] = Field(default_factory=dict)
    """Filter tag → value, for example `abovePrice: "5"`."""


class TradingViewScan(_Part):
    """What a TradingView scan asks for beside its filters."""

    types: tuple[Literal["stock", "fund", "dr", "index", "forex", "futures", "crypto"], ...] = ("stock",)
    columns: tuple[str, ...] = ()
    """Further columns that go into the metadata of what is found."""


class Scanner(_Part):
    """One scanner with all of its layers merged.

    A live source answers for the latest session only; `lakehouse` answers from our own tables for any session.
    """

    description: str = ""
    source: Source
    strict: bool | None = None
    """Malformed and unknown records fail discovery; false drops and counts them; null leaves it to the profile."""
    limit: int = Field(default=50, ge=1, le=1000)
    exchanges: tuple[str, ...] = ()
    """Listing exchanges that rows may come from; empty takes all."""
    filters: Mapping[str, Filter] = Field(default_factory=dict)
    """Name → condition; a layer above switches one off with null."""
    rank: Rank | None = None
    tws: TwsScan | None = None
    tradingview: TradingViewScan | None = None

    @field_validator("filters", mode="before")
    @classmethod
    def _switched_off(cls, filters: object) -> object:
        return {k: v for k, v in filters.items() if v is not None} if isinstance(filters, dict) else filters

    @model_validator(mode="after")
    def _fits_its_source(self) -> "Scanner":
        for other in {"tws", "tradingview"} - {self.source}:
            if getattr(self, other) is not None:
                raise ValueError(
                    f"{other} belongs to a scanner whose source is {other}, and this one's is {self.source}"
                )
        getattr(self, f"_check_{self.source}")()
        return self

    def _check_tws(self) -> None:
        if self.tws is None or not self.tws.scan_code:
            raise ValueError("a TWS scan needs tws.scan_code, for example MOST_ACTIVE")
        if self.filters or self.rank:
            raise ValueError("TWS filters by tws.filters and ranks by its scan code; filters and rank are not for it")
        if self.limit > TWS_ROWS:
            raise ValueError(f"TWS answers with {TWS_ROWS} rows at the most; limit is {self.limit}")

    def _check_tradingview(self) -> None:
        named = [one.field for one in self.filters.values()] + ([self.rank.by] if self.rank else [])
        named += self.tradingview.columns if self.tradingview else ()
        if wrong := [name for name in named if not _TV_FIELD.fullmatch(name)]:
            raise ValueError(
                f"{wrong[0]!r} is no column of TradingView's scanner: letters, digits, '.', '_', '[' and ']'"
            )

    def _check_lakehouse(self) -> None:
        try:
            for condition in self.conditions():
                check_condition(condition)
        except UnknownNameError as error:
            raise ValueError(str(error)) from None
        if self.rank and self.rank.by not in fields():
            raise ValueError(str(UnknownNameError("field", self.rank.by, fields())))

    @property
    def is_live(self) -> bool:
        """Whether it answers for the latest session only."""
        return self.source != "lakehouse"

    @property
    def n_rows(self) -> int:
        """How many instruments it may name."""
        return self.limit

    def conditions(self) -> tuple[Condition, ...]:
        """Return the filters by name."""
        return tuple(Condition(name, f.field, f.op, f.value) for name, f in sorted(self.filters.items()))

    def request(self) -> ScanRequest:
        """Return what to ask of TWS."""
        assert self.tws is not None
        scan = self.tws
        return ScanRequest(
            scan.scan_code, scan.instrument, scan.location, self.limit, tuple(sorted(scan.filters.items()))
        )

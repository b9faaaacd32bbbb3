"""The client's requests, parsed from fields. Nothing is judged here; what cannot be a number becomes a marker."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

CONTRACT_FIELDS: Final = 12


@dataclass(frozen=True, slots=True)
class WireContract:
    """The fields of a contract that a lookup needs."""

    con_id: int
    symbol: str
    sec_type: str
    exchange: str
    primary_exchange: str
    currency: str
    expiry: str = ""
    local_symbol: str = ""

    @classmethod
    def parse(cls, fields: Sequence[str]) -> "WireContract":
        """Read the twelve contract fields of a request."""
        exchange, primary_exchange, currency = fields[7:10]
        con_id, symbol, sec_type, expiry, local_symbol = number(fields[0]), *fields[1:4], fields[10]
        return cls(con_id, symbol, sec_type, exchange, primary_exchange, currency, expiry, local_symbol)


@dataclass(frozen=True, slots=True)
class HistoryRequest:
    """A request for historical bars (message 20) or for a head timestamp (message 87), as it came."""

    req_id: int
    contract: WireContract
    end: str
    bar_size: str
    duration: str
    use_rth: bool
    what: str
    format_date: int
    kind: str = "history"
    keep_up_to_date: bool = False

    @property
    def identity(self) -> tuple[object, ...]:
        """What makes two requests identical for pacing."""
        x = self.contract
        return (
            self.kind,
            x.con_id,
            x.symbol,
            x.exchange,
            self.end,
            self.bar_size,
            self.duration,
            self.what,
            self.use_rth,
        )

    @property
    def series(self) -> tuple[object, ...]:
        """Contract, exchange and tick type: the key of the burst rule."""
        return (self.contract.con_id, self.contract.symbol, self.contract.exchange, self.what)


def number(text: str) -> int:
    """Read a whole number; an empty or malformed field is 0, as TWS treats it."""
    try:
        return int(text)
    except ValueError:
        return 0


def parse_history(fields: Sequence[str]) -> HistoryRequest:
    """Read message 20: id, contract, includeExpired, end, bar, duration, useRTH, what, formatDate, …, keepUpToDate."""
    _, req_id, *rest = fields
    contract, tail = WireContract.parse(rest), rest[CONTRACT_FIELDS + 1 :]
    end, bar_size, duration, use_rth, what, format_date = tail[:6]
    return HistoryRequest(
        req_id=number(req_id),
        contract=contract,
        end=end,
        bar_size=bar_size,
        duration=duration,
        use_rth=use_rth == "1",
        what=what,
        format_date=number(format_date),
        keep_up_to_date=fields[-2] == "1",
    )


def parse_head(fields: Sequence[str]) -> HistoryRequest:
    """Read message 87: id, contract, includeExpired, useRTH, what, formatDate."""
    _, req_id, *rest = fields
    use_rth, what, format_date = rest[CONTRACT_FIELDS + 1 : CONTRACT_FIELDS + 4]
    return HistoryRequest(
        req_id=number(req_id),
        contract=WireContract.parse(rest),
        end="",
        bar_size="",
        duration="",
        use_rth=use_rth == "1",
        what=what,
        format_date=number(format_date),
        kind="head_timestamp",
    )

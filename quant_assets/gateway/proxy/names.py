"""Which instrument a request is about: by the contract details that were heard, else by the request's own words."""

from collections.abc import Iterable

from quant_assets.gateway.handlers import fits
from quant_assets.gateway.market import Instrument
from quant_assets.gateway.proxy.decode import day_of
from quant_assets.gateway.proxy.tape import spellings_of
from quant_assets.gateway.recording_hours import zone_of
from quant_assets.gateway.requests import WireContract


class Names:
    """The instruments that a recorder has heard of; shared by all of its connections."""

    def __init__(self, known: Iterable[Instrument] = ()) -> None:
        self._known = {one.con_id: one for one in known}
        self._hours: dict[tuple[object, ...], bool] = {}

    def learn(self, instrument: Instrument) -> None:
        """Take what was told of an instrument."""
        self._known[instrument.con_id] = instrument

    def knows(self, con_id: int) -> bool:
        """Return whether an instrument was heard of."""
        return con_id in self._known

    def keeps_hours(self, series: tuple[object, ...], *, use_rth: bool) -> bool:
        """Return whether a series is asked for with the same useRTH as the first time: both cannot be told apart."""
        return self._hours.setdefault(series, use_rth) == use_rth

    def of(self, contract: WireContract) -> tuple[Instrument, str]:
        """Return the instrument that a request means, and the name that its rows bear until details name it.

        One that was not heard of is made of the request's words; its con_id is 0 where the request names none.
        """
        if (known := self._known.get(contract.con_id)) is not None:
            return known, known.label
        if not contract.con_id and (contract.symbol or contract.local_symbol):
            matches = [one for one in self._known.values() if fits(contract, one)]
            if len(matches) == 1:
                return matches[0], matches[0].label
        asked = _as_asked(contract)
        return asked, asked.label if asked.con_id or asked.local_symbol else _spelled(contract)


def _as_asked(contract: WireContract) -> Instrument:
    sec_type = contract.sec_type or "STK"
    pair = f"{contract.symbol}.{contract.currency}" if contract.symbol and sec_type in ("CASH", "CRYPTO") else ""
    name = contract.local_symbol or pair or contract.symbol or contract.con_id
    return Instrument(
        con_id=contract.con_id,
        symbol=contract.symbol,
        long_name=f"{name} (recorded)",
        primary_exchange=contract.primary_exchange,
        currency=contract.currency or "USD",
        sec_type=sec_type,
        market_name="RECORDED",
        timezone=zone_of(sec_type, contract.primary_exchange or contract.exchange),
        exchange=contract.exchange or "SMART",
        local_symbol=contract.local_symbol or pair,
        last_trade_date=day_of(contract.expiry),
    )


def _spelled(contract: WireContract) -> str:
    if contract.sec_type == "FUT":
        return f"{contract.symbol} {contract.expiry}".strip()
    return spellings_of(contract.symbol, contract.sec_type, contract.currency, None)[0]

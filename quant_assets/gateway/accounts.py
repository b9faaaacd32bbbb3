"""What the accounts of the replay gateway hold: made up from a list, valued at the market's closes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from quant_assets.gateway.market import Instrument, Market

CASH: Final = 100_000.0
"""Of every account, in its base currency."""
BASE_CURRENCY: Final = "USD"
_BOUGHT_AGO: Final = timedelta(days=30)


@dataclass(frozen=True, slots=True)
class Held:
    """One position of one account."""

    account: str
    instrument: Instrument
    quantity: float
    price: float
    average_cost: float
    """Per unit of quantity, so that a future's holds its multiplier."""

    @property
    def market_value(self) -> float:
        """Quantity × price × multiplier, in the instrument's currency."""
        return self.quantity * self.price * _multiplier(self.instrument)


def _multiplier(instrument: Instrument) -> float:
    return float(instrument.multiplier or 1)


@dataclass(frozen=True)
class Portfolio:
    """Account -> name of an instrument (`NYSE:QFID`, `EUR.USD`) -> quantity."""

    quantities: Mapping[str, Mapping[str, float]]

    def held(self, market: Market, now: datetime) -> list[Held]:
        """Return every position; what the market does not know, or has never traded, is not held."""
        by_name: dict[str, Instrument] = {}
        for one in market.instruments(now):
            by_name |= {one.name: one, f"{one.primary_exchange or one.exchange}:{one.name}": one}
        found = []
        for account, quantities in self.quantities.items():
            for name, quantity in quantities.items():
                instrument = by_name.get(name)
                closes = _closes(market, instrument, now) if instrument else []
                if instrument and closes:
                    cost = closes[0] * _multiplier(instrument)
                    found.append(Held(account, instrument, quantity, closes[-1], cost))
        return found

    def net_liquidation(self, account: str, held: Sequence[Held]) -> float:
        """Return what an account is worth: its cash and its positions, one unit of any currency counting as one."""
        return CASH + sum(one.market_value for one in held if one.account == account)


def _closes(market: Market, instrument: Instrument, now: datetime) -> list[float]:
    what = next(name for name in instrument.series if name in ("TRADES", "AGGTRADES", "MIDPOINT"))
    closes: list[float] = market.daily_bars(instrument, (now - _BOUGHT_AGO).date(), now.date(), what, now)[
        "close"
    ].to_list()
    return closes


NOTHING: Final = Portfolio({})

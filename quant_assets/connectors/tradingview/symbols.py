"""Names of instruments, between TradingView's spelling and that of TWS."""

from collections.abc import Mapping

_EXCHANGES: Mapping[str, tuple[str, ...]] = {
    "AMEX": ("AMEX", "ARCA"),
    "CBOE": ("BATS",),
    "OTC": ("PINK", "OTCQX", "OTCQB"),
}
"""TradingView's exchange → those of TWS that it may stand for; the others have one name. NYSE Arca is AMEX there."""

_BACK = {ours: theirs for theirs, several in _EXCHANGES.items() for ours in several}


def from_tradingview(name: str) -> tuple[tuple[str, ...], str]:
    """Return the exchanges and the symbol in TWS's spelling: `NYSE:BRK.B` is (NYSE,) and `BRK B`."""
    exchange, _, symbol = name.partition(":")
    return _EXCHANGES.get(exchange, (exchange,)), symbol.replace(".", " ").replace("/", " PR")


def to_tradingview(exchange: str, symbol: str) -> str:
    """Return TradingView's name of an instrument: (`ARCA`, `SPY`) is `AMEX:SPY`."""
    return f"{_BACK.get(exchange, exchange)}:{symbol.replace(' PR', '/').replace(' ', '.')}"

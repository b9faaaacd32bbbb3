"""Who is traded on the synthetic market, and the dates at which an instrument's life changes."""

from dataclasses import dataclass
from datetime import date
from typing import Final

from quant_assets.gateway.market import Instrument
from quant_assets.gateway.synthetic.randomness import stream_key, uniform

SECTORS: Final[dict[str, tuple[str, str]]] = {
    "TE": ("Technology", "Computers"),
    "FI": ("Financial", "Banks"),
    "HE": ("Consumer, Non-cyclical", "Pharmaceuticals"),
    "EN": ("Energy", "Oil&Gas"),
    "IN": ("Industrial", "Machinery-Diversified"),
    "CO": ("Consumer, Cyclical", "Retail"),
    "UT": ("Utilities", "Electric"),
    "MA": ("Basic Materials", "Chemicals"),
}
"""Code inside the symbol -> (industry, category), in TWS's words."""
LETTERS: Final = "ABCDE"
FUNDS: Final = {"QMKT": "Whole Market Fund", "QTEX": "Technology Sector Fund"}
FUND_SECTOR: Final = {"QTEX": "TE"}

LISTED: Final = {"QHEE": date(2026, 6, 15), "QENE": date(2025, 3, 17)}
"""First session of an instrument that lists late."""
DELISTED: Final = {"QUTE": date(2026, 9, 11), "QINE": date(2024, 10, 18)}
"""Last session of an instrument that disappears."""
RENAMED: Final = {"QCOE": ("QWAS", date(2026, 8, 17)), "QMAE": ("QERE", date(2025, 5, 19))}
"""Today's symbol -> (what it was called before, first session under the new name)."""

THIN: Final = {"QFIE": 0.55, "QTEE": 0.75, "QUTD": 0.65}
"""Share of minutes with a trade; minutes without one have no bar."""
FILLER: Final = {"QMAD": 0.80, "QIND": 0.85}
"""As THIN, but minutes without a trade arrive as flat bars with volume 0, as some feeds send them."""

FIRST_CON_ID: Final = 970_000_001
_NAMES = ("Aster", "Borealis", "Cobalt", "Drift", "Ember")
_EXCHANGES = ("NYSE", "NASDAQ")


@dataclass(frozen=True, slots=True)
class Listing:
    """One instrument of the synthetic market with what drives its prices and volumes."""

    instrument: Instrument
    sector: str
    """Sector code; empty for the fund that holds the whole market."""
    market_vol: float
    """Standard deviation of a session's log return that the market factor explains; the other two likewise."""
    sector_vol: float
    own_vol: float
    base_price: float
    """Price at the anchor session."""
    shares_a_session: float
    dividend_yield: float
    """Fraction of the price a year; 0 for one that pays nothing."""
    trade_share: float = 1.0
    sends_filler: bool = False
    listed: date | None = None
    delisted: date | None = None
    renamed: tuple[str, date] | None = None

    @property
    def has_plain_life(self) -> bool:
        """Whether nothing but prices happens to it, so that halts and gaps may be planted on it."""
        return not (self.listed or self.delisted or self.renamed or self.trade_share < 1)

    def symbol_on(self, day: date) -> str:
        """Return what it was called on that day."""
        if self.renamed and day < self.renamed[1]:
            return self.renamed[0]
        return self.instrument.symbol

    def is_listed_on(self, day: date) -> bool:
        """Return whether it traded on that day."""
        return (self.listed is None or day >= self.listed) and (self.delisted is None or day <= self.delisted)


def listings(seed: int) -> list[Listing]:
    """Return every instrument, in con_id order."""
    symbols = [(f"Q{code}{letter}", code) for code in SECTORS for letter in LETTERS]
    symbols += [(fund, FUND_SECTOR.get(fund, "")) for fund in FUNDS]
    return [_listing(seed, i, symbol, sector) for i, (symbol, sector) in enumerate(symbols)]


def _listing(seed: int, i: int, symbol: str, sector: str) -> Listing:
    draw = uniform(stream_key(seed, "listing", symbol), range(7))
    is_fund = symbol in FUNDS
    is_thin = symbol in THIN
    return Listing(
        instrument=_instrument(i, symbol, sector),
        sector=sector,
        market_vol=0.0085 if is_fund else 0.007 + 0.004 * draw[0],
        sector_vol=0.0 if not sector else 0.007 + 0.003 * draw[1],
        own_vol=0.0008 if is_fund else 0.009 + 0.006 * draw[2],
        base_price=round(float(30 * 10 ** (1.1 * draw[3])), 2),
        shares_a_session=3e4 if is_thin else float(3e5 * 10 ** (1.6 * draw[4])),
        dividend_yield=0.0 if draw[5] < 0.3 else 0.01 + 0.03 * float(draw[6]),  # noqa: PLR2004 - three in ten pay none
        trade_share=THIN.get(symbol, FILLER.get(symbol, 1.0)),
        sends_filler=symbol in FILLER,
        listed=LISTED.get(symbol),
        delisted=DELISTED.get(symbol),
        renamed=RENAMED.get(symbol),
    )


def _instrument(i: int, symbol: str, sector: str) -> Instrument:
    industry, category = SECTORS.get(sector, ("Funds", "Equity Fund"))
    is_fund = symbol in FUNDS
    name = FUNDS[symbol] if is_fund else f"{_NAMES[LETTERS.index(symbol[-1])]} {industry.split(',')[0]}"
    return Instrument(
        con_id=FIRST_CON_ID + i,
        symbol=symbol,
        long_name=f"{name.upper()} (synthetic)",
        primary_exchange="ARCA" if is_fund else _EXCHANGES[i % 2],
        market_name="SYNTHETIC",
        industry="Funds" if is_fund else industry,
        category="Equity Fund" if is_fund else category,
        stock_type="ETF" if is_fund else "COMMON",
        isin=f"ZZ{i:09d}{i % 10}",
    )

"""What an answer is called in the request ledger, and what can speak for it.

An answer can be well-formed and wrong: empty, cut off, of other days, in another unit. It counts only once something
speaks for it, and what speaks for it is recorded beside it.
"""

from typing import Final

OUTCOMES: Final = (
    "bars",
    "no_trades",
    "closed",
    "no_data",
    "empty",
    "suspect_empty",
    "unconfirmed",
    "truncated",
    "shifted",
    "wrong_unit",
    "no_permission",
    "unknown_contract",
    "refused",
    "timeout",
    "unavailable",
)
"""What a request can come to.

bars: all there are · no_trades: no bar, and none to be had · closed: the exchange did not open · no_data: TWS said so ·
empty: no bar and no word · suspect_empty: the same again · unconfirmed: minutes are missing · truncated: they traded,
or the answer ends before it was to end · shifted: bars of other days · wrong_unit: volumes in lots · the others are
refusals, and requests without an answer
"""

PROOFS: Final = ("complete", "volume", "agreement", "daily", "schedule", "head")
"""What can speak for an answer, strongest first.

complete: every minute (or session) that the calendar expects is there · volume: the minutes that are there hold the
volume of the daily bar · agreement: another request, cut differently, brought the same bars · daily: the daily
history knows that the instrument did not trade · schedule: TWS's own schedule says that it was closed · head: of a
daily series, TWS knows of no first bar, and nobody knows of a trade
"""

NOTHING: Final = ("no_data", "empty", "suspect_empty")
"""Outcomes of an answer without a bar of the session: in TWS's words, without a word, and so twice."""
REFUSED_ROWS: Final = ("shifted", "wrong_unit")
"""Outcomes whose rows are not what was asked for: they never enter bronze."""
DOUBTFUL: Final = (*NOTHING, "unconfirmed", "truncated", *REFUSED_ROWS)
"""Outcomes that are no last word unless something proves them."""

LOTS: Final = 100.0
LOTS_RATIO: Final = 0.2
"""Minute volumes are in lots when a hundred times their sum is within this of the daily volume."""
LOTS_BARS: Final = 0.02
"""… or when more than this share of the bars has fewer shares than trades, which cannot be; below it, it may be dirt
of single bars, which the rules of the curation look at."""
IN_SHARES: Final = 20_000.0
"""Volumes are in shares when the price times the square of the average trade is at least this. Trades of expensive
shares are small and those of cheap ones large: 300 at a dollar come to 90,000, 10 at 900 to as much, and most to a
million. Counted in lots, each would be a ten-thousandth of it: of the largest trades of the dearest funds 5,000."""

"""What TWS's message codes mean: one pure table.

Code 162 says many different things, and only its text tells which. The text is localised, so an unknown 162 counts
as transient: it is retried a bounded number of times. In English it is then settled with TWS's words; in another
language it may have been a pacing violation, and fails with the advice to switch TWS to English.
"""

import re
from enum import StrEnum
from typing import Final


class Verdict(StrEnum):
    """What a message means for the request it belongs to, or for the connection."""

    INFORMATION = "information"
    NO_DATA = "no data"
    PACING = "pacing"
    TOO_MANY_OPEN = "too many open"
    TOO_LONG = "too long"
    CANCELLED = "cancelled"
    UNKNOWN_CONTRACT = "unknown contract"
    NO_PERMISSION = "no permission"
    BAD_REQUEST = "bad request"
    CLIENT_ID_IN_USE = "client id in use"
    LINK_DOWN = "link down"
    LINK_RESTORED = "link restored"
    FARM_BROKEN = "farm broken"
    FARM_READY = "farm ready"
    TRANSIENT = "transient"


_BY_CODE = {
    100: Verdict.PACING,
    110: Verdict.BAD_REQUEST,
    165: Verdict.NO_DATA,
    200: Verdict.UNKNOWN_CONTRACT,
    320: Verdict.BAD_REQUEST,
    321: Verdict.BAD_REQUEST,
    322: Verdict.TOO_MANY_OPEN,
    326: Verdict.CLIENT_ID_IN_USE,
    354: Verdict.NO_PERMISSION,
    366: Verdict.TRANSIENT,
    420: Verdict.PACING,
    502: Verdict.LINK_DOWN,
    504: Verdict.LINK_DOWN,
    1100: Verdict.LINK_DOWN,
    1101: Verdict.LINK_RESTORED,
    1102: Verdict.LINK_RESTORED,
    1300: Verdict.LINK_DOWN,
    2103: Verdict.FARM_BROKEN,
    2104: Verdict.FARM_READY,
    2105: Verdict.FARM_BROKEN,
    2106: Verdict.FARM_READY,
    2107: Verdict.FARM_READY,  # asleep, and woken by the next request
    2108: Verdict.FARM_READY,
    2110: Verdict.LINK_DOWN,  # told to a client that connects while TWS has lost its own link
    2157: Verdict.FARM_BROKEN,
    2158: Verdict.FARM_READY,
    10089: Verdict.NO_PERMISSION,
    10090: Verdict.NO_PERMISSION,
    10167: Verdict.INFORMATION,
    10168: Verdict.INFORMATION,
    10186: Verdict.NO_PERMISSION,
    10197: Verdict.NO_PERMISSION,
    10299: Verdict.BAD_REQUEST,
    10314: Verdict.BAD_REQUEST,
}

_ENGLISH: Final = "historical market data service error message:"
"""What a 162 begins with in English: a TWS that is set to another language translates this, too."""

# Order matters: a pacing text may also say that the query failed, a permission text that no data was returned.
_BY_TEXT_OF_162 = (
    ("pacing violation", Verdict.PACING),
    ("permission", Verdict.NO_PERMISSION),
    ("different ip", Verdict.NO_PERMISSION),
    ("not subscribed", Verdict.NO_PERMISSION),
    ("no data", Verdict.NO_DATA),
    ("no historical market data", Verdict.NO_DATA),
    ("no head time stamp", Verdict.NO_DATA),
    ("cancelled", Verdict.CANCELLED),
    ("canceled", Verdict.CANCELLED),
    ("exceed max", Verdict.TOO_LONG),
    ("invalid step", Verdict.TOO_LONG),
    ("greater than … rejected", Verdict.TOO_LONG),
    ("longer than … rejected", Verdict.TOO_LONG),
    ("query failed", Verdict.TRANSIENT),
    ("scan code", Verdict.TRANSIENT),
)
"""Words of the text; an ellipsis stands for any others."""

_MENDS = {
    Verdict.PACING: "Lower tws.max_requests_per_10_min in the configuration.",
    Verdict.TOO_MANY_OPEN: "Lower tws.max_in_flight in the configuration; other clients of this TWS count too.",
    Verdict.TOO_LONG: "Ask for a shorter duration: lower tws.max_minute_duration in the configuration.",
    Verdict.UNKNOWN_CONTRACT: (
        "Check symbol, exchange and currency. Around TWS's nightly reset a valid symbol may be refused too: "
        "run again after it before the instrument is dropped."
    ),
    Verdict.NO_PERMISSION: (
        "Subscribe to streaming level-1 data of this exchange in the account's market-data settings, and close other "
        "sessions (mobile, web portal) that hold the data."
    ),
    Verdict.BAD_REQUEST: (
        "Legal durations are `N S|D|W|M|Y` up to 86400 S, 365 D, 52 W, 12 M; ADJUSTED_LAST takes no end; the bar "
        "sizes used here are `1 min` and `1 day`."
    ),
    Verdict.CLIENT_ID_IN_USE: "Set another tws.client_id, or end the program that uses this one.",
    Verdict.NO_DATA: "Check that the instrument was listed and traded then.",
    Verdict.TRANSIENT: "Run the same command again.",
}


SPEAK_ENGLISH: Final = "Enable *Show API error messages in English* in TWS, so that the cause can be told."
"""What a person can do about a 162 in another language."""


def classify(code: int, text: str) -> Verdict:
    """What a message means, from its code and, where the code alone does not tell, its text."""
    if code == 162:  # noqa: PLR2004 - TWS's number
        return _told_by(text) or Verdict.TRANSIENT
    if code in (321, 10314) and "exceed max" in text.lower():
        return Verdict.TOO_LONG
    if code in _BY_CODE:
        return _BY_CODE[code]
    return Verdict.INFORMATION if 2100 <= code < 2200 else Verdict.TRANSIENT  # noqa: PLR2004 - TWS's range of notices


def _told_by(text: str) -> Verdict | None:
    """What the text of a 162 means, where its words are known."""
    lowered = text.lower()
    return next((verdict for words, verdict in _BY_TEXT_OF_162 if _occur(words, lowered)), None)


def _occur(words: str, text: str) -> bool:
    return re.search(".*".join(map(re.escape, words.split("…"))), text) is not None


def is_foreign(code: int, text: str) -> bool:
    """Return whether a 162 is in a language that is not read here: it may be a pacing violation."""
    return code == 162 and _told_by(text) is None and not _is_english(text)  # noqa: PLR2004 - TWS's number


def is_unlisted(code: int, text: str) -> bool:
    """Return whether a 162 says in English something that is not known here: no pacing, for that has its words."""
    return code == 162 and _told_by(text) is None and _is_english(text)  # noqa: PLR2004 - TWS's number


def _is_english(text: str) -> bool:
    return text.lower().lstrip().startswith(_ENGLISH)


def mend_of(verdict: Verdict) -> str:
    """What a person can do about it, as a sentence; empty where there is nothing to do."""
    return _MENDS.get(verdict, "")

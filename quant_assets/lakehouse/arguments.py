"""What callers of the readers write: names, sessions and instants, in every form that means one thing."""

from collections.abc import Iterable
from datetime import UTC, date, datetime, time, timedelta

from quant_assets.errors import ConfigurationError

Names = str | Iterable[str]
"""One name, or several."""

Day = date | str
"""A session: a date, or its ISO text."""

Instant = datetime | str
"""An aware datetime, or its ISO text with a time zone."""

Knowledge = datetime | date | str
"""An instant, or a date for the end of that UTC day."""

_SESSION = "Give a date, as date(2026, 1, 5) or '2026-01-05'."
_INSTANT = "Give an instant with its time zone, as datetime(2026, 3, 14, 21, tzinfo=UTC) or '2026-03-14T21:00Z'"
_DAY_S_END = timedelta(days=1) - timedelta(microseconds=1)


def names(argument: str, given: object, example: str) -> list[str]:
    """Return one or several names as a list.

    Raises:
        ConfigurationError: there is none, or something else stands among them.
    """
    mend = f"Give one name or a list of names, as {example!r} or [{example!r}]."
    if isinstance(given, str):
        return [given]
    if not isinstance(given, Iterable):
        raise ConfigurationError(argument, f"{given!r} is no name.", mend)
    found = list(given)
    if not found:
        raise ConfigurationError(argument, "at least one name is needed.", mend)
    for one in found:
        if not isinstance(one, str):
            raise ConfigurationError(argument, f"{one!r} is no name.", mend)
    return found


def session(argument: str, given: object) -> date:
    """Return the date that labels a session.

    An instant is refused: which session it belongs to depends on the exchange.

    Raises:
        ConfigurationError: it is no date.
    """
    if isinstance(given, date) and not isinstance(given, datetime):
        return given
    if isinstance(given, str) and (day := _date(given)):
        return day
    raise ConfigurationError(argument, f"{given!r} is no date.", _SESSION)


def instant(argument: str, given: object) -> datetime:
    """Return an instant in UTC.

    Raises:
        ConfigurationError: it is none, or has no time zone.
    """
    return _instant(argument, given, f"{_INSTANT}.")


def symbols(given: object) -> list[str]:
    """Return the names of instruments.

    Raises:
        ConfigurationError: see `names`.
    """
    return names("symbols", given, "ARCA:SPY")


def known_by(as_of: object) -> datetime | None:
    """Return the instant of knowledge in UTC, None for what stands; a date is the end of that UTC day.

    Raises:
        ConfigurationError: it is no instant and no date, or has no time zone.
    """
    if as_of is None:
        return None
    day = _date(as_of) if isinstance(as_of, str) else as_of
    if isinstance(day, date) and not isinstance(day, datetime):
        return datetime.combine(day, time.min, UTC) + _DAY_S_END
    return _instant("as_of", as_of, f"{_INSTANT}, or a date for the end of that UTC day.")


def _instant(argument: str, given: object, mend: str) -> datetime:
    found = _datetime(given) if isinstance(given, str) else given
    if not isinstance(found, datetime):
        raise ConfigurationError(argument, f"{given!r} is no instant.", mend)
    if found.utcoffset() is None:
        raise ConfigurationError(argument, f"{given} has no time zone.", mend)
    return found.astimezone(UTC)


def _date(text: str) -> date | None:
    try:
        return date.fromisoformat(text.strip())
    except ValueError:
        return None


def _datetime(text: str) -> datetime | None:
    try:
        return None if _date(text) else datetime.fromisoformat(text.strip())
    except ValueError:
        return None

"""The trunk of the error tree: what a caller should do next."""

from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from typing import ClassVar


def listed(items: Iterable[object], limit: int = 12) -> str:
    """Render a list for a message, cut after `limit` entries with the number left out."""
    texts = [str(item) for item in items]
    shown = ", ".join(texts[:limit])
    rest = len(texts) - limit
    return f"{shown} and {rest} more" if rest > 0 else shown


def suggestion(name: object, known: Sequence[str]) -> str:
    """Render what a wrong name may have meant, and what is known."""
    near = get_close_matches(str(name), known, n=1)
    hint = f"Did you mean {near[0]!r}? " if near else ""
    return f"{hint}Known: {listed(known) or 'none'}."


def number_of(count: int, noun: str) -> str:
    """Render a count with its noun, which takes an s unless it is one: `1 session`, `2 sessions`."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


class QuantAssetsError(Exception):
    """Base of all errors that quant_assets raises on purpose."""

    exit_code: ClassVar[int] = 1


class RetryLater(QuantAssetsError):  # noqa: N818 - names what the caller does, not what broke
    """Nothing is lost; the same command works later."""

    exit_code = 75


class FixConfiguration(QuantAssetsError):  # noqa: N818
    """The request or the configuration asks for the impossible."""

    exit_code = 2


class DataWrong(QuantAssetsError):  # noqa: N818
    """Bytes came, and they are not usable."""

    exit_code = 65

"""Names that may become part of a path, checked against a whitelist before they do."""

import re

from quant_assets.errors import UnsafeNameError

_SYMBOL = re.compile(r"[A-Z0-9](?:[A-Z0-9.\- ]{0,19}[A-Z0-9])?")
_EXCHANGE = re.compile(r"[A-Z0-9](?:[A-Z0-9.]{0,14}[A-Z0-9])?")
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")


def safe_symbol(text: str) -> str:
    """Return a symbol that is safe in a path: capitals, digits, single `.`, `-` and blanks inside.

    Raises:
        UnsafeNameError: it is not.
    """
    if not _SYMBOL.fullmatch(text) or ".." in text:
        raise UnsafeNameError("symbol", text, "capitals, digits and, inside, '.', '-' and blanks (20 characters)")
    return text


def safe_exchange(text: str) -> str:
    """Return an exchange code that is safe in a path.

    Raises:
        UnsafeNameError: it is not.
    """
    if not _EXCHANGE.fullmatch(text) or ".." in text:
        raise UnsafeNameError("exchange", text, "capitals, digits and, inside, '.' (16 characters)")
    return text


def safe_name(kind: str, text: str) -> str:
    """Return a profile, scanner, list or run name that is safe in a path.

    Raises:
        UnsafeNameError: it is not.
    """
    if not _NAME.fullmatch(text):
        raise UnsafeNameError(kind, text, "letters, digits, '_' and '-' (64 characters)")
    return text


def split_qualified(text: str) -> tuple[str, str]:
    """Split `EXCHANGE:SYMBOL` into its safe parts; the exchange is empty when only a symbol is given."""
    exchange, _, symbol = text.strip().rpartition(":")
    return (safe_exchange(exchange) if exchange else ""), safe_symbol(symbol)

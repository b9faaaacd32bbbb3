"""Limits of a certificate: how much of a session may be lost, and of how many instruments."""

import re
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from math import floor
from typing import Final, Self

import polars as pl

from quant_assets.domain.accounting import is_quarantined, is_unexplained, unexplained_share
from quant_assets.settings.manifest.house import LakehouseConfig

UNEXPLAINED: Final = "lakehouse.max_unexplained"
QUARANTINED: Final = "lakehouse.max_quarantined"
DEGRADED: Final = "lakehouse.max_degraded"
_SHOWN: Final = 5
_SERVED: Final = ("present", "vendor_filler", "quarantined", "imputed_quarantined")
_SHUT: Final = ("closed", "half_day")
_ENTRY: Final = re.compile(r"(.+) \d+ of \d+ minutes")


@dataclass(frozen=True, slots=True)
class Limits:
    """What a session is held against before it is certified, and whenever its certificate is looked at."""

    max_unexplained: float
    """Share of a session's expected minutes that may stay unexplained; of an instrument's open ones, before the
    certificate names it as degraded."""
    max_quarantined: float
    """Share of the minutes that TWS sent of an instrument that quarantine may take, before it is degraded."""
    max_degraded: float
    """Share of the instruments that quarantine may degrade; one beside sound ones is always borne."""

    @classmethod
    def of(cls, config: LakehouseConfig) -> Self:
        """Read them from the configuration."""
        return cls(config.max_unexplained, config.max_quarantined, config.max_degraded)

    def as_inputs(self) -> dict[str, str]:
        """Return them as inputs of what was judged by them."""
        return {name: str(value) for name, value in asdict(self).items()}

    def may_refuse(self, inputs: Mapping[str, str]) -> bool:
        """Return whether something that passed other limits might not pass these: one of them is lower, or new."""
        return any(name not in inputs or value < float(inputs[name]) for name, value in asdict(self).items())

    def n_borne(self, n_open: int) -> int:
        """Return how many of some instruments quarantine may degrade."""
        return min(max(1, floor(self.max_degraded * n_open)), n_open - 1)


def losses(accounted: pl.DataFrame, limits: Limits) -> pl.DataFrame:
    """Return what each instrument lost.

    Args:
        accounted: rows of `bar_accounting` of a session.
        limits: of the certificate.

    Returns:
        symbol, open, served (minutes of which TWS sent rows), taken (of those, by quarantine), unexplained, accepted
        (minutes), is_out (quarantine took too much) and is_degraded (that, or too much is unexplained), of the
        instruments whose exchange was open; by symbol.
    """
    minutes, reason = pl.col("minutes"), pl.col("reason")
    return (
        accounted.group_by("con_id", "symbol")
        .agg(
            (pl.col("expected").first() - minutes.filter(reason.is_in(_SHUT)).sum()).alias("open"),
            minutes.filter(reason.is_in(_SERVED)).sum().alias("served"),
            minutes.filter(is_quarantined()).sum().alias("taken"),
            minutes.filter(is_unexplained()).sum().alias("unexplained"),
            minutes.filter(reason == "accepted").sum().alias("accepted"),
        )
        .filter(pl.col("open") > 0)
        .with_columns((pl.col("taken") > limits.max_quarantined * pl.col("served")).alias("is_out"))
        .with_columns(
            (pl.col("is_out") | (pl.col("unexplained") > limits.max_unexplained * pl.col("open"))).alias("is_degraded")
        )
        .sort("symbol", "con_id")
        .drop("con_id")
    )


def beyond(accounted: pl.DataFrame, limits: Limits) -> dict[str, str]:
    """Return the limits that a session does not keep, by configuration key, each with what is beyond it.

    Args:
        accounted: rows of `bar_accounting` of the session.
        limits: of the certificate.
    """
    found, lost = {}, losses(accounted, limits)
    if (share := unexplained_share(accounted)) > limits.max_unexplained:
        most = f"{UNEXPLAINED} ({limits.max_unexplained:.2%})"
        named = _named(lost.filter(pl.col("unexplained") > 0), "unexplained", "open")
        found[UNEXPLAINED] = f"{share:.2%} of the expected minutes are unexplained, more than {most}: {named}"
    out = lost.filter("is_out")
    if out.height > (borne := limits.n_borne(lost.height)):
        most = f"{QUARANTINED} ({limits.max_quarantined:.2%})"
        named = _named(out, "taken", "served")
        found[QUARANTINED] = (
            f"quarantine took more than {most} of the minutes of {out.height} of {lost.height} instruments, and "
            f"{DEGRADED} ({limits.max_degraded:.2%}) bears {borne}: {named}"
        )
    return found


def taken(accounted: pl.DataFrame, limits: Limits) -> str:
    """Name the instruments of which quarantine took more than it may; empty where it did not."""
    return _named(losses(accounted, limits).filter("is_out"), "taken", "served")


def told(accounted: pl.DataFrame, limits: Limits) -> tuple[str, str]:
    """Return what a certificate says of its instruments: who is degraded and by what, and what a person accepted."""
    rows = losses(accounted, limits)
    minutes = pl.format("{} {} of {} minutes", "symbol", pl.col("taken") + pl.col("unexplained"), "open")
    degraded = rows.filter("is_degraded").select(minutes).to_series()
    accepted = rows.filter(pl.col("accepted") > 0).select(pl.format("{} {} minutes", "symbol", "accepted")).to_series()
    return "; ".join(degraded), "; ".join(accepted)


def degraded_of(text: str, symbols: Collection[str]) -> list[str]:
    """Return what a certificate says of those of its degraded instruments that have one of some symbols.

    Args:
        text: whom the certificate names as degraded, as `told` writes it.
        symbols: as in the accounting, without an exchange.
    """
    entries = ((one, _ENTRY.fullmatch(one)) for one in text.split("; "))
    return [one for one, match in entries if match and match[1] in symbols]


def _named(rows: pl.DataFrame, part: str, whole: str) -> str:
    ordered = rows.sort(part, "symbol", descending=[True, False])
    names = ordered.head(_SHOWN).select(pl.format("{} {} of {}", "symbol", part, whole)).to_series()
    rest = f" and {ordered.height - _SHOWN} more" if ordered.height > _SHOWN else ""
    return ", ".join(names) + rest

"""What each instrument's rows are compared with: its hours and its asset class's thresholds."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

import polars as pl

from quant_assets.domain.hours import HOURS
from quant_assets.settings.quality import QualityConfig, Thresholds


@dataclass(frozen=True, slots=True)
class SessionTerms:
    """Literals where all instruments share a value, columns of `varying` where they differ.

    A session of stocks of one exchange, the common case, then costs no join at all.
    """

    common: Mapping[str, pl.Expr]
    varying: pl.DataFrame
    """con_id and a column `_name` per term that differs."""

    @classmethod
    def of(cls, con_ids: pl.Series, hours: pl.DataFrame, session: date, config: QualityConfig) -> "SessionTerms":
        """Collect the terms of a session's instruments.

        Args:
            con_ids: the instruments that have rows, each once.
            hours: con_id, HOURS, and asset_class where it is known (else STK). An instrument without a row has no hours
                that day.
            session: the session.
            config: thresholds per asset class.
        """
        known = pl.DataFrame({"con_id": con_ids}).join(hours, on="con_id", how="left", maintain_order="left")
        if "asset_class" not in known.columns:
            known = known.with_columns(pl.lit(None, pl.String).alias("asset_class"))
        known = known.with_columns(pl.col("asset_class").fill_null("STK"))
        classes = known["asset_class"].unique(maintain_order=True).to_list() or ["STK"]
        thresholds = pl.DataFrame([{"asset_class": name, **_row(config.thresholds(name))} for name in classes])
        terms = known.join(thresholds, on="asset_class", how="left", maintain_order="left").select(
            "con_id", *HOURS, *(name for name in thresholds.columns if name != "asset_class")
        )
        shared = [name for name in terms.columns[1:] if name != "con_id" and terms[name].n_unique() <= 1]
        source = terms if terms.height else thresholds
        common = {name: _literal(source, terms, name) for name in shared}
        varying = terms.select("con_id", *(pl.col(n).alias(f"_{n}") for n in terms.columns[1:] if n not in shared))
        return cls({**common, "session": pl.lit(session)}, varying)

    def __getitem__(self, name: str) -> pl.Expr:
        """Return a term as an expression over laid rows."""
        return self.common[name] if name in self.common else pl.col(f"_{name}")

    def laid(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Return rows with the columns of the terms that differ."""
        if self.varying.width == 1:
            return rows
        return rows.join(self.varying, on="con_id", how="left", maintain_order="left")


def _row(thresholds: Thresholds) -> dict[str, Any]:
    return {name: list(value) if isinstance(value, tuple) else value for name, value in thresholds.model_dump().items()}


def _literal(source: pl.DataFrame, terms: pl.DataFrame, name: str) -> pl.Expr:
    """Return the value that all instruments share, as a literal; null when there is no instrument."""
    first = source.get_column(name, default=pl.Series(name, [None], dtype=terms.schema[name]))
    return pl.lit(first.head(1)).first()

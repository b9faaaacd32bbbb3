"""What the rules found, row by row: sparse, because nearly every row is sound."""

from collections.abc import Iterable, Mapping

import polars as pl

from quant_assets.domain.quality.rules import BY_NAME, by_urgency, severities
from quant_assets.settings.quality import QualityConfig, Severity

FINDINGS = pl.Schema(
    {"_row": pl.UInt32(), "rule": pl.String(), "verdict": pl.String(), "evidence": pl.String(), "keeps": pl.Boolean()}
)
"""One finding per row and rule; `keeps` marks a finding that leaves its row in silver whatever the rule's severity."""


def found(
    rows: pl.DataFrame, rule: str, evidence: pl.Expr, *, verdict: pl.Expr | None = None, keeps: bool = False
) -> pl.DataFrame:
    """Return findings of one rule about rows that have `_row`."""
    said = pl.lit(BY_NAME[rule].verdict) if verdict is None else verdict
    return rows.select(
        pl.col("_row").cast(pl.UInt32),
        pl.lit(rule).alias("rule"),
        said.alias("verdict"),
        evidence.cast(pl.String).alias("evidence"),
        pl.lit(keeps).alias("keeps"),
    )


class Book:
    """Collects findings and knows which rows are out."""

    def __init__(self, config: QualityConfig, released: Iterable[int] = ()) -> None:
        self._severity: Mapping[str, Severity] = severities(config)
        self._urgency = by_urgency(config)
        self.released = pl.Series("_row", list(released), dtype=pl.UInt32)
        """Rows that somebody released: findings of other than hard rules leave them in."""
        self._frames: list[pl.DataFrame] = []

    def add(self, *frames: pl.DataFrame) -> None:
        """Note findings."""
        self._frames += [frame for frame in frames if not frame.is_empty()]

    def all(self) -> pl.DataFrame:
        """Return every finding with its `severity`, the severest of a row first."""
        findings = pl.concat(self._frames) if self._frames else pl.DataFrame(schema=FINDINGS)
        hard = [name for name, rule in BY_NAME.items() if rule.is_hard]
        lifted = pl.col("_row").is_in(self.released.implode()) & ~pl.col("rule").is_in(hard)
        severity = pl.col("rule").replace_strict(self._severity, return_dtype=pl.String)
        is_out = severity == "quarantine"
        urgency = {name: place for place, name in enumerate(self._urgency)}
        return (
            findings.with_columns(
                pl.when(is_out & (lifted | pl.col("keeps"))).then(pl.lit("warn")).otherwise(severity).alias("severity"),
                pl.col("rule").replace_strict(urgency, return_dtype=pl.UInt32).alias("_urgency"),
            )
            .unique(["_row", "rule"], keep="first", maintain_order=True)
            .sort("_row", pl.col("severity") != "quarantine", "_urgency")
            .drop("_urgency")
        )

    def out(self) -> pl.Series:
        """Return the rows that do not enter silver."""
        return self.all().filter(pl.col("severity") == "quarantine")["_row"].unique().sort()

    def without_out(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Return rows but those that are out; untouched, and not copied, when none is."""
        gone = self.out()
        return rows if gone.is_empty() else rows.filter(~pl.col("_row").is_in(gone.implode()))


def by_row(findings: pl.DataFrame) -> pl.DataFrame:
    """Fold findings into one line per row: the first rule with its verdict and evidence, all rules, worst severity."""
    return findings.group_by("_row", maintain_order=True).agg(
        pl.col("rule").first(),
        pl.col("rule").alias("rules"),
        pl.col("verdict").first(),
        pl.col("evidence").first(),
        pl.col("severity").alias("_severities"),
    )

"""How well the rules see what was planted: precision and recall per kind, and per rule."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from random import Random

import polars as pl

from quant_assets.domain import quality
from quant_assets.settings.quality import MetricLimits
from quant_assets_tests.mutations.clean import Clean
from quant_assets_tests.mutations.plants import KINDS, MARK, Kind

SEED = 20260109

Minute = tuple[int, object]


@dataclass
class Score:
    """What one kind came to over all sessions."""

    kind: Kind
    planted: int = 0
    found: int = 0
    wrong: int = 0
    """Minutes, or instruments, that something was said about and nothing was planted in."""
    by_rule: Counter[str] = field(default_factory=Counter)

    @property
    def recall(self) -> float:
        """Share of the planted that was found."""
        return self.found / self.planted if self.planted else 1.0

    @property
    def precision(self) -> float:
        """Share of the found that was planted."""
        return self.found / (self.found + self.wrong) if self.found + self.wrong else 1.0


def score(kinds: Sequence[Kind], sessions: Iterable[Clean]) -> dict[str, Score]:
    """Plant every kind into every session, curate, and compare."""
    scores = {kind.name: Score(kind) for kind in kinds}
    for clean in sessions:
        before = _flagged(_curated(clean, clean.raw))
        for kind in kinds:
            _judge(scores[kind.name], clean, before)
    return scores


def _judge(held: Score, clean: Clean, before: set[tuple[int, object, str]]) -> None:
    kind = held.kind
    spoiled = _spoiled(kind, clean)
    truth = set(spoiled.filter(MARK).select("con_id", "ts").iter_rows())
    divided = _curated(clean, spoiled.drop(MARK), factor=kind.factor)
    flags = _flagged(divided) - before
    if kind.unit == "instrument":
        warned = _warned(divided, clean)
        spoilt = {con_id for con_id, _ in truth}
        seen_in = {con_id for con_id, metric in warned if metric in kind.seen_by}
        held.planted += len(spoilt)
        held.found += len(spoilt & seen_in)
        held.wrong += len({con_id for con_id, _ in warned} - spoilt)
        held.by_rule.update(metric for _, metric in warned if metric in kind.seen_by)
        return
    if kind.unit == "harmless":
        held.planted += spoiled.height
        held.wrong += divided.quarantine.height
        held.found += spoiled.height - divided.quarantine.height
        return
    seen: set[Minute] = {(con_id, ts) for con_id, ts, rule in flags if rule in kind.seen_by}
    said: set[Minute] = {(con_id, ts) for con_id, ts, _ in flags}
    held.planted += len(truth)
    held.found += len(truth & seen)
    held.wrong += len(said - truth - _same_event(kind, spoiled))
    held.by_rule.update(rule for con_id, ts, rule in flags if (con_id, ts) in truth and rule in kind.seen_by)


def _same_event(kind: Kind, spoiled: pl.DataFrame) -> set[Minute]:
    """Return minutes that a fault touches beside its own: of a repeated minute both rows, where it comes from and to."""
    if not kind.name.startswith(("duplicate", "shifted")):
        return set()
    repeated = spoiled.filter(pl.struct("con_id", "ts").is_duplicated())
    return set(repeated.select("con_id", "ts").iter_rows())


def _spoiled(kind: Kind, clean: Clean) -> pl.DataFrame:
    parts = []
    answers = clean.raw.partition_by("con_id", as_dict=True, maintain_order=True)
    for place, ((con_id,), rows) in enumerate(answers.items()):
        if place % 3 == 0:  # one instrument in three stays clean, and nothing may be said of it
            parts.append(rows.with_columns(pl.lit(value=False).alias(MARK)))
            continue
        draw = Random(f"{SEED}-{kind.name}-{clean.session}-{con_id}")
        spoiled = kind.plant(rows, draw)
        parts.append(spoiled.with_columns(pl.int_range(pl.len(), dtype=pl.Int64).alias("answer_row")))
    return pl.concat(parts, how="vertical_relaxed").select(*clean.raw.columns, MARK).cast(dict(clean.raw.schema))


def _curated(clean: Clean, raw: pl.DataFrame, factor: float | None = None) -> quality.Curation:
    factors = None if factor is None else pl.DataFrame({"con_id": clean.con_ids, "split_factor": factor})
    daily = clean.daily
    if factor is not None:  # the day is on the basis of the minutes; the close before it is not
        prices = [(pl.col(f"day_{name}") / factor).alias(f"day_{name}") for name in ("high", "low", "close")]
        daily = daily.with_columns(*prices, (pl.col("day_volume") * factor).alias("day_volume"))
    return quality.curate_minutes(raw, clean.session, clean.hours, daily, factors=factors)


def _flagged(divided: quality.Curation) -> set[tuple[int, object, str]]:
    """Return (con_id, ts, rule) of every row that a rule spoke of, kept or not."""
    kept = divided.valid.filter(pl.col("dq_rules").is_not_null()).select(
        "con_id", "ts", pl.col("dq_rules").alias("rules")
    )
    told = pl.concat([kept, divided.quarantine.select("con_id", "ts", "rules")])
    return set(told.with_columns(pl.col("rules").str.split(";")).explode("rules").iter_rows())


def _warned(divided: quality.Curation, clean: Clean) -> set[tuple[int, str]]:
    counts = clean.hours.select("con_id", pl.lit(1.0).alias("coverage"), pl.lit(0).alias("unexplained"))
    measured = quality.session_metrics(divided, counts, clean.session, MetricLimits(), unexplained=(0.0, 1.0))
    warned = measured.filter(pl.col("status") == "warn", pl.col("con_id").is_not_null())
    return set(warned.select("con_id", "metric").iter_rows())


def by_rule(scores: Iterable[Score]) -> list[tuple[str, int, list[str]]]:
    """Return (rule, planted minutes that it spoke of, kinds) of each rule that saw something."""
    totals: Counter[str] = Counter()
    kinds: dict[str, list[str]] = {}
    for held in scores:
        totals.update(held.by_rule)
        for rule in held.by_rule:
            kinds.setdefault(rule, []).append(held.kind.name)
    return [(rule, totals[rule], sorted(kinds[rule])) for rule in sorted(totals)]


def detectable() -> list[Kind]:
    """Return the kinds that are declared detectable, harmless ones among them."""
    return [kind for kind in KINDS if not kind.why_not]

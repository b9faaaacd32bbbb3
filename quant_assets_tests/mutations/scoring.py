"""How well the rules see what was planted: precision and recall per kind, and per rule."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
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
    hits: Counter[str] = field(default_factory=Counter)
    """Rule or metric → planted minutes, or instruments, that it spoke of."""
    misses: Counter[str] = field(default_factory=Counter)
    """Rule or metric → others that it spoke of."""

    @property
    def recall(self) -> float:
        """Share of the planted that was found."""
        return _share(self.found, self.planted)

    @property
    def precision(self) -> float:
        """Share of the found that was planted."""
        return _share(self.found, self.found + self.wrong)


@dataclass(frozen=True)
class RuleScore:
    """What one rule or metric came to over all kinds."""

    name: str
    declared: tuple[str, ...]
    """Detectable kinds of which it has to find everything."""
    planted: int
    """Minutes, or instruments, planted of these kinds."""
    recall: float
    """Share of them that it spoke of itself, whatever other rules said."""
    precision: float
    """Share of what was planted, by any kind, in all that it spoke of."""
    spoke: int
    helps: tuple[str, ...]
    """Other kinds that it spoke of."""


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 1.0


def score(kinds: Sequence[Kind], sessions: Iterable[Clean]) -> dict[str, Score]:
    """Plant every kind into every session, curate, and compare."""
    scores = {kind.name: Score(kind) for kind in kinds}
    for clean in sessions:
        before = _flagged(_curated(clean, clean.raw))
        for kind in kinds:
            _judge(scores[kind.name], clean, before)
    return scores


def without_daily(clean: Clean) -> Clean:
    """Return a session of which the daily history knows nothing, the close before it included."""
    return replace(clean, daily=clean.daily.clear())


def _judge(held: Score, clean: Clean, before: set[tuple[int, object, str]]) -> None:
    kind = held.kind
    spoiled = _spoiled(kind, clean)
    truth = set(spoiled.filter(MARK).select("con_id", "ts").iter_rows())
    divided = _curated_with(kind, clean, spoiled)
    flags = _flagged(divided) - before
    if kind.unit == "instrument":
        warned = _warned(divided, clean)
        spoilt = {con_id for con_id, _ in truth}
        seen_in = {con_id for con_id, metric in warned if metric in kind.seen_by}
        held.planted += len(spoilt)
        held.found += len(spoilt & seen_in)
        held.wrong += len({con_id for con_id, _ in warned} - spoilt)
        held.hits.update(metric for con_id, metric in warned if con_id in spoilt)
        held.misses.update(metric for con_id, metric in warned if con_id not in spoilt)
        return
    if kind.unit == "harmless":
        held.planted += spoiled.height
        held.wrong += divided.quarantine.height
        held.found += spoiled.height - divided.quarantine.height
        return
    if kind.unit == "counted":
        _count(held, divided, Counter(con_id for con_id, _ in truth))
        held.wrong += len(flags)
        return
    seen: set[Minute] = {(con_id, ts) for con_id, ts, rule in flags if rule in kind.seen_by}
    said: set[Minute] = {(con_id, ts) for con_id, ts, _ in flags}
    beside = _same_event(kind, spoiled) | _unwitnessed(kind, clean, spoiled)
    held.planted += len(truth)
    held.found += len(truth & seen)
    held.wrong += len(said - truth - beside)
    held.hits.update(rule for con_id, ts, rule in flags if (con_id, ts) in truth)
    held.misses.update(rule for con_id, ts, rule in flags if (con_id, ts) not in truth | beside)


def _count(held: Score, divided: quality.Curation, truth: Mapping[int, int]) -> None:
    """Compare how often a rule that marks no row spoke of each instrument with how often it had to."""
    (rule,) = held.kind.seen_by
    said: dict[int, int] = (
        dict(divided.compared.select("con_id", "fillers").iter_rows())
        if rule == "filler"
        else dict(divided.findings.filter(pl.col("rule") == rule).select("con_id", "n").iter_rows())
    )
    found = sum(min(n, truth.get(con_id, 0)) for con_id, n in said.items())
    beyond = sum(max(n - truth.get(con_id, 0), 0) for con_id, n in said.items())
    held.planted += sum(truth.values())
    held.found += found
    held.wrong += beyond
    held.hits[rule] += found
    held.misses[rule] += beyond


def _same_event(kind: Kind, spoiled: pl.DataFrame) -> set[Minute]:
    """Return minutes that a fault touches beside its own: of a repeated minute both rows, where it comes from and to."""
    if not kind.name.startswith(("duplicate", "shifted")):
        return set()
    repeated = spoiled.filter(pl.struct("con_id", "ts").is_duplicated())
    return set(repeated.select("con_id", "ts").iter_rows())


def _unwitnessed(kind: Kind, clean: Clean, spoiled: pl.DataFrame) -> set[Minute]:
    """Return what may be doubted where no daily history bears witness: of a move that stays, the bars after it."""
    if kind.name != "real_move" or not clean.daily.is_empty():
        return set()
    moves = spoiled.filter(MARK).group_by("con_id").agg(pl.col("ts").min().alias("_since"))
    later = spoiled.join(moves, on="con_id").filter(pl.col("ts") > pl.col("_since"))
    return set(later.select("con_id", "ts").iter_rows())


def _is_clean(place: int) -> bool:
    """Whether an instrument stays clean: one in three does, and nothing may be said of it."""
    return place % 3 == 0


def _spoiled(kind: Kind, clean: Clean) -> pl.DataFrame:
    parts = []
    answers = clean.raw.partition_by("con_id", as_dict=True, maintain_order=True)
    for place, ((con_id,), rows) in enumerate(answers.items()):
        if _is_clean(place):
            parts.append(rows.with_columns(pl.lit(value=False).alias(MARK)))
            continue
        draw = Random(f"{SEED}-{kind.name}-{clean.session}-{con_id}")
        spoiled = kind.plant(rows, draw)
        parts.append(spoiled.with_columns(pl.int_range(pl.len(), dtype=pl.Int64).alias("answer_row")))
    return pl.concat(parts, how="vertical_relaxed").select(*clean.raw.columns, MARK).cast(dict(clean.raw.schema))


def _curated_with(kind: Kind, clean: Clean, spoiled: pl.DataFrame) -> quality.Curation:
    """Curate spoiled rows beside what else is known of a kind: the day, on their basis, and a person's word."""
    planted = [
        con_id for place, con_id in enumerate(clean.raw["con_id"].unique(maintain_order=True)) if not _is_clean(place)
    ]
    is_planted = pl.col("con_id").is_in(planted)
    daily = pl.concat([clean.daily.filter(~is_planted), kind.day(clean.daily.filter(is_planted))])
    if kind.factor is not None:
        daily = quality.on_minutes_basis(daily, pl.DataFrame({"con_id": planted, "split_factor": kind.factor}))
    words = _confirmed(spoiled.filter(MARK)) if kind.is_confirmed else None
    return _curated(replace(clean, daily=daily), spoiled.drop(MARK), words)


def _confirmed(rows: pl.DataFrame) -> pl.DataFrame:
    hashes = [quality.row_hash(row) for row in rows.iter_rows(named=True)]
    said = {"action": "confirm", "verdict": "bad_print", "rule": "toxic_price", "who": "anna"}
    words = rows.select(quality.ROW_KEY).with_columns(
        pl.Series("values_hash", hashes, dtype=pl.String), **{name: pl.lit(value) for name, value in said.items()}
    )
    return words.select(quality.OVERRIDES.names()).cast(dict(quality.OVERRIDES))


def _curated(clean: Clean, raw: pl.DataFrame, overrides: pl.DataFrame | None = None) -> quality.Curation:
    return quality.curate_minutes(raw, clean.session, clean.hours, clean.daily, overrides=overrides)


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


def by_rule(scores: Mapping[str, Score]) -> dict[str, RuleScore]:
    """Return what each rule and metric came to: those that a detectable kind declares, in the order of their names."""
    declared: dict[str, list[Score]] = {}
    for held in scores.values():
        if held.kind.seen_by and not held.kind.why_not:
            declared.setdefault(held.kind.seen_by[0], []).append(held)
    found = {}
    for rule, own in sorted(declared.items()):
        planted = sum(held.planted for held in own)
        spoke = sum(held.hits[rule] for held in scores.values())
        wrong = sum(held.misses[rule] for held in scores.values())
        names = tuple(sorted(held.kind.name for held in own))
        helps = sorted(held.kind.name for held in scores.values() if held.hits[rule] and held.kind.name not in names)
        recall = _share(sum(held.hits[rule] for held in own), planted)
        found[rule] = RuleScore(rule, names, planted, recall, _share(spoke, spoke + wrong), spoke, tuple(helps))
    return found


def detectable() -> list[Kind]:
    """Return the kinds that are declared detectable, harmless ones among them."""
    return [kind for kind in KINDS if not kind.why_not]

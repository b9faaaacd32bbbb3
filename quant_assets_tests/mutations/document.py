"""What was measured, as the tables of docs/quality.md."""

from collections.abc import Iterable
from dataclasses import dataclass

from quant_assets.domain.quality import RULES
from quant_assets_tests.mutations.clean import N_INSTRUMENTS, SESSIONS, synthetic
from quant_assets_tests.mutations.plants import KINDS
from quant_assets_tests.mutations.scoring import RuleScore, Score, by_rule, score, without_daily

BEGIN = "<!-- measured: python tools/measure_quality.py -->"
END = "<!-- end of what was measured -->"


@dataclass(frozen=True)
class Measured:
    """Scores by kind: beside the daily history, and without any of it."""

    known: dict[str, Score]
    alone: dict[str, Score]

    @property
    def rules(self) -> dict[str, RuleScore]:
        """Scores by rule and metric, beside the daily history."""
        return by_rule(self.known)

    @property
    def rules_alone(self) -> dict[str, RuleScore]:
        """The same without any daily history."""
        return by_rule(self.alone)


def measured() -> Measured:
    """Plant every kind into the sessions of the synthetic market, twice."""
    clean = [synthetic(session) for session in SESSIONS]
    return Measured(score(KINDS, clean), score(KINDS, map(without_daily, clean)))


def render(found: Measured) -> str:
    """Return the measured part of the document."""
    days = " and ".join(map(str, SESSIONS))
    seen = [name for name, one in found.known.items() if not one.kind.why_not]
    missed = [name for name, one in found.known.items() if one.kind.why_not]
    blind = [f"`{name}`" for name in seen if found.known[name].kind.needs_daily]
    parts = [
        f"Synthetic market, seed 7, sessions {days}, {N_INSTRUMENTS} instruments of which a third stays clean.",
        "### Rules\n\n" + _rules(),
        "### Kinds that are found\n\n" + _kinds(found, seen),
        f"Without daily history {len(blind)} of these {len(seen)} kinds are not found: {', '.join(blind)}.",
        "### What each rule found\n\n" + _by_rule(found),
        "### Kinds that cannot be found for certain\n\n" + _missed(found, missed),
    ]
    return "\n\n".join(parts)


def _rules() -> str:
    head = "| rule | severity | verdict | looks for | thresholds |\n|---|---|---|---|---|"
    rows = [
        f"| `{rule.name}` | {rule.severity}{', fixed' if rule.is_hard else ''} | {rule.verdict} | {rule.about} "
        f"| {', '.join(f'`{name}`' for name in rule.parameters)} |"
        for rule in RULES
    ]
    return "\n".join([head, *rows])


def _kinds(found: Measured, names: Iterable[str]) -> str:
    head = (
        "| kind | what is planted | seen by | planted | recall | precision | recall without daily history "
        "| precision without |\n|---|---|---|---|---|---|---|---|"
    )
    rows = []
    for name in names:
        one, alone = found.known[name], found.alone[name]
        seen_by = ", ".join(f"`{rule}`" for rule in one.kind.seen_by) or "nobody: it is no fault"
        unit = "instruments" if one.kind.unit == "instrument" else "minutes"
        rows.append(
            f"| {name} | {one.kind.about} | {seen_by} | {one.planted} {unit} | {one.recall:.3f} | {_precision(one)} "
            f"| {alone.recall:.3f} | {_precision(alone)} |"
        )
    return "\n".join([head, *rows])


def _precision(one: Score) -> str:
    """Return the precision as text; of a kind about which nothing was said there is none."""
    return f"{one.precision:.3f}" if one.found + one.wrong else "–"


def _by_rule(found: Measured) -> str:
    head = (
        "| rule or metric | has to find all of | planted | recall | recall without daily history | spoke of, of any kind "
        "| precision | also speaks of |\n|---|---|---|---|---|---|---|---|"
    )
    alone = found.rules_alone
    rows = [
        f"| `{rule}` | {', '.join(one.declared)} | {one.planted} | {one.recall:.3f} | {alone[rule].recall:.3f} "
        f"| {one.spoke} | {one.precision:.3f} | {', '.join(one.helps)} |"
        for rule, one in found.rules.items()
    ]
    return "\n".join([head, *rows])


def _missed(found: Measured, names: Iterable[str]) -> str:
    head = "| kind | what is planted | why not | recall | recall without daily history |\n|---|---|---|---|---|"
    rows = []
    for name in names:
        one = found.known[name]
        rows.append(
            f"| {name} | {one.kind.about} | {one.kind.why_not} | {one.recall:.3f} | {found.alone[name].recall:.3f} |"
        )
    return "\n".join([head, *rows])


def replaced(document: str, fresh: str) -> str:
    """Return a document with its measured part replaced.

    Raises:
        ValueError: it has no measured part.
    """
    before, begin, rest = document.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the document has no {BEGIN} … {END}")
    return f"{before}{BEGIN}\n\n{fresh}\n\n{END}{after}"

"""What was measured, as the tables of docs/quality.md."""

from collections.abc import Mapping

from quant_assets.domain.quality import RULES
from quant_assets_tests.mutations.clean import N_INSTRUMENTS, SESSIONS, synthetic
from quant_assets_tests.mutations.plants import KINDS
from quant_assets_tests.mutations.scoring import Score, by_rule, score

BEGIN = "<!-- measured: python tools/measure_quality.py -->"
END = "<!-- end of what was measured -->"


def measured() -> dict[str, Score]:
    """Plant every kind into the sessions of the synthetic market."""
    return score(KINDS, [synthetic(session) for session in SESSIONS])


def render(scores: Mapping[str, Score]) -> str:
    """Return the measured part of the document."""
    days = " and ".join(map(str, SESSIONS))
    parts = [
        f"Synthetic market, seed 7, sessions {days}, {N_INSTRUMENTS} instruments of which a third stays clean.",
        "### Rules\n\n" + _rules(),
        "### Kinds that are found\n\n" + _kinds([one for one in scores.values() if not one.kind.why_not]),
        "### What each rule found\n\n" + _by_rule(scores),
        "### Kinds that cannot be found for certain\n\n"
        + _missed([one for one in scores.values() if one.kind.why_not]),
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


def _kinds(scores: list[Score]) -> str:
    head = "| kind | what is planted | seen by | planted | recall | precision |\n|---|---|---|---|---|---|"
    rows = [
        f"| {one.kind.name} | {one.kind.about} | {', '.join(f'`{name}`' for name in one.kind.seen_by) or 'nobody: it is no fault'} "
        f"| {one.planted} {'minutes' if one.kind.unit != 'instrument' else 'instruments'} "
        f"| {one.recall:.3f} | {one.precision:.3f} |"
        for one in scores
    ]
    return "\n".join([head, *rows])


def _by_rule(scores: Mapping[str, Score]) -> str:
    head = "| rule or metric | planted faults that it saw | of kinds | precision |\n|---|---|---|---|"
    rows = []
    for rule, n, kinds in by_rule(scores.values()):
        wrong = sum(scores[name].wrong for name in kinds)
        rows.append(f"| `{rule}` | {n} | {', '.join(kinds)} | {n / (n + wrong):.3f} |")
    return "\n".join([head, *rows])


def _missed(scores: list[Score]) -> str:
    head = "| kind | what is planted | why not | recall |\n|---|---|---|---|"
    rows = [f"| {one.kind.name} | {one.kind.about} | {one.kind.why_not} | {one.recall:.3f} |" for one in scores]
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

"""The report as Markdown, and the index of a run directory."""

from collections.abc import Iterable, Sequence

from quant_assets.domain.reports.backtest import NAMES, measures_of
from quant_assets.domain.reports.data import ReportData
from quant_assets.domain.run_files import (
    BIAS,
    CERTIFICATE,
    COMPOSITION,
    ENVIRONMENT,
    INPUTS,
    JUDGED,
    LOG,
    MANIFEST,
    MATRIX,
    PICTURE,
    PROVENANCE,
    REPORT,
    REPORT_TEXT,
    RESOLVED,
    SELECTION_FRAME,
    SELECTION_RECORD,
    STREAMS,
    WALKED,
    WEIGHTS_FRAME,
    bars_file,
)

_SYNTHETIC = "> **Synthetic data.** Prices come from the built-in generator, not from a market."


def render_markdown(data: ReportData) -> str:
    """Return the report's essentials as Markdown."""
    positions = ([one.symbol, one.sector, f"{one.weight:.4%}", _share(one.risk_contribution)] for one in data.held)
    excluded = ([one.symbol, one.stage, one.reason] for one in data.excluded)
    inputs = ([name, table["partition"], f"`{table['content_id']}`"] for name, table in data.tables.items())
    scored = (
        [one.symbol, str(one.cluster), f"{one.score:.4f}", ", ".join(f"{k} {v:.2f}" for k, v in one.terms.items())]
        for one in data.choice.scored
        if not one.reason
    )
    parts = [
        f"# Weights of {data.profile}, {data.session}",
        *([_SYNTHETIC] if data.is_synthetic else []),
        _lead(data),
        *([data.degraded_told] if data.degraded else []),
        "## Weights",
        _table(["instrument", "sector", "weight", "share of risk"], positions),
        "## Selection",
        _table(["instrument", "cluster", "score", "terms w ln p"], scored),
        *_walked(data),
        "## Excluded",
        _table(["instrument", "stage", "reason"], excluded),
        "## Inputs",
        _table(["table", "partition", "content id"], inputs),
        f"Verify with `quant run verify {data.run_id}`.",
    ]
    return "\n\n".join(parts) + "\n"


def index_markdown(data: ReportData) -> str:
    """Return INDEX.md: what lies where in the run directory."""
    files = [
        (RESOLVED, "the profile, with every default filled in"),
        (INPUTS, "content ids of the inputs, the window of sessions, the frozen instruments"),
        (JUDGED, "every instrument that was judged, with its verdict"),
        (BIAS, "universe-days that have no bar, by kind"),
        (PROVENANCE, "certificate, TWS requests behind the bars, and what quarantine held back"),
        (WALKED, "the newest backtest of this very profile, where there was one"),
        (ENVIRONMENT, "interpreter, platform and library versions"),
        (bars_file("*"), "frozen daily bars per instrument; `timestamp` is midnight UTC of the session"),
        (MATRIX, "simple returns, sessions by con_id; null = no return"),
        (CERTIFICATE, "why each instrument is in the matrix or not"),
        (SELECTION_FRAME, "every frozen instrument: score, terms, cluster, verdict and reason"),
        (SELECTION_RECORD, "weights of the score, vetoes, and the relaxation ladder"),
        (STREAMS, "returns of the strategy atoms, sessions by atom"),
        (COMPOSITION, "what each atom is, and whether it holds now"),
        (WEIGHTS_FRAME, "the weights (also as .csv; .json adds exposures, fallbacks and findings)"),
        (REPORT, "the report, readable offline"),
        (REPORT_TEXT, "its essentials as text"),
        (PICTURE, "the weights as a picture"),
        (LOG, "what happened and when, hash-chained"),
        (MANIFEST, "sha256 of every file but itself and the log"),
    ]
    head = f"# Run {data.run_id}\n\nProfile {data.profile}, session {data.session}, method {data.method}."
    code = ((f"`{name}`", text) for name, text in files)
    return f"{head}\n\n{_table(['file', 'content'], code)}\n\nVerify with `quant run verify {data.run_id}`.\n"


def _walked(data: ReportData) -> list[str]:
    if data.walked is None:
        return []
    record = data.walked["record"]
    head = f"Backtest `{data.walked['backtest']}`, {record['first']} to {record['last']}, {record['n_folds']} folds."
    return ["## Walk-forward", head, _table(["after costs", *NAMES.values()], measures_of(record))]


def _lead(data: ReportData) -> str:
    return (
        f"Run `{data.run_id}`. Method **{data.method}**{_instead(data)}. Net {data.net:.4%}, gross {data.gross:.4%}, "
        f"cash {data.cash:.4%}. Known basis: {data.known_basis}; point in time: {'yes' if data.is_pit else 'no'}."
    )


def _instead(data: ReportData) -> str:
    return f" instead of {data.requested}" if data.method != data.requested else ""


def _share(value: float | None) -> str:
    return "—" if value is None else f"{value:.2%}"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [" | ".join(head), " | ".join("---" for _ in head)]
    lines += [" | ".join(str(cell).replace("|", "\\|") for cell in row) for row in rows]
    return "\n".join(f"| {line} |" for line in lines)

"""The report of a meta portfolio: shares of sleeves, flattened weights, and the proof."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from quant_assets.domain.reports import charts
from quant_assets.domain.reports.data import TRACE, Correlation, Position, Track
from quant_assets.domain.reports.page import percent, render_page, text_table
from quant_assets.domain.run_files import (
    ENVIRONMENT,
    INPUTS,
    LOG,
    MANIFEST,
    REPORT,
    REPORT_TEXT,
    RESOLVED,
    SLEEVE_RETURNS,
    SLEEVE_WEIGHTS,
    WEIGHTS_FRAME,
    bars_file,
)


@dataclass(frozen=True)
class MetaData:
    """Everything in the report; no time of making, so that equal runs have equal reports."""

    run_id: str
    session: str
    profile: str
    description: str
    record: Mapping[str, Any]
    """data/weights.json."""
    max_weight: float
    sector_cap: float
    long_names: Mapping[int, str]
    correlation: Correlation | None
    track: Track
    tables: Mapping[str, Mapping[str, Any]]
    known_basis: str
    is_pit: bool
    merkle_root: str
    code_version: str

    @cached_property
    def held(self) -> list[Position]:
        """Positions with more than a trace of weight, the largest first."""
        rows = [Position(long_name=self.long_names[one["con_id"]], **one) for one in self.record["weights"]]
        return sorted((one for one in rows if abs(one.weight) >= TRACE), key=lambda one: (-one.weight, one.con_id))

    @property
    def is_synthetic(self) -> bool:
        """Whether any instrument says of itself that it is synthetic."""
        return any("(synthetic)" in name.lower() for name in self.long_names.values())


def render_meta(data: MetaData) -> str:
    """Return the report as one HTML file."""
    pictures = {"weights": charts.bars(data.held), "growth": charts.growth(data.track)}
    if data.correlation is not None:
        pictures["correlation"] = charts.heat_map(data.correlation)
    return render_page("meta.html.j2", pictures, data=data)


def meta_markdown(data: MetaData) -> str:
    """Return the report's essentials as Markdown."""
    record = data.record
    sleeves = [
        [one["profile"], f"`{one['run_id']}`", percent(one["share"], 4), f"{one['min']:g} to {one['max']:g}"]
        for one in record["sleeves"]
    ]
    held = [[one.symbol, one.sector, percent(one.weight, 4), percent(one.risk_contribution)] for one in data.held]
    lead = (
        f"Run `{data.run_id}`, a meta portfolio of {len(sleeves)} finished runs. Method **{record['method']}**. "
        f"Net {record['net']:.4%}, gross {record['gross']:.4%}, cash {record['cash']:.4%}."
    )
    parts = [
        f"# Weights of {data.profile}, {data.session}",
        *(["> **Synthetic data.** Prices come from the built-in generator, not from a market."] * data.is_synthetic),
        lead,
        "## Sleeves",
        text_table(["profile", "run", "share", "bounds"], sleeves),
        "## Weights",
        text_table(["instrument", "sector", "weight", "share of risk"], held),
        f"Verify with `quant run verify {data.run_id}`.",
    ]
    return "\n\n".join(parts) + "\n"


def meta_index(data: MetaData) -> str:
    """Return INDEX.md: what lies where in the run directory."""
    files = {
        RESOLVED: "the meta portfolio's profile, with every default filled in",
        INPUTS: "the sleeves: run ids, digests of their manifests, content ids of what was copied",
        ENVIRONMENT: "interpreter, platform and library versions",
        bars_file("*"): "frozen daily bars per instrument, copied from the sleeves",
        SLEEVE_RETURNS: "returns of the sleeves, sessions by sleeve, numbered as in config/inputs.json",
        SLEEVE_WEIGHTS: "what each sleeve holds",
        WEIGHTS_FRAME: "the flattened weights (also as .csv; .json adds shares, fallbacks and findings)",
        REPORT: "the report, readable offline",
        REPORT_TEXT: "its essentials as text",
        LOG: "what happened and when, hash-chained",
        MANIFEST: "sha256 of every file but itself and the log",
    }
    head = f"# Run {data.run_id}\n\nMeta portfolio {data.profile}, session {data.session}."
    table = text_table(["file", "content"], [[f"`{name}`", text] for name, text in files.items()])
    return f"{head}\n\n{table}\n\nVerify with `quant run verify {data.run_id}`.\n"

"""The report of a backtest: what was earned, what it came from, what it cost, and what must not be believed."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from quant_assets.domain.reports.lines import columns, curves
from quant_assets.domain.reports.page import percent, render_page, text_table
from quant_assets.domain.returns import SESSIONS_PER_YEAR
from quant_assets.domain.run_files import (
    EARNED,
    ENVIRONMENT,
    FOLDS,
    INPUTS,
    LOG,
    MANIFEST,
    REPORT,
    REPORT_TEXT,
    RESOLVED,
    WEIGHTS_FRAME,
)

NAMES = {"strategy": "the weights", "selected": "equal weights of the selected", "pool": "1/N of the pool"}
_MEASURES = {
    "cagr": ("CAGR", "percent"),
    "volatility": ("volatility a year", "percent"),
    "sharpe": ("Sharpe", "number"),
    "sortino": ("Sortino", "number"),
    "max_drawdown": ("deepest drawdown", "percent"),
    "hit_rate": ("sessions above 0", "percent"),
    "total": ("total return", "percent"),
    "best": ("best session", "percent"),
    "worst": ("worst session", "percent"),
}
_YEAR = 250
"""Sessions of the shortest years of XNYS."""
PARTS = {
    "pool": "1/N of the pool",
    "selection": "selection: equal weights of the selected, less the pool",
    "allocation": "allocation: the weights, less equal weights",
    "costs": "commission and slippage",
}


@dataclass(frozen=True)
class BacktestData:
    """Everything in the report; no time of making, so that equal backtests have equal reports."""

    run_id: str
    profile: str
    description: str
    plan: Mapping[str, Any]
    costs: Mapping[str, Any]
    inputs: Mapping[str, Any]
    record: Mapping[str, Any]
    folds: pl.DataFrame
    returns: pl.DataFrame
    weights: pl.DataFrame

    @property
    def is_synthetic(self) -> bool:
        """Whether prices are invented."""
        return "SYNTHETIC" in str(self.inputs["label"])

    @cached_property
    def measures(self) -> list[list[str]]:
        """Rows of measures: name, then the weights, the selected and the pool, after costs."""
        return measures_of(self.record)

    @cached_property
    def parts(self) -> list[tuple[str, float, float]]:
        """The attribution: part, sum over all sessions, per year; the last row is their sum."""
        return parts_of(self.record)


def measures_of(record: Mapping[str, Any]) -> list[list[str]]:
    """Return rows of measures after costs: name, then the weights, the selected and the pool."""
    return [
        [title, *(_shown(record["net"][which][key], kind) for which in NAMES)]
        for key, (title, kind) in _MEASURES.items()
    ] + [
        ["turnover a year", *(percent(record["turnover_a_year"][which], 0) for which in NAMES)],
        ["costs a year", *(percent(record["costs_a_year"][which], 3) for which in NAMES)],
    ]


def parts_of(record: Mapping[str, Any]) -> list[tuple[str, float, float]]:
    """Return the attribution: part, sum over all sessions, per year; the last row is their sum."""
    years, told = record["n_sessions"] / SESSIONS_PER_YEAR, record["attribution"]
    rows = [(text, told[name], told[name] / years) for name, text in PARTS.items()]
    return [*rows, ("the weights, after costs", told["net"], told["net"] / years)]


def short_walk(record: Mapping[str, Any]) -> str:
    """Return the caution that belongs to figures a year of less than a year; empty where none is needed."""
    if record["n_sessions"] >= _YEAR:
        return ""
    return (
        f"{record['n_sessions']} sessions are less than a year: every figure a year, CAGR and Sharpe are extrapolated."
    )


def _shown(value: float | None, kind: str) -> str:
    if value is None:
        return "—"
    return percent(value) if kind == "percent" else f"{value:.2f}"


def render_backtest(data: BacktestData) -> str:
    """Return the report as one HTML file."""
    frame, sessions = data.returns, data.returns["session"].to_list()
    grown = {
        "weights": frame["net"],
        "selected": frame["selected_net"],
        "pool": frame["pool_net"],
    }
    summed = {name: np.cumsum(frame[name].to_numpy()).tolist() for name in PARTS}
    below = {name: _below(frame[key].to_numpy()) for name, key in (("weights", "net"), ("pool", "pool_net"))}
    months = [f"{day:%Y-%m}" for day in data.folds["first"]]
    pictures = {
        "growth": curves(
            sessions,
            {name: (np.cumprod(1 + one.to_numpy()) - 1).tolist() for name, one in grown.items()},
            title="Cumulative return after costs",
        ),
        "parts": curves(sessions, summed, title="Sums of the parts of the net return", height=220),
        "drawdown": curves(sessions, below, title="Drawdown", height=130, fill=True),
        "folds": columns(months, data.folds["net"].to_list(), title="Net return of each fold"),
    }
    return render_page(
        "backtest.html.j2", pictures, data=data, names=NAMES, folds=data.folds.to_dicts(), short=short_walk(data.record)
    )


def _below(returns: npt.NDArray[np.float64]) -> list[float]:
    """Return how far the account is below its highest point, after each session."""
    growth = np.concatenate([[1.0], np.cumprod(1.0 + returns)])
    return [float(value) for value in (growth / np.maximum.accumulate(growth) - 1.0)[1:]]


def backtest_markdown(data: BacktestData) -> str:
    """Return the report's essentials as Markdown."""
    parts = [[text, percent(total), percent(a_year)] for text, total, a_year in data.parts]
    record, plan, bias = data.record, data.plan, data.record["bias"]
    lead = (
        f"`{data.run_id}`: {record['n_folds']} folds, rebalanced {rhythm(plan['rebalance'])}, {plan['window']} window, "
        f"embargo {plan['embargo']}, purge {plan['purge']}. From {data.inputs['label']}; known basis "
        f"{data.inputs['known_basis']}, point in time: {'yes' if data.inputs['is_pit'] else 'no'}."
    )
    meter = (
        f"Bias: {percent(bias['lost'])} of {bias['universe_days']} universe days were lost to missing, short, stale or "
        f"thin history; {bias['unpriced_days']} days of holdings had no price."
    )
    sections = [
        f"# Backtest of {data.profile}, {record['first']} to {record['last']}",
        *(["> **Synthetic data.** Prices come from the built-in generator, not from a market."] * data.is_synthetic),
        lead,
        "## Measures after costs",
        text_table(["", *NAMES.values()], data.measures),
        *([caution] if (caution := short_walk(record)) else []),
        "## Where it came from",
        text_table(["part", "sum", "a year"], parts),
        meter,
    ]
    return "\n\n".join(sections) + "\n"


def rhythm(text: str) -> str:
    """Return how often, in words."""
    return f"every {text} sessions" if text.isdigit() else text


def backtest_index(data: BacktestData) -> str:
    """Return INDEX.md: what lies where."""
    files = {
        RESOLVED: "the profile, with every default filled in",
        INPUTS: "plan, source, and the content id of everything that was read",
        ENVIRONMENT: "interpreter, platform and library versions",
        FOLDS: "one row per decision: what it knew, chose, held, traded and earned (also as .csv)",
        EARNED: "one row per session: net return, its parts, and the three portfolios",
        WEIGHTS_FRAME: "one row per fold and instrument: target, and what had drifted there before",
        "metrics.json": "measures, attribution, turnover, costs, bias",
        REPORT: "the report, readable offline",
        REPORT_TEXT: "its essentials as text",
        LOG: "what happened and when, hash-chained",
        MANIFEST: "sha256 of every file but itself and the log",
    }
    table = text_table(["file", "content"], [[f"`{name}`", text] for name, text in files.items()])
    return f"# Backtest {data.run_id}\n\n{table}\n\nCheck with `quant backtest verify {data.run_id}`.\n"

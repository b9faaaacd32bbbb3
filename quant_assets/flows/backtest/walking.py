"""Walking forward: one decision per fold from its own past, then three portfolios held through the same sessions."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import date
from typing import Any

import numpy as np
import polars as pl

from quant_assets.control.progress import NullProgress, Progress
from quant_assets.control.seal import network_seal
from quant_assets.domain.backtest import (
    PARTS,
    Account,
    Decision,
    Fold,
    Held,
    Past,
    Plan,
    Prices,
    Strategy,
    alpha_strategy,
    attributed,
    hold,
    measures,
    plan_folds,
)
from quant_assets.domain.costs import SCHEDULES
from quant_assets.domain.reports.data import TRACE
from quant_assets.domain.returns import SESSIONS_PER_YEAR
from quant_assets.errors import ChangingLakeError, DataWrong
from quant_assets.flows.backtest.sources import History
from quant_assets.settings.manifest import Profile

PORTFOLIOS = ("strategy", "selected", "pool")
"""The weights; equal weights of the selected; 1/N of everybody who could have been selected."""


@dataclass(frozen=True, slots=True)
class Walked:
    """What a backtest found, as frames and as one record of numbers."""

    name: str
    plan: Plan
    folds: pl.DataFrame
    returns: pl.DataFrame
    weights: pl.DataFrame
    record: dict[str, Any]
    decisions: tuple[date, ...]
    inputs: dict[str, Any]
    """What the history was made of before anything of it was read."""


@dataclass(frozen=True, slots=True)
class _Answer:
    """A decision, or why there is none."""

    decision: Decision | None
    problem: str = ""


def walk(
    history: History,
    name: str,
    profile: Profile,
    first: date,
    last: date,
    plan: Plan,
    *,
    progress: Progress | None = None,
) -> Walked:
    """Backtest the alpha cycle of a profile from session to session.

    A fold whose decision fails (nobody is accepted, too few returns, no weights) keeps what it holds, and is on record.

    Args:
        history: where pasts and prices come from.
        name: of the profile.
        profile: the alpha cycle.
        first: first session that earns.
        last: last one.
        plan: rhythm, window, embargo and purge.
        progress: where folds are counted.

    Raises:
        ChangingLakeError: what prices are taken from changed while they were read.
        ConfigurationError: no fold fits.
        DataWrong: no decision succeeded; the first one's reason.
    """
    folds = plan_folds(history.sessions, first, last, plan)
    known = tuple(fold.known for fold in folds)
    before = history.described(known, folds[-1].earns[-1])
    prices = history.prices(folds[0].traded, folds[-1].earns[-1], known)
    inputs = history.described(known, folds[-1].earns[-1])
    require_unchanged(before, inputs)
    length = None if plan.window == "expanding" else profile.data.lookback_sessions
    used = _for_window(profile, plan, len(history.sessions))
    account = Account(prices, **_costs(used))
    answers = _decide(history, alpha_strategy(name, used), _Walk(folds, account, used, length), progress, name)
    if all(one.decision is None for one in answers):
        raise _NoDecisionError(len(folds), answers[0].problem)
    others = {which: _hold(prices, folds, answers, used, which) for which in PORTFOLIOS[1:]}
    held = {PORTFOLIOS[0]: account.told(), **others}
    symbols = history.symbols(known)
    parts = attributed(*(held[which] for which in PORTFOLIOS))
    return Walked(
        name=name,
        plan=plan,
        folds=_fold_rows(folds, answers, held["strategy"], parts),
        returns=_return_rows(folds, held, parts),
        weights=_weight_rows(folds, answers, held["strategy"], symbols),
        record=_record(folds, answers, held, parts),
        decisions=known,
        inputs=inputs,
    )


def require_unchanged(before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Refuse a history of which something that was named is another one by now.

    Raises:
        ChangingLakeError: names every such table.
    """
    named, stands = before["tables"], now["tables"]
    if changed := sorted(name for name in named if stands.get(name) != named[name]):
        raise ChangingLakeError(changed)


class _NoDecisionError(DataWrong):
    """Not one fold came to a decision."""

    def __init__(self, n_folds: int, problem: str) -> None:
        super().__init__(f"None of {n_folds} folds came to a decision. The first one: {problem}")


def _for_window(profile: Profile, plan: Plan, n_sessions: int) -> Profile:
    """Return the profile with a lookback over everything where the window expands."""
    if plan.window == "rolling":
        return profile
    longest = max(n_sessions, profile.data.lookback_sessions)
    return profile.model_copy(update={"data": profile.data.model_copy(update={"lookback_sessions": longest})})


@dataclass(frozen=True, slots=True)
class _Walk:
    folds: tuple[Fold, ...]
    account: Account
    """Goes along with the decisions: what it holds by then is what a turnover limit is measured from."""
    profile: Profile
    length: int | None


def _decide(history: History, strategy: Strategy, way: _Walk, progress: Progress | None, name: str) -> list[_Answer]:
    """Decide fold by fold, and hold what was decided."""
    answers: list[_Answer] = []
    with (progress or NullProgress()).task(f"backtest {name}", total=len(way.folds)) as task:
        for fold in way.folds:
            past = history.past(fold.known, way.length)
            if way.profile.risk.max_turnover is not None:
                past = _with_held(past, way, answers)
            answers.append(_decided(strategy, past))
            way.account.hold(fold.earns, _wanted(answers[-1], PORTFOLIOS[0]))
            task.advance(note=str(fold.known))
    return answers


def _decided(strategy: Strategy, past: Past) -> _Answer:
    """Decide under the network seal."""
    try:
        with network_seal():
            return _Answer(strategy(past))
    except DataWrong as error:
        return _Answer(None, f"{type(error).__name__}: {error}")


def _with_held(past: Past, way: _Walk, answers: Sequence[_Answer]) -> Past:
    """Return the past with the drifted weights of its last session, which the turnover limit is measured from."""
    held = way.account.held_after(past.session)
    return past if held is None or all(one.decision is None for one in answers) else replace(past, held=held)


def _hold(prices: Prices, folds: Sequence[Fold], answers: Sequence[_Answer], profile: Profile, which: str) -> Held:
    trades = [(fold.earns, _wanted(one, which)) for fold, one in zip(folds, answers, strict=True)]
    return hold(prices, trades, **_costs(profile))


def _costs(profile: Profile) -> dict[str, Any]:
    costs = profile.costs
    schedule = None if costs.schedule == "none" else SCHEDULES[costs.schedule]
    return {"capital": costs.capital, "schedule": schedule, "slippage_bps": costs.slippage_bps}


def _wanted(answer: _Answer, which: str) -> Mapping[int, float] | None:
    decision = answer.decision
    if decision is None:
        return None
    if which == "strategy":
        return {con_id: weight for con_id, weight in decision.weights.items() if weight}
    members = decision.selected if which == "selected" else decision.pool
    return dict.fromkeys(members, 1.0 / len(members))


def _fold_rows(
    folds: Sequence[Fold], answers: Sequence[_Answer], held: Held, parts: Mapping[str, np.ndarray]
) -> pl.DataFrame:
    rows, begin = [], 0
    for place, (fold, answer) in enumerate(zip(folds, answers, strict=True)):
        end = begin + len(fold.earns)
        one = answer.decision
        weights = one.weights if one else {}
        rows.append(
            {
                "fold": fold.number,
                "known": fold.known,
                "traded": fold.traded,
                "first": fold.earns[0],
                "last": fold.earns[-1],
                "n_sessions": len(fold.earns),
                "n_universe": one.n_universe if one else None,
                "n_unfit": one.n_unfit if one else None,
                "n_pool": len(one.pool) if one else None,
                "n_selected": len(one.selected) if one else None,
                "n_held": sum(1 for weight in weights.values() if abs(weight) >= TRACE) if one else None,
                "cash": round(1.0 - sum(abs(weight) for weight in weights.values()), 9) + 0.0 if one else None,
                "method": one.method if one else None,
                "fallbacks": ";".join(one.details["fallbacks"]) if one else None,
                "turnover": held.turnover[place],
                "commission": held.commission[place],
                "slippage": held.slippage[place],
                "net": float(np.prod(1.0 + held.net[begin:end]) - 1.0),
                **{name: float(parts[name][begin:end].sum()) for name in PARTS},
                "problem": answer.problem,
            }
        )
        begin = end
    return pl.DataFrame(rows, infer_schema_length=None)


def _return_rows(folds: Sequence[Fold], held: Mapping[str, Held], parts: Mapping[str, np.ndarray]) -> pl.DataFrame:
    numbers = [fold.number for fold in folds for _ in fold.earns]
    columns: dict[str, Any] = {"session": list(held["strategy"].sessions), "fold": numbers}
    columns |= {"net": held["strategy"].net, **{name: parts[name] for name in PARTS}}
    for which in PORTFOLIOS:
        columns |= {f"{which}_gross": held[which].gross, f"{which}_net": held[which].net}
    return pl.DataFrame(columns, schema_overrides={"session": pl.Date})


def _weight_rows(
    folds: Sequence[Fold], answers: Sequence[_Answer], held: Held, symbols: Mapping[int, str]
) -> pl.DataFrame:
    rows = [
        (fold.number, con_id, symbols.get(con_id, ""), one.weights.get(con_id, 0.0), before.get(con_id, 0.0))
        for fold, answer, before in zip(folds, answers, held.before, strict=True)
        if (one := answer.decision) is not None
        for con_id in sorted({*one.weights, *before})
    ]
    schema = {"fold": pl.Int64, "con_id": pl.Int64, "symbol": pl.String, "weight": pl.Float64, "before": pl.Float64}
    return pl.DataFrame(rows, schema=schema, orient="row")


def _record(
    folds: Sequence[Fold], answers: Sequence[_Answer], held: Mapping[str, Held], parts: Mapping[str, np.ndarray]
) -> dict[str, Any]:
    """Return the numbers of the whole backtest."""
    mine = held["strategy"]
    years = len(mine.sessions) / SESSIONS_PER_YEAR
    made = [(fold, one.decision) for fold, one in zip(folds, answers, strict=True) if one.decision is not None]
    universe_days = sum(one.n_universe * len(fold.earns) for fold, one in made)
    lost_days = sum(one.n_unfit * len(fold.earns) for fold, one in made)
    return {
        "first": str(mine.sessions[0]),
        "last": str(mine.sessions[-1]),
        "n_sessions": len(mine.sessions),
        "n_folds": len(folds),
        "failed": {fold.number: one.problem for fold, one in zip(folds, answers, strict=True) if one.problem},
        "net": {which: asdict(measures(held[which].net)) for which in PORTFOLIOS},
        "gross": {which: asdict(measures(held[which].gross)) for which in PORTFOLIOS},
        "attribution": {
            "net": float(mine.net.sum()),
            **{name: float(parts[name].sum()) for name in PARTS},
            "residual": float(np.abs(mine.net - sum(parts[name] for name in PARTS)).max()),
        },
        "turnover_a_year": {which: sum(held[which].turnover) / years for which in PORTFOLIOS},
        "costs_a_year": {
            which: (sum(held[which].commission) + sum(held[which].slippage)) / years for which in PORTFOLIOS
        },
        "costs": {
            "commission": sum(mine.commission),
            "slippage": sum(mine.slippage),
        },
        "bias": {
            "universe_days": universe_days,
            "lost_days": lost_days,
            "lost": lost_days / universe_days if universe_days else 0.0,
            "unpriced_days": mine.n_unpriced,
        },
        "is_ruined": mine.is_ruined,
    }

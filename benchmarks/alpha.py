"""The alpha cycle: selection alone, a whole run, and its verification."""

from datetime import date
from pathlib import Path

import numpy as np
import polars as pl
from frames import filled
from measure import Line, seconds

from quant_assets.clock import SystemClock
from quant_assets.domain.calendar import TradingCalendar
from quant_assets.domain.returns import closes_matrix, returns_matrix
from quant_assets.domain.selection import Panel, select
from quant_assets.domain.tables import CANDIDATES, CERTIFIED_SESSIONS, CURATED_TWS_1D_BARS, INSTRUMENTS, UNIVERSE
from quant_assets.flows.alpha import STEPS, verify_run
from quant_assets.flows.screen import screen_session
from quant_assets.flows.snapshot import freeze
from quant_assets.lakehouse.layout import Layout, Partition
from quant_assets.lakehouse.store import CuratedStore
from quant_assets.settings.manifest import DataConfig, Profile, RiskConfig, SelectionConfig

SESSION = date(2025, 12, 31)
SELECTION_S, RETURNS_S, RUN_S, VERIFY = 2.0, 2.0, 60.0, 2.0


def _prices(n_sessions: int, n: int) -> np.ndarray:
    rng = np.random.default_rng(5)
    groups = rng.normal(0.0002, 0.008, (n_sessions, 20))[:, np.arange(n) % 20]
    return 50.0 * np.exp(np.cumsum(groups + rng.normal(0, 0.012, (n_sessions, n)), axis=0))


def selecting(n: int = 1000, n_sessions: int = 500) -> list[Line]:
    """Time selection with every default metric, vetoes and clusters."""
    prices = _prices(n_sessions + 1, n)
    panel = Panel(prices[1:] / prices[:-1] - 1, np.log(prices), prices * 1e6, prices, prices, prices)
    took = min(
        seconds(lambda: select(panel, range(1, n + 1), SelectionConfig(), session=SESSION, profile="bench"))
        for _ in range(3)
    )
    return [_line(f"selection, {n} instruments x {n_sessions} sessions", SELECTION_S, took)]


def returns(n: int = 1000, n_sessions: int = 250) -> list[Line]:
    """Time the returns matrix, from rows of adjusted closes to the cases that are complete."""
    sessions = TradingCalendar(("XNYS",)).window(SESSION, n_sessions)
    bars = pl.DataFrame(
        {
            "session": sessions * n,
            "con_id": np.repeat(np.arange(1, n + 1), n_sessions),
            "adj_close": _prices(n_sessions, n).T.ravel(),
        }
    )
    limits = {"floor_sessions": 2, "max_abs_return": 5.0, "max_missing_fraction": 0.1}
    took = min(seconds(lambda: returns_matrix(closes_matrix(bars, sessions, range(1, n + 1)), **limits)) for _ in "123")
    return [_line(f"returns matrix, {n} instruments x {n_sessions} sessions", RETURNS_S, took)]


def _line(what: str, limit: float, took: float) -> Line:
    return Line(what, f"< {limit:g} s", f"{took:.2f} s", None, took < limit)


def running(scratch: Path, n: int = 500, n_sessions: int = 500) -> list[Line]:
    """Time a run from published tables to its sealed report, and its verification."""
    layout, clock = Layout(scratch / "alpha"), SystemClock()
    profile = Profile(
        data=DataConfig(lookback_sessions=n_sessions, min_sessions_floor=n_sessions // 2),
        selection=SelectionConfig(top_n=n, max_clusters=20, top_n_per_cluster=n),
        risk=RiskConfig(method="min_variance"),
    )
    store, window = CuratedStore(layout, clock=clock), TradingCalendar(("XNYS",)).window(SESSION, n_sessions)
    _publish(store, window, n)
    screened = screen_session(store, SESSION, "bench", profile)
    store.write(CANDIDATES, Partition(SESSION, "bench"), screened.frame, inputs=screened.inputs)
    _certify(store)
    made: list[str] = []

    def run() -> None:
        frozen = freeze(store, layout, SESSION, "bench", profile, window, clock)
        for step in STEPS:
            step(frozen.run, clock)
        made.append(frozen.run_id)

    took = seconds(run)
    proof = seconds(lambda: verify_run(layout, made[0]))
    return [
        _line(f"alpha cycle, {n} instruments x {n_sessions} sessions, min_variance", RUN_S, took),
        Line(
            "verification of that run ÷ the run",
            f"< {VERIFY:g} x",
            f"{proof:.2f} s",
            proof / took,
            proof < VERIFY * took,
        ),
    ]


def _certify(store: CuratedStore) -> None:
    """Certify what stands, as the data cycle's last step does."""
    at = Partition(SESSION)
    footers = [(table, store.footer(table, at)) for table in (CURATED_TWS_1D_BARS, INSTRUMENTS)]
    rows = [
        {"table_name": table.name, "content_id": footer.content_id, "n_rows": footer.n_rows}
        for table, footer in footers
        if footer is not None
    ]
    told = {
        "session": SESSION,
        "warnings": "",
        "balance": "",
        "degraded": "",
        "accepted": "",
        "certificate_id": "c" * 64,
    }
    store.write(CERTIFIED_SESSIONS, at, filled(CERTIFIED_SESSIONS, pl.DataFrame(rows), told))


def _publish(store: CuratedStore, window: list[date], n: int) -> None:
    at, prices = Partition(SESSION), _prices(len(window), n)
    ids = pl.DataFrame({"con_id": range(1, n + 1)}).with_columns(pl.format("S{}", "con_id").alias("symbol"))
    close = prices.T.ravel()
    bars = pl.DataFrame({"con_id": np.repeat(np.arange(1, n + 1), len(window)), "session": window * n}).with_columns(
        pl.format("S{}", "con_id").alias("symbol"),
        *(pl.Series(name, close) for name in ("open", "high", "low", "close", "wap", "adj_close")),
    )
    told = {"as_of_session": SESSION, "volume": 1e6, "dq_status": "ok", "known_basis": "observed", "coverage": 1.0}
    store.write(CURATED_TWS_1D_BARS, at, filled(CURATED_TWS_1D_BARS, bars, told))
    member = {"session": SESSION, "exchange": "NYSE", "currency": "USD", "asset_class": "STK", "profiles": "bench"}
    store.write(UNIVERSE, at, filled(UNIVERSE, ids, {**member, "metadata": "{}", "is_pit": True}))
    detail = {"session": SESSION, "valid_from": window[0], "valid_until": None, "currency": "USD", "active": True}
    sectors = ids.with_columns(industry=pl.format("sector {}", pl.col("con_id") % 9))
    store.write(INSTRUMENTS, at, filled(INSTRUMENTS, sectors, {**detail, "primary_exchange": "NYSE"}))

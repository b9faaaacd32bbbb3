"""What the libraries do to us: these test upstream, and each names the decision that leans on it."""

import socket
import subprocess
import sys
import threading
import warnings
from contextvars import ContextVar

import numpy as np
import polars as pl
import pytest


@pytest.fixture(scope="module")
def returns() -> np.ndarray:
    rng = np.random.default_rng(1)
    return rng.normal(0, 0.01, (120, 6)) + rng.normal(0, 0.01, (120, 1))


def test_prices_to_returns_fills_forward_so_we_feed_finished_returns():
    import pandas as pd
    from skfolio.preprocessing import prices_to_returns

    prices = pd.DataFrame({"a": [1.0, np.nan, 2.0], "b": [1.0, 1.0, 1.0]}, index=pd.date_range("2024-01-01", periods=3))
    assert prices_to_returns(prices)["a"].iloc[0] == 0.0


def test_hrp_refuses_caps_that_force_cash_so_we_cap_ourselves(returns):
    from skfolio.optimization import HierarchicalRiskParity

    with pytest.raises(ValueError, match="at least 1"):
        HierarchicalRiskParity(max_weights=0.1).fit(returns)


def test_a_cap_that_does_not_bind_still_moves_the_solver_so_we_ask_without_caps_first(returns):
    from skfolio.optimization import MeanRisk

    free, capped = MeanRisk().fit(returns).weights_, MeanRisk(max_weights=0.9).fit(returns).weights_
    assert free.max() < 0.9
    assert 0 < np.abs(free - capped).max() < 1e-3


def test_the_default_solver_stops_at_an_absolute_tolerance_so_min_variance_is_right_to_1e_4_only():
    from skfolio.optimization import MeanRisk

    values = np.array([[1.0, 2.0], [1.0, -2.0], [-1.0, 2.0], [-1.0, -2.0]])
    large, small = MeanRisk().fit(values).weights_[0], MeanRisk().fit(values / 100).weights_[0]
    assert abs(large - 0.8) < 1e-6 < abs(small - 0.8) < 5e-4


def test_an_infeasible_problem_raises_an_error_that_the_chain_catches(returns):
    from skfolio.exceptions import SkfolioError
    from skfolio.optimization import MeanRisk

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises((SkfolioError, ValueError)):
            MeanRisk(max_weights=0.1).fit(returns)


def test_threads_do_not_inherit_context_variables_so_the_seal_is_of_the_process():
    flag, seen = ContextVar("flag", default=False), []
    flag.set(True)
    thread = threading.Thread(target=lambda: seen.append(flag.get()))
    thread.start()
    thread.join()
    assert seen == [False]


def test_the_interpreter_raises_the_audit_events_that_the_seal_listens_to():
    script = (
        "import sys, socket; seen = []; sys.addaudithook(lambda event, args: seen.append(event));"
        "socket.socket().connect_ex(('127.0.0.1', 9)); socket.getaddrinfo('127.0.0.1', 9);"
        "socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'', ('127.0.0.1', 9));"
        "print({'socket.connect', 'socket.getaddrinfo', 'socket.sendto'} <= set(seen))"
    )
    answer = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "True"
    assert hasattr(socket, "AF_UNIX")


def test_polars_sorts_before_nothing_in_snappy_and_repeats_its_bytes(tmp_path):
    """Equal frames give equal Parquet bytes within one version, so that a rerun rewrites nothing."""
    frame = pl.DataFrame({"a": [1.0, None], "b": ["x", "y"]})
    for name in ("one", "two"):
        frame.write_parquet(tmp_path / name, compression="snappy")
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()

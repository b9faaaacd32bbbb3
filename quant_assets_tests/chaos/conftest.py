"""Seeds of the chaos runs: the same few by default, fresh ones on demand, or one that failed before."""

import argparse
import hashlib
import os
import random

import pytest

DEFAULT_SEEDS = 2
FRESH = "fresh"


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("chaos")
    group.addoption("--chaos-seeds", type=int, default=DEFAULT_SEEDS, help="how many random schedules are run")
    group.addoption("--chaos-seed", type=int, help="run this one schedule only")
    group.addoption(
        "--chaos-data",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="let answers also be well-formed and wrong",
    )


@pytest.fixture
def chaos_data(request: pytest.FixtureRequest) -> bool:
    return bool(request.config.getoption("--chaos-data"))


def first_seed() -> int:
    """The base of this run's seeds: CHAOS_SEED, by default 1; with `fresh`, one that all workers of a run share."""
    given = os.environ.get("CHAOS_SEED", "1")
    if given != FRESH:
        return int(given)
    run = os.environ.get("PYTEST_XDIST_TESTRUNUID")
    return int(hashlib.sha256(run.encode()).hexdigest()[:7], 16) if run else random.SystemRandom().randrange(1 << 28)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "chaos_seed" not in metafunc.fixturenames:
        return
    single = metafunc.config.getoption("--chaos-seed")
    base = first_seed() if single is None else single
    count = metafunc.config.getoption("--chaos-seeds") if single is None else 1
    metafunc.parametrize("chaos_seed", range(base, base + count))

"""A small house of its own for every test: few instruments of the synthetic market, short windows, waits without end.

Everything below the assets is real: the embedded gateway, the TWS client, the stores and the locks.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from quant_assets_tests.assets.house import House


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    with House(tmp_path) as one:
        yield one


@pytest.fixture(scope="module")
def lived_in(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """A house in which the sessions of Thanksgiving week 2025 were run once; tests only read it."""
    with House(tmp_path_factory.mktemp("lived_in")) as one:
        one.run_data("2025-11-26", "2025-12-01")
        one.run_alpha("2025-11-26", "2025-12-01")
        yield one

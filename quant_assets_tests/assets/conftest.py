"""A small house of its own for every test: few instruments of the synthetic market, short windows, waits without end.

Everything below the assets is real: the embedded gateway, the TWS client, the stores and the locks.
"""

from pathlib import Path

import pytest

from quant_assets_tests.assets.house import House


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


@pytest.fixture(scope="module")
def lived_in(tmp_path_factory: pytest.TempPathFactory) -> House:
    """A house in which the sessions of Thanksgiving week 2025 were run once; tests only read it."""
    one = House(tmp_path_factory.mktemp("lived_in"))
    one.run_data("2025-11-26", "2025-12-01")
    one.run_alpha("2025-11-26", "2025-12-01")
    return one

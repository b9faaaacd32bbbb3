"""Returns, sectors and risk settings for the methods, and weights as an array."""

import numpy as np
import polars as pl

from quant_assets.settings.manifest import RiskConfig
from quant_assets_tests.unit.alpha import scenario


def frame(values: np.ndarray) -> pl.DataFrame:
    columns = {str(101 + j): values[:, j] for j in range(values.shape[1])}
    return pl.DataFrame({"session": scenario.weekdays(len(values)), **columns})


def returns(n: int, n_sessions: int = 200, seed: int = 5) -> np.ndarray:
    prices = scenario.closes(n_sessions + 1, n, seed)
    return prices[1:] / prices[:-1] - 1


def sectors(n: int, *names: str) -> dict[int, str]:
    return {101 + j: names[j % len(names)] for j in range(n)}


def risk(method: str, max_weight: float = 1.0, sector_cap: float = 1.0) -> RiskConfig:
    return RiskConfig(method=method, max_weight=max_weight, sector_cap=sector_cap)


def weights(solution) -> np.ndarray:
    return np.array(list(solution.weights.values()))

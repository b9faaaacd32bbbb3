"""How far each instrument came in a run."""

import polars as pl

from quant_assets.domain.comparison import Fate
from quant_assets.domain.run_files import CERTIFICATE, SELECTION_FRAME
from quant_assets.errors import ConfigurationError
from quant_assets.lakehouse.runs import RunDirectory


def is_meta(run: RunDirectory) -> bool:
    """Return whether a run is a meta portfolio."""
    return run.inputs.get("kind") == "meta"


def require_instruments(run: RunDirectory) -> None:
    """Refuse a meta portfolio, which selects runs and no instruments.

    Raises:
        ConfigurationError: names its sleeves, which can be asked.
    """
    if is_meta(run):
        sleeves = ", ".join(one["run_id"] for one in run.inputs["sleeves"])
        raise ConfigurationError(run.run_id, "a meta portfolio selects no instruments.", f"Ask its sleeves: {sleeves}.")


def fates_of(run: RunDirectory) -> dict[int, Fate]:
    """Return how far each judged instrument came, by con_id."""
    fates = {
        one["con_id"]: Fate(one["symbol"], "screen", one["reasons"])
        for one in run.audit_trail
        if one["verdict"] == "rejected"
    }
    for stage, name, left_out in (("returns", CERTIFICATE, "dropped"), ("selection", SELECTION_FRAME, "rejected")):
        rows = run.read_frame(name).filter(pl.col("verdict") == left_out).select("con_id", "symbol", "reason")
        fates |= {row[0]: Fate(row[1], stage, row[2]) for row in rows.rows() if row[0] not in fates}
    selected = run.read_frame(SELECTION_FRAME).filter(pl.col("verdict") == "selected").select("con_id", "symbol")
    return fates | {con_id: Fate(symbol, "selected") for con_id, symbol in selected.rows()}

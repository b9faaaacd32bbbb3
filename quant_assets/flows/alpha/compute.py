"""A run's returns, computed from its frozen files. Nothing is written here: steps store it, verify compares it."""

from datetime import date
from typing import Any

import polars as pl

from quant_assets.domain.returns import ReturnsMatrix, certificate, closes_matrix, returns_matrix
from quant_assets.lakehouse.runs.directory import RunDirectory
from quant_assets.settings.manifest import Profile


def profile_of(run: RunDirectory) -> Profile:
    """Return the profile that the run was frozen with."""
    return Profile.model_validate({key: value for key, value in run.resolved.items() if key != "profile"})


def label(run: RunDirectory) -> dict[str, Any]:
    """Return the columns that name a run in an index table."""
    return {
        "session": date.fromisoformat(run.inputs["session"]),
        "profile": run.inputs["profile"],
        "run_id": run.inputs["run_id"],
    }


def bars_of(run: RunDirectory) -> pl.DataFrame:
    """Return session, con_id and adj_close of every frozen instrument."""
    frames = [
        run.read_frame(one["file"]).select(
            pl.from_epoch("timestamp", "s").cast(pl.Date).alias("session"),
            pl.lit(one["con_id"], dtype=pl.Int64).alias("con_id"),
            "adj_close",
        )
        for one in run.inputs["instruments"]
    ]
    return pl.concat(frames)


def compute_returns(run: RunDirectory) -> tuple[ReturnsMatrix, pl.DataFrame]:
    """Return the matrix and its coverage certificate.

    Raises:
        NotEnoughReturnsError: no instrument is fit.
    """
    profile, instruments = profile_of(run), run.inputs["instruments"]
    window = [date.fromisoformat(text) for text in run.inputs["window"]]
    closes = closes_matrix(bars_of(run), window, [one["con_id"] for one in instruments])
    matrix = returns_matrix(
        closes,
        floor_sessions=profile.data.min_sessions_floor,
        max_abs_return=profile.risk.max_abs_return,
        max_missing_fraction=profile.risk.max_missing_fraction,
    )
    symbols = {one["con_id"]: one["symbol"] for one in instruments}
    return matrix, certificate(matrix.verdicts, symbols, **label(run))

"""Feature groups: `features_<group>_<freq>_<version>`; a changed meaning is a new version."""

import polars as pl

from quant_assets.domain.tables import columns as c
from quant_assets.domain.tables.core import Column, Table


def _feature(name: str, unit: str, description: str, *, ge: float | None = None, le: float | None = None) -> Column:
    return Column(name, pl.Float64, unit, description, nullable=True, ge=ge, le=le)


def _missing(width: int) -> Column:
    return Column(
        f"n_missing_in_window_{width}",
        pl.Int64,
        "minutes",
        f"Expected minutes without a bar among the last {width}, this one included; null until the window is full",
        nullable=True,
        ge=0,
        le=width,
    )


FEATURES_PRICE_1M_V1 = Table(
    name="features_price_1m_v1",
    zone="gold",
    key=("session", "con_id", "ts"),
    sort_by=("con_id", "ts"),
    columns=(
        c.SESSION,
        c.CON_ID,
        c.SYMBOL,
        c.TS,
        _feature("ret_1", "fraction", "Simple return of the close over 1 expected minute", ge=-1.0),
        _feature("ret_5", "fraction", "Simple return of the close over 5 expected minutes", ge=-1.0),
        _feature("ret_20", "fraction", "Simple return of the close over 20 expected minutes", ge=-1.0),
        _feature(
            "ma_5", "quote currency per share", "Mean close of the bars among the last 5 expected minutes", ge=0.0
        ),
        _feature(
            "ma_20", "quote currency per share", "Mean close of the bars among the last 20 expected minutes", ge=0.0
        ),
        _feature(
            "vol_20", "fraction per minute", "Sample standard deviation of ret_1 over the last 20 minutes", ge=0.0
        ),
        _missing(5),
        _missing(20),
        Column("feature_group", pl.String, "name", "Feature group", isin=("price_1m",)),
        Column("feature_version", pl.String, "version", "Version of the group's meaning", isin=("v1",)),
    ),
    grain="(session, con_id, ts)",
    description="Price features per minute bar; windows count expected minutes inside one session.",
    producer="features_price_1m_v1",
)

"""The alpha cycle: a frozen snapshot, and what is computed from it without a network."""

from collections.abc import Mapping, Sequence

import dagster as dg

from quant_assets.assets.describe import Catalogue, checks
from quant_assets.assets.making import Finish, PublishOne, each, table_asset
from quant_assets.assets.pictures import weight_pictures
from quant_assets.domain.tables import (
    REPORTS,
    RETURNS_MATRIX,
    SELECTION,
    SNAPSHOTS,
    SYNTHETIC_RETURNS,
    WEIGHTS,
    Table,
)
from quant_assets.flows import indexed
from quant_assets.flows.judged import NO_FALLBACK, NOT_RELAXED, ROBUST, VERIFIED

_FROZEN = ["candidates", "curated_tws_1d_bars", "instruments", "certified_sessions"]
"""What a snapshot copies, and the certificate that it insists on."""


def alpha_assets(catalogue: Catalogue) -> list[dg.AssetsDefinition]:
    """Return the assets from `snapshots` to `report`, each standing on the one before."""
    return [
        _asset(catalogue, SNAPSHOTS, _FROZEN, indexed.snapshot),
        _asset(catalogue, RETURNS_MATRIX, ["snapshots"], indexed.returns_matrix),
        _asset(
            catalogue,
            SELECTION,
            ["snapshots", "returns_matrix"],
            indexed.selection,
            warning={NOT_RELAXED: "Enough instruments keep every limit of the selection as configured"},
        ),
        _asset(catalogue, SYNTHETIC_RETURNS, ["snapshots", "selection"], indexed.synthetic_returns),
        _asset(
            catalogue,
            WEIGHTS,
            ["snapshots", "selection", "synthetic_returns"],
            indexed.weights,
            finish=weight_pictures,
            blocking={VERIFIED: "Every configured constraint holds, looked at without the optimizers' code"},
            warning={
                NO_FALLBACK: "The configured method answered",
                ROBUST: "Close to the optimum, stable under 1 % of noise, and from a covariance that says something",
            },
        ),
        _asset(catalogue, REPORTS, ["snapshots", "weights"], indexed.report),
    ]


def _asset(
    catalogue: Catalogue,
    table: Table,
    deps: Sequence[str],
    publish_one: PublishOne,
    finish: Finish | None = None,
    blocking: Mapping[str, str] | None = None,
    warning: Mapping[str, str] | None = None,
) -> dg.AssetsDefinition:
    spec = catalogue.spec(table, deps=deps)
    check_specs = checks(spec.key.to_user_string(), blocking=blocking, warning=warning)
    return table_asset([table], [spec], check_specs, each(publish_one), finish=finish)

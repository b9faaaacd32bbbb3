"""Features and labels: registry, pure computations, and the certificate that they do not look ahead."""

from quant_assets.domain.features.causality import Certificate, certify
from quant_assets.domain.features.group import Feature, FeatureGroup, Inputs, Lookback
from quant_assets.domain.features.labels import HORIZONS, forward_returns
from quant_assets.domain.features.price import PRICE_1M_VERSION, price_1m
from quant_assets.domain.features.registry import (
    FEATURE_TABLES,
    GROUPS,
    LABEL_TABLES,
    LABELS,
    feature_group,
    label_group,
)
from quant_assets.domain.features.technicals import technicals_1d
from quant_assets.domain.features.volume import volume_1m

__all__ = [
    "FEATURE_TABLES",
    "GROUPS",
    "HORIZONS",
    "LABELS",
    "LABEL_TABLES",
    "PRICE_1M_VERSION",
    "Certificate",
    "Feature",
    "FeatureGroup",
    "Inputs",
    "Lookback",
    "certify",
    "feature_group",
    "forward_returns",
    "label_group",
    "price_1m",
    "technicals_1d",
    "volume_1m",
]

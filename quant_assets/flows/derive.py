"""From silver to gold, one session at a time."""

from datetime import date

from quant_assets.domain import features
from quant_assets.domain.tables import CURATED_TWS_1M_BARS, FEATURES_PRICE_1M_V1
from quant_assets.errors import NotPublishedError
from quant_assets.flows.publishing import Published, publish_frame, unchanged
from quant_assets.flows.work import Work
from quant_assets.lakehouse.layout import Partition


def price_features(work: Work, session: date) -> Published:
    """Publish `features_price_1m_v1` of a session.

    Raises:
        NotPublishedError: the curated bars of the session are missing.
    """
    partition, store = Partition(session), work.lake.curated
    footer = store.footer(CURATED_TWS_1M_BARS, partition)
    if footer is None:
        raise NotPublishedError(CURATED_TWS_1M_BARS.name, partition.key, "Run `quant flow data` for the session.")
    inputs = {CURATED_TWS_1M_BARS.name: footer.content_id, "feature": features.PRICE_1M_VERSION}
    if standing := unchanged(work, FEATURES_PRICE_1M_V1, partition, inputs):
        return standing
    bars = store.read(CURATED_TWS_1M_BARS, partition, ["session", "con_id", "symbol", "ts", "close"])
    frame = features.price_1m(bars, work.calendar.minutes([session]))
    return publish_frame(
        work, FEATURES_PRICE_1M_V1, partition, frame, inputs=inputs, watermark=footer.watermark
    )

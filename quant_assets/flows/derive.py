"""From silver to gold, one session at a time: features and labels, each with its certificate of causality."""

from datetime import date

from quant_assets.domain.features import Certificate, FeatureGroup, certify
from quant_assets.errors import NotPublishedError
from quant_assets.flows.publishing import Finding, Published, publish_frame, unchanged
from quant_assets.flows.work import Work
from quant_assets.lakehouse.layout import Partition

CAUSAL = "causal"


def publish_group(work: Work, group: FeatureGroup, session: date) -> Published:
    """Publish a group's partition of a session, unless a value of it changes with the future.

    Raises:
        NotPublishedError: the bars of the session are missing.
    """
    partition, store, source = Partition(session), work.lake.curated, group.inputs.table
    footer = store.footer(source, partition)
    if footer is None:
        raise NotPublishedError(source.name, partition.key, "Run `quant flow data` for the session.")
    inputs = {source.name: footer.content_id, "feature": group.revision}
    if standing := unchanged(work, group.table, partition, inputs):
        return standing
    bars = store.read(source, partition, group.inputs.columns)
    minutes = work.calendar.minutes([session])
    computed = group.compute(bars, minutes)
    finding = _finding(certify(group, bars, minutes, computed))
    frame = group.published(computed, session)
    return publish_frame(
        work, group.table, partition, frame, inputs=inputs, watermark=footer.watermark, findings=[finding]
    )


def _finding(certificate: Certificate) -> Finding:
    return Finding(
        CAUSAL,
        certificate.is_causal,
        "; ".join(certificate.leaks),
        metadata={
            "instruments_sampled": certificate.n_instruments,
            "values_recomputed": certificate.n_values,
            "cut_after": [str(cut) for cut in certificate.cuts],
        },
    )

"""From silver to gold, one session at a time: features and labels, each with its certificate of causality."""

from dataclasses import replace
from datetime import date

import polars as pl

from quant_assets.domain.breaks import UNEXPLAINED_BREAK, on_one_basis
from quant_assets.domain.features import Certificate, FeatureGroup, certify
from quant_assets.domain.hours import HOURS
from quant_assets.domain.tables import UNIVERSE
from quant_assets.errors import NotPublishedError
from quant_assets.flows.producers import wanted_producer, with_second_producer
from quant_assets.flows.publishing import Finding, Published, publish_frame, unchanged
from quant_assets.flows.work import Work
from quant_assets.lakehouse.content import content_id
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
    members = store.read_many(UNIVERSE, [partition], ["con_id", "asset_class", "exchange"])
    inputs = {
        source.name: footer.content_id,
        "feature": group.revision,
        **_hours_id(work, session, members),
        **wanted_producer(work, group.table, session),
    }
    if standing := unchanged(work, group.table, partition, inputs):
        return standing
    bars, group = _on_one_basis(group, store.read(source, partition, (*group.inputs.columns, "dq_status", "dq_rules")))
    minutes = work.calendar.minutes([session]) if members.is_empty() else work.minutes_of(session, members)
    computed = group.compute(bars, minutes)
    finding = _finding(certify(group, bars, minutes, computed))
    produced = with_second_producer(work, group.table, session, group.published(computed, session))
    return publish_frame(
        work,
        group.table,
        partition,
        produced.frame,
        inputs={**inputs, **produced.inputs},
        watermark=footer.watermark,
        findings=[finding],
        metadata=produced.metadata,
    )


def _on_one_basis(group: FeatureGroup, bars: pl.DataFrame) -> tuple[pl.DataFrame, FeatureGroup]:
    """Return what a group is computed from, and how, so that no value is made of prices on two bases.

    Daily: the rows on the basis of the newest one. Minutes: those beyond an unexplained break are computed apart.
    """
    beyond = pl.col("dq_rules").str.split(";").list.contains(UNEXPLAINED_BREAK).fill_null(value=False)
    if group.is_daily:
        return on_one_basis(bars).select(group.inputs.columns), group
    if not bars.select(beyond.any()).item():
        return bars.select(group.inputs.columns), group

    def compute(marked: pl.DataFrame, minutes: pl.DataFrame) -> pl.DataFrame:
        parts = marked.partition_by("_beyond", include_key=False)
        computed = pl.concat([group.compute(part, minutes) for part in parts or [marked.drop("_beyond")]])
        return computed.sort("con_id", group.time, maintain_order=True)

    return bars.select(*group.inputs.columns, beyond.alias("_beyond")), replace(group, compute=compute)


def _hours_id(work: Work, session: date, members: pl.DataFrame) -> dict[str, str]:
    """Return what identifies hours that pause, that TWS tells otherwise, or that not all instruments share."""
    hours = work.hours_of(session, members)
    is_told = any(day == session for days in work.told.values() for day, _ in days)
    is_plain = hours.select(HOURS.names()).n_unique() <= 1 and hours["pauses_at"].null_count() == hours.height
    if is_plain and not is_told:
        return {}
    return {"hours": content_id(hours, hours.columns, ["con_id"])}


def _finding(certificate: Certificate) -> Finding:
    return Finding(
        CAUSAL,
        certificate.is_causal,
        "; ".join(certificate.leaks),
        metadata={
            "instruments": certificate.n_instruments,
            "values_recomputed": certificate.n_values,
            "all_cut_after": [str(cut) for cut in certificate.cuts],
            "sample_cut_after": [str(cut) for cut in certificate.sampled_cuts],
        },
    )

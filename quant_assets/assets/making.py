"""The one shape that assets of tables have: specs, checks, and a body that publishes partition by partition."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import dagster as dg

from quant_assets.assets.publish import Build, Events, publish
from quant_assets.domain.tables import Table
from quant_assets.flows.publishing import Published
from quant_assets.flows.work import Work
from quant_assets.lakehouse.layout import Partition
from quant_assets.resources.work import WorkResource

Start = Callable[[Work, list[Partition]], Build]
"""Given all partitions of a run, returns what publishes one of them; what they share is done in the first call."""
Finish = Callable[[Work, list[Partition]], Mapping[str, Any]]
"""Given the committed partitions, returns what is shown with the newest one."""
PublishOne = Callable[[Work, Partition], Published]

_SINGLE = dg.BackfillPolicy.single_run()


def table_asset(
    tables: Sequence[Table],
    specs: Sequence[dg.AssetSpec],
    check_specs: Sequence[dg.AssetCheckSpec],
    start: Start,
    *,
    finish: Finish | None = None,
    can_subset: bool = False,
    op_tags: Mapping[str, Any] | None = None,
) -> dg.AssetsDefinition:
    """Return the asset of the tables that one pass makes; it is named by the first one, and ranges are one run.

    Args:
        tables: what the pass makes.
        specs: of each table, in the same order.
        check_specs: of all of them.
        start: the body.
        finish: pictures and previews.
        can_subset: one table can be named alone; the pass makes all of them all the same.
        op_tags: of the step.
    """

    @dg.multi_asset(
        name=specs[0].key.to_user_string(),
        specs=specs,
        check_specs=check_specs,
        backfill_policy=_SINGLE,
        can_subset=can_subset,
        op_tags=op_tags,
    )
    def body(context: dg.AssetExecutionContext, quant: WorkResource) -> Events:
        work = quant.work
        shown = (lambda partitions: finish(work, partitions)) if finish else None
        yield from publish(context, work, tables, start, finish=shown)

    return body


def each(publish_one: PublishOne) -> Start:
    """Return a body whose partitions share nothing: each is published by one call."""
    return lambda work, _: lambda partition: [publish_one(work, partition)]

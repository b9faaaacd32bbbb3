"""What Dagster shows of an asset, read from the table's declaration."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import dagster as dg

import quant_assets
from quant_assets.assets.automation import freshness_policy, refresh_when_stale
from quant_assets.assets.partitions import Partitions
from quant_assets.domain.tables import Table
from quant_assets.domain.tables.core import UTC_MICROS
from quant_assets.flows.publishing import NOT_EMPTY, SCHEMA
from quant_assets.lakehouse.layout import Layout
from quant_assets.settings import Settings

OWNER = "team:quant"
LATEST_PRESENT = "latest_session_present"


@dataclass(frozen=True)
class Catalogue:
    """Makes asset specs for one configuration."""

    settings: Settings

    @cached_property
    def partitions(self) -> Partitions:
        """The partitions definitions."""
        return Partitions(self.settings.manifest)

    @cached_property
    def freshness(self) -> dg.FreshnessPolicy:
        """The policy of every partitioned asset."""
        return freshness_policy(self.partitions.calendar, self.partitions.start)

    def partitions_of(self, table: Table) -> dg.PartitionsDefinition:
        """Return the partitions of a table's asset."""
        return self.partitions.alpha if table.partition_by == "session_profile" else self.partitions.sessions

    def companion(self, table: Table, *, kinds: Sequence[str] = ()) -> dg.AssetSpec:
        """Return the spec of a table that another asset's body makes when it can, and leaves out when it cannot.

        Nothing asks for a missing partition of it, and none is owed: it has neither automation nor freshness.
        """
        return self.spec(table, kinds=kinds).replace_attributes(
            automation_condition=None, freshness_policy=None, skippable=True
        )

    def spec(
        self,
        table: Table,
        *,
        group: str = "",
        deps: Sequence[Any] = (),
        kinds: Sequence[str] = (),
        has_lookback: bool = False,
    ) -> dg.AssetSpec:
        """Return the spec of the asset that produces a table; `has_lookback`: some upstream is read over a window."""
        alpha = table.partition_by == "session_profile" and table.name != "candidates"
        return dg.AssetSpec(
            key=table.producer if table.name == "reports" else table.name,
            deps=list(deps),
            description=f"{table.description}\n\nGrain: {table.grain}.",
            group_name=group or ("alpha" if alpha else table.zone),
            kinds={"parquet", "polars", *kinds},
            owners=[OWNER],
            tags={"zone": table.zone},
            code_version=quant_assets.__version__,
            partitions_def=self.partitions_of(table),
            automation_condition=refresh_when_stale(has_lookback=has_lookback),
            freshness_policy=self.freshness,
            metadata={
                "dagster/column_schema": column_schema(table),
                "dagster/relation_identifier": f"lakehouse.{table.zone}.{table.name}",
                "dagster/uri": Layout(self.settings.data).table(table).as_uri(),
                **({"made_together_with": table.producer} if table.producer not in (table.name, "report") else {}),
            },
        )


def column_schema(table: Table) -> dg.TableSchema:
    """Return the declared columns with their units and rules."""
    return dg.TableSchema(
        columns=[
            dg.TableColumn(
                name=column.name,
                type=_type(column.dtype),
                description=f"{column.description} [{column.unit}]",
                constraints=dg.TableColumnConstraints(
                    nullable=column.nullable, unique=table.key == (column.name,), other=_bounds(column)
                ),
            )
            for column in table.columns
        ],
        constraints=dg.TableConstraints(other=[f"key: {', '.join(table.key)}", *table.row_rules.values()]),
    )


def _type(dtype: Any) -> str:
    """Return a dtype as briefly as the UI has room for."""
    return "Datetime[µs, UTC]" if dtype == UTC_MICROS else str(dtype)


def _bounds(column: Any) -> list[str]:
    bounds = [
        f"{sign} {value:g}"
        for sign, value in ((">", column.gt), ("≥", column.ge), ("≤", column.le))
        if value is not None
    ]
    return [*bounds, f"one of {', '.join(column.isin)}"] if column.isin else bounds


def checks(
    name: str,
    *,
    blocking: Mapping[str, str] | None = None,
    warning: Mapping[str, str] | None = None,
    is_bronze: bool = False,
) -> list[dg.AssetCheckSpec]:
    """Return the checks of an asset: the two that every table has, its own, and the presence of the latest session.

    Args:
        name: of the asset.
        blocking: name → description of the asset's own checks that hold a partition back.
        warning: the same for those that only warn.
        is_bronze: rows are kept as they were served, so that the rules of the table only warn.
    """
    return [
        dg.AssetCheckSpec(
            SCHEMA, asset=name, blocking=not is_bronze, description="Pandera: columns, bounds, key and row rules"
        ),
        dg.AssetCheckSpec(NOT_EMPTY, asset=name, blocking=True, description="A green partition without rows is a bug"),
        *(
            dg.AssetCheckSpec(check, asset=name, blocking=True, description=text)
            for check, text in (blocking or {}).items()
        ),
        *(dg.AssetCheckSpec(check, asset=name, description=text) for check, text in (warning or {}).items()),
        dg.AssetCheckSpec(
            LATEST_PRESENT,
            asset=name,
            description="The newest closed session is published; freshness alone is green after any old backfill",
        ),
    ]

"""`quant lake`: maintenance of the lakehouse."""

import click

from quant_assets.cli.common import open_work
from quant_assets.cli.health import health
from quant_assets.cli.keeping import compact, gc, rebuild, wipe
from quant_assets.cli.revisions import revisions
from quant_assets.cli.tags import tag
from quant_assets.domain.tables import ALL, table
from quant_assets.flows.catalog import refresh_catalog
from quant_assets.flows.damage import forgotten


@click.group()
def lake() -> None:
    """Maintain the lakehouse."""


@lake.command()
@click.argument("names", nargs=-1)
def reindex(names: tuple[str, ...]) -> None:
    """Rebuild the manifests of tables (all of them when none is named) from the footers of their files.

    Observed files that are lost are accepted as that; the audit log keeps their names.
    """
    with open_work() as work:
        for one in [table(name) for name in names] or ALL:
            store = work.lake.raw if one.append_only else work.lake.curated
            gone = forgotten(work, one)
            click.echo(f"{one.name}: {store.reindex(one)} files")
            for path in gone:
                click.echo(f"  {path} is gone, and nothing tells of it any more but the audit log")


@lake.command()
def catalog() -> None:
    """Refresh data/lakehouse/_metadata/catalog.json with a look at every file.

    Files are hashed where size or time is not that of the commit. Damage that keeps both is for `quant audit data`.
    """
    with open_work() as work:
        refresh_catalog(work, full=True)
        click.echo(str(work.layout.catalog))


for command in (health, compact, gc, wipe, rebuild, tag, revisions):
    lake.add_command(command)

"""`quant lake tag`: states of the lakehouse by name."""

from collections import Counter
from dataclasses import asdict
from typing import Any

import click

from quant_assets.cli.common import confirmed, json_option, open_work, print_json
from quant_assets.cli.tabular import print_table
from quant_assets.errors import CorruptFileError, VerificationError
from quant_assets.errors.base import number_of


class _TagGroup(click.Group):
    """`quant lake tag NAME` is short for `quant lake tag create NAME`."""

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        if args and args[0] not in self.commands and not args[0].startswith("-"):
            return "create", self.commands["create"], args
        return super().resolve_command(ctx, args)


@click.group(cls=_TagGroup)
def tag() -> None:
    """Freeze a state of the lakehouse: `quant lake tag NAME`. A tag holds content ids, and copies nothing."""


@tag.command()
@click.argument("name")
@click.option("--dry-run", is_flag=True, help="Say what would be named, and write nothing.")
@json_option
def create(name: str, *, dry_run: bool, as_json: bool) -> None:
    """Name the state that stands now."""
    from quant_assets.flows.tags import create_tag, planned_tag

    with open_work() as work:
        made = planned_tag(work, name) if dry_run else create_tag(work, name)
    if as_json:
        print_json({**asdict(made), "dry_run": dry_run})
        return
    verb = "would name" if dry_run else "names"
    click.echo(f"{name} {verb} {made.n_partitions} partitions of {len(made.tables)} tables")


@tag.command(name="list")
@json_option
def list_(*, as_json: bool) -> None:
    """List all tags, the newest first."""
    from quant_assets.flows.tags import list_tags

    with open_work() as work:
        rows = [
            {"tag": one.name, "created at": f"{one.created_at:%Y-%m-%d %H:%M}Z", "tables": len(one.tables),
             "partitions": one.n_partitions}
            for one in list_tags(work)
        ]  # fmt: skip
    if as_json:
        print_json(rows)
    elif rows:
        print_table(rows)
    else:
        click.echo("no tags yet: `quant lake tag NAME` makes one")


@tag.command()
@click.argument("name")
@json_option
def show(name: str, *, as_json: bool) -> None:
    """Show what a tag names."""
    from quant_assets.flows.tags import read_tag

    with open_work() as work:
        found = read_tag(work, name)
    if as_json:
        print_json(asdict(found))
        return
    rows = [
        {"table": table, "partitions": len(ids), "first": min(ids), "last": max(ids), "newest id": ids[max(ids)][:12]}
        for table, ids in found.tables.items()
    ]
    print_table(rows, title=f"{name}, {found.created_at:%Y-%m-%d %H:%M:%S} UTC")


@tag.command()
@click.argument("name")
@json_option
def verify(name: str, *, as_json: bool) -> None:
    """Compare a tag with what stands; what was replaced since is computed again as of the tag, and proved."""
    from quant_assets.flows.tags import verify_tag

    with open_work() as work:
        findings = verify_tag(work, name)
    lost = [one for one in findings if one.verdict in ("differs", "damaged")]
    if as_json:
        print_json({"tag": name, "verified": not lost, "findings": [asdict(one) for one in findings]})
    else:
        for one in findings:
            if one.verdict != "same":
                click.echo(f"  {one.verdict:8} {one.table}[{one.partition}]: {one.what}")
        counts = Counter(one.verdict for one in findings)
        click.echo(", ".join(f"{n} {verdict}" for verdict, n in sorted(counts.items())) or "the tag names nothing")
    if lost:
        raise VerificationError(name, [f"{one.table}[{one.partition}] {one.what}" for one in lost], "Tag")


@tag.command()
@click.argument("name")
@click.option("--yes", is_flag=True, help="Do not ask.")
def delete(name: str, *, yes: bool) -> None:
    """Forget a name. The data stay, but nothing keeps them from being collected."""
    from quant_assets.flows.tags import delete_tag, read_tag

    with open_work() as work:
        try:
            what = f"which names {number_of(read_tag(work, name).n_partitions, 'partition')}"
        except CorruptFileError:
            what = "which cannot be read, so that nobody knows what it named"
        if not yes and not confirmed(f"forget {name}, {what}?"):
            click.echo("nothing was forgotten")
            return
        delete_tag(work, name)
    click.echo(f"{name} is forgotten")

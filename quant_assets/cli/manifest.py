"""`quant manifest`: the configuration, checked and shown."""

import click

from quant_assets.cli.common import json_option, open_work, print_json, settings_of_command
from quant_assets.flows.discover import load_sources


@click.group()
def manifest() -> None:
    """Check and show configs/manifest.json."""


@manifest.command()
def audit() -> None:
    """Check the manifest, and every list and scanner that an active profile names."""
    with open_work() as work:
        names = list(work.settings.manifest.active_profiles)
        sources = load_sources(work)
    click.echo(f"{len(names)} active profiles ({', '.join(names)}); sources: {', '.join(sources.labels) or 'none'}")


@manifest.command()
@click.argument("profile", required=False)
@json_option
def show(profile: str | None, *, as_json: bool) -> None:
    """Print the resolved configuration, or one profile of it; it is JSON in either case."""
    del as_json
    resolved = settings_of_command().manifest
    print_json((resolved.profile(profile) if profile else resolved).model_dump(mode="json"))

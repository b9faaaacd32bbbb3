"""`quant scanner`: what the scanners are, once their layers are merged."""

from typing import Any

import click

from quant_assets.cli.common import json_option, print_json, settings_of_command
from quant_assets.cli.tabular import print_table


@click.group()
def scanner() -> None:
    """List the scanners of configs/scanners, and show what each one resolves to."""


@scanner.command(name="list")
@json_option
def list_(*, as_json: bool) -> None:
    """List the entries, with the profiles that ask them."""
    from quant_assets.connectors.scanners import list_scanners, load_scanner

    settings = settings_of_command()
    rows: list[dict[str, Any]] = []
    for name in list_scanners(settings.configs):
        found = load_scanner(settings.configs, name).scanner
        asked = [
            profile
            for profile, one in settings.manifest.active_profiles.items()
            if name in (*one.discovery.scanners, *one.selection.screens)
        ]
        told = {"source": found.source, "limit": found.limit, "filters": len(found.filters)}
        rows.append({"name": name, **told, "profiles": ", ".join(asked), "description": found.description})
    if as_json:
        print_json(rows)
    elif rows:
        print_table(rows)
    else:
        click.echo(f"no scanners in {settings.configs / 'scanners'}")


@scanner.command()
@click.argument("name")
@json_option
def show(name: str, *, as_json: bool) -> None:
    """Print a scanner with all of its layers merged, and the file that each value comes from."""
    from quant_assets.connectors.scanners import load_scanner

    resolved = load_scanner(settings_of_command().configs, name)
    rows = [{"key": key, "value": value, "origin": origin} for key, value, origin in resolved.values()]
    if as_json:
        print_json({"name": name, "files": list(resolved.files), "values": rows})
        return
    shown = [{**row, "value": _text(row["value"])} for row in rows]
    print_table(shown, title=f"{name}: {' → '.join(resolved.files)}")


def _text(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)

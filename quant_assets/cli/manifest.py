"""`quant manifest`: the configuration, checked and shown."""

from dataclasses import asdict

import click

from quant_assets.cli.common import json_option, open_work, print_json, settings_of_command
from quant_assets.cli.tabular import print_table
from quant_assets.errors.base import number_of

_FAILED = 2


@click.group()
def manifest() -> None:
    """Check and show configs/manifest.json."""


@manifest.command()
@json_option
@click.pass_context
def audit(context: click.Context, *, as_json: bool) -> None:
    """Check the manifest with everything that its active profiles name, and tell every problem.

    Exit code 2 when something will fail; warnings alone are 0.
    """
    from quant_assets.flows.manifest_audit import audit_manifest

    with open_work() as work:
        problems = audit_manifest(work)
        names = list(work.settings.manifest.active_profiles)
    errors = [one for one in problems if one.severity == "error"]
    if as_json:
        print_json({"ok": not errors, "profiles": names, "problems": [asdict(one) for one in problems]})
    else:
        for one in problems:
            click.secho(f"{one.severity}: {one.where}: {one.what}", fg="red" if one.severity == "error" else "yellow")
        warnings = len(problems) - len(errors)
        counted = f"{number_of(len(errors), 'error')}, {number_of(warnings, 'warning')}"
        click.echo(f"{number_of(len(names), 'active profile')} ({', '.join(names)}): {counted}")
    if errors:
        context.exit(_FAILED)


@manifest.command()
@click.argument("profile", required=False)
@json_option
def show(profile: str | None, *, as_json: bool) -> None:
    """Print the resolved configuration of the house, or of one profile, with the origin of each value.

    With --json, the values alone, nested as in the file.
    """
    settings = settings_of_command()
    if as_json:
        resolved = settings.manifest
        print_json((resolved.profile(profile) if profile else resolved).model_dump(mode="json"))
        return
    rows = [{"key": one.key, "value": _text(one.value), "origin": one.origin} for one in settings.explain(profile)]
    print_table(rows, title=f"profile {settings.manifest.resolve(profile)}" if profile else "house")


def _text(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    return "" if value is None else str(value)

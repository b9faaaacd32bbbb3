"""`quant audit`: damage in the lakehouse, and the audit log's chain."""

from dataclasses import asdict

import click

from quant_assets.cli.common import json_option, open_work, print_json
from quant_assets.errors import DataWrong
from quant_assets.flows.care import audit_data


class _Tampered(DataWrong):
    def __init__(self, lines: list[int]) -> None:
        super().__init__(
            f"The audit log was altered at line(s) {', '.join(map(str, lines))}. Restore it from a backup."
        )


class _DamagedError(DataWrong):
    def __init__(self, damages: list[str]) -> None:
        super().__init__(f"{'; '.join(damages)}. Move the files aside and materialize their partitions again.")


@click.group()
def audit() -> None:
    """Look for damage in the lakehouse, and prove the audit log."""


@audit.command()
@json_option
def verify(*, as_json: bool) -> None:
    """Check the hash chain of data/artifacts/audit.jsonl."""
    from quant_assets.control.audit import verify as verify_log

    with open_work() as work:
        findings = verify_log(work.layout.audit) if work.layout.audit.exists() else []
    if as_json:
        print_json([{"line": one.line, "problem": one.problem, "detail": one.detail} for one in findings])
    else:
        for one in findings:
            click.echo(f"line {one.line}: {one.problem}: {one.detail}")
    if tampered := [one.line for one in findings if one.is_tampering]:
        raise _Tampered(tampered)
    if not as_json:
        click.echo("the chain holds")


@audit.command()
@json_option
def data(*, as_json: bool) -> None:
    """Look for unreadable files, missing and stale sessions, leftovers, and what quarantine holds."""
    with open_work() as work:
        findings = audit_data(work)
    if as_json:
        print_json([asdict(one) for one in findings])
    for one in () if as_json else findings:
        click.echo(f"{one.severity:5} {one.table:24} {one.what}" + (f" (mend: {one.mend})" if one.mend else ""))
    if broken := [one for one in findings if one.severity == "error"]:
        raise _DamagedError([f"{one.table}: {one.what}" for one in broken])
    if not findings and not as_json:
        click.echo("nothing to report")

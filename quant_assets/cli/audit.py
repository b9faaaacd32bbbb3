"""`quant audit`: the audit log."""

import click

from quant_assets.cli.common import json_option, open_work, print_json
from quant_assets.errors import DataWrong


class _Tampered(DataWrong):
    def __init__(self, lines: list[int]) -> None:
        super().__init__(
            f"The audit log was altered at line(s) {', '.join(map(str, lines))}. Restore it from a backup."
        )


@click.group()
def audit() -> None:
    """Prove the audit log."""


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

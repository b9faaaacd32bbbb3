"""`quant audit`: damage in the lakehouse, and the audit log's chain."""

from collections.abc import Sequence
from dataclasses import asdict

import click

from quant_assets.cli.common import json_option, nothing, open_work, print_json
from quant_assets.errors import DataWrong
from quant_assets.flows.data_audit import AuditFinding, audit_data


class _Tampered(DataWrong):
    def __init__(self, lines: list[str]) -> None:
        super().__init__(f"A file of record was altered at line(s) {', '.join(lines)}. Restore it from a backup.")


class _DamagedError(DataWrong):
    def __init__(self, damages: Sequence[AuditFinding]) -> None:
        told = (f"{one.table}: {one.what}" if one.table else one.what for one in damages)
        mends = dict.fromkeys(one.mend for one in damages)
        super().__init__(f"{'; '.join(told)}. Mend: {'; '.join(mends)}.")


def _tell(findings: Sequence[AuditFinding]) -> None:
    """Print a line per finding; tables of which the same is to be said share one."""
    same: dict[tuple[str, str, str], list[str]] = {}
    for one in findings:
        same.setdefault((one.severity, one.what, one.mend), []).append(one.table)
    for (severity, what, mend), tables in same.items():
        names = f"{', '.join(tables)}: " if tables != [""] else ""
        click.echo(f"{severity:5} {names}{what}" + (f" (mend: {mend})" if mend else ""))


@click.group()
def audit() -> None:
    """Look for damage in the lakehouse, and prove the audit log."""


@audit.command()
@json_option
def verify(*, as_json: bool) -> None:
    """Check the hash chains of audit log and overrides, that they agree, and that no word that was used is gone."""
    from quant_assets.control.audit import ChainFinding
    from quant_assets.control.audit import verify as verify_log
    from quant_assets.flows.anchors import doubts
    from quant_assets.flows.words import Doubt

    with open_work() as work:
        found: list[tuple[str, ChainFinding | Doubt]] = [("audit.jsonl", one) for one in verify_log(work.layout.audit)]
        found += [("overrides.jsonl", one) for one in doubts(work)]
    if as_json:
        print_json([{"file": name, "line": x.line, "problem": x.problem, "detail": x.detail} for name, x in found])
    else:
        for name, one in found:
            click.echo(f"{name} line {one.line}: {one.problem}: {one.detail}")
    if tampered := [f"{name} {one.line}" for name, one in found if one.is_tampering]:
        raise _Tampered(tampered)
    if not as_json:
        click.echo("the chains hold")


@audit.command()
@click.option("--peek", is_flag=True, help="News of quarantine stay news: for programs that nobody reads.")
@click.option("--quick", is_flag=True, help="Hash only files that are not, by size and time, what was committed.")
@json_option
def data(*, peek: bool, quick: bool, as_json: bool) -> None:
    """Hash every file; look for lost ones, altered words, what is missing, stale or drifted, orphans, rejected rows."""
    with open_work() as work:
        findings = audit_data(work, peek=peek, quick=quick)
        sound = nothing(work, "nothing to report")
    if as_json:
        print_json([asdict(one) for one in findings])
    else:
        _tell(findings)
    if broken := [one for one in findings if one.severity == "error"]:
        raise _DamagedError(broken)
    if not findings and not as_json:
        click.echo(sound)

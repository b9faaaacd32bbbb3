"""`quant lake health`: the state of tables and instruments, with reasons, and the calendar of conditions."""

from typing import Any

import click

from quant_assets.cli.common import json_option, nothing, open_work, print_json
from quant_assets.cli.tabular import print_table
from quant_assets.domain.tables import table
from quant_assets.errors.base import number_of
from quant_assets.flows.catalog import refresh_catalog

_SIGNS = {"available": "#", "degraded": "o", "missing": ".", "pending": "?"}
_WORST = 20


@click.command()
@click.argument("dataset", required=False)
@click.option("--all", "every", is_flag=True, help=f"Every instrument, not only the {_WORST} with the lowest scores.")
@json_option
def health(dataset: str | None, *, every: bool, as_json: bool) -> None:
    """Show how healthy the tables and instruments are, and why; of one DATASET only when it is named.

    GREEN is fresh and whole, YELLOW behind or incomplete, RED unreadable, far behind or below a score of 0.80. Damage
    that keeps a file's size and time is for `quant audit data`.
    """
    chosen = table(dataset).name if dataset else None
    with open_work() as work:
        catalog = refresh_catalog(work, full=True)
        none = nothing(work, "no table holds anything")
    tables = {name: one for name, one in catalog["tables"].items() if chosen in (None, name)}
    instruments = {} if chosen else catalog["instruments"]
    if as_json:
        print_json({"as_of": catalog["latest_expected_session"], "tables": tables, "instruments": instruments})
        return
    published = {name: one for name, one in tables.items() if one["n_partitions"] or chosen}
    if not published:
        click.echo(none)
        return
    print_table([_row(name, one) for name, one in published.items()], title=f"as of {_as_of(catalog)}")
    judged = [one for one in instruments.values() if "conditions" in one]
    shown = sorted(judged, key=lambda one: (one["data_quality_score"] or 0.0, one["symbol"]))[
        : None if every else _WORST
    ]
    if shown:
        days = list(shown[0]["conditions"])
        signs = ", ".join(f"{sign} {word}" for word, sign in _SIGNS.items())
        rest = len(judged) - len(shown)
        print_table([_instrument(one) for one in shown], title=f"{days[0]}..{days[-1]}, a sign per session: {signs}")
        if rest:
            click.echo(f"and {number_of(rest, 'instrument')} with higher scores (--all shows them)")


def _as_of(catalog: dict[str, Any]) -> str:
    return catalog["latest_expected_session"] or "no session"


def _row(name: str, one: dict[str, Any]) -> dict[str, Any]:
    return {
        "table": name,
        "health": one["health"],
        "score": one["data_quality_score"],
        "last": one["last_partition"],
        "rows": one["rows"],
        "why": "; ".join(one["reasons"]),
    }


def _instrument(one: dict[str, Any]) -> dict[str, Any]:
    return {
        "symbol": one["symbol"],
        "health": one["health"],
        "score": one["data_quality_score"],
        "sessions": "".join(_SIGNS[condition] for condition in one["conditions"].values()),
        "why": "; ".join(one["reasons"]),
    }

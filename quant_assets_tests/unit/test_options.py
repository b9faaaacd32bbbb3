"""Options of every command: a number is a number."""

from collections.abc import Iterator

import click
import pytest
from click.testing import CliRunner

from quant_assets.cli import cli


def options(command: click.Command, path: str) -> Iterator[tuple[str, click.Option]]:
    """Yield every option below a command, with the words that lead to it."""
    context = click.Context(command)
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            assert below is not None
            yield from options(below, f"{path} {name}")
    yield from ((path, one) for one in command.params if isinstance(one, click.Option))


FRACTIONS = [
    pytest.param(option, id=f"{path} {option.opts[0]}")
    for path, option in options(cli, "quant")
    if isinstance(option.type, click.types.FloatParamType)
]


def test_there_are_such_options():
    assert {one.id for one in FRACTIONS} >= {
        "quant gateway serve --time-scale",
        "quant gateway serve --latency",
        "quant lake gc --older-than",
        "quant live --every",
        "quant run targets --net-liquidation",
    }


@pytest.mark.parametrize("text", ["nan", "inf", "-inf", "-1"])
@pytest.mark.parametrize("option", FRACTIONS)
def test_none_takes_what_is_no_number_or_is_below_nothing(option: click.Option, text: str):
    with pytest.raises(click.BadParameter, match=r"is not a finite number|is not in the range"):
        option.type.convert(text, option, None)


@pytest.mark.parametrize("text", ["EUR=nan", "EUR=inf", "EUR=0", "EUR=-1", "EUR=much", "EUR"])
def test_a_rate_is_a_positive_number(text: str):
    from quant_assets.cli.run import _rates

    assert _rates(("eur=1.08",)) == {"EUR": 1.08}
    with pytest.raises(click.BadParameter, match=f"'{text}' is not CURRENCY=RATE"):
        _rates((text,))


def test_a_person_is_told_which_option_and_what_it_was():
    told = CliRunner().invoke(cli, ["lake", "gc", "--older-than", "nan"])
    assert told.exit_code == 2
    assert "Invalid value for '--older-than': 'nan' is not a finite number." in told.output

"""When the answers of a run say that TWS counts volumes in lots."""

import pytest

from quant_assets.connectors.base import Contract
from quant_assets.flows.ingest.units import Units

A, B, C, D = (Contract(name, number) for number, name in enumerate("ABCD", 1))
PAIR = Contract("EUR.USD", 9, exchange="IDEALPRO", sec_type="CASH")
LONDON = Contract("VOD", 8, currency="GBP")


def heard(universe, *answers):
    units = Units(universe)
    for contract, unit in answers:
        units.heard(contract, unit)
    return units


@pytest.mark.parametrize(
    ("universe", "answers", "are_lots"),
    [
        ((A, B, C, D), [(A, "lots"), (B, "lots")], False),
        ((A, B, C, D), [(A, "lots"), (B, "lots"), (C, "lots")], True),
        ((A, B, C, D), [(A, "lots"), (B, "unclear"), (C, "lots"), (D, "unknown"), (B, "lots")], True),
        ((A, B, C, D), [(A, "lots"), (B, "lots"), (D, "shares"), (C, "lots")], False),
        ((A, B, C, D), [(A, "lots")] * 9, False),  # a fault of its own
        ((A, B), [(A, "lots"), (B, "lots")], False),
        ((A, B), [(A, "lots"), (B, "lots"), (A, "lots")], True),
        ((A,), [(A, "lots")] * 3, True),
        ((A, PAIR, LONDON), [(PAIR, "lots"), (LONDON, "lots"), (A, "lots")], False),  # TWS has no setting for two
        ((PAIR, LONDON), [(PAIR, "lots")] * 3, False),
        ((), [], False),
    ],
)
def test_three_answers_in_a_row_of_as_many_instruments_say_so(universe, answers, are_lots):
    assert heard(universe, *answers).are_lots is are_lots


def test_answers_are_looked_at_until_three_are_in_shares_and_again_once_some_are_in_lots():
    units = heard((A, B, C), (A, "shares"), (B, "shares"))
    assert units.are_open
    units.heard(C, "unclear")
    assert units.are_open
    units.heard(C, "shares")
    assert not units.are_open
    units.reopen()
    assert units.are_open


def test_once_shown_it_holds_for_the_run_and_spares_what_the_setting_concerns():
    units = heard((A, B, C, PAIR), (A, "lots"), (B, "lots"))
    assert (units.shown_by, units.spares(A)) == (set(), False)
    units.heard(C, "lots")
    for _ in range(3):
        units.heard(A, "shares")  # it had been asked before, or its answer was a stray one
    assert units.are_lots
    assert units.shown_by == {"A", "B", "C"}
    assert [units.spares(one) for one in (A, D, PAIR, LONDON)] == [True, True, False, False]

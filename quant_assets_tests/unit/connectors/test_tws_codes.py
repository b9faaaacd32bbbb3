"""Every documented code and text, with the verdict that IBKR's documentation gives it."""

import pytest

from quant_assets.connectors.tws.codes import Verdict, classify, mend_of
from quant_assets.connectors.tws.failures import (
    LinkDownError,
    Refusal,
    SourceTransientError,
    TooLongError,
    TooManyOpenError,
    UnlistedError,
    UntoldError,
)
from quant_assets.errors import (
    BadRequestError,
    NoPermissionError,
    PacingError,
    SourceRefusedError,
    UnknownContractError,
)

HMDS = "Historical Market Data Service error message:"

TABLE = [
    (100, "Max rate of messages per second has been exceeded", Verdict.PACING),
    (162, HMDS + "Historical data request pacing violation", Verdict.PACING),
    (162, HMDS + "HMDS query returned no data: AAPL@SMART Trades", Verdict.NO_DATA),
    (162, HMDS + "No head time stamp", Verdict.NO_DATA),
    (162, HMDS + "API historical data query cancelled: 7", Verdict.CANCELLED),
    (162, HMDS + "No market data permissions for NYSE STK", Verdict.NO_PERMISSION),
    (162, HMDS + "Trading TWS session is connected from a different IP address", Verdict.NO_PERMISSION),
    (162, HMDS + "Time length exceed max.", Verdict.TOO_LONG),
    (162, HMDS + "invalid step: 10 Y", Verdict.TOO_LONG),
    (162, HMDS + "Historical data request for greater than 365 days rejected.", Verdict.TOO_LONG),
    (162, HMDS + "Historical data requests for durations longer than 365 days are rejected", Verdict.TOO_LONG),
    (162, HMDS + "No historical market data for QTEC/STK@SMART Last 1m", Verdict.NO_DATA),
    (162, HMDS + "Requested market data is not subscribed.", Verdict.NO_PERMISSION),
    (162, HMDS + "Starting time must occur before ending time", Verdict.TRANSIENT),
    (162, HMDS + "Query failed", Verdict.TRANSIENT),
    (162, "Mensaje de error de los servicios de datos de mercado históricos", Verdict.TRANSIENT),
    (165, "Historical Market Data Service query message:no items retrieved", Verdict.NO_DATA),
    (200, "No security definition has been found for the request", Verdict.UNKNOWN_CONTRACT),
    (320, "Server error when reading an API client request.", Verdict.BAD_REQUEST),
    (321, "Error validating request.-'bM' : cause - Historical data bar size setting is invalid.", Verdict.BAD_REQUEST),
    (322, "Only 50 simultaneous API historical data requests allowed.", Verdict.TOO_MANY_OPEN),
    (322, "Duplicate ticker id", Verdict.TOO_MANY_OPEN),
    (326, "Unable to connect as the client id is already in use.", Verdict.CLIENT_ID_IN_USE),
    (354, "Requested market data is not subscribed.", Verdict.NO_PERMISSION),
    (366, "No historical data query found for ticker id:7", Verdict.TRANSIENT),
    (1100, "Connectivity between IB and TWS has been lost.", Verdict.LINK_DOWN),
    (1101, "Connectivity restored - data lost.", Verdict.LINK_RESTORED),
    (1102, "Connectivity restored - data maintained.", Verdict.LINK_RESTORED),
    (1300, "TWS socket port has been reset", Verdict.LINK_DOWN),
    (2105, "HMDS data farm connection is broken:ushmds", Verdict.FARM_BROKEN),
    (2106, "HMDS data farm connection is OK:ushmds", Verdict.FARM_READY),
    (2107, "HMDS data farm connection is inactive but should be available upon demand:ushmds", Verdict.FARM_READY),
    (2157, "Sec-def data farm connection is broken:secdefnj", Verdict.FARM_BROKEN),
    (2174, "You submitted request with date-time attributes without explicit time zone.", Verdict.INFORMATION),
    (10089, "Requested market data requires additional subscription for API.", Verdict.NO_PERMISSION),
    (10090, "Part of requested market data is not subscribed.", Verdict.NO_PERMISSION),
    (10197, "No market data during competing live session", Verdict.NO_PERMISSION),
    (10314, "End Date/Time: The date, time, or time-zone entered is invalid.", Verdict.BAD_REQUEST),
    (99999, "a code of a later version", Verdict.TRANSIENT),
]


@pytest.mark.parametrize(("code", "text", "verdict"), TABLE)
def test_verdict(code, text, verdict):
    assert classify(code, text) is verdict


@pytest.mark.parametrize(
    ("code", "text", "error"),
    [
        (162, "Historical data request pacing violation", PacingError),
        (322, "Only 50 simultaneous", TooManyOpenError),
        (162, "Time length exceed max", TooLongError),
        (200, "No security definition", UnknownContractError),
        (354, "not subscribed", NoPermissionError),
        (321, "Error validating request", BadRequestError),
        (1100, "lost", LinkDownError),
        (366, "not found", SourceTransientError),
        (162, "no data", SourceRefusedError),
        (162, "Mensaje de error", UntoldError),
        (162, HMDS + "Starting time must occur before ending time", UnlistedError),
        (162, HMDS + "Query failed", SourceTransientError),
    ],
)
def test_the_error_names_what_was_asked_and_what_tws_said(code, text, error):
    raised = Refusal(code, text).as_error("1 D of AAPL", "127.0.0.1:7497")
    assert type(raised) is error
    assert text in str(raised)
    if error is not LinkDownError:
        assert "1 D of AAPL" in str(raised)


@pytest.mark.parametrize(
    "verdict",
    [Verdict.BAD_REQUEST, Verdict.NO_PERMISSION, Verdict.UNKNOWN_CONTRACT, Verdict.TOO_LONG, Verdict.TRANSIENT],
)
def test_what_ends_a_request_says_what_to_do(verdict):
    assert mend_of(verdict).endswith(".")


@pytest.mark.parametrize(("text", "is_advised"), [("Mensaje de error", True), (HMDS + "Something new", False)])
def test_english_messages_are_advised_where_the_text_is_not_english(text, is_advised):
    error = Refusal(162, text).as_error("bars", "here")
    assert ("Show API error messages in English" in str(error)) == is_advised
    assert text in str(error)

"""Every trouble that a script can name, with TWS's own words. The numbers are those of docs/failure-modes.md."""

from typing import Final

from quant_assets.gateway.faults.events import HISTORY_KINDS, LOOKUP_KINDS, MARKET_KINDS, Event
from quant_assets.gateway.faults.moments import Fault

_HMDS: Final = "Historical Market Data Service error message:"
_LOST: Final = (1100, "Connectivity between IB and Trader Workstation has been lost.")
_RESTORED_LOST: Final = (1101, "Connectivity between IB and Trader Workstation has been restored - data lost.")
_RESTORED_KEPT: Final = (1102, "Connectivity between IB and Trader Workstation has been restored - data maintained.")
_TAKEN: Final = "Unable to connect as the client id is already in use. Retry with a unique client id."
_INVALID: Final = "Error validating request.-'bM' : cause - "
_PROCESSING: Final = "Error processing request.-'bS' : cause - "


def _errors() -> dict[str, tuple[int, str]]:
    return {
        # 1 pacing, also as a TWS that is not set to English says it
        "pacing": (162, f"{_HMDS}Historical data request pacing violation"),
        "pacing_localised": (162, "Mensaje de error de los servicios de datos históricos: infracción de frecuencia"),
        # 2 no data
        "no_data": (162, f"{_HMDS}HMDS query returned no data: "),
        "no_items": (165, "Historical Market Data Service query message:no items retrieved"),
        # 3 too much for one request
        "too_long": (162, f"{_HMDS}Time length exceed max."),
        "invalid_step": (162, f"{_HMDS}invalid step"),
        "query_failed": (162, f"{_HMDS}Query failed"),
        # 10 unknown contract, true or false
        "unknown_contract": (200, "No security definition has been found for the request"),
        # 11 malformed
        "malformed": (320, "Error reading request. Message is malformed."),
        "bad_request": (321, f"{_INVALID}Historical data bar size setting is invalid."),
        "bad_end": (10314, "End Date/Time: The date, time, or time-zone entered is invalid."),
        # 12 slots
        "too_many_open": (322, f"{_PROCESSING}Only 50 simultaneous API historical data requests allowed."),
        "duplicate_id": (322, f"{_PROCESSING}Duplicate ticker id"),
        "no_query": (366, "No historical data query found for ticker id"),
        # 13 entitlements
        "no_permission": (162, f"{_HMDS}No market data permissions for NYSE STK"),
        "other_session": (162, f"{_HMDS}Trading TWS session is connected from a different IP address"),
        "not_subscribed": (354, "Requested market data is not subscribed."),
        "needs_subscription": (10089, "Requested market data requires additional subscription for API."),
        "competing_session": (10197, "No market data during competing live session"),
    }


FAULTS: Final[dict[str, Fault]] = {
    **{name: Fault("error", code, text, name=name) for name, (code, text) in _errors().items()},
    "hang": Fault("hang", name="hang"),
    "late": Fault("late", delay_s=90.0, name="late"),
    "drop": Fault("drop", name="drop"),
    "reset": Fault("reset", name="reset"),
    "half": Fault("half", name="half"),
    "stall": Fault("stall", name="stall"),
    "bad_length": Fault("bad_length", name="bad_length"),
    "dribble": Fault("dribble", delay_s=20.0, name="dribble"),
    "garbage": Fault("garbage", name="garbage"),
    "duplicate": Fault("duplicate", name="duplicate"),
    "bad_bar": Fault("bad_bar", name="bad_bar"),
    "empty": Fault("empty", name="empty"),
    "truncate": Fault("truncate", name="truncate"),
    "lots": Fault("lots", name="lots"),
    "shift": Fault("shift", name="shift"),
    "client_id_taken": Fault("error_drop", 326, _TAKEN, name="client_id_taken"),
    "rate_exceeded": Fault(
        "error_drop", 100, "Max rate of messages per second has been exceeded:max=50 (3)", name="rate_exceeded"
    ),
    "farm_asleep": Fault(
        "notice",
        2107,
        "HMDS data farm connection is inactive but should be available upon demand.ushmds",
        name="farm_asleep",
    ),
    "no_time_zone": Fault("notice", 2174, "You submitted a request without explicit time zone.", name="no_time_zone"),
}
"""What may happen to one answer."""

EVENTS: Final[dict[str, Event]] = {
    "freeze": Event("freeze", freezes=True, lasts_s=120),
    "connectivity_lost_1101": Event("connectivity_lost_1101", (_LOST,), (_RESTORED_LOST,), MARKET_KINDS, lasts_s=120),
    "connectivity_lost_1102": Event("connectivity_lost_1102", (_LOST,), (_RESTORED_KEPT,), MARKET_KINDS, lasts_s=120),
    "market_farm_broken": Event(
        "market_farm_broken",
        ((2103, "Market data farm connection is broken:usfarm"),),
        ((2104, "Market data farm connection is OK:usfarm"),),
        lasts_s=120,
    ),
    "history_farm_broken": Event(
        "history_farm_broken",
        ((2105, "HMDS data farm connection is broken:ushmds"),),
        ((2106, "HMDS data farm connection is OK:ushmds"),),
        HISTORY_KINDS,
        lasts_s=120,
    ),
    "secdef_farm_broken": Event(
        "secdef_farm_broken",
        ((2157, "Sec-def data farm connection is broken:secdefnj"),),
        ((2158, "Sec-def data farm connection is OK:secdefnj"),),
        LOOKUP_KINDS,
        lasts_s=120,
    ),
    "restart": Event("restart", (_LOST,), drops="reset", closes_port=True, lasts_s=180),
    "port_reset": Event(
        "port_reset", ((1300, "Socket port has been reset and this connection is being dropped."),), drops="close"
    ),
    "kick": Event("kick", drops="close"),
}
"""What may happen to the gateway."""

NAMES: Final[tuple[str, ...]] = (*FAULTS, *EVENTS)

"""The requests that are sent, each as a `Call`. This is the whole vocabulary: reading only, no order message."""

from datetime import datetime
from typing import Any

from quant_assets.connectors.base import BarRequest, Contract, ScanRequest
from quant_assets.connectors.tws import library
from quant_assets.connectors.tws.link import Call
from quant_assets.domain.instruments import WhatToShow

EPOCH_SECONDS = 2
"""`formatDate`: the only form that no time-zone setting of TWS changes."""


def bars_call(client: Any, request: BarRequest, timeout_s: float) -> Call:
    """Historical bars."""
    contract, end = library.to_library_contract(request.contract), library.end_text(request.end)
    series = (request.duration, request.bar_size, request.what_to_show, request.use_rth, EPOCH_SECONDS)

    def send(request_id: int) -> None:
        client.reqHistoricalData(request_id, contract, end, *series, False, [])

    return Call(str(request), send, timeout_s, client.cancelHistoricalData, farm="historical")


def schedule_call(
    client: Any, contract: Contract, end: datetime, n_sessions: int, timeout_s: float, *, use_rth: bool
) -> Call:
    """Trading sessions, which travel as a historical request."""
    target = library.to_library_contract(contract)
    series = (f"{n_sessions} D", "1 day", "SCHEDULE", use_rth, EPOCH_SECONDS)

    def send(request_id: int) -> None:
        client.reqHistoricalData(request_id, target, library.end_text(end), *series, False, [])

    return Call(f"the schedule of {contract}", send, timeout_s, client.cancelHistoricalData, farm="historical")


def details_call(client: Any, contract: Contract, timeout_s: float) -> Call:
    """Contract details; TWS offers no way to cancel them."""
    target = library.to_library_contract(contract)
    what = f"the details of {contract}"
    return Call(what, lambda key: client.reqContractDetails(key, target), timeout_s, farm="contract")


def head_call(client: Any, contract: Contract, what: WhatToShow, use_rth: bool, timeout_s: float) -> Call:  # noqa: FBT001
    """The oldest bar; TWS counts it as an open historical request until it is cancelled."""
    target = library.to_library_contract(contract)

    def send(request_id: int) -> None:
        client.reqHeadTimeStamp(request_id, target, what, use_rth, EPOCH_SECONDS)

    cancel = client.cancelHeadTimeStamp
    return Call(f"the oldest {what} bar of {contract}", send, timeout_s, cancel, stays_open=True)


def scan_call(client: Any, request: ScanRequest, timeout_s: float) -> Call:
    """A market scan: a subscription at TWS, ended after its first answer."""
    subscription, filters = library.to_subscription(request)

    def send(request_id: int) -> None:
        client.reqScannerSubscription(request_id, subscription, [], filters)

    what = f"scan {request.scan_code} of {request.location}"
    return Call(what, send, timeout_s, client.cancelScannerSubscription, stays_open=True)


def positions_call(client: Any, timeout_s: float) -> Call:
    """The positions of all accounts: a subscription, ended after its first list."""

    def cancel(_: object) -> None:
        client.cancelPositions()

    return Call("the positions", lambda _: client.reqPositions(), timeout_s, cancel, stays_open=True, key="positions")


def values_call(client: Any, account: str, timeout_s: float) -> Call:
    """What TWS values one account's positions at: a subscription, ended after its first list."""

    def cancel(_: object) -> None:
        client.reqAccountUpdates(False, account)

    def send(_: object) -> None:
        client.reqAccountUpdates(True, account)

    return Call("the value of the positions", send, timeout_s, cancel, stays_open=True, key="accountValues")


def net_liquidation_call(client: Any, timeout_s: float) -> Call:
    """The net liquidation value of all accounts: a subscription, ended after its first list."""

    def send(request_id: int) -> None:
        client.reqAccountSummary(request_id, "All", "NetLiquidation")

    return Call("the net liquidation value", send, timeout_s, client.cancelAccountSummary, stays_open=True)


def time_call(client: Any, timeout_s: float) -> Call:
    """TWS's own time: the cheapest sign of life."""
    send = client.reqCurrentTime
    return Call("the current time", lambda _: send(), timeout_s, key="currentTime", is_question=False)

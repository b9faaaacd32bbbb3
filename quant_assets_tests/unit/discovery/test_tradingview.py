"""The client of TradingView's scanner, through a real socket: what is asked, believed, retried and refused."""

import socket

import polars as pl
import pytest

from quant_assets.connectors.scanners import Scanner
from quant_assets.connectors.tradingview import (
    COLUMNS,
    Limits,
    ScanQuery,
    TradingViewClient,
    from_tradingview,
    query_of,
    technicals,
    to_tradingview,
)
from quant_assets.domain.tables import TV_TECHNICALS_1D
from quant_assets.errors import MalformedAnswerError, ScannerRefusedError, ScannerUnavailableError
from quant_assets_tests.builders import SESSION
from quant_assets_tests.unit.discovery.tv_server import BAD_GATEWAY, TOO_MANY, Reply, rows, serving, unknown_field

QUERY = ScanQuery("scanner 'x'", ("close", "sector"), limit=10)
APPLE, BERKSHIRE = ("NASDAQ:AAPL", [189.5, "Technology"]), ("NYSE:BRK.B", [412, None])


class Time:
    """A clock that moves when somebody sleeps."""

    def __init__(self):
        self.now, self.slept = 100.0, []

    def sleep(self, seconds):
        self.slept.append(round(seconds, 6))
        self.now += seconds

    def monotonic(self):
        return self.now


def client(url, *, time=None, **limits):
    time = time or Time()
    chosen = Limits(**{"connect_timeout_s": 2.0, "read_timeout_s": 2.0, "min_interval_s": 0.0, **limits})
    return TradingViewClient(url, "america", chosen, time.sleep, time.monotonic)


def test_a_scan_is_posted_as_the_scanner_expects_it():
    scanner = Scanner.model_validate(
        {
            "source": "tradingview",
            "limit": 7,
            "filters": {
                "price": {"field": "close", "op": ">=", "value": 5},
                "rsi": {"field": "RSI", "op": "between", "value": [30, 50]},
                "sector": {"field": "sector", "op": "in", "value": ["Energy", "Finance"]},
                "cap": {"field": "market_cap_basic", "op": "not_null"},
            },
            "rank": {"by": "Recommend.All"},
            "tradingview": {"types": ["stock", "dr"], "columns": ["volume"]},
        }
    )
    query = query_of("dips", scanner, "4h")
    with serving(rows(("NASDAQ:AAPL", [1, 2, 3, 4, 5, 6]))) as server, client(server.url) as asking:
        found = asking.scan(query)
    assert server.paths == ["/america/scan"]
    assert server.agents[0].startswith("quant_assets/")
    assert server.asked == [
        {
            "markets": ["america"],
            "symbols": {"query": {"types": ["stock", "dr"]}, "tickers": []},
            "options": {"lang": "en"},
            "columns": ["market_cap_basic", "close", "RSI|240", "sector", "Recommend.All|240", "volume"],
            "filter": [
                {"left": "market_cap_basic", "operation": "nempty"},
                {"left": "close", "operation": "egreater", "right": 5.0},
                {"left": "RSI|240", "operation": "in_range", "right": [30.0, 50.0]},
                {"left": "sector", "operation": "in_range", "right": ["Energy", "Finance"]},
            ],
            "range": [0, 7],
            "ignore_unknown_fields": False,
            "sort": {"sortBy": "Recommend.All|240", "sortOrder": "desc"},
        }
    ]
    assert found[0].name == "NASDAQ:AAPL"
    assert found[0].values["RSI|240"] == 3


def test_answers_keep_their_order_and_types():
    with serving(rows(BERKSHIRE, APPLE)) as server, client(server.url) as asking:
        found = asking.scan(QUERY)
    assert [(one.name, dict(one.values)) for one in found] == [
        ("NYSE:BRK.B", {"close": 412, "sector": None}),
        ("NASDAQ:AAPL", {"close": 189.5, "sector": "Technology"}),
    ]


def test_no_match_is_an_empty_answer_and_not_an_error():
    with serving(rows()) as server, client(server.url) as asking:
        assert asking.scan(QUERY) == []
    assert len(server.asked) == 1


def test_pages_are_asked_up_to_the_limit_and_what_slid_between_them_counts_once():
    first = rows(("NYSE:A", [1, "x"]), ("NYSE:B", [2, "x"]), total=5)
    second = rows(("NYSE:B", [2, "x"]), ("NYSE:C", [3, "x"]), total=5)
    third = rows(("NYSE:D", [4, "x"]), total=5)
    with serving(first, second, third) as server, client(server.url, page_size=2) as asking:
        found = asking.scan(QUERY)
    assert [one.name for one in found] == ["NYSE:A", "NYSE:B", "NYSE:C", "NYSE:D"]
    assert [one["range"] for one in server.asked] == [[0, 2], [2, 4], [4, 6]]


def test_a_limit_below_the_page_and_an_end_before_the_total():
    full = rows(("NYSE:A", [1, "x"]), ("NYSE:B", [2, "x"]), total=9)
    with serving(full, rows(total=9)) as server, client(server.url, page_size=2) as asking:
        assert len(asking.scan(QUERY)) == 2
    assert [one["range"] for one in server.asked] == [[0, 2], [2, 4]], "an empty page is the end, whatever the total"


# ------------------------------------------------------------------ what passes


@pytest.mark.parametrize("trouble", [TOO_MANY, BAD_GATEWAY, Reply(b"{", 200), Reply(b"", 503)], ids=lambda r: r.status)
def test_trouble_that_passes_is_waited_out(trouble):
    time = Time()
    with serving(trouble, rows(APPLE)) as server, client(server.url, time=time) as asking:
        assert [one.name for one in asking.scan(QUERY)] == ["NASDAQ:AAPL"]
    assert len(server.asked) == 2
    assert time.slept == [7.0 if trouble.status == 429 else 1.0], "Retry-After is obeyed"


def test_waits_grow_and_attempts_end():
    time = Time()
    with (
        serving(BAD_GATEWAY) as server,
        client(server.url, time=time, attempts=4) as asking,
        pytest.raises(ScannerUnavailableError, match=r"after 4 attempts: HTTP 502.*tradingview.enabled") as failed,
    ):
        asking.scan(QUERY)
    assert len(server.asked) == asking.n_requests == 4
    assert time.slept == [1.0, 2.0, 4.0]
    assert failed.value.exit_code == 75


def test_a_silent_server_is_given_up_after_the_time_limit():
    slow = Reply(rows(APPLE).body, delay_s=0.6)
    with serving(slow, rows(APPLE)) as server, client(server.url, read_timeout_s=0.2) as asking:
        assert len(asking.scan(QUERY)) == 1
    assert len(server.asked) == 2
    with (
        serving(slow) as server,
        client(server.url, read_timeout_s=0.1, attempts=2) as asking,
        pytest.raises(ScannerUnavailableError, match=r"no answer within 0\.1 s"),
    ):
        asking.scan(QUERY)


def test_a_closed_port():
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    with (
        client(f"http://127.0.0.1:{port}", attempts=2) as asking,
        pytest.raises(ScannerUnavailableError, match="refused"),
    ):
        asking.scan(QUERY)


def test_a_connection_that_breaks_in_the_middle_of_an_answer():
    half = Reply(rows(APPLE).body[:20], cut=True)
    with serving(half, rows(APPLE)) as server, client(server.url) as asking:
        assert len(asking.scan(QUERY)) == 1
    assert len(server.asked) == 2


def test_the_pace_holds_between_requests_and_attempts():
    time = Time()
    with serving(rows(APPLE)) as server, client(server.url, time=time, min_interval_s=1.5) as asking:
        asking.scan(QUERY)
        asking.scan(QUERY)
        time.now += 0.5
        asking.scan(QUERY)
        time.now += 9
        asking.scan(QUERY)
    assert time.slept == [1.5, 1.0]
    assert len(server.asked) == 4


# ------------------------------------------------------------------ what does not


def test_a_refusal_is_final_and_tells_the_servers_words():
    with (
        serving(unknown_field("RSJ")) as server,
        client(server.url) as asking,
        pytest.raises(ScannerRefusedError, match=r'scanner \'x\' \(HTTP 400: Unknown field "RSJ"\)') as refused,
    ):
        asking.scan(QUERY)
    assert len(server.asked) == 1
    assert refused.value.exit_code == 2


def test_a_redirect_is_no_answer():
    away = Reply(b"", 302, {"Location": "https://elsewhere.invalid/"})
    with serving(away) as server, client(server.url) as asking, pytest.raises(ScannerRefusedError, match="HTTP 302"):
        asking.scan(QUERY)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"<html>maintenance</html>", "JSON"),
        (b"", "JSON"),
        (b"[]", "object"),
        (b'{"data": []}', "totalCount: Field required"),
        (b'{"totalCount": "many", "data": []}', "totalCount: Input should be a valid integer"),
        (b'{"totalCount": 1, "data": [{"s": "NYSE:A"}]}', r"data\.0\.d: Field required"),
        (b'{"totalCount": 1, "data": [{"s": 5, "d": [1, 2]}]}', r"data\.0\.s"),
        (b'{"totalCount": 1, "data": [{"s": "NYSE:A", "d": [1]}]}', "NYSE:A has 1 values for 2 columns"),
        (b'{"totalCount": 1, "data": [{"s": "A", "d": [1, 2]}]}', "'A' is no EXCHANGE:SYMBOL"),
        (b'{"totalCount": 1, "data": [{"s": "NYSE:A", "d": [{}, 2]}]}', r"data\.0\.d\.0"),
    ],
)
def test_an_answer_that_is_no_scan_result_is_not_believed(body, words):
    with (
        serving(Reply(body)) as server,
        client(server.url, attempts=2) as asking,
        pytest.raises(MalformedAnswerError, match=words) as failed,
    ):
        asking.scan(QUERY)
    assert len(server.asked) == 2, "a proxy's page may pass"
    assert failed.value.exit_code == 65


# ------------------------------------------------------------------ names and ratings


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [(("NYSE", "BRK B"), "NYSE:BRK.B"), (("NASDAQ", "AAPL"), "NASDAQ:AAPL"), (("BATS", "CBOE"), "CBOE:CBOE")],
)
def test_names_translate_both_ways(ours, theirs):
    assert to_tradingview(*ours) == theirs
    exchanges, symbol = from_tradingview(theirs)
    assert (exchanges[0], symbol) == ours


def test_arca_is_amex_over_there_and_amex_may_be_either_here():
    assert to_tradingview("ARCA", "SPY") == "AMEX:SPY"
    assert from_tradingview("AMEX:SPY") == (("AMEX", "ARCA"), "SPY")


def test_technicals_come_in_the_shape_of_the_table():
    members = pl.DataFrame(
        {"con_id": [1, 2, 3], "symbol": ["AAPL", "SPY", "ZZZZ"], "exchange": ["NASDAQ", "ARCA", "NYSE"]}
    )
    numbers = [0.5, 0.6, 0.4, 61.2, 25.0, 1.5, 80.0, 70, 65, 1.1, 0.9, 1.7, 2.2, None]
    with (
        serving(rows(("NASDAQ:AAPL", numbers), ("AMEX:SPY", [*numbers[:3], *[None] * 11]))) as server,
        client(server.url) as asking,
    ):
        found = technicals(asking, members, SESSION)
    assert server.asked[0]["symbols"]["tickers"] == ["AMEX:SPY", "NASDAQ:AAPL", "NYSE:ZZZZ"]
    assert server.asked[0]["columns"] == list(COLUMNS.values())
    assert TV_TECHNICALS_1D.conform(found).height == 2
    apple = found.row(0, named=True)
    assert (apple["con_id"], apple["rsi"], apple["stoch_k"], apple["perf_1m"]) == (1, 61.2, 70.0, None)
    assert set(found["producer"]) == {"tradingview"}

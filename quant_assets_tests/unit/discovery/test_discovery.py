"""Discovery through the real gateway: who is named by whom, what is refused, and what is known to be of its time."""

import json
from datetime import date

import polars as pl
import pytest

from quant_assets.domain.tables import CURATED_TWS_1D_BARS, TV_TECHNICALS_1D, UNIVERSE
from quant_assets.errors import (
    ConfigurationError,
    EmptyUniverseError,
    InvalidRecordsError,
    LiveOnlyError,
    NotPublishedError,
    ScannerUnavailableError,
    UnknownNameError,
)
from quant_assets.flows.discover import discovery
from quant_assets.flows.discover.resolution import resolve_candidates
from quant_assets.lakehouse.layout import Partition
from quant_assets_tests.builders import instant
from quant_assets_tests.unit.discovery.house import House
from quant_assets_tests.unit.discovery.tv_server import BAD_GATEWAY, rows, serving
from quant_assets_tests.unit.flows.lab import SESSION, after

BEFORE = date(2024, 3, 13)
ACTIVE = {"source": "tws", "limit": 3, "tws": {"scan_code": "MOST_ACTIVE"}}
TREND = {"source": "tradingview", "limit": 9, "rank": {"by": "Recommend.All"}}


def tradingview(server, **more):
    return {"enabled": True, "base_url": server.url, "min_interval_s": 0, "attempts": 1, **more}


# ------------------------------------------------------------------ merging


def test_who_is_named_twice_is_one_member_with_both_sources_and_what_each_said(tmp_path):
    house = House(tmp_path, {"busy": ACTIVE})
    published = house.discover()
    universe = house.universe()
    assert universe["con_id"].is_unique().all()
    scanned = universe.filter(pl.col("sources").str.contains("scanner:busy"))
    assert scanned.height == 3
    assert sorted(json.loads(text)["scanner:busy"]["rank"] for text in scanned["metadata"]) == [1, 2, 3]
    listed = universe.filter(pl.col("sources").str.contains("list:core"))
    assert set(listed["symbol"]) == {"QMKT", "QFID"}
    assert universe["is_pit"].all()
    assert published.metadata["candidates_from"] == "lists and scanners"
    assert published.metadata["scanners"] == {"scanner:busy": {"rows": 3, "used": 3, "dropped": 0}}
    assert house.events("discovered")[0]["rows"] == universe.height


def test_tradingview_and_a_list_that_agree_merge_their_metadata(tmp_path):
    answer = rows(("AMEX:QMKT", [0.7]), ("NYSE:QEND", [0.6]))
    with serving(answer) as server:
        house = House(tmp_path, {"trend": TREND}, tradingview=tradingview(server))
        house.discover()
    by_symbol = {row["symbol"]: row for row in house.universe().iter_rows(named=True)}
    assert by_symbol["QMKT"]["sources"] == "list:core;scanner:trend", "AMEX over there is ARCA here"
    assert json.loads(by_symbol["QMKT"]["metadata"]) == {"scanner:trend": {"rank": 1, "Recommend.All": 0.7}}
    assert by_symbol["QEND"]["sources"] == "scanner:trend"
    assert by_symbol["QFID"]["metadata"] is None


def test_the_order_of_members_and_the_content_do_not_depend_on_the_order_of_sources(tmp_path):
    first, second = House(tmp_path / "a", {"busy": ACTIVE}), House(tmp_path / "b", {"busy": ACTIVE})
    second.symbols = tuple(reversed(first.symbols))
    ids = [house.discover().report.content_id for house in (first, second)]
    assert ids[0] == ids[1]
    assert first.universe()["con_id"].is_sorted()


# ------------------------------------------------------------------ strict and lax


ODD = rows(("OTC:NOBDY", [0.9]), ("NYSE:QEND", [0.6]), ("NYSE:we/ird?", [0.5]))


def test_strict_discovery_fails_naming_every_record(tmp_path):
    with serving(ODD) as server:
        house = House(tmp_path, {"trend": TREND}, tradingview=tradingview(server))
        with pytest.raises(InvalidRecordsError, match=r"scanner:trend names 2 record.*OTC:NOBDY.*we/ird"):
            house.discover()
    assert not house.lake.curated.exists(UNIVERSE, Partition(SESSION))


@pytest.mark.parametrize("how", ["scanner", "profile"])
def test_lax_discovery_drops_and_counts(tmp_path, how):
    with serving(ODD) as server:
        scanner = TREND | ({"strict": False} if how == "scanner" else {})
        discovery = {} if how == "scanner" else {"strict": False}
        house = House(tmp_path, {"trend": scanner}, tradingview=tradingview(server), discovery=discovery)
        published = house.discover()
    assert house.names() == ["QEND", "QFID", "QMKT"]
    assert published.metadata["dropped"] == 2
    assert published.metadata["dropped_records"] == {"scanner:trend: not known to TWS": 2}
    (event,) = house.events("discovered")
    assert (event["status"], event["dropped"]) == ("warn", 2)


def test_exchanges_that_a_scanner_does_not_want_are_dropped(tmp_path):
    with serving(rows(("AMEX:QMKT", [1]), ("NYSE:QEND", [1]))) as server:
        scanner = TREND | {"strict": False, "exchanges": ["NYSE"]}
        house = House(tmp_path, {"trend": scanner}, lists=False, tradingview=tradingview(server))
        published = house.discover()
    assert house.names() == ["QEND"]
    assert published.metadata["dropped_records"] == {"scanner:trend: listed on ARCA": 1}


def test_nobody_at_all_is_an_error(tmp_path):
    with serving(rows()) as server:
        house = House(tmp_path, {"trend": TREND}, lists=False, tradingview=tradingview(server))
        with pytest.raises(EmptyUniverseError, match="scanner:trend"):
            house.discover()


def test_a_scanner_that_is_down_publishes_nothing(tmp_path):
    with serving(BAD_GATEWAY) as server:
        house = House(tmp_path, {"trend": TREND}, tradingview=tradingview(server))
        with pytest.raises(ScannerUnavailableError):
            house.discover()
    assert not house.lake.curated.exists(UNIVERSE, Partition(SESSION))


def test_tradingview_is_off_by_default(tmp_path):
    house = House(tmp_path, {"trend": TREND})
    with pytest.raises(ConfigurationError, match=r"'trend' asks TradingView, which is not enabled.*discovery.scanners"):
        house.discover()


# ------------------------------------------------------------------ past sessions


def test_a_live_scanner_is_not_asked_about_the_past(tmp_path):
    house = House(tmp_path, {"busy": ACTIVE}, lists=False)
    with pytest.raises(LiveOnlyError, match=r"'default' asks live scanners \(busy\) about 2024-03-13"):
        house.discover(BEFORE)


def test_beside_a_list_it_is_left_out_and_said_so(tmp_path):
    house = House(tmp_path, {"busy": ACTIVE})
    published = house.discover(BEFORE)
    assert house.names(BEFORE) == ["QFID", "QMKT"]
    assert not house.universe(BEFORE)["is_pit"].any()
    assert published.metadata["live_scanners_not_asked"] == ["scanner:busy"]


def test_what_was_recorded_on_the_day_serves_later_from_the_table_or_from_its_export(tmp_path):
    house = House(tmp_path, {"busy": ACTIVE}, lists=False)
    house.discover(BEFORE, now=after(BEFORE))
    before = house.universe(BEFORE)
    assert before.height == 3
    house.files["busy"] = ACTIVE | {"limit": 2}
    house.discover(BEFORE)
    assert house.universe(BEFORE).equals(before), "another configuration asks nobody about the past"
    house.lake.layout.file(UNIVERSE, Partition(BEFORE)).unlink()
    (house.root / "data" / "lakehouse" / "_metadata" / "manifests" / "universe.jsonl").unlink()
    house.__dict__.pop("lake", None)
    house.discover(BEFORE)
    again = house.universe(BEFORE)
    assert again.equals(before)
    assert again["is_pit"].all()


# ------------------------------------------------------------------ screens


DIPS = {
    "source": "lakehouse",
    "limit": 1,
    "filters": {"price": {"field": "curated_tws_1d_bars.close", "op": ">", "value": 0}},
    "rank": {"by": "metrics.dollar_volume"},
}


def test_a_screen_reads_the_session_before_and_records_what_it_read(tmp_path):
    house = House(tmp_path)
    house.run([BEFORE])
    bars = house.lake.curated.read(CURATED_TWS_1D_BARS, Partition(BEFORE))
    traded = bars.sort("session").group_by("con_id").agg((pl.col("close") * pl.col("volume")).tail(20).median())
    best = traded.sort("close", descending=True)["con_id"][0]
    house.files, house.scanners = {"dips": DIPS}, ("dips",)
    published = house.discover(SESSION)
    found = house.universe().filter(pl.col("sources").str.contains("scanner:dips"))
    assert found["con_id"].to_list() == [best]
    assert json.loads(found["metadata"][0])["scanner:dips"]["screened_session"] == str(BEFORE)
    footer = house.lake.curated.footer(UNIVERSE, Partition(SESSION))
    told = house.lake.curated.footer(CURATED_TWS_1D_BARS, Partition(BEFORE)).content_id
    assert footer.inputs[f"scanner:dips|curated_tws_1d_bars|{BEFORE}"] == told
    assert published.metadata["scanners"]["scanner:dips"] == {
        "screened_session": str(BEFORE),
        "judged": 2,
        "passed": 2,
        "used": 1,
    }
    assert house.discover(SESSION).metadata == {"served_from": "inputs unchanged"}


def test_a_screen_without_history_is_said_or_refused(tmp_path):
    lax, strict = House(tmp_path / "a", {"dips": DIPS | {"strict": False}}), House(tmp_path / "b", {"dips": DIPS})
    assert lax.discover().metadata["scanners"] == {"scanner:dips": {"screened_session": None}}
    with pytest.raises(NotPublishedError, match=r"2024-03-07\.\.2024-03-13"):
        strict.discover()


# ------------------------------------------------------------------ candidates that are handed over


def handed(path, session=SESSION, records=({"symbol": "NYSE:QEND"},), **more):
    path.write_text(json.dumps({"session": str(session), "candidates": list(records), **more}))
    return {"CANDIDATES_FILE": str(path)}


def test_a_file_replaces_lists_and_scanners(tmp_path):
    records = [{"symbol": "NYSE:QEND", "metadata": {"why": "a hunch"}}, {"symbol": "AMEX:QMKT", "profiles": "default"}]
    env = handed(tmp_path / "mine.json", records=records)
    aliases = {"aliases": {"AMEX:QMKT": "ARCA:QMKT"}}
    house = House(tmp_path, {"busy": ACTIVE}, env=env, symbology=aliases)
    published = house.discover()
    assert house.names() == ["QEND", "QMKT"]
    row = house.universe().filter(pl.col("symbol") == "QEND").row(0, named=True)
    assert (row["sources"], json.loads(row["metadata"])) == ("file:mine.json", {"file:mine.json": {"why": "a hunch"}})
    assert published.metadata["candidates_from"] == f"file: {tmp_path / 'mine.json'}"
    assert house.events("discovered")[0]["candidates_from"].startswith("file: ")


@pytest.mark.parametrize("left", ["nothing", "the one before"])
def test_who_is_killed_between_the_universe_and_its_export_leaves_the_export_to_the_next_run(
    tmp_path, monkeypatch, left
):
    house = House(tmp_path)
    export = tmp_path / "data" / "export" / str(SESSION) / "candidates.json"
    if left == "the one before":
        house.symbols = ("ARCA:QMKT",)
        house.discover()
        house.symbols = ("ARCA:QMKT", "NYSE:QFID")

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(discovery, "export", killed)
        with pytest.raises(KeyboardInterrupt):
            house.discover()
    assert export.exists() == (left == "the one before")
    assert house.discover().metadata["served_from"] == "inputs unchanged"
    told = json.loads(export.read_text(encoding="utf-8"))["candidates"]
    assert [one["con_id"] for one in told] == house.universe()["con_id"].to_list()
    assert [one["symbol"] for one in told] == [
        f"{one['exchange']}:{one['symbol']}" for one in house.universe().to_dicts()
    ]
    before = export.stat().st_ino, export.stat().st_mtime_ns
    house.discover()
    assert (export.stat().st_ino, export.stat().st_mtime_ns) == before


def test_an_export_can_be_handed_over_as_it_is(tmp_path):
    first = House(tmp_path / "a")
    first.discover()
    export = tmp_path / "a" / "data" / "export" / str(SESSION) / "candidates.json"
    second = House(tmp_path / "b", env={"CANDIDATES_FILE": str(export)})
    second.discover()
    columns = ["con_id", "symbol", "exchange", "currency", "asset_class", "profiles"]
    assert second.universe().select(columns).equals(first.universe().select(columns))


@pytest.mark.parametrize(
    ("write", "error", "words"),
    [
        (lambda p: p.unlink(missing_ok=True), ConfigurationError, "there is no such file"),
        (lambda p: p.write_text("{"), ConfigurationError, "not valid JSON"),
        (lambda p: p.write_bytes(b"\xff\xfe"), ConfigurationError, "not valid JSON"),
        (lambda p: p.write_text("[]"), ConfigurationError, "it must hold"),
        (lambda p: p.write_text('{"candidates": [{}]}'), ConfigurationError, "key 'session'"),
        (lambda p: handed(p, BEFORE), ConfigurationError, "of session 2024-03-13, and 2024-03-14 is asked for"),
        (lambda p: handed(p, records=[]), EmptyUniverseError, "CANDIDATES_FILE"),
        (lambda p: handed(p, records=[{"symbol": "NYSE:QZZZ"}]), ConfigurationError, "no such instrument: NYSE:QZZZ"),
        (
            lambda p: handed(p, records=[{"symbol": "QEND"}]),
            InvalidRecordsError,
            "candidates.0.symbol.*EXCHANGE:SYMBOL",
        ),
        (lambda p: handed(p, records=[{"symbol": "../x:Y"}, {"con_id": 1}]), InvalidRecordsError, "names 2 record"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_in_words(tmp_path, write, error, words):
    path = tmp_path / "mine.json"
    write(path)
    house = House(tmp_path, env={"CANDIDATES_FILE": str(path)})
    with pytest.raises(error, match=words):
        house.discover()


def test_lax_discovery_drops_records_of_a_file(tmp_path):
    env = handed(tmp_path / "m.json", records=[{"symbol": "NYSE:QEND"}, {"symbol": "QEND"}, {"symbol": "NYSE:QZZZ"}])
    house = House(tmp_path, env=env, discovery={"strict": False})
    published = house.discover()
    assert house.names() == ["QEND"]
    assert published.metadata["dropped"] == 2


def test_a_file_goes_before_a_run_and_a_run_before_the_table(tmp_path):
    house = House(tmp_path)
    with house.at(after(SESSION)) as work:
        with pytest.raises(NotPublishedError, match="candidates"):
            resolve_candidates(work, SESSION, "default")
        with pytest.raises(UnknownNameError, match="run"):
            resolve_candidates(work, SESSION, "default", "no-such-run")
    house.env = handed(tmp_path / "mine.json") | {"QUANT_CANDIDATES_RUN": "no-such-run"}
    with house.at(after(SESSION)) as work:
        found = resolve_candidates(work, SESSION, "default", "nor-this-one")
    assert (found.origin, found.frame["symbol"].to_list()) == ("file", ["NYSE:QEND"])
    (event,) = house.events("candidates_resolved")
    assert (event["origin"], event["where"]) == ("file", str(tmp_path / "mine.json"))


# ------------------------------------------------------------------ the second producer of technicals


def test_technicals_come_from_tradingview_when_it_answers_and_from_our_bars_when_not(tmp_path):
    from quant_assets.domain.features.registry import TECHNICALS_1D
    from quant_assets.flows.derive import publish_group

    house = House(tmp_path)
    house.run([SESSION])

    def technicals(server, now=None, **more):
        house.sections = {"tradingview": tradingview(server, technicals=True, **more)}
        with house.at(now or after(SESSION)) as work:
            return publish_group(work, TECHNICALS_1D, SESSION)

    def producers():
        frame = house.lake.curated.read(TV_TECHNICALS_1D, Partition(SESSION))
        return dict(frame.select("symbol", "producer").rows())

    with serving(BAD_GATEWAY) as server:
        down = technicals(server)
    assert down.metadata["producer"].startswith("local: TradingView's scanner at")
    assert house.events("technicals_fallback")[0]["status"] == "warn"
    assert set(producers().values()) == {"local"}
    numbers = [0.5, 0.6, 0.4, 61.2, 25.0, 1.5, 80.0, 70, 65, 1.1, 0.9, 1.7, 2.2, 3.0]
    with serving(rows(("NYSE:QFID", numbers))) as server:
        answered = technicals(server)
        assert technicals(server).metadata == {"served_from": "inputs unchanged"}
        assert len(server.asked) == 1
    assert producers() == {"QFID": "tradingview", "QMKT": "local"}
    assert answered.metadata["producer"] == "tradingview: 1 instruments; local: 1"
    agreed = {row["column"]: row for row in answered.metadata["agreement"]}
    assert (agreed["rsi"]["n_both"], agreed["rsi"]["n_only_ours"]) == (1, 1)
    with serving(BAD_GATEWAY) as server:
        later = technicals(server, now=instant("2024-03-18 02:00"))
        assert later.metadata == {"served_from": "inputs unchanged"}, "a past session keeps who produced it"
        assert not server.asked

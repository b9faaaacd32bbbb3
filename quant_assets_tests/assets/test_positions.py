"""What is held: asked over the real protocol, kept under aliases, in the universe whatever the lists say."""

import logging
from datetime import UTC, date, datetime, timedelta

import polars as pl
import pytest

from quant_assets.domain.tables import ACCOUNTS, POSITIONS, UNIVERSE
from quant_assets.errors import ConfigurationError
from quant_assets.flows.positions import alias, alias_key
from quant_assets.flows.targets import account_from_lake
from quant_assets.gateway.server import ACCOUNT
from quant_assets.lakehouse.layout import Partition
from quant_assets_tests.assets.house import House, metadata

HELD = {"NYSE:QFID": 120.0, "EUR.USD": -20000.0, "CME:QESH7": 2.0, "ARCA:QMKT": 10.0}
"""The last one is on the list, too."""


@pytest.fixture
def house(tmp_path):
    replay = {"positions": HELD}
    with House(tmp_path, {"positions": {"enabled": True}, "replay": replay}, ("ARCA:QMKT", "NYSE:QEND")) as made:
        yield made


def latest(house):
    return str(house.work().latest_session())


def read(house, table, session):
    return house.work().lake.curated.read(table, Partition.from_key(session))


def test_what_is_held_is_published_and_in_the_universe(house):
    session = latest(house)
    result = house.run(["universe", "positions", "accounts"], session)
    assert result.success
    positions = read(house, POSITIONS, session).sort("symbol")
    assert positions.select("symbol", "exchange", "asset_class", "quantity", "currency").rows() == [
        ("EUR.USD", "IDEALPRO", "CASH", -20000.0, "USD"),
        ("QESH7", "CME", "FUT", 2.0, "USD"),
        ("QFID", "NYSE", "STK", 120.0, "USD"),
        ("QMKT", "ARCA", "STK", 10.0, "USD"),
    ]
    assert positions["is_pit"].all()
    assert (positions["market_value"] * positions["quantity"] > 0).all()
    future = positions.filter(pl.col("symbol") == "QESH7")
    assert future["average_cost"][0] > 50 * 3000, "of one contract, its multiplier of 50 included"
    accounts = read(house, ACCOUNTS, session)
    worth = 100_000 + positions["market_value"].sum()
    assert accounts.select("currency", pl.col("net_liquidation").round(2)).rows() == [("USD", round(worth, 2))]
    universe = read(house, UNIVERSE, session).sort("symbol").select("symbol", "sources", "profiles")
    assert universe.rows() == [
        ("EUR.USD", "positions", ""),
        ("QEND", "list:short", "calm;plain"),
        ("QESH7", "positions", ""),
        ("QFID", "positions", ""),
        ("QMKT", "list:short;positions", "calm;plain"),
    ]
    shown = {asset: partition for asset, partition, _ in metadata(result)}
    assert set(shown) == {"universe", "positions", "accounts"}


def test_a_second_run_does_not_ask_again(house):
    session = latest(house)
    assert house.run(["universe"], session).success
    before = house.files()
    assert house.run(["universe"], session).success
    assert {name: at for name, at in house.files().items() if name.endswith("parquet")} == {
        name: at for name, at in before.items() if name.endswith("parquet")
    }


def test_of_a_past_session_nothing_is_said(house):
    calendar = house.work().calendar
    last = house.work().latest_session()
    before = calendar.previous(last)
    result = house.run(["universe", "positions", "accounts"], str(before), str(last))
    assert result.success, "and nobody waits for it"
    assert house.published("positions") == [str(last)]
    assert house.published("universe") == [str(before), str(last)]
    assert set(read(house, UNIVERSE, str(before))["symbol"]) == {"QMKT", "QEND"}


def test_targets_start_from_the_newest_positions_that_were_published(house):
    work = house.work()
    common = {"account": "main", "con_id": 101, "symbol": "NYSE:S101", "exchange": "NYSE", "asset_class": "STK"}
    worth = {"average_cost": 9.0, "currency": "USD", "is_pit": True, "observed_at": datetime(2025, 12, 2, tzinfo=UTC)}
    for day, quantity, value in ((1, 5.0, 50.0), (2, 8.0, 96.0)):
        row = {**common, **worth, "session": date(2025, 12, day), "quantity": quantity, "market_value": value}
        work.lake.curated.write(POSITIONS, Partition(date(2025, 12, day)), POSITIONS.frame([row]))
    day = date(2025, 12, 2)
    accounts = [
        {
            "session": day,
            "account": name,
            "net_liquidation": value,
            "currency": "USD",
            "observed_at": worth["observed_at"],
        }
        for name, value in (("main", 12_345.0), ("idle", 500.0))
    ]
    work.lake.curated.write(ACCOUNTS, Partition(day), ACCOUNTS.frame(accounts))
    with pytest.raises(ConfigurationError, match="idle, main"):
        account_from_lake(work)
    found = account_from_lake(work, "main")
    assert found.held.rows() == [(101, "NYSE:S101", 8.0, 12.0, "USD")]
    assert (found.told, found.net_liquidation) == ("positions of 2025-12-02", 12_345.0)
    idle = account_from_lake(work, "idle")
    assert (idle.held.is_empty(), idle.net_liquidation) == (True, 500.0), "an account that holds nothing has its worth"


def test_account_numbers_are_nowhere(house, caplog):
    with caplog.at_level(logging.DEBUG):
        for name in ("", ".wrapper", ".client", ".ib"):
            logging.getLogger(f"ib_insync{name}").setLevel(logging.DEBUG)
        try:
            assert house.run(["universe"], latest(house)).success
        finally:
            for name in ("", ".wrapper", ".client", ".ib"):
                logging.getLogger(f"ib_insync{name}").setLevel(logging.CRITICAL if not name else logging.NOTSET)
    assert "position: Position(" in caplog.text, "the library did log what it heard"
    assert ACCOUNT not in caplog.text
    assert read(house, POSITIONS, latest(house))["account"].unique().to_list()[0].startswith("paper-")
    for path in house.data.rglob("*"):
        assert not path.is_file() or ACCOUNT.encode() not in path.read_bytes(), path


def test_where_positions_are_off_the_graph_has_none(tmp_path):
    with House(tmp_path) as house:
        keys = {key.to_user_string() for key in house.definitions.resolve_asset_graph().get_all_asset_keys()}
        assert "universe" in keys
        assert not {"positions", "accounts"} & keys


def test_an_alias_is_stable_secret_and_tells_paper_from_live(tmp_path):
    path = tmp_path / "deep" / "key"
    key = alias_key(path)
    assert alias_key(path) == key
    assert path.stat().st_mode & 0o777 == 0o600
    assert alias(key, "DU1234567") == alias(key, "DU1234567") != alias(key, "DU1234568")
    assert alias(key, "U1234567") != alias(bytes(32), "U1234567")
    assert alias(key, "U1234567").startswith("live-")


def test_an_answer_older_than_the_throttle_is_asked_again(house):
    from quant_assets.clock import ScaledClock
    from quant_assets.flows.gate import TwsGate
    from quant_assets.flows.positions import publish_positions
    from quant_assets.flows.work import Work

    session = house.work().latest_session()
    now = house.work().clock.now().replace(hour=1)
    asked = []
    for hours in (0, 1, 13):
        clock = ScaledClock(1_000_000, now + timedelta(hours=hours))
        with TwsGate(house.settings, clock=clock) as gate:
            asked.append(len(publish_positions(Work(house.settings, gate, clock=clock), session)))
    assert asked == [2, 0, 2]

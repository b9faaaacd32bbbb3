"""Mode 14: volumes in lots of a hundred shares are stored by nobody, and one list of them stops a run."""

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml

from quant_assets.domain.tables import RAW_TWS_BARS, RAW_TWS_DAILY_BARS, RAW_TWS_REQUESTS
from quant_assets.errors import WrongUnitError
from quant_assets.flows.gate import TwsGate
from quant_assets.flows.ingest import ingest_daily, ingest_minutes
from quant_assets.lakehouse.layout import Partition
from quant_assets.settings import Settings
from quant_assets_tests.contract.failure_modes.house import (
    MONDAY,
    SESSIONS,
    asked,
    daily_settings,
    minutes,
    on,
    opened,
    series_said,
)

WITHOUT_ODD_LOTS = ("NYSE:QHEC", "NASDAQ:QUTB")
"""They trade more than a hundred shares at a time: in lots, each of their days still has more shares than trades."""


def test_mode_14_nothing_in_lots_is_stored_and_the_same_command_mends_it(tmp_path):
    """TWS's setting is one for all: an answer that does not show it itself is in lots as the others are."""
    every = {"fault": "lots", "request": "history", "every": 1}

    def settings(*lines: dict[str, Any]) -> Settings:
        made = daily_settings(tmp_path, *lines)
        names = {"symbols": [*WITHOUT_ODD_LOTS, "NASDAQ:QTEB"]}
        (made.configs / "lists" / "four.yaml").write_text(yaml.safe_dump(names))
        return made

    with opened(settings(every), [MONDAY]) as (work, _):
        with pytest.raises(WrongUnitError, match="QHEC, QTEB, QUTB; they were refused"):
            ingest_daily(work, [MONDAY])
        with pytest.raises(WrongUnitError, match="QHEC, QTEB, QUTB; they were refused"):
            ingest_minutes(work, [MONDAY])
        assert not work.lake.raw.partitions(RAW_TWS_DAILY_BARS)
        assert not work.lake.raw.partitions(RAW_TWS_BARS)
    with opened(settings(), [MONDAY]) as (work, gate):
        ingest_daily(work, [MONDAY])
        ingest_minutes(work, [MONDAY])
        assert asked(gate) == 3 * 2 + 3
        assert set(minutes(work).values()) == {390}
        bars = work.lake.raw.read(RAW_TWS_DAILY_BARS, Partition(work.latest_session()))
        traded = work.lake.raw.read(RAW_TWS_BARS, Partition(MONDAY)).group_by("symbol").agg(pl.col("volume").sum())
        days_ = bars.filter((pl.col("session") == MONDAY) & (pl.col("what_to_show") == "TRADES"))
        assert dict(days_.select("symbol", "volume").iter_rows()) == dict(traded.iter_rows())


AT_NYSE = "QTEA QTEC QTEE QFIB QFID QHEA QHEC QENB QEND QINA QCOB QCOD"
AT_NASDAQ = "QTEB QTED QFIA QFIC QFIE QHEB QHED QENA QENC QCOA"
MANY = [*(f"NYSE:{symbol}" for symbol in AT_NYSE.split()), *(f"NASDAQ:{symbol}" for symbol in AT_NASDAQ.split())]
"""In lots, most show it by their minutes and by their days: fewer shares than trades, often enough for the judge."""
N_SHOW_IT = 9
"""Answers among which three instruments show it: of one instrument there are three, or two."""
ON_THEIR_WAY = 6 + 4 * 6
"""Requests that TWS has, and answers that the reader has not come to, when a run notices what one of them shows."""


def many(root: Path, *lines: dict[str, Any]) -> Settings:
    """As `daily_settings`, with 22 shares and a request for each of their sessions."""
    settings = daily_settings(root, *lines)
    manifest = json.loads((settings.configs / "manifest.json").read_text())
    manifest["tws"]["max_minute_duration"] = "1 D"
    (settings.configs / "manifest.json").write_text(json.dumps(manifest))
    (settings.configs / "lists" / "four.yaml").write_text(yaml.safe_dump({"symbols": MANY}))
    return Settings.from_env({}, data=settings.data, configs=settings.configs)


def history(gate: TwsGate) -> list[str]:
    """Symbols of the history requests that reached the gateway, in turn."""
    assert gate._embedded
    return [entry.request.contract.symbol for entry in gate._embedded.history_ledger.entries]


@pytest.mark.parametrize(("ingest", "planned"), [(ingest_minutes, 22 * 3), (ingest_daily, 22 * 2)])
def test_mode_14_a_run_stops_as_soon_as_three_instruments_show_lots(tmp_path, ingest, planned):
    """What is on its way is waited for, and has its row in the ledger; nothing is asked for again."""
    every = {"fault": "lots", "request": "history", "every": 1}
    with opened(many(tmp_path, every)) as (work, gate):
        with pytest.raises(
            WrongUnitError, match=r"lots of 100.* more requests were given up\. In TWS.*Send market data in lots"
        ) as told:
            ingest(work, SESSIONS)
        reached = history(gate)
        raw = work.lake.raw
        answered = pl.concat([raw.read(RAW_TWS_REQUESTS, one) for one in raw.partitions(RAW_TWS_REQUESTS)])
        assert len(told.value.names) >= 3
        assert set(told.value.names) == set(answered.filter(pl.col("outcome") == "wrong_unit")["symbol"])
        assert len(reached) <= N_SHOW_IT + ON_THEIR_WAY < planned
        assert answered.height == len(reached)
        assert told.value.n_left == planned - len(reached)
        assert not work.lake.raw.partitions(RAW_TWS_DAILY_BARS)
        assert not work.lake.raw.partitions(RAW_TWS_BARS)
        before = len(reached)
        with pytest.raises(WrongUnitError):
            ingest(work, SESSIONS)
        assert len(history(gate)) - before <= N_SHOW_IT + ON_THEIR_WAY, "the setting is still on"
        assert gate._embedded.history_ledger.still_open() == []


def test_mode_14_lots_from_some_request_on_stop_the_run_and_what_came_in_shares_stays(tmp_path, monkeypatch):
    """Those in lots are judged with their group, and the next ones as they come: of five, three show it themselves."""
    monkeypatch.setattr("quant_assets.flows.ingest.groups.GROUP", 12)
    n_sound, n_groups = 13, 2
    later = {"fault": "lots", "request": "history", "nth": n_sound + 1, "lasts": 1e9}
    with opened(many(tmp_path, later)) as (work, gate):
        with pytest.raises(WrongUnitError, match="more requests were given up"):
            ingest_minutes(work, SESSIONS)
        assert len(history(gate)) <= 12 * n_groups + 5 + ON_THEIR_WAY < 22 * 3
        bars = pl.concat([work.lake.raw.read(RAW_TWS_BARS, Partition(session)) for session in SESSIONS])
        kept = bars.group_by("session", "symbol").agg(
            pl.len(), (pl.col("volume") >= pl.col("bar_count")).all().alias("is_in_shares")
        )
        assert kept.height == n_sound
        assert kept["is_in_shares"].all()
        assert sorted(kept["symbol"]) == sorted(history(gate)[:n_sound])
        asked_ = pl.concat([work.lake.raw.read(RAW_TWS_REQUESTS, Partition(session)) for session in SESSIONS])
        assert sorted(asked_["symbol"]) == sorted(history(gate))


@pytest.mark.parametrize("ingest", [ingest_minutes, ingest_daily])
def test_mode_14_one_instrument_that_stays_in_lots_does_not_stop_the_others(tmp_path, ingest):
    with opened(many(tmp_path, on("QHEA", "lots"))) as (work, gate):
        with pytest.raises(WrongUnitError, match=r"shares for QHEA; they were refused\. In TWS"):
            ingest(work, SESSIONS)
        assert set(history(gate)) == {name.partition(":")[2] for name in MANY}
        table = RAW_TWS_BARS if ingest is ingest_minutes else RAW_TWS_DAILY_BARS
        rows = [work.lake.raw.read(table, one, ["symbol"]) for one in work.lake.raw.partitions(table)]
        assert set(pl.concat(rows)["symbol"]) == set(history(gate)) - {"QHEA"}


def test_mode_14_one_answer_in_lots_that_does_not_show_it_is_asked_for_again(tmp_path):
    """Nobody else is in lots, and it is complete: what is believed is the answer that shows that it is in shares."""
    settings = daily_settings(tmp_path, on("QHEC", "lots", times=1, bar_size="1 day"))
    (settings.configs / "lists" / "four.yaml").write_text(yaml.safe_dump({"symbols": list(WITHOUT_ODD_LOTS)}))
    with opened(settings, [MONDAY]) as (work, gate):
        ingest_daily(work, [MONDAY])
        assert asked(gate) == 4 + 1
        assert series_said(work, "TRADES", "QHEC") == [("unconfirmed", ""), ("bars", "complete")]
        bars = work.lake.raw.read(RAW_TWS_DAILY_BARS, Partition(work.latest_session()))
        assert bool((bars["volume"] >= 100 * bars["bar_count"]).mean() > 0.9)

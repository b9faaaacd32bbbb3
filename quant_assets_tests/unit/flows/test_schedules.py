"""TWS's schedule against the calendar: asked where the bars contradict it, believed, kept, and used by every rebuild."""

import shutil
from collections import Counter
from dataclasses import dataclass, field, replace
from datetime import date, timedelta

import numpy as np
import polars as pl
import pytest

from quant_assets.domain.tables import (
    BAR_ACCOUNTING,
    CURATED_TWS_1M_BARS,
    FEATURES_PRICE_1M_V1,
    QUARANTINE_TWS_BARS,
    RAW_TWS_REQUESTS,
    RAW_TWS_SCHEDULES,
)
from quant_assets.flows.discover import Discovery
from quant_assets.flows.ingest import ingest_minutes
from quant_assets.flows.ingest.minutes import _MinuteIngest
from quant_assets.gateway.faults import Moment, ScriptedFaults, Strike
from quant_assets.gateway.faults.vocabulary import FAULTS
from quant_assets.gateway.hours import TradingHours, trading_hours
from quant_assets.gateway.market import Instrument
from quant_assets.gateway.synthetic import SyntheticMarket
from quant_assets.lakehouse.layout import Partition
from quant_assets.lakehouse.store import RawStore
from quant_assets_tests.builders import instant
from quant_assets_tests.unit.flows.hours import closing, with_session, without
from quant_assets_tests.unit.flows.lab import SESSION, Lab, after, flow

BEFORE = date(2024, 3, 13)
HALF_DAY = date(2024, 7, 3)
PRESIDENTS = date(2024, 2, 19)
"""New York is closed, London is not."""
SYMBOLS = ("ARCA:QMKT", "NYSE:QFID")


def house(tmp_path, hours: TradingHours, symbols=SYMBOLS, **options) -> Lab:
    return Lab(tmp_path, symbols, market=lambda seed=7: SyntheticMarket(seed, hours), **options)


def reasons(lab: Lab, session: date) -> dict[str, int]:
    rows = lab.lake.curated.read(BAR_ACCOUNTING, Partition(session))
    return dict(rows.group_by("reason").agg(pl.col("minutes").sum()).iter_rows())


def ledger(lab: Lab, session: date) -> pl.DataFrame:
    return lab.lake.raw.read(RAW_TWS_REQUESTS, Partition(session)).filter(pl.col("bar_size") == "1 min")


def told(lab: Lab, session: date) -> pl.DataFrame:
    return lab.lake.raw.read(RAW_TWS_SCHEDULES, Partition(session))


def test_an_early_close_that_the_calendar_does_not_know_is_no_absence_of_trades(tmp_path):
    lab = house(tmp_path, closing(SESSION, "17:00"))
    first = lab.run([SESSION])
    assert told(lab, SESSION).select("calendar", "opens_at", "closes_at").rows() == [
        ("XNYS", instant(f"{SESSION} 13:30"), instant(f"{SESSION} 17:00"))
    ]
    assert reasons(lab, SESSION) == {"present": 2 * 210, "half_day": 2 * 180}
    assert lab.lake.curated.read(FEATURES_PRICE_1M_V1, Partition(SESSION)).height == 2 * 210
    events = (lab.root / "data" / "artifacts" / "audit.jsonl").read_text(encoding="utf-8").splitlines()
    (finding,) = [line for line in events if '"hours_differ"' in line]
    assert "13:30 to 17:00" in finding
    assert "13:30 to 20:00" in finding
    plain = Lab(tmp_path / "plain", SYMBOLS).run([SESSION])
    assert first.requests == plain.requests + 1, "one question for the exchange, however many instruments it lists"
    assert lab.run([SESSION]).requests == 0


def test_what_was_in_doubt_is_settled_by_the_hours_without_another_request(tmp_path, monkeypatch):
    """Without daily history nothing speaks for 210 of 390 minutes, until the schedule says that there were no more."""
    monkeypatch.setattr("quant_assets_tests.unit.flows.lab.ingest_daily", lambda *_: None)
    lab = house(tmp_path, closing(SESSION, "17:00"))
    with lab.at(instant("2024-03-15 02:00")) as work:
        Discovery(work).publish(SESSION)
        report = ingest_minutes(work, [SESSION])
    assert report.n_requests == 3, "two instruments and the schedule"
    newest = ledger(lab, SESSION).sort("asked_at").unique("con_id", keep="last")
    assert set(newest.select("outcome", "proof").rows()) == {("bars", "complete")}


@dataclass
class Watched:
    """What a store was asked for, and what was added to it, by table."""

    read: Counter[str] = field(default_factory=Counter)
    appended: Counter[str] = field(default_factory=Counter)


def watched(monkeypatch, during=None) -> Watched:
    """Count the partitions that are read, during a method of the ingestion if one is named, and the commits."""
    seen, is_on = Watched(), [during is None]
    read, append_all = RawStore.read, RawStore.append_all

    def reading(self, table, *of):
        seen.read[table.name] += is_on[0]
        return read(self, table, *of)

    def appending(self, table, *of):
        seen.appended[table.name] += is_on[0]
        return append_all(self, table, *of)

    monkeypatch.setattr(RawStore, "read", reading)
    monkeypatch.setattr(RawStore, "append_all", appending)
    if during:
        inner = getattr(_MinuteIngest, during)

        def noted(self, *of):
            is_on[0] = True
            inner(self, *of)
            is_on[0] = False

        monkeypatch.setattr(_MinuteIngest, during, noted)
    return seen


def test_stored_bars_are_judged_again_day_by_day_and_committed_together(tmp_path, monkeypatch):
    """Two instruments on two days are in doubt: each day is read once, and all verdicts are one commit."""
    monkeypatch.setattr("quant_assets_tests.unit.flows.lab.ingest_daily", lambda *_: None)
    lab = house(tmp_path, closing(SESSION, "17:00", closing(BEFORE, "18:00")))
    with lab.at(instant("2024-03-15 02:00")) as work:
        for day in (BEFORE, SESSION):
            Discovery(work).publish(day)
        seen = watched(monkeypatch, during="_judge_again")
        assert ingest_minutes(work, [BEFORE, SESSION]).n_requests == 5, "two instruments, two days, one schedule"
    assert +seen.read == {"raw_tws_bars": 2, "raw_tws_requests": 2}
    assert +seen.appended == {"raw_tws_requests": 1}
    for day, n_minutes in ((BEFORE, 270), (SESSION, 210)):
        newest = ledger(lab, day).sort("asked_at").unique("con_id", keep="last")
        assert newest.select("outcome", "proof", "n_rows").rows() == [("bars", "complete", n_minutes)] * 2
        assert newest["batch_id"].n_unique() == 1
        assert set(newest["request_id"]) == {f"{row['batch_id']}-{row['con_id']}" for row in newest.to_dicts()}
    with lab.at(instant("2024-03-15 02:00")) as work:
        assert ingest_minutes(work, [BEFORE, SESSION]).n_requests == 0


def test_what_a_schedule_calls_closed_is_committed_together(tmp_path, monkeypatch):
    both = {"calendars": ("XNYS", "XLON")}
    lab = house(tmp_path, without(SESSION), (*SYMBOLS, "LSE:QLNA"), lakehouse=both)
    lab.run([BEFORE])
    seen = watched(monkeypatch, during="_settle_closed")
    lab.run([SESSION])
    assert +seen.appended == {"raw_tws_requests": 1}
    rows = ledger(lab, SESSION).filter(outcome="closed", proof="schedule")
    assert (rows.height, rows["con_id"].n_unique(), rows["batch_id"].n_unique()) == (2, 2, 1)


def test_a_longer_session_has_no_bar_outside(tmp_path):
    lab = house(tmp_path, closing(HALF_DAY, "20:00"))
    lab.run([HALF_DAY])
    assert told(lab, HALF_DAY)["closes_at"].to_list() == [instant(f"{HALF_DAY} 20:00")]
    assert reasons(lab, HALF_DAY) == {"present": 2 * 390}
    assert lab.lake.curated.read(QUARANTINE_TWS_BARS, Partition(HALF_DAY)).is_empty()


def test_a_day_on_which_the_exchange_did_not_open_is_closed_for_all_after_one_question(tmp_path):
    both = {"calendars": ("XNYS", "XLON")}
    lab = house(tmp_path, without(SESSION), (*SYMBOLS, "LSE:QLNA"), lakehouse=both)
    lab.run([BEFORE])
    lab.run([SESSION])
    assert reasons(lab, SESSION) == {"closed": 2 * 390, "present": 510}
    assert told(lab, SESSION)["opens_at"].to_list() == [None], "one answer for both of them"
    closed = lab.lake.curated.read(BAR_ACCOUNTING, Partition(SESSION)).filter(pl.col("reason") == "closed")
    assert set(closed["evidence"]) == {"closed, proved by schedule: TWS's schedule has no session on this day"}
    assert lab.run([SESSION]).requests == 0


def test_a_day_that_the_calendar_wrongly_calls_closed_is_asked_for(tmp_path):
    lab = house(
        tmp_path, with_session(PRESIDENTS), ("NYSE:QFID", "LSE:QLNA"), lakehouse={"calendars": ("XNYS", "XLON")}
    )
    lab.run([PRESIDENTS])
    counts = lab.lake.curated.read(CURATED_TWS_1M_BARS, Partition(PRESIDENTS)).group_by("symbol").len()
    assert dict(counts.iter_rows()) == {"QFID": 390, "QLNA": 510}
    assert lab.run([PRESIDENTS]).requests == 0


def test_a_rebuild_from_bronze_keeps_the_hours(tmp_path):
    lab = house(tmp_path, closing(SESSION, "17:00"))
    lab.run([SESSION])
    before = lab.content()
    shutil.rmtree(lab.root / "data" / "lakehouse" / "silver")
    shutil.rmtree(lab.root / "data" / "lakehouse" / "gold")
    with lab.at(instant("2024-03-16 02:00")) as work:
        flow(work, [SESSION])
    assert lab.content() == before


def test_a_session_as_the_calendar_has_it_costs_no_question(tmp_path):
    lab = Lab(tmp_path, SYMBOLS)
    lab.run([SESSION])
    assert told(lab, SESSION).is_empty()


def test_bars_that_never_came_again_after_a_crash_are_asked_for(tmp_path, monkeypatch):
    """The longer hours are known, and the process dies before the minutes that they open are asked for."""
    lab = house(tmp_path, closing(HALF_DAY, "20:00"))
    with monkeypatch.context() as patch:
        patch.setattr("quant_assets.flows.ingest.minutes._MinuteIngest._plan_again", lambda *_: [])
        lab.run([HALF_DAY])
    assert told(lab, HALF_DAY).height == 1
    assert reasons(lab, HALF_DAY)["present"] == 2 * 210
    assert lab.run([HALF_DAY]).requests == 2
    assert reasons(lab, HALF_DAY) == {"present": 2 * 390}
    assert lab.run([HALF_DAY]).requests == 0


# ---------------------------------------------------------------- instruments with a timetable of their own

FUTURE, LATER, PAIR, COIN = "CME:QESZ6", "CME:QESH7", "IDEALPRO:EUR.USD", "PAXOS:BTC.USD"
THURSDAY, FRIDAY, SATURDAY = (date(2026, 11, day) for day in (12, 13, 14))
EVERYWHERE = {"calendars": ("XNYS", "FX", "CMES", "24/7")}


def ending(calendar: str, day: date, at: str) -> TradingHours:
    """A calendar as it is, but for one close."""
    known = trading_hours(calendar)
    closes = np.where(known.sessions == np.datetime64(day), int(instant(f"{day} {at}").timestamp()), known.closes)
    return replace(known, closes=closes, pauses=closes, resumes=closes)


def lacking(calendar: str, day: date) -> TradingHours:
    known = trading_hours(calendar)
    kept = known.sessions != np.datetime64(day)
    return TradingHours.unbroken(known.sessions[kept], known.opens[kept], known.closes[kept])


def abroad(tmp_path, hours: dict[str, TradingHours], *symbols: str) -> Lab:
    return Lab(
        tmp_path, symbols, market=lambda seed=7: SyntheticMarket(seed, abroad=hours), lakehouse=EVERYWHERE, lookback=5
    )


def of_symbols(lab: Lab, session: date) -> dict[str, dict[str, int]]:
    account = lab.lake.curated.read(BAR_ACCOUNTING, Partition(session))
    rows = account.filter(pl.col("minutes") > 0).group_by("symbol", "reason")
    found: dict[str, dict[str, int]] = {}
    for symbol, reason, minutes in rows.agg(pl.col("minutes").sum()).sort("symbol", "reason").iter_rows():
        found.setdefault(symbol, {})[reason] = minutes
    return found


@pytest.mark.parametrize(
    ("symbol", "calendar", "until", "minutes", "opens"),
    [
        # Thursday 2026-11-12, winter: from 17:00 Chicago (23:00 UTC) to 12:00 (18:00 UTC), 19 of 23 hours
        (FUTURE, "CMES", "18:00", 19 * 60, "2026-11-11 23:00"),
        # from 17:15 New York (22:15 UTC) to 13:00 (18:00 UTC), 19:45 of 23:45 hours
        (PAIR, "FX", "18:00", 19 * 60 + 45, "2026-11-11 22:15"),
    ],
)
def test_an_early_close_of_a_future_and_of_a_pair_is_told_by_its_own_schedule(
    tmp_path, symbol, calendar, until, minutes, opens
):
    name = symbol.split(":")[1]
    lab = abroad(tmp_path, {name: ending(calendar, THURSDAY, until)}, symbol, "NYSE:QFID")
    first = lab.run([THURSDAY])
    (row,) = told(lab, THURSDAY).iter_rows(named=True)
    assert (row["opens_at"], row["closes_at"]) == (instant(opens), instant(f"{THURSDAY} {until}"))
    assert row["calendar"] == f"{calendar}:{row['con_id']}"
    assert of_symbols(lab, THURSDAY) == {name: {"present": minutes, "half_day": 240}, "QFID": {"present": 390}}
    plain = abroad(tmp_path / "plain", {}, symbol, "NYSE:QFID").run([THURSDAY])
    assert first.requests == plain.requests + 1
    assert lab.run([THURSDAY]).requests == 0


def test_the_schedule_of_one_future_says_nothing_of_another_one_of_its_exchange(tmp_path):
    hours = {"QESZ6": ending("CMES", THURSDAY, "18:00")}
    lab = abroad(tmp_path, hours, FUTURE, LATER)
    lab.run([THURSDAY])
    assert of_symbols(lab, THURSDAY) == {
        "QESH7": {"present": 23 * 60},
        "QESZ6": {"present": 19 * 60, "half_day": 4 * 60},
    }
    assert lab.run([THURSDAY]).requests == 0


@pytest.mark.parametrize(("symbol", "calendar", "minutes"), [(FUTURE, "CMES", 1380), (PAIR, "FX", 1425)])
def test_a_day_off_of_a_future_and_of_a_pair_is_told_by_its_own_schedule(tmp_path, symbol, calendar, minutes):
    name = symbol.split(":")[1]
    lab = abroad(tmp_path, {name: lacking(calendar, FRIDAY)}, symbol, "NYSE:QFID")
    lab.run([THURSDAY])
    lab.run([FRIDAY])
    assert of_symbols(lab, FRIDAY) == {name: {"closed": minutes}, "QFID": {"present": 390}}
    assert told(lab, FRIDAY)["opens_at"].to_list() == [None]
    assert lab.run([FRIDAY]).requests == 0


def test_a_trade_date_that_the_calendar_calls_closed_is_asked_for(tmp_path):
    """Saturday is a session of coins; a future that traded all the same is known by its daily history."""
    known = trading_hours("CMES")
    at = int(np.searchsorted(known.sessions, np.datetime64(SATURDAY)))
    opens, closes = (int(instant(text).timestamp()) for text in ("2026-11-13 23:00", "2026-11-14 18:00"))
    hours = TradingHours.unbroken(
        np.insert(known.sessions, at, np.datetime64(SATURDAY)),
        np.insert(known.opens, at, opens),
        np.insert(known.closes, at, closes),
    )
    lab = abroad(tmp_path, {"QESZ6": hours}, FUTURE, COIN)
    lab.run([SATURDAY], instant("2026-11-15 02:00"))
    counts = lab.lake.curated.read(CURATED_TWS_1M_BARS, Partition(SATURDAY)).group_by("symbol").len()
    assert dict(counts.iter_rows()) == {"QESZ6": 19 * 60, "BTC.USD": 1440}
    assert lab.run([SATURDAY], instant("2026-11-15 02:00")).requests == 0


def test_a_rebuild_keeps_the_hours_of_a_future(tmp_path):
    lab = abroad(tmp_path, {"QESZ6": ending("CMES", THURSDAY, "18:00")}, FUTURE, LATER, PAIR)
    lab.run([THURSDAY])
    before = lab.content()
    for zone in ("silver", "gold"):
        shutil.rmtree(lab.root / "data" / "lakehouse" / zone)
    with lab.at(instant("2026-11-14 02:00")) as work:
        flow(work, [THURSDAY])
    assert lab.content() == before


def test_of_a_coin_no_schedule_is_asked(tmp_path):
    """A UTC day never ends early: what is lacking of it is a hole."""
    lab = abroad(tmp_path, {"BTC.USD": ending("24/7", THURSDAY, "18:00")}, COIN, "NYSE:QFID")
    lab.run([THURSDAY])
    assert told(lab, THURSDAY).is_empty()
    assert of_symbols(lab, THURSDAY)["BTC.USD"]["present"] == 18 * 60
    assert "half_day" not in of_symbols(lab, THURSDAY)["BTC.USD"]


# ---------------------------------------------------------------- whose silence nobody explains


FOUR = ("ARCA:QMKT", "NASDAQ:QUTB", "NYSE:QEND", "NYSE:QFID")


class OfBars(Strike):
    """Strikes requests for bars alone; a schedule is asked for by the same message."""

    def matches(self, moment: Moment) -> bool:
        return super().matches(moment) and moment.what != "SCHEDULE"


class OfSchedules(Strike):
    """Strikes requests for schedules alone."""

    def matches(self, moment: Moment) -> bool:
        return super().matches(moment) and moment.what == "SCHEDULE"


class Differing(SyntheticMarket):
    """The market, in which the schedules of some instruments lack a day."""

    def __init__(self, seed: int, lacking: tuple[str, ...]) -> None:
        super().__init__(seed)
        self.lacking = lacking

    def schedule_of(self, instrument: Instrument) -> TradingHours:
        return without(SESSION) if instrument.name in self.lacking else super().schedule_of(instrument)


@dataclass
class Heard:
    """What a run asked schedules of, in turn, and what it made of each instrument."""

    schedules: list[str]
    said: dict[str, tuple[str, str]]


def heard(
    lab: Lab, *strikes: Strike, silent: tuple[str, ...] = ("",), before: bool = False, day: date = SESSION
) -> Heard:
    """Ask for the minutes of a day on which some, or all, are silent, and of which no daily history speaks yet."""
    if before:
        lab.run([BEFORE])
    bars = [OfBars("history", FAULTS["no_data"], symbol=symbol, times=None) for symbol in silent]
    lab.options = {"faults": ScriptedFaults([*strikes, *bars])}
    with lab.at(after(day)) as work:
        Discovery(work).publish(day)
        ingest_minutes(work, [day])
        entries = work.gate._embedded.history_ledger.entries
        newest = ledger(lab, day).sort("asked_at").unique("symbol", keep="last")
        names = dict(newest.select("con_id", "symbol").iter_rows())
        asked = [names[one.request.contract.con_id] for one in entries if one.request.what == "SCHEDULE"]
    return Heard(asked, {row["symbol"]: (row["outcome"], row["proof"]) for row in newest.to_dicts()})


def doubted(*names: str) -> dict[str, tuple[str, str]]:
    return dict.fromkeys(names, ("no_data", ""))


def test_silent_shares_of_an_exchange_that_tws_has_told_to_be_open_are_not_asked_about(tmp_path):
    """They traded the day before, so one of them tells, before any is asked for again."""
    found = heard(Lab(tmp_path, FOUR), before=True)
    assert len(found.schedules) == 1
    assert found.said == doubted("QEND", "QFID", "QMKT", "QUTB")


def test_what_was_told_in_an_earlier_run_is_not_asked_again(tmp_path):
    lab = Lab(tmp_path, FOUR)
    heard(lab, before=True)
    with lab.at(after(SESSION) + timedelta(hours=13)) as work:
        ingest_minutes(work, [SESSION])
        entries = work.gate._embedded.history_ledger.entries
        assert {one.request.what for one in entries} == {"TRADES"}


def test_silent_shares_of_an_exchange_with_bars_are_not_asked_about(tmp_path):
    found = heard(Lab(tmp_path, FOUR), silent=("QEND", "QFID", "QUTB"))
    assert found.schedules == []
    assert found.said == {**doubted("QEND", "QFID", "QUTB"), "QMKT": ("bars", "complete")}


def test_where_all_are_silent_one_that_has_the_session_speaks_for_its_exchange(tmp_path):
    found = heard(Lab(tmp_path, FOUR))
    assert len(found.schedules) == 1
    assert found.said == doubted("QEND", "QFID", "QMKT", "QUTB")


def test_one_that_tws_denies_speaks_for_nobody_and_the_next_is_asked(tmp_path):
    denied = [
        OfSchedules("history", FAULTS["no_data"], times=1),
        OfSchedules("history", FAULTS["query_failed"], times=2),
    ]
    found = heard(Lab(tmp_path, FOUR), *denied)
    assert len(set(found.schedules)) == 3, "no data, a failure that is tried twice, and an answer"
    assert found.said == doubted("QEND", "QFID", "QMKT", "QUTB")


def test_a_session_that_one_share_lacks_is_not_settled_for_another_one(tmp_path):
    """It may have left the exchange: the next is asked, and has the session, so the exchange was open."""
    lab = Lab(tmp_path, FOUR)
    first = heard(lab).schedules[0]
    other = Lab(tmp_path / "other", FOUR, market=lambda seed=7: Differing(seed, (first,)))
    found = heard(other)
    assert (found.schedules[0], len(found.schedules)) == (first, 2)
    assert found.said == doubted("QEND", "QFID", "QMKT", "QUTB")


def test_a_session_that_all_lack_is_closed_by_the_schedule_of_each(tmp_path):
    """None of them is known to have traded, so none speaks for the others."""
    lab = Lab(tmp_path, FOUR, market=lambda seed=7: Differing(seed, ("QEND", "QFID", "QMKT", "QUTB")))
    found = heard(lab)
    assert sorted(found.schedules) == ["QEND", "QFID", "QMKT", "QUTB"]
    assert found.said == dict.fromkeys(("QEND", "QFID", "QMKT", "QUTB"), ("closed", "schedule"))


def test_silent_futures_are_asked_about_one_by_one_and_coins_never(tmp_path):
    lab = abroad(tmp_path, {"QESH7": lacking("CMES", THURSDAY)}, FUTURE, LATER, COIN)
    found = heard(lab, day=THURSDAY)
    assert sorted(found.schedules) == ["QESH7", "QESZ6"]
    assert found.said == {"QESH7": ("closed", "schedule"), **doubted("QESZ6", "BTC.USD")}

"""Ingestion asks for what is missing, once; what it says about it is true."""

import asyncio
import threading
import time
from collections import Counter
from datetime import date, timedelta

import polars as pl
import pytest

from quant_assets.connectors.tws import PacingBudget
from quant_assets.connectors.tws.retry import Outcome
from quant_assets.connectors.tws.retry import fetch_with_lulls as real_fetch
from quant_assets.domain.tables import (
    CURATED_TWS_1D_BARS,
    RAW_INSTRUMENTS,
    RAW_TWS_BARS,
    RAW_TWS_DAILY_BARS,
    RAW_TWS_REQUESTS,
    RAW_TWS_SCHEDULES,
    UNIVERSE,
)
from quant_assets.errors import (
    ConfigurationError,
    CorruptFileError,
    EmptyUniverseError,
    NotPublishedError,
    SourceUnavailableError,
)
from quant_assets.flows.curate import Curator
from quant_assets.flows.discover import Discovery
from quant_assets.flows.ingest import daily as daily_module
from quant_assets.flows.ingest import groups, ingest_daily, ingest_details, ingest_minutes, vintages
from quant_assets.flows.ingest import minutes as minutes_module
from quant_assets.flows.ingest.judging import DailyJudge
from quant_assets.flows.ingest.witnesses import daily_volumes
from quant_assets.flows.ingested import raw_daily, raw_details, raw_minutes
from quant_assets.gateway.faults import Fault, ScriptedFaults, Strike
from quant_assets.gateway.faults.vocabulary import FAULTS
from quant_assets.gateway.synthetic import SyntheticMarket
from quant_assets.lakehouse.layout import Partition
from quant_assets.lakehouse.store import RawStore
from quant_assets_tests.builders import CON_ID, vintage
from quant_assets_tests.unit.flows.hours import closing, without
from quant_assets_tests.unit.flows.lab import SESSION, Lab, after, daily, files, market, window

AT = Partition(SESSION)


@pytest.fixture
def lab(tmp_path):
    return Lab(tmp_path)


def test_the_second_run_asks_nothing_and_rewrites_nothing(lab):
    sessions = window(SESSION, 2)
    first = lab.run(sessions)
    before = files(lab.root)
    assert first.requests == 4 + 4 * 2 + 4 * 2  # names, minutes, two daily series
    second = lab.run(sessions)
    assert second.requests == 0
    assert files(lab.root) == before
    assert second.n_written == 0
    assert all(one.is_committed for one in second.published)
    assert lab.run(sessions, after(SESSION) + timedelta(days=30)).requests == 0


def test_bronze_that_breaks_its_rules_is_kept_and_named(lab):
    lab.run([SESSION])
    rows = lab.lake.raw.read(RAW_TWS_BARS, AT).head(2)
    odd = rows.with_columns(answer_row=pl.lit(-1, pl.Int64), batch_id=pl.lit("b9"), request_id=pl.lit("b9-000"))
    lab.lake.raw.append(RAW_TWS_BARS, AT, odd, "b9")
    with lab.at(after(SESSION)) as work:
        for published in (raw_minutes(work, SESSION, {}), raw_minutes(work, SESSION, {})):
            assert published.is_committed
            assert not published.findings[1].blocking
            assert published.findings[1].message == f"{SESSION}: answer_row: ge fails in 2 rows, such as -1"


def test_published_bars_are_the_markets_own(lab):
    lab.run([SESSION])
    expected = {x.instrument.con_id: x.instrument for x in market().listings}
    frame = daily(lab, SESSION)
    assert frame["con_id"].n_unique() == 4
    for (con_id,), rows in frame.group_by("con_id"):
        served = market().daily_bars(expected[con_id], window(SESSION, 30)[0], SESSION, "TRADES", after(SESSION))
        assert rows.sort("session")["close"].to_list() == served["close"].to_list()
    assert set(frame["known_basis"]) == {"observed"}
    assert frame["coverage"].to_list() == [1.0] * 120


def test_details_are_kept_as_tws_served_them(lab):
    lab.run([SESSION])
    rows = lab.lake.raw.read(RAW_INSTRUMENTS, AT)
    assert set(rows["exchange"]) == {"SMART"}
    assert set(rows["primary_exchange"]) == {"ARCA", "NYSE", "NASDAQ"}


# ------------------------------------------------------------ crashes and faults


class CrashError(Exception):
    """What a crash looks like from inside."""


def crash_after(monkeypatch, n_commits, table):
    append, done = RawStore.append_all, []

    def counted(self, which, *args):
        if which is table:
            if len(done) >= n_commits:
                raise CrashError
            done.append(which)
        return append(self, which, *args)

    monkeypatch.setattr(RawStore, "append_all", counted)


@pytest.mark.parametrize("n_groups", [0, 1, 4])
def test_after_a_crash_only_the_missing_minutes_are_asked_for(lab, monkeypatch, n_groups):
    sessions = window(SESSION, 3)
    monkeypatch.setattr(groups, "GROUP", 2)
    with lab.at(after(SESSION)) as work:
        for session in sessions:
            Discovery(work).publish(session)
    with monkeypatch.context() as patched, lab.at(after(SESSION)) as work:
        crash_after(patched, n_groups, RAW_TWS_BARS)
        with pytest.raises(CrashError):
            ingest_minutes(work, sessions)
    with lab.at(after(SESSION)) as work:
        report = ingest_minutes(work, sessions)
        assert report.n_requests == work.gate.requests_served() == 12 - 2 * n_groups
    undisturbed = Lab(lab.root / "other")
    undisturbed.run(sessions)
    for session in sessions:
        for table in (RAW_TWS_BARS,):
            ids = {one.lake.raw.content_id(table, Partition(session)) for one in (lab, undisturbed)}
            assert len(ids) == 1


def test_after_a_crash_only_the_missing_daily_series_are_asked_for(lab, monkeypatch):
    monkeypatch.setattr(groups, "GROUP", 2)
    with lab.at(after(SESSION)) as work:
        Discovery(work).publish(SESSION)
    with monkeypatch.context() as patched, lab.at(after(SESSION)) as work:
        crash_after(patched, 3, RAW_TWS_DAILY_BARS)
        with pytest.raises(CrashError):
            ingest_daily(work, [SESSION])
    with lab.at(after(SESSION)) as work:
        assert ingest_daily(work, [SESSION]).n_requests == work.gate.requests_served() == 2
        assert raw_daily(work, SESSION, {}).is_committed


def test_after_a_crash_only_the_missing_overlaps_are_asked_for(lab, monkeypatch):
    """Two instruments of four, with both their series, were safe; one by one, in the order of their numbers."""
    before, day = window(SESSION, 2)
    lab.run([before])
    lab.tws = {"max_in_flight": 1}
    monkeypatch.setattr(groups, "GROUP", 2)
    with monkeypatch.context() as patched, lab.at(after(day)) as work:
        Discovery(work).publish(day)
        crash_after(patched, 2, RAW_TWS_DAILY_BARS)
        with pytest.raises(CrashError):
            ingest_daily(work, [day])
    with lab.at(after(day)) as work:
        assert ingest_daily(work, [day]).n_requests == work.gate.requests_served() == 4
        assert raw_daily(work, day, {}).is_committed
        assert not work.lake.raw.read(RAW_TWS_DAILY_BARS, Partition(day))["is_full"].any()


def test_the_socket_is_read_while_a_group_is_committed(lab, monkeypatch):
    """The first commit waits until a later request has been asked: it never would be, did the commit hold the loop."""
    monkeypatch.setattr(groups, "GROUP", 1)
    append_all, waited = RawStore.append_all, []
    with lab.at(after(SESSION)) as work:
        Discovery(work).publish(SESSION)
        n_before = work.gate.requests_served()

        def patient(self, table, frames, batch_id):
            deadline = time.monotonic() + 20
            while not waited and work.gate.requests_served() < n_before + 3 and time.monotonic() < deadline:
                time.sleep(0.005)
            waited.append(work.gate.requests_served() - n_before)
            return append_all(self, table, frames, batch_id)

        monkeypatch.setattr(RawStore, "append_all", patient)
        monkeypatch.setattr("quant_assets.flows.gate.TwsGate.budget", PacingBudget(in_flight=1))
        ingest_minutes(work, [SESSION])
    assert waited[0] >= 3


@pytest.fixture
def looked_through(monkeypatch):
    """How often the whole of what a daily judge or a minute ingestion knows was filtered, by the name it has there."""
    owners, seen, filtered = [], Counter(), pl.DataFrame.filter

    def owning(which):
        init = which.__init__

        def noted(self, *of):
            owners.append(self)
            init(self, *of)

        monkeypatch.setattr(which, "__init__", noted)

    def noted(self, *of, **more):
        names = ("stored", "_minutes", "_daily")
        seen.update(name for owner in owners for name in names if vars(owner).get(name) is self)
        return filtered(self, *of, **more)

    owning(DailyJudge)
    owning(minutes_module._MinuteIngest)
    monkeypatch.setattr(pl.DataFrame, "filter", noted)
    return seen


def test_what_is_stored_is_not_looked_through_for_each_answer(lab, looked_through):
    """Eight overlaps on the second day, each of which is judged twice; then windows of a series that ended before."""
    for day in window(SESSION, 2):
        lab.run([day])
    ended = date(2024, 12, 3)
    place = market().find(after(ended), symbol="QINE").primary_exchange
    other = Lab(lab.root / "other", ("ARCA:QMKT", f"{place}:QINE"), lookback=20)
    assert other.run([ended]).requests > 0
    assert +looked_through == {}


def test_what_the_daily_history_knows_is_looked_through_once(lab, looked_through):
    """All four are silent, and each is weighed in three rounds."""
    lab.options = {"faults": ScriptedFaults([Strike("history", FAULTS["no_data"], times=None)])}
    with lab.at(after(SESSION)) as work:
        Discovery(work).publish(SESSION)
        assert set(ingest_minutes(work, [SESSION]).outcomes) == {"no_data"}
    assert looked_through["_daily"] == 1


@pytest.fixture
def on_the_loop(monkeypatch):
    """Which tables are committed on the thread that reads the socket, and which elsewhere."""
    append_all, seen = RawStore.append_all, {True: set(), False: set()}

    def noted(self, table, frames, batch_id):
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            seen[False].add(table.name)
        else:
            seen[True].add(table.name)
        return append_all(self, table, frames, batch_id)

    monkeypatch.setattr(RawStore, "append_all", noted)
    return seen


def test_no_daily_history_is_committed_where_the_socket_is_read(lab, on_the_loop):
    """Full windows on the first day, overlaps on the second."""
    for day in window(SESSION, 2):
        lab.run([day])
    assert on_the_loop[True] == set()
    assert on_the_loop[False] >= {"raw_tws_daily_bars", "raw_tws_bars", "raw_tws_requests"}


def test_no_schedule_is_committed_where_the_socket_is_read(tmp_path, on_the_loop):
    """New York closes early on one day, and does not open on the next; the calendar knows neither."""
    short, shut = window(SESSION, 2)
    hours = closing(short, "17:00", without(shut))
    lab = Lab(tmp_path, ("ARCA:QMKT", "NYSE:QFID", "LSE:QLNA"), lakehouse={"calendars": ("XNYS", "XLON")})
    lab.market = lambda seed=7: SyntheticMarket(seed, hours)
    lab.run([short])
    lab.run([shut])
    assert lab.lake.raw.read(RAW_TWS_SCHEDULES, Partition(shut))["opens_at"].to_list() == [None]
    assert on_the_loop[True] == set()
    assert "raw_tws_schedules" in on_the_loop[False]


def test_a_commit_that_is_cancelled_comes_to_its_end_first():
    """What follows on a cancellation commits the rest, and must not meet a commit that is half done."""
    begun, may_end, done = threading.Event(), threading.Event(), []

    def commit(what):
        begun.set()
        may_end.wait()
        done.append(what)

    async def cancelled():
        task = asyncio.create_task(groups.apart(commit, "a group"))
        await asyncio.to_thread(begun.wait)
        task.cancel()
        for _ in range(10):
            await asyncio.sleep(0)
        assert not task.done()
        may_end.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert done == ["a group"]

    asyncio.run(cancelled())


@pytest.mark.parametrize(("group_bars", "n_commits"), [(1, 4), (700, 2), (10**6, 1)])
def test_a_group_is_full_by_its_bars_as_well(lab, monkeypatch, group_bars, n_commits):
    monkeypatch.setattr(minutes_module, "GROUP_BARS", group_bars)
    monkeypatch.setattr(groups, "OLDEST_S", 600.0)
    with lab.at(after(SESSION)) as work:
        Discovery(work).publish(SESSION)
        ingest_daily(work, [SESSION])
        ingest_minutes(work, [SESSION])
    assert len(lab.lake.raw.batches(RAW_TWS_BARS, AT)) == n_commits
    assert lab.lake.raw.read(RAW_TWS_BARS, AT)["con_id"].n_unique() == 4


def lost_after(n_answers):
    """The real way to ask, but the source is gone for good after some answers."""

    async def fetch(*arguments):
        n = 0
        async for outcome in real_fetch(*arguments):
            if outcome is None:
                continue
            n += 1
            gone = SourceUnavailableError("127.0.0.1:7497", "the connection was lost", "Start TWS.")
            yield outcome if n <= n_answers else Outcome(outcome.planned, gone)

    return fetch


def test_an_outage_keeps_what_had_arrived(lab, monkeypatch):
    with lab.at(after(SESSION)) as work, monkeypatch.context() as patched:
        Discovery(work).publish(SESSION)
        patched.setattr(daily_module, "fetch_with_lulls", lost_after(5))
        with pytest.raises(SourceUnavailableError):
            ingest_daily(work, [SESSION])
        kept = work.lake.raw.read(RAW_TWS_REQUESTS, AT)
        assert kept.height == 5
        assert set(kept["outcome"]) == {"bars"}
        published = raw_daily(work, SESSION, {})
        assert not published.is_committed
        assert "no reliable answer" in published.reason
    with lab.at(after(SESSION)) as work:
        assert ingest_daily(work, [SESSION]).n_requests == 3
        assert raw_daily(work, SESSION, {}).is_committed


def test_timeouts_are_unsettled_and_the_session_is_not_published(lab):
    lab.options = {"faults": ScriptedFaults([Strike("history", Fault("hang"), symbol="QFID", times=None)])}
    lab.tws = {"request_timeout_s": 1.5, "attempts": 1}
    with lab.at(after(SESSION)) as work:
        Discovery(work).publish(SESSION)
        ingest_details(work, [SESSION])
        assert ingest_minutes(work, [SESSION]).outcomes == {"bars": 3, "timeout": 1}
        assert ingest_daily(work, [SESSION]).outcomes == {"bars": 6, "timeout": 2}
        for judged in (raw_minutes(work, SESSION, {}), raw_daily(work, SESSION, {})):
            assert not judged.is_committed
            assert "QFID" in judged.reason
            assert "run the session again" in judged.reason
        with pytest.raises(NotPublishedError, match=r"1 instruments are open \(QFID"):
            Curator(work).minute_bars(SESSION)
    lab.options = {}
    again = lab.run([SESSION])
    assert again.requests == 1 + 2
    assert all(one.is_committed for one in again.published)


def test_when_every_short_overlap_times_out_the_run_ends_with_words_not_with_a_stack(lab):
    days = window(SESSION, 2)
    lab.run(days[:1])
    lab.options = {"faults": ScriptedFaults([Strike("history", Fault("hang"), times=None)])}
    lab.tws = {"request_timeout_s": 1.5, "attempts": 1}
    with lab.at(after(SESSION)) as work:
        Discovery(work).publish(SESSION)
        assert ingest_daily(work, [SESSION]).outcomes == {"timeout": 8}
        assert not raw_daily(work, SESSION, {}).is_committed


def test_a_refusal_is_told_and_is_not_asked_again_before_the_throttle(lab):
    text = "No market data permissions for ISLAND STK"
    lab.options = {"faults": ScriptedFaults([Strike("history", Fault("error", 354, text), symbol="QUTB", times=None)])}
    lab.run([SESSION])
    with lab.at(after(SESSION)) as work:
        published = raw_minutes(work, SESSION, {})
        assert published.is_committed
        (told,) = [f for f in published.findings if not f.passed]
        assert told.check == "every_instrument_permitted"
        assert told.message.startswith(f"QUTB: no permission, 1 min TRADES of {SESSION}. TWS refused 1 ")
        assert f"(error 354: {text}). Subscribe to" in told.message
    assert lab.run([SESSION]).requests == 0
    lab.options = {}
    assert lab.run([SESSION], after(SESSION) + timedelta(hours=13)).requests == 3


# ------------------------------------------------------------ who is asked


def test_an_instrument_without_bars_is_an_outcome_and_is_not_asked_again(lab):
    """QINE was delisted on 2024-10-18: TWS still knows it, and has no bars after that."""
    session = date(2024, 12, 3)
    lab.symbols = [
        "NYSE:QINE" if market().find(after(session), symbol="QINE").primary_exchange == "NYSE" else "NASDAQ:QINE",
        "ARCA:QMKT",
    ]
    lab.lookback = 20
    first = lab.run([session])
    ledger = lab.lake.raw.read(RAW_TWS_REQUESTS, Partition(session)).filter(pl.col("symbol") == "QINE")
    by_day = ledger.filter(pl.col("bar_size") == "1 day").sort("asked_at")
    for _, series in by_day.group_by("what_to_show"):
        asked = series.select("outcome", "proof", "duration").rows()
        assert asked == [("no_data", "", "21 D"), ("truncated", "", "20 Y"), ("no_trades", "agreement", "21 Y")]
    by_minute = ledger.filter(pl.col("bar_size") == "1 min").select("outcome", "proof").rows()
    assert by_minute == [("no_data", "daily")]
    assert first.requests == 2 + (2 + 6) + 1 + 1 + 2, "names, days, a head timestamp, a look for minutes, minutes"
    assert all(one.is_committed for one in first.published)
    assert lab.run([session]).requests == 0
    following = window(date(2024, 12, 4), 1)
    assert lab.run(following).requests == 2 + (2 + 1) + 4, "and QMKT's session before is read once more"
    assert lab.run(following).requests == 0


def test_daily_history_that_comes_later_proves_a_nothing_without_another_request(lab):
    """QINE was delisted on 2024-10-18; nobody knew it yet when two requests for minutes brought nothing."""
    session = date(2024, 12, 3)
    place = market().find(after(session), symbol="QINE").primary_exchange
    lab.symbols, lab.lookback = [f"{place}:QINE", "ARCA:QMKT"], 20
    with lab.at(after(session)) as work:
        Discovery(work).publish(session)
        ingest_minutes(work, [session])
        assert said_of_minutes(work, session) == [("no_data", ""), ("no_data", "")]
        ingest_daily(work, [session])
        assert ingest_minutes(work, [session]).n_requests == 0
        assert said_of_minutes(work, session)[2:] == [("no_data", "daily")]
        ingest_minutes(work, [session])
        assert len(said_of_minutes(work, session)) == 3


def said_of_minutes(work, session) -> list[tuple[str, str]]:
    ledger = work.lake.raw.read(RAW_TWS_REQUESTS, Partition(session)).sort("asked_at")
    return ledger.filter(symbol="QINE", bar_size="1 min").select("outcome", "proof").rows()


def test_an_unknown_symbol_is_named_with_its_list(lab):
    lab.symbols = [*lab.symbols, "NYSE:NOSUCH", "NASDAQ:QEND"]
    with pytest.raises(ConfigurationError, match=r"list:core: TWS knows no such instrument: NASDAQ:QEND, NYSE:NOSUCH"):
        lab.run([SESSION])
    assert not lab.lake.curated.partitions(UNIVERSE)


@pytest.mark.parametrize("name", ["../QMKT", "NYSE:../../etc", "NYSE:A/B", "..:QMKT"])
def test_a_symbol_that_could_leave_its_directory_is_refused_before_anything_is_asked(lab, name):
    lab.symbols = [*lab.symbols, f"'{name}'"]
    refused = pytest.raises(
        ConfigurationError, match=r"core\.yaml: key 'symbols.\d+', .* is not a legal (exchange|symbol)"
    )
    with lab.at(after(SESSION)) as work, refused:
        Discovery(work).publish(SESSION)
    assert work.gate.requests_served() == 0


def test_an_empty_universe_is_an_error_that_says_where_to_add(lab):
    settings = lab.settings()
    (settings.configs / "lists" / "core.yaml").write_text("symbols: []\n")
    lab.settings = lambda: settings
    with pytest.raises(EmptyUniverseError, match="configs/lists"):
        lab.run([SESSION])


def test_a_closed_port_says_what_to_do(lab):
    lab.tws = {"mode": "live", "port": 1, "connect_timeout_s": 1}
    with pytest.raises(SourceUnavailableError) as caught:
        lab.run([SESSION])
    assert "127.0.0.1:1" in str(caught.value)
    assert caught.value.exit_code == 75
    assert caught.value.mend
    assert not lab.lake.curated.partitions(UNIVERSE)


def test_a_missing_universe_is_named(lab):
    with lab.at(after(SESSION)) as work:
        for ask in (ingest_minutes, ingest_daily, ingest_details):
            with pytest.raises(NotPublishedError, match="universe"):
                ask(work, [SESSION])
        assert work.gate.requests_served() == 0


def test_an_instrument_that_tws_no_longer_knows_does_not_stop_the_others(lab):
    with lab.at(after(SESSION)) as work:
        Discovery(work).publish(SESSION)
    text = "No security definition has been found for the request"
    lab.options = {
        "faults": ScriptedFaults([Strike("contract_details", Fault("error", 200, text), symbol="QFID", times=None)])
    }
    with lab.at(after(SESSION)) as work:
        report = ingest_details(work, [SESSION])
        assert report.n_rows == 3
        judged = raw_details(work, SESSION, {})
        assert judged.is_committed
        (told,) = [f for f in judged.findings if not f.passed]
        assert "QFID" in told.message
        assert "configs/lists" in told.message
        assert [row["symbol"] for row in told.metadata["given_up"]] == ["QFID"]
    lab.options = {}
    with lab.at(after(SESSION)) as work:
        assert ingest_details(work, [SESSION]).n_requests == 1
        assert all(f.passed for f in raw_details(work, SESSION, {}).findings)


def test_a_new_member_is_fetched_and_the_others_are_left_alone(lab):
    lab.run([SESSION])
    lab.symbols = [*lab.symbols, "NASDAQ:QFIA"]
    ran = lab.run([SESSION])
    assert ran.requests == 1 + 1 + 2
    assert lab.run([SESSION]).requests == 0


def test_members_of_a_past_session_that_were_observed_then_are_kept(lab):
    lab.run([SESSION])
    lab.symbols = [*lab.symbols[1:], "NASDAQ:QFIA"]
    lab.run([SESSION], after(SESSION) + timedelta(days=3))
    members = dict(lab.lake.curated.read(UNIVERSE, AT).select("symbol", "is_pit").iter_rows())
    assert members == {"QMKT": True, "QFID": True, "QUTB": True, "QEND": True, "QFIA": False}


# ------------------------------------------------------------ what the days say of the minutes


def test_a_day_that_only_the_adjusted_series_has_is_no_day_without_trades(lab):
    """The trades of the day before the last are gone, and their series was believed: the adjusted one speaks up."""
    days = window(SESSION, 4)
    closes = dict.fromkeys(days, 10.0)
    trades = vintage({day: close for day, close in closes.items() if day not in days[1:3]}, SESSION)
    adjusted = vintage({day: close for day, close in closes.items() if day != days[1]}, SESSION, what="ADJUSTED_LAST")
    bars = pl.concat([trades, adjusted]).with_columns(pl.lit("b1").alias("batch_id"))
    row = {"con_id": CON_ID, "symbol": "S", "source": "TWS", "bar_size": "1 day", "what_to_show": "TRADES"}
    row |= {"use_rth": True, "session": SESSION, "outcome": "bars", "proof": "agreement", "detail": "", "n_rows": 2}
    row |= {"asked_from": days[0], "duration": "4 D", "asked_at": after(SESSION), "ingested_at": after(SESSION)}
    row |= {"batch_id": "b1", "bars_batch_id": "b1", "request_id": "b1-000", "pipeline_version": "0"}
    with lab.at(after(SESSION)) as work:
        work.lake.raw.append(RAW_TWS_DAILY_BARS, AT, bars, "b1")
        work.lake.raw.append(RAW_TWS_REQUESTS, AT, RAW_TWS_REQUESTS.frame([row]), "b1")
        told = dict(daily_volumes(work, days).select("session", "daily_volume").iter_rows())
    assert told[days[1]] == 0.0, "no series has it"
    assert told[days[2]] is None, "it traded, and nobody says how much"
    assert told[days[0]] == told[days[3]] == trades["volume"][0] > 0


# ------------------------------------------------------------ bronze that got lost


@pytest.mark.parametrize(("table", "n_requests"), [(RAW_TWS_BARS, 4), (RAW_TWS_DAILY_BARS, 8)])
def test_a_corrupt_batch_that_is_moved_aside_is_fetched_again(lab, table, n_requests):
    lab.run([SESSION])
    before = lab.content()
    path = lab.lake.raw.batches(table, AT)[0]
    path.write_bytes(path.read_bytes()[:100])
    (lab.lake.layout.file(CURATED_TWS_1D_BARS, AT)).unlink()
    with pytest.raises(CorruptFileError) as caught, lab.at(after(SESSION)) as work:
        work.lake.raw.read(table, AT)
    assert "after moving it aside" in str(caught.value)
    path.rename(path.with_suffix(".bad"))
    again = lab.run([SESSION])
    assert again.requests == n_requests
    assert all(one.is_committed for one in again.published)
    assert {k: v for k, v in lab.content().items() if k[0] != "raw_tws_requests"} == {
        k: v for k, v in before.items() if k[0] != "raw_tws_requests"
    }


# ------------------------------------------------------------ vintages


def test_the_next_day_fetches_short_overlaps_only(lab):
    days = window(SESSION, 3)
    lab.run(days[:1])
    for day in days[1:]:
        ran = lab.run([day])
        assert ran.requests == 4 + (4 + 4) + 8, "and the session before is read once more"
        rows = lab.lake.raw.read(RAW_TWS_DAILY_BARS, Partition(day))
        assert rows.filter(~pl.col("is_full")).group_by("con_id", "what_to_show").len()["len"].to_list()
        frame = daily(lab, day)
        assert frame.group_by("con_id").len()["len"].to_list() == [30] * 4
        assert frame["session"].max() == day
    short = lab.lake.raw.read(RAW_TWS_DAILY_BARS, Partition(days[1]))
    assert short.filter(~pl.col("is_full")).height > 0
    assert lab.run([days[2]]).requests == 0


def split_near(year):
    events = market().planted_events(date(year, 1, 1), date(year, 12, 31))
    return next(row for row in events.filter(pl.col("kind") == "split").iter_rows(named=True))


def test_a_split_between_vintages_fetches_the_whole_window_on_the_new_basis(lab):
    split = split_near(2024)
    before, day = window(split["session"], 2)
    exchange = market().find(after(day), symbol=split["symbol"]).primary_exchange
    lab.symbols = [f"{exchange}:{split['symbol']}", "ARCA:QMKT"]
    lab.run([before])
    ran = lab.run([day])
    assert ran.requests == 2 + (2 + 2) + 4 + 2, "and the session before is read once more"
    rows = lab.lake.raw.read(RAW_TWS_DAILY_BARS, Partition(day)).filter(pl.col("symbol") == split["symbol"])
    assert rows["is_full"].all()
    frame = daily(lab, day).filter(pl.col("symbol") == split["symbol"])
    served = market().daily_bars(
        market().find(after(day), symbol=split["symbol"]), window(day, 30)[0], day, "TRADES", after(day)
    )
    assert frame["close"].to_list() == served["close"].to_list()
    old = daily(lab, before).filter(pl.col("symbol") == split["symbol"])
    ratio = (old.join(frame, on="session")["close"] / old.join(frame, on="session")["close_right"]).median()
    assert ratio == pytest.approx(float(split["detail"]), rel=1e-3)
    assert lab.run([day]).requests == 0


def test_every_window_stands_on_a_full_one_for_more_than_a_month(lab, monkeypatch):
    """The reader looks back at a bounded number of vintages: the full window must be renewed before it falls out."""
    monkeypatch.setattr(vintages, "FULL_EVERY", 4)
    lab.symbols = ["ARCA:QMKT"]
    for day in window(SESSION, 11):
        lab.run([day])
        assert daily(lab, day)["session"].to_list() == window(day, 30), day


def test_a_range_over_missed_sessions_serves_each_of_them(lab):
    lab.symbols = ["ARCA:QMKT"]
    days = window(SESSION, 6)
    lab.run([days[0]])
    lab.run([days[5]])
    lab.run(days)
    for day in days:
        assert daily(lab, day)["session"].to_list() == window(day, 30), day
    assert lab.run(days).requests == 0


def test_a_longer_lookback_fetches_deeper_once(lab):
    lab.symbols = ["ARCA:QMKT"]
    lab.run([SESSION])
    lab.lookback = 45
    assert lab.run([SESSION]).requests == 2
    assert daily(lab, SESSION)["session"].to_list() == window(SESSION, 45)
    assert lab.run([SESSION]).requests == 0
    lab.lookback = 20
    assert lab.run([SESSION]).requests == 0
    assert daily(lab, SESSION).height == 20


def test_a_short_lookback_never_loses_its_full_window(lab, monkeypatch):
    monkeypatch.setattr(vintages, "FULL_EVERY", 3)
    lab.symbols, lab.lookback = ["ARCA:QMKT"], 5
    for day in window(SESSION, 6):
        lab.run([day])
        assert daily(lab, day)["session"].to_list() == window(day, 5), day


def test_a_backfill_of_an_old_session_uses_the_window_that_was_fetched_for_it(lab, monkeypatch):
    monkeypatch.setattr(vintages, "FULL_EVERY", 3)
    lab.symbols, lab.lookback = ["ARCA:QMKT"], 12
    days = window(SESSION, 8)
    for day in days[:7]:
        lab.run([day])
    old = window(days[0], 6)[0]
    lab.run([old], after(SESSION))
    frame = daily(lab, old)
    assert frame["session"].to_list() == window(old, 12)
    assert set(frame["known_basis"]) == {"assumed"}
    assert lab.run([old], after(SESSION)).requests == 0
    later = after(CALENDAR_NEXT(SESSION))
    assert lab.run([old], later).requests == 0


def CALENDAR_NEXT(day):  # noqa: N802
    from quant_assets_tests.builders import CALENDAR

    return CALENDAR.following(day)

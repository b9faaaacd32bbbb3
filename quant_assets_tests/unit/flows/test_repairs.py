"""A hole that answers agree on: asked again while the daily volume contradicts, then known, then accepted by a person.

The synthetic market loses 45 minutes of QMAC on 2024-03-15 from its minute bars; the daily bar knows what was traded.
"""

from dataclasses import replace
from datetime import date, timedelta

import polars as pl
import pytest

from quant_assets.domain.features import GROUPS
from quant_assets.domain.tables import BAR_ACCOUNTING, CERTIFIED_SESSIONS, DQ_METRICS, RAW_TWS_REQUESTS
from quant_assets.errors import FutureSessionError, NotASessionError, NotPublishedError, UnknownNameError
from quant_assets.flows.accepting import accept
from quant_assets.flows.care import repair_plan
from quant_assets.flows.certify import certificate_of, certify
from quant_assets.flows.curate import Curator
from quant_assets.flows.data_audit import audit_data
from quant_assets.flows.derive import publish_group
from quant_assets.flows.ingest.ledger import MAX_ASKS
from quant_assets.flows.slate import DERIVED, wipe
from quant_assets.lakehouse.layout import Partition
from quant_assets_tests.unit.flows.lab import Lab, after, flow

SESSION, LOST = date(2024, 3, 15), 45
AT = Partition(SESSION)
SYMBOLS = ("ARCA:QMKT", "NASDAQ:QMAC")


@pytest.fixture
def lab(tmp_path):
    made = Lab(tmp_path, symbols=SYMBOLS)
    made.run([SESSION])
    return made


def reasons(lab, symbol="QMAC"):
    rows = lab.lake.curated.read(BAR_ACCOUNTING, AT).filter(pl.col("symbol") == symbol)
    return dict(rows.select("reason", "minutes").iter_rows())


def durations(lab):
    ledger = lab.lake.raw.read(RAW_TWS_REQUESTS, AT).filter(pl.col("symbol") == "QMAC", pl.col("bar_size") == "1 min")
    return ledger.sort("asked_at")["duration"].to_list()


def repaired(lab, *, asks_known=False):
    """Run the flow as `quant repair` does; returns the requests that it cost."""
    with lab.at(after(SESSION)) as work:
        flow(replace(work, is_repair=True, asks_known=asks_known), [SESSION])
        return work.gate.requests_served()


def planned(lab):
    with lab.at(after(SESSION)) as work:
        plan = repair_plan(work, SESSION, SESSION)
    return [(row["symbol"], row["missing"], row["n_asked"], row["is_known"]) for row in plan.holes.to_dicts()]


def accepted(lab, symbol="QMAC", **options):
    with lab.at(after(SESSION)) as work:
        return accept(work, SESSION, symbol, by="anna", why="the vendor never had them", **options)


def curated(lab):
    with lab.at(after(SESSION)) as work:
        return Curator(work).minute_bars(SESSION)


def certified(lab):
    with lab.at(after(SESSION)) as work:
        for name in ("price_1m", "volume_1m", "tv_technicals_1d"):
            publish_group(work, GROUPS[name, "v1"], SESSION)
        return certify(work, SESSION)


def test_what_answers_agree_on_is_asked_again_while_the_daily_volume_contradicts_and_then_known(lab):
    assert reasons(lab) == {"present": 390 - LOST, "unexplained": LOST}
    assert planned(lab) == [("QMAC", LOST, 2, False)]
    assert lab.run([SESSION]).requests == 0, "an ordinary run leaves it alone"
    for n_asked in range(3, MAX_ASKS + 1):
        assert repaired(lab) == 1, "the one instrument, and nothing else"
        assert planned(lab) == [("QMAC", LOST, n_asked, n_asked == MAX_ASKS)]
    asked = durations(lab)
    assert len(set(asked)) == len(asked) == MAX_ASKS, "each time cut differently"
    assert repaired(lab) == 0
    assert repaired(lab, asks_known=True) == 1
    assert planned(lab) == [("QMAC", LOST, MAX_ASKS + 1, True)]
    assert reasons(lab) == {"present": 390 - LOST, "unexplained": LOST}


def test_a_person_accepts_a_hole_and_the_session_is_certified_with_it_named(lab):
    refused = certified(lab)
    assert not refused.is_committed
    assert f"more than lakehouse.max_unexplained (1.00%): QMAC {LOST} of 390" in refused.reason
    assert f"`quant repair accept --session {SESSION}" in refused.reason
    assert accepted(lab, dry_run=True)["minutes"] == LOST
    assert not lab.lake.layout.overrides.exists()
    assert accepted(lab)["minutes"] == LOST
    assert planned(lab) == [("QMAC", LOST, 2, True)], "left alone from then on"
    curated(lab)
    assert reasons(lab) == {"present": 390 - LOST, "accepted": LOST}
    said = lab.lake.curated.read(BAR_ACCOUNTING, AT).filter(pl.col("reason") == "accepted")["evidence"]
    assert said.to_list() == ["anna: the vendor never had them"]
    assert certified(lab).is_committed
    rows = lab.lake.curated.read(CERTIFIED_SESSIONS, AT)
    assert rows.select("degraded", "accepted").unique().rows() == [("", f"QMAC {LOST} minutes")]
    with lab.at(after(SESSION)) as work:
        assert certificate_of(work, SESSION).accepted == f"QMAC {LOST} minutes"
        assert work.words.doubts() == []
    assert planned(lab) == []


@pytest.mark.parametrize(
    ("day", "error", "sentence"),
    [
        (date(2024, 3, 16), NotASessionError, "2024-03-16 is no session.*closed that day.*2024-03-15, 2024-03-18"),
        (date(2024, 3, 18), FutureSessionError, "2024-03-18 has not closed yet"),
        (date(2024, 3, 14), NotPublishedError, r"bar_accounting\[2024-03-14\]"),
    ],
)
def test_a_hole_is_accepted_in_a_session_that_there_is(lab, day, error, sentence):
    with lab.at(after(SESSION)) as work, pytest.raises(error, match=sentence):
        accept(work, day, "QMAC", by="anna", why="the vendor never had them")


def test_an_accepted_hole_outlives_a_rebuild_and_a_word_can_be_taken_back(lab):
    accepted(lab)
    curated(lab)
    before = lab.content()
    with lab.at(after(SESSION)) as work:
        wipe(work, DERIVED)
    lab.run([SESSION])
    assert lab.content() == before
    assert accepted(lab, takes_back=True)["minutes"] == 0
    curated(lab)
    assert reasons(lab) == {"present": 390 - LOST, "unexplained": LOST}


def test_a_word_that_is_not_curated_yet_leaves_the_session_behind(lab):
    accepted(lab)
    curated(lab)
    assert certified(lab).is_committed
    accepted(lab, takes_back=True)
    with lab.at(after(SESSION)) as work:
        found = certificate_of(work, SESSION)
        warned = [(one.table, one.what) for one in audit_data(work, peek=True) if "overrides.jsonl" in one.what]
    assert found.state == "behind"
    assert "curated_tws_1m_bars was made from an older overrides.jsonl" in found.behind
    assert ("curated_tws_1m_bars", f"was made from an older overrides.jsonl: {SESSION}") in warned
    refused = certified(lab)
    assert "curated_tws_1m_bars was made from an older overrides.jsonl" in refused.reason
    curated(lab)
    with lab.at(after(SESSION)) as work:
        assert certificate_of(work, SESSION).state == "changed", "the taken back minutes count again"


def test_a_word_about_no_hole_is_refused(lab):
    with pytest.raises(UnknownNameError, match="QMAC"):
        accepted(lab, "QMKT")
    with pytest.raises(UnknownNameError, match=r"no instrument '.*' with accepted minutes on "):
        accepted(lab, takes_back=True)
    assert accepted(lab, "NASDAQ:QMAC", dry_run=True)["symbol"] == "QMAC"
    with lab.at(after(SESSION)) as work, pytest.raises(NotPublishedError, match="bar_accounting"):
        accept(work, SESSION - timedelta(days=1), "QMAC", by="anna", why="w")


def test_a_cut_off_word_is_seen(lab):
    accepted(lab)
    lab.lake.layout.overrides.write_text("")
    with lab.at(after(SESSION)) as work:
        assert [(one.problem, one.is_tampering) for one in work.words.doubts()] == [("removed", True)]


def test_imputation_takes_no_hole_off_the_list_and_no_session_past_the_limit(tmp_path):
    lab = Lab(tmp_path, symbols=SYMBOLS, quality={"imputation": FILLED})
    lab.run([SESSION])
    assert reasons(lab) == {"present": 390 - LOST, "imputed_unexplained": LOST}
    assert planned(lab) == [("QMAC", LOST, 2, False)]
    refused = certified(lab)
    assert f"more than lakehouse.max_unexplained (1.00%): QMAC {LOST} of 390" in refused.reason


FILLED = {name: {"method": "ffill", "max_minutes": 60} for name in ("open", "high", "low", "close", "volume")}


# ------------------------------------------------------------ today's limits


def test_a_certificate_is_judged_by_today_s_limits(lab, monkeypatch):
    lab.lakehouse = {"max_unexplained": 0.10}
    curated(lab)
    assert certified(lab).is_committed
    assert state(lab) == ("valid", ())
    lab.lakehouse = {"max_unexplained": 0.20}
    assert state(lab) == ("valid", ()), "what kept a narrower limit keeps a wider one"
    lab.lakehouse = {"max_unexplained": 0.01}
    found, beyond = state(lab)
    assert found == "refused"
    assert beyond == (
        f"5.77% of the expected minutes are unexplained, more than lakehouse.max_unexplained (1.00%): QMAC {LOST} of 390",
    )
    assert not certified(lab).is_committed
    assert "refused" in shown(lab, monkeypatch, "status")


def state(lab):
    with lab.at(after(SESSION)) as work:
        certificate = certificate_of(work, SESSION)
    return certificate.state, certificate.beyond


def test_the_metrics_follow_the_limits(lab):
    def threshold():
        rows = lab.lake.curated.read(DQ_METRICS, AT).filter(pl.col("metric") == "unexplained_share")
        return rows.select("threshold", "status").rows()

    curated(lab)
    assert threshold() == [(0.01, "warn")]
    lab.lakehouse = {"max_unexplained": 0.10}
    curated(lab)
    assert threshold() == [(0.10, "ok")]


def shown(lab, monkeypatch, *args):
    from click.testing import CliRunner

    from quant_assets.cli import cli

    lab.settings()
    monkeypatch.setenv("QUANT_DATA", str(lab.root / "data"))
    monkeypatch.setenv("QUANT_CONFIGS", str(lab.root / "configs"))
    return CliRunner().invoke(cli, args, catch_exceptions=False).output

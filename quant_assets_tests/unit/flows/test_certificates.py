"""A certificate covers what passed, fits together and balances, and loses its word when any of it changes."""

from datetime import timedelta

import polars as pl
import pytest
from click.testing import CliRunner

from quant_assets.domain.features import GROUPS
from quant_assets.domain.tables import (
    BAR_ACCOUNTING,
    CERTIFIED_SESSIONS,
    CURATED_TWS_1D_BARS,
    CURATED_TWS_1M_BARS,
    RAW_TWS_BARS,
    RAW_TWS_DAILY_BARS,
    RAW_TWS_REQUESTS,
    TV_TECHNICALS_1D,
)
from quant_assets.flows.adjust import Adjuster
from quant_assets.flows.certify import CERTIFIED_TABLES, certificate_of, certify
from quant_assets.flows.curate import Curator
from quant_assets.flows.derive import publish_group
from quant_assets.lakehouse.layout import Partition
from quant_assets_tests.unit.flows.lab import PER_MINUTE, SESSION, Lab, after, files

AT = Partition(SESSION)
UNEXPLAINED = (
    "2.56% of the expected minutes are unexplained, more than lakehouse.max_unexplained (1.00%): QMKT 10 of 390; the bars "
    "are published and can be read, but the session has no certificate, so no run uses it; "
    f"`quant repair --sessions {SESSION}` asks TWS again, with --known also for what it gave up; "
    f'`quant repair accept --session {SESSION} --symbol SYMBOL --why "…"` puts on record that nothing is to be had'
)


@pytest.fixture
def lab(tmp_path):
    made = Lab(tmp_path, symbols=("ARCA:QMKT",))
    made.run([SESSION])
    return made


def certified(lab: Lab, *, later: timedelta = timedelta()):
    with lab.at(after(SESSION) + later) as work:
        publish_group(work, GROUPS["tv_technicals_1d", "v1"], SESSION)
        return certify(work, SESSION)


def test_a_whole_session_is_certified_with_the_content_of_every_table(lab):
    published = certified(lab)
    assert published.is_committed, published.reason
    rows = lab.lake.curated.read(CERTIFIED_SESSIONS, AT)
    stands = {table.name: lab.lake.curated.footer(table, AT).content_id for table in CERTIFIED_TABLES}
    assert dict(rows.select("table_name", "content_id").iter_rows()) == stands
    assert rows["certificate_id"].n_unique() == 1
    assert rows["balance"][0] == "390 expected = 390 present + 0 imputed + 0 explained + 0 unexplained"
    with lab.at(after(SESSION)) as work:
        assert certificate_of(work, SESSION).state == "valid"


def test_what_a_lakehouse_holds_only_on_request_is_not_demanded():
    names = {table.name for table in CERTIFIED_TABLES}
    assert not {"positions", "accounts"} & names
    assert {"curated_tws_1m_bars", "curated_tws_1d_bars", "instruments", "universe", "adjustment_factors"} < names


def test_certifying_again_writes_nothing(lab):
    certified(lab)
    before = files(lab.root)
    again = certified(lab, later=timedelta(days=2))
    assert again.report.inserted + again.report.updated == 0
    assert files(lab.root) == before


def test_a_missing_table_is_named_with_its_mend(lab):
    with lab.at(after(SESSION)) as work:
        published = certify(work, SESSION)
        assert certificate_of(work, SESSION).state == "none"
    assert not published.is_committed
    assert published.reason == f"not published: tv_technicals_1d; run `quant flow data --session {SESSION}`"


def test_a_certificate_loses_its_word_when_a_table_changes_and_gets_another_after(lab):
    first = certified(lab).metadata["certificate"]
    bars = lab.lake.curated.read(CURATED_TWS_1M_BARS, AT)
    lab.lake.curated.write(CURATED_TWS_1M_BARS, AT, bars.with_columns(volume=pl.col("volume") + 1), watermark="2030")
    with lab.at(after(SESSION)) as work:
        found = certificate_of(work, SESSION)
    assert (found.state, found.changed, found.certificate_id) == ("changed", ("curated_tws_1m_bars",), first)
    refused = certified(lab)
    assert not refused.is_committed, "features were made from other bars"
    assert "features_price_1m_v1 was made from an older curated_tws_1m_bars" in refused.reason


@pytest.mark.parametrize(
    ("present", "unexplained", "told"),
    [
        (389, 0, "1 instruments do not come out even: QMKT: 389 of 390 expected minutes, smallest entry 0"),
        (380, 10, UNEXPLAINED),
    ],
)
def test_minutes_that_are_lost_are_not_certified(lab, present, unexplained, told):
    rows = lab.lake.curated.read(BAR_ACCOUNTING, AT).filter(pl.col("reason") == "present")
    lost = rows.with_columns(
        kind=pl.lit("unexplained"), reason=pl.lit("unexplained"), minutes=pl.lit(unexplained, pl.Int64)
    )
    found = pl.concat([rows.with_columns(minutes=pl.lit(present, pl.Int64)), lost])
    lab.lake.curated.write(BAR_ACCOUNTING, AT, found, watermark="2030")
    refused = certified(lab)
    assert not refused.is_committed
    assert refused.reason == told


def test_a_daily_history_in_lots_is_not_certified_and_is_asked_for_again(lab):
    """A release that knew no better let it in: a newer answer, in lots, with the words that it is complete."""
    for table, change in (
        (RAW_TWS_DAILY_BARS, {"volume": pl.col("volume") / 100}),
        (RAW_TWS_REQUESTS, {"asked_at": pl.col("asked_at") + pl.duration(minutes=1), "bars_batch_id": pl.lit("b9")}),
    ):
        rows = lab.lake.raw.read(table, AT)
        days = rows.filter(pl.col("bar_size") == "1 day") if table is RAW_TWS_REQUESTS else rows
        again = days.with_columns(
            batch_id=pl.lit("b9"),
            request_id=pl.format("b9-{}", "what_to_show"),
            ingested_at=pl.col("ingested_at") + pl.duration(minutes=1),
            **change,
        )
        lab.lake.raw.append(table, AT, again, "b9")
    with lab.at(after(SESSION) + timedelta(hours=1)) as work:
        curator = Curator(work)
        Adjuster(work).publish(SESSION)
        assert [one.is_committed for one in (*curator.minute_bars(SESSION), curator.daily_bars(SESSION))] == [True] * 5
        for group in PER_MINUTE:
            publish_group(work, group, SESSION)
    refused = certified(lab, later=timedelta(hours=1))
    assert not refused.is_committed
    assert "minutes and daily bar are a hundred times apart in volume: QMKT; `quant flow data" in refused.reason
    mended = lab.run([SESSION], after(SESSION) + timedelta(hours=2))
    assert mended.requests == 2 + 1, "both daily series, and the minutes, of which nobody knows better yet"
    assert certified(lab, later=timedelta(hours=2)).is_committed
    days = lab.lake.curated.read(CURATED_TWS_1D_BARS, AT).filter(pl.col("session") == SESSION)
    assert days["volume"].item() == lab.lake.curated.read(CURATED_TWS_1M_BARS, AT)["volume"].sum()
    assert lab.run([SESSION], after(SESSION) + timedelta(hours=3)).requests == 0


def test_bronze_that_nobody_curated_yet_is_not_certified(lab):
    certified(lab)
    raw = lab.lake.raw.read(RAW_TWS_BARS, AT)
    lab.lake.raw.append(RAW_TWS_BARS, AT, raw.with_columns(batch_id=pl.lit("b9"), request_id=pl.lit("b9-000")), "b9")
    with lab.at(after(SESSION)) as work:
        found = certificate_of(work, SESSION)
    assert (found.state, found.changed) == ("behind", ())
    assert "curated_tws_1m_bars was made from an older raw_tws_bars" in found.behind
    refused = certified(lab)
    assert not refused.is_committed
    assert "curated_tws_1m_bars was made from an older raw_tws_bars" in refused.reason


def test_an_unreadable_table_is_not_certified(lab):
    certified(lab)
    lab.lake.layout.file(TV_TECHNICALS_1D, AT).write_bytes(b"no parquet")
    with lab.at(after(SESSION)) as work:
        assert certificate_of(work, SESSION).changed == ("tv_technicals_1d",)
        assert "not published: tv_technicals_1d" in certify(work, SESSION).reason


def test_an_unreadable_certificate_is_none_and_is_given_again(lab):
    first = certified(lab).metadata["certificate"]
    lab.lake.layout.file(CERTIFIED_SESSIONS, AT).write_bytes(b"no parquet")
    with lab.at(after(SESSION)) as work:
        assert certificate_of(work, SESSION).state == "none"
    assert certified(lab).metadata["certificate"] == first
    with lab.at(after(SESSION)) as work:
        assert certificate_of(work, SESSION).state == "valid"


def test_status_shows_the_certificate(lab, monkeypatch):
    from quant_assets.cli import cli

    published = certified(lab)
    monkeypatch.setenv("QUANT_DATA", str(lab.root / "data"))
    monkeypatch.setenv("QUANT_CONFIGS", str(lab.root / "configs"))
    shown = CliRunner().invoke(cli, ["status"], catch_exceptions=False).output
    assert published.metadata["certificate"][:12] in shown
    assert "valid" in shown

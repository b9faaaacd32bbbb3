"""A word on a quarantined row is knowledge with a time of its own: before it was said, no answer rests on it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

import polars as pl
import pytest

from quant_assets.clock import ManualClock
from quant_assets.domain.features import GROUPS
from quant_assets.domain.tables import (
    BAR_ACCOUNTING,
    CERTIFIED_SESSIONS,
    CURATED_TWS_1M_BARS,
    DQ_METRICS,
    QUARANTINE_TWS_BARS,
    RAW_TWS_BARS,
)
from quant_assets.flows.adjust import Adjuster
from quant_assets.flows.certify import certify
from quant_assets.flows.curate import Curator
from quant_assets.flows.derive import publish_group
from quant_assets.flows.overriding import override, rejected
from quant_assets.flows.past import open_past
from quant_assets.flows.readers import sql_as_of
from quant_assets.flows.tags import create_tag, verify_tag
from quant_assets.flows.work import Work
from quant_assets.lakehouse.layout import Partition
from quant_assets_tests.unit.flows.lab import PER_MINUTE, SESSION, Lab, after, content

AT = Partition(SESSION)
DAY, HOUR = timedelta(days=1), timedelta(hours=1)
STEPS = ("untouched", "released", "revised", "confirmed", "released_again")
"""What happened on each of five days: nothing, a release, a revision of the vendor, and two words that take back."""


@contextmanager
def standing_at(lab: Lab, now: datetime) -> Iterator[Work]:
    with lab.at(now) as work:
        yield replace(work, clock=ManualClock(now))


def rebuilt(lab: Lab, now: datetime) -> None:
    with standing_at(lab, now) as work:
        adjusted, curator = Adjuster(work).publish(SESSION), Curator(work)
        made = (adjusted, *curator.minute_bars(SESSION), curator.daily_bars(SESSION))
        assert all(one.is_committed for one in made)
        for group in (*PER_MINUTE, GROUPS["tv_technicals_1d", "v1"]):
            publish_group(work, group, SESSION)
        assert certify(work, SESSION).is_committed


def arrive(lab: Lab, rows: pl.DataFrame, batch: str, when: datetime) -> None:
    told = rows.with_columns(
        pl.lit(batch).alias("batch_id"),
        pl.lit(f"{batch}-000").alias("request_id"),
        pl.lit(when).cast(RAW_TWS_BARS.schema["ingested_at"]).alias("ingested_at"),
    )
    lab.lake.raw.append(RAW_TWS_BARS, AT, told, batch)


def bars_of_one(lab: Lab, first: int, n: int) -> pl.DataFrame:
    raw = lab.lake.raw.read(RAW_TWS_BARS, AT)
    return raw.filter(pl.col("batch_id") == raw["batch_id"][0]).sort("con_id", "ts").slice(first, n)


@dataclass
class History:
    lab: Lab
    told_at: dict[str, datetime] = field(default_factory=dict)
    """When each step's word was said, or its batch arrived; an hour later the session was curated."""
    published: dict[str, dict[tuple[str, str], str]] = field(default_factory=dict)
    row: str = ""
    """The name of the bar that was multiplied by 100."""
    just_before: float = 0.0
    """The highest close as of just before the release, asked when the release alone had been built."""
    unbuilt: float = 0.0
    """The highest close as of the release, asked when the session had not been curated since."""
    origin: datetime = after(SESSION) + DAY


@pytest.fixture(scope="module")
def history(tmp_path_factory) -> History:
    made = History(Lab(tmp_path_factory.mktemp("words"), symbols=("ARCA:QMKT",)))
    lab = made.lab
    lab.run([SESSION])
    times = pl.when(pl.int_range(pl.len()) == 2).then(100.0).otherwise(1.0)
    bars = bars_of_one(lab, 98, 5)
    made.told_at = {step: made.origin + n * DAY for n, step in enumerate(STEPS)}
    spoiled = bars.with_columns(pl.col(name) * times for name in ("open", "high", "low", "close"))
    arrive(lab, spoiled, "spoiled", made.told_at["untouched"])
    for step, now in made.told_at.items():
        with standing_at(lab, now) as work:
            if step == "revised":
                arrive(lab, bars_of_one(lab, 10, 9).with_columns(pl.col("volume") + 100), "revised", now)
            elif step != "untouched":
                made.row = made.row or rejected(work, [SESSION], rule="toxic_price")[0]["id"]
                override(work, "confirm" if step == "confirmed" else "release", made.row, by="anna", why="the tape")
        if step == "released":
            made.unbuilt, _ = highest(made, now)
        rebuilt(lab, now + HOUR)
        made.published[step] = content(lab.lake)
        if step == "released":
            made.just_before, _ = highest(made, now - timedelta(microseconds=1))
        with standing_at(lab, now + 2 * HOUR) as work:
            create_tag(work, step)
    return made


def highest(history: History, as_of: datetime) -> tuple[float, dict[str, int]]:
    with standing_at(history.lab, history.origin + 9 * DAY) as work:
        found, origins = sql_as_of(work, "SELECT max(close) AS close FROM curated_tws_1m_bars", as_of)
    return found.item(), origins


def test_the_row_was_let_in_and_kept_out_again(history):
    ids = [history.published[step]["curated_tws_1m_bars", AT.key] for step in STEPS]
    assert ids[0] != ids[1]
    assert len({ids[1], ids[2], ids[3]}) == 3
    assert ids[4] == ids[2], "the confirmation was taken back"


@pytest.mark.parametrize(("step", "is_in"), [*zip(STEPS, (False, True, True, False, True), strict=True)])
def test_a_released_row_is_seen_from_its_release_until_it_is_taken_back(history, step, is_in):
    """The bar was multiplied by 100, so the highest close of the session tells whether it is in."""
    told = history.told_at[step]
    for as_of in (told, told + 3 * HOUR, told + DAY - timedelta(microseconds=1)):
        close, origins = highest(history, as_of)
        assert (close > 2000) == is_in, (as_of, origins)


def test_an_instant_before_the_release_does_not_know_it(history):
    assert history.just_before == highest(history, history.told_at["released"] - timedelta(microseconds=1))[0] < 2000


@pytest.mark.parametrize("step", STEPS)
def test_every_table_of_each_state_has_the_content_that_was_published_then(history, step):
    own = (CURATED_TWS_1M_BARS, QUARANTINE_TWS_BARS, BAR_ACCOUNTING, DQ_METRICS, CERTIFIED_SESSIONS)
    with (
        standing_at(history.lab, history.origin + 9 * DAY) as work,
        open_past(work, history.told_at[step] + 2 * HOUR) as past,
    ):
        for table in (*own, *(group.table for group in PER_MINUTE)):
            footer = past.curated.footer(table, AT)
            assert footer is not None, table.name
            assert footer.content_id == history.published[step][table.name, AT.key], table.name


def test_what_stands_answers_from_its_file(history):
    _, origins = highest(history, history.told_at["released_again"] + HOUR)
    assert origins == {"stored": 1}


def test_a_stored_file_that_lacks_a_word_does_not_answer_for_after_it(history):
    assert history.unbuilt == highest(history, history.told_at["released"])[0] > 2000


def test_the_last_word_is_the_newest_knowledge_of_what_was_made_with_it(history):
    """Readers of features as of an instant go by the watermark alone."""
    said = history.told_at["released_again"]
    for table in (CURATED_TWS_1M_BARS, QUARANTINE_TWS_BARS, *(group.table for group in PER_MINUTE)):
        footer = history.lab.lake.curated.footer(table, AT)
        assert datetime.fromisoformat(footer.watermark) == said, table.name


@pytest.mark.parametrize("step", STEPS)
def test_every_tag_is_proved(history, step):
    with standing_at(history.lab, history.origin + 9 * DAY) as work:
        findings = {(one.table, one.partition): one.verdict for one in verify_tag(work, step)}
    now = content(history.lab.lake)
    tagged = history.published[step]
    assert {key for key, verdict in findings.items() if verdict != "same"} == {
        key for key, said in tagged.items() if now[key] != said
    }
    assert set(findings.values()) <= {"same", "proved"}, {k: v for k, v in findings.items() if v == "differs"}

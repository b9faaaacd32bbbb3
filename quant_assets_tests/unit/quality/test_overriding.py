"""A person's word on a quarantined row: it takes effect, it is kept for good, and it ends with the row's values."""

import json
from datetime import timedelta

import polars as pl
import pytest

from quant_assets.domain.tables import QUARANTINE_TWS_BARS, RAW_TWS_BARS
from quant_assets.errors import HardRuleError, UnknownNameError
from quant_assets.flows.overriding import exhibit, find, rejected
from quant_assets.lakehouse.layout import Partition
from quant_assets_tests.unit.flows.lab import after
from quant_assets_tests.unit.quality.spoiled import NEXT, SESSION, curated, rows, say, statuses


def test_a_release_lets_the_row_in_and_rebuilds_its_session_alone(lab):
    other = curated(lab, NEXT)[0]
    (toxic,) = rows(lab, rule="toxic_price")
    say(lab, "release", toxic["id"][:14])
    again = curated(lab)
    assert again[0].report.inserted == 1
    assert statuses(lab) == [(toxic["close"], "warn", "toxic_price;far_outside_daily_range")]
    assert [row["rule"] for row in rows(lab)] == ["ohlc_order"]
    assert curated(lab, NEXT)[0].metadata == {"served_from": "inputs unchanged"}
    assert curated(lab, NEXT)[0].report.content_id == other.report.content_id


def test_rows_are_listed_by_rule_and_verdict_and_unknown_ones_are_refused(lab):
    assert [row["rule"] for row in rows(lab, verdict="bad_print")] == ["toxic_price"]
    assert rows(lab, verdict="level_shift") == [], "a verdict that no row has is no mistake"
    for verdict in {row["verdict"] for row in rows(lab)}:
        assert rows(lab, verdict=verdict)
    with pytest.raises(UnknownNameError, match=r"no verdict 'bad_pint'. Did you mean 'bad_print'\?") as refused:
        rows(lab, verdict="bad_pint")
    assert {"bad_print", "unit_error", "real_move", "missed_split", "level_shift", "shifted"} <= set(
        refused.value.known
    )
    with pytest.raises(UnknownNameError, match="no rule 'foo'"):
        rows(lab, rule="foo")


def test_a_release_is_taken_back_by_a_confirmation_which_keeps_the_verdict(lab):
    (toxic,) = rows(lab, rule="toxic_price")
    say(lab, "release", toxic["id"])
    curated(lab)
    say(lab, "confirm", toxic["id"])
    curated(lab)
    assert statuses(lab) == []
    (back,) = rows(lab, rule="confirmed")
    assert (back["id"], back["verdict"]) == (toxic["id"], "bad_print")
    assert back["evidence"] == "bad_print by toxic_price, as anna confirmed"
    with lab.at(after(NEXT)) as work:
        assert [line["event"] for line in exhibit(work, toxic["id"]).words] == [
            "quarantine_release",
            "quarantine_confirm",
        ]


def test_a_word_ends_with_the_values_that_it_was_about(lab):
    (toxic,) = rows(lab, rule="toxic_price")
    say(lab, "release", toxic["id"])
    (file,) = (path for path in lab.lake.raw.batches(RAW_TWS_BARS, Partition(SESSION)) if path.stem == "late")
    kept = pl.read_parquet(file)
    file.unlink()
    changed = kept.with_columns((pl.col("close") + 0.01), (pl.col("high") + 0.01))
    lab.lake.raw.append(RAW_TWS_BARS, Partition(SESSION), changed, "late")
    curated(lab)
    assert [row["id"] for row in rows(lab, rule="toxic_price")] == [toxic["id"]]


def test_a_word_that_stands_is_not_written_again(lab):
    (toxic,) = rows(lab, rule="toxic_price")
    first = say(lab, "release", toxic["id"])
    curated(lab)
    again = say(lab, "release", toxic["id"])
    assert (first["is_new"], again["is_new"]) == (True, False)
    assert again["timestamp"] == first["timestamp"]
    assert say(lab, "confirm", toxic["id"])["is_new"], "another word is one"
    assert say(lab, "release", toxic["id"])["is_new"], "and so is the first one after it"
    with lab.at(after(NEXT)) as work:
        assert len(work.words.lines()) == 3


def test_a_row_that_silver_forbids_cannot_be_released(lab):
    (broken,) = rows(lab, rule="ohlc_order")
    with pytest.raises(HardRuleError, match="ohlc_order"):
        say(lab, "release", broken["id"])
    assert say(lab, "confirm", broken["id"])["who"] == "anna"


def test_a_dry_run_writes_nothing_and_unknown_rows_are_named(lab):
    (toxic,) = rows(lab, rule="toxic_price")
    assert say(lab, "release", toxic["id"], dry_run=True)["row"] == toxic["id"]
    with lab.at(after(NEXT)) as work:
        assert work.words.lines() == []
        assert not work.layout.overrides.exists()
        for name in ("nonsense", "20240314-ffffffffff", "20240314-"):
            with pytest.raises(UnknownNameError, match="quarantined row"):
                find(work, name)
        with pytest.raises(UnknownNameError, match="rule"):
            rejected(work, [SESSION], rule="nonsense")


@pytest.mark.parametrize("name", ["nope", "20240110-ffffffffff", "2024-03-14"])
def test_an_unknown_row_is_answered_with_rows_that_there_are(lab, name):
    """The newest session with rows in quarantine tells them, where the name tells none."""
    curated(lab, NEXT)
    there = {row["id"] for row in rows(lab)}
    with lab.at(after(NEXT)) as work:
        assert rejected(work, [NEXT]) == [], "nothing is wrong with the newest session"
        with pytest.raises(UnknownNameError, match="Known: 20240314-") as refused:
            find(work, name)
    assert set(refused.value.known) == there


def test_evidence_shows_neighbours_and_the_request(lab):
    (toxic,) = rows(lab, rule="toxic_price")
    with lab.at(after(NEXT)) as work:
        shown = exhibit(work, toxic["id"])
    minute = timedelta(minutes=1)
    around = [toxic["ts"] + n * minute for n in (-3, -2, -1, 2, 3, 4)]
    assert [bar["ts"] for bar in shown.neighbours] == around, "the minute after it is in quarantine, too"
    assert shown.row["request_id"] == "late-000"


def tampered(lab, change):
    with lab.at(after(NEXT)) as work:
        lines = work.layout.overrides.read_text().splitlines(keepends=True)
        work.layout.overrides.write_text("".join(change(lines)))
        return [one.problem for one in work.words.doubts()]


def test_tampering_with_words_is_seen(lab):
    toxic, broken = rows(lab, rule="toxic_price")[0], rows(lab, rule="ohlc_order")[0]
    say(lab, "release", toxic["id"])
    say(lab, "confirm", broken["id"])
    assert tampered(lab, lambda lines: lines) == []
    assert "hash_mismatch" in tampered(lab, lambda lines: [lines[0].replace("anna", "bert"), lines[1]])
    assert tampered(lab, lambda lines: [lines[0].replace("bert", "anna"), lines[1]]) == []
    assert tampered(lab, lambda lines: lines[:1]) == ["removed"], "a chain alone cannot see that its end is gone"


def test_a_word_that_the_audit_log_does_not_know_is_seen(lab):
    (toxic,) = rows(lab, rule="toxic_price")
    say(lab, "release", toxic["id"])
    with lab.at(after(NEXT)) as work:
        lines = [json.loads(line) for line in work.layout.audit.read_text().splitlines()]
        kept = [json.dumps(line) for line in lines if "override" not in line]
        work.layout.audit.write_text("\n".join(kept) + "\n")
        assert [one.problem for one in work.words.doubts()] == ["not_audited"]


def test_quarantine_has_a_column_per_rule_that_agrees_with_the_names(lab):
    held = lab.lake.curated.read(QUARANTINE_TWS_BARS, Partition(SESSION))
    for row in held.iter_rows(named=True):
        broke = {name.removeprefix("broke_") for name, value in row.items() if name.startswith("broke_") and value}
        assert broke == set(row["rules"].split(";"))
        assert row["rule"] in broke

"""Words are proved before anybody acts on them: forged, edited, cut off or half written, they let no row into silver."""

import json
import os
import subprocess
import sys
from datetime import timedelta

import polars as pl
import pytest
from click.testing import CliRunner

from quant_assets.cli import cli
from quant_assets.control import audit
from quant_assets.control.audit import GENESIS, AuditLog, digest
from quant_assets.domain.quality import row_hash
from quant_assets.domain.tables import CURATED_TWS_1M_BARS, QUARANTINE_TWS_BARS, RAW_TWS_BARS
from quant_assets.errors import BrokenChainError, QuantAssetsError
from quant_assets.flows.curate import Curator
from quant_assets.flows.data_audit import audit_data
from quant_assets.flows.overriding import exhibit, override
from quant_assets.flows.past import open_past
from quant_assets.flows.slate import DERIVED, wipe
from quant_assets.flows.words import Words, say
from quant_assets.lakehouse.layout import Partition
from quant_assets_tests.unit.flows.lab import after
from quant_assets_tests.unit.quality.spoiled import NEXT, SESSION, curated, rows, statuses
from quant_assets_tests.unit.quality.spoiled import say as speak

AT = Partition(SESSION)


@pytest.fixture
def toxic(lab):
    """The bar that was multiplied by 100."""
    (found,) = rows(lab, rule="toxic_price")
    return found


@pytest.fixture
def quant(lab, monkeypatch):
    monkeypatch.setenv("QUANT_DATA", str(lab.root / "data"))
    monkeypatch.setenv("QUANT_CONFIGS", str(lab.root / "configs"))
    return lambda *args: CliRunner().invoke(cli, list(args), catch_exceptions=False, standalone_mode=False)


def test_of_a_session_that_nobody_judged_it_is_not_said_that_nothing_is_wrong(quant, toxic):
    for words in (("quarantine", "list"), ("breaks", "list")):
        told = quant(*words, "--session", "2024-02-01")
        assert told.stderr.startswith("warning: not published, so nothing is known of them: 2024-02-01; ")
        assert "`quant flow data --sessions 2024-02-01..2024-02-01`" in told.stderr
        assert "not published" not in quant(*words, "--session", str(SESSION)).stderr


def forged(row, previous=GENESIS, **fields):
    """Return a release as somebody writes it who has read this package: its hash is right unless `fields` spoil it."""
    line = {
        "timestamp": "2024-03-15T22:00:00.000000Z",
        "event": "quarantine_release",
        **{name: row[name] for name in ("symbol", "con_id", "batch_id", "request_id", "answer_row", "rule", "verdict")},
        "ts": row["ts"].isoformat(),
        "session": str(row["session"]),
        "row": row["id"],
        "values_hash": row_hash(row),
        "who": "anna",
        "why": "the tape says so",
        "prev_hash": previous,
    }
    return {**line, "hash": digest(line), **fields}


def append(path, line):
    with path.open("a") as file:
        file.write(json.dumps(line) + "\n")


def standing(lab):
    tables = CURATED_TWS_1M_BARS, QUARANTINE_TWS_BARS
    return [lab.lake.curated.footer(table, AT).content_id for table in tables]


def test_a_line_written_by_hand_is_not_obeyed(lab, toxic):
    before = standing(lab)
    append(lab.lake.layout.overrides, forged(toxic, hash="0" * 64))
    with pytest.raises(
        BrokenChainError, match=r"overrides\.jsonl, line 1: .*Restore overrides\.jsonl and .*audit\.jsonl"
    ):
        curated(lab)
    assert standing(lab) == before
    with pytest.raises(BrokenChainError):
        curated(lab, NEXT)


def test_a_line_with_a_right_hash_that_nobody_announced_is_not_obeyed(lab, toxic):
    append(lab.lake.layout.overrides, forged(toxic))
    with pytest.raises(BrokenChainError, match="line 1: the audit log does not tell of override"):
        curated(lab)


def test_an_audit_event_written_by_hand_anchors_nothing(lab, toxic):
    line = forged(toxic)
    append(lab.lake.layout.overrides, line)
    append(lab.lake.layout.audit, {"event": "quarantine_release", "override": line["hash"], "hash": "0" * 64})
    with pytest.raises(BrokenChainError, match="does not tell of"):
        curated(lab)


def test_a_withdrawal_that_was_cut_off_does_not_bring_the_release_back(lab, toxic):
    speak(lab, "release", toxic["id"])
    curated(lab)
    speak(lab, "confirm", toxic["id"])
    curated(lab)
    path = lab.lake.layout.overrides
    path.write_text(path.read_text().splitlines(keepends=True)[0])
    with pytest.raises(BrokenChainError, match="which is not there"):
        curated(lab)
    assert statuses(lab) == []


@pytest.mark.parametrize("part", ["who", "why", "values_hash", "session", "event"])
def test_an_edited_word_is_not_obeyed(lab, toxic, part):
    speak(lab, "release", toxic["id"])
    path = lab.lake.layout.overrides
    line = json.loads(path.read_text())
    path.write_text(json.dumps({**line, part: f"{line[part]}x"}) + "\n")
    with pytest.raises(BrokenChainError, match="line 1: the line says something else"):
        curated(lab)


def test_nothing_is_said_on_top_of_a_broken_chain(lab, toxic):
    append(lab.lake.layout.overrides, forged(toxic))
    before = lab.lake.layout.overrides.read_bytes()
    with pytest.raises(BrokenChainError):
        speak(lab, "confirm", toxic["id"])
    assert lab.lake.layout.overrides.read_bytes() == before


@pytest.mark.parametrize("is_wiped", [False, True])
def test_the_past_does_not_rest_on_forged_words_either(lab, toxic, is_wiped):
    append(lab.lake.layout.overrides, forged(toxic))
    if is_wiped:
        lab.lake.layout.file(CURATED_TWS_1M_BARS, AT).unlink()
    with lab.at(after(NEXT)) as work, open_past(work, after(NEXT) + timedelta(days=9)) as past:
        for _ in range(2):
            with pytest.raises(BrokenChainError):
                past.curated.read(CURATED_TWS_1M_BARS, AT)


def test_a_session_is_not_put_back_because_the_whole_file_is_gone(lab, toxic):
    with lab.at(after(NEXT) + timedelta(days=1)) as work:
        override(work, "release", toxic["id"], by="anna", why="the tape says so")
    curated(lab)
    lab.lake.layout.overrides.unlink()
    with pytest.raises(
        BrokenChainError, match=r"overrides\.jsonl: it is gone, .*1 word.* Restore overrides\.jsonl and"
    ):
        curated(lab)
    with lab.at(after(NEXT)) as work:
        assert [(one.line, one.problem, one.is_tampering) for one in work.words.doubts()] == [(0, "removed", True)]


@pytest.mark.parametrize("action", ["release", "confirm"])
@pytest.mark.parametrize("trouble", ["wiped", "newer answer", "emptied"])
def test_a_word_is_not_lost_with_the_file_however_the_session_comes_to_be_curated_again(lab, toxic, action, trouble):
    """No table stands that remembers the word, or something newer than the word makes the session due."""
    speak(lab, action, toxic["id"])
    curated(lab)
    if trouble == "emptied":
        lab.lake.layout.overrides.write_bytes(b"")
    else:
        lab.lake.layout.overrides.unlink()
    if trouble == "newer answer":
        raw = lab.lake.raw.read(RAW_TWS_BARS, AT).sort("con_id", "ts").head(1)
        late = raw.with_columns(pl.col("ingested_at") + timedelta(days=9), batch_id=pl.lit("b9"), volume=pl.lit(1.0))
        lab.lake.raw.append(RAW_TWS_BARS, AT, late, "b9")
    else:
        with lab.at(after(NEXT)) as work:
            wipe(work, DERIVED)
    before = lab.content()
    with pytest.raises(BrokenChainError, match="audit log tells of"):
        curated(lab)
    with pytest.raises(BrokenChainError):
        speak(lab, action, toxic["id"])
    assert lab.content() == before


def test_where_both_files_are_gone_on_purpose_the_rows_are_judged_without_words(lab, toxic):
    speak(lab, "release", toxic["id"])
    curated(lab)
    for path in (lab.lake.layout.overrides, lab.lake.layout.audit):
        path.rename(path.with_suffix(".aside"))
    with lab.at(after(NEXT)) as work:
        wipe(work, DERIVED)
    curated(lab)
    assert statuses(lab) == []
    assert [one["id"] for one in rows(lab, rule="toxic_price")] == [toxic["id"]]


def test_both_audits_name_the_line_and_the_mend(lab, toxic, quant):
    speak(lab, "confirm", toxic["id"])
    (true,) = [json.loads(line) for line in lab.lake.layout.overrides.read_text().splitlines()]
    append(lab.lake.layout.overrides, forged(toxic, true["hash"]))
    with pytest.raises(QuantAssetsError, match=r"overrides\.jsonl 2") as caught:
        quant("audit", "verify")
    assert caught.value.exit_code == 65
    with pytest.raises(
        QuantAssetsError, match=r"overrides\.jsonl, line 2: .* Mend: restore overrides\.jsonl"
    ) as caught:
        quant("audit", "data")
    assert caught.value.exit_code == 65
    with lab.at(after(NEXT)) as work:
        assert [one.what for one in audit_data(work) if one.severity == "error"] == [
            f"overrides.jsonl, line 2: the audit log does not tell of override {forged(toxic, true['hash'])['hash'][:12]}"
        ]


class Killed(BaseException):
    """What `kill -9` is to the code that it ends: nothing after it runs."""


@pytest.mark.parametrize(("n_whole", "is_said"), [(0, False), (1, False), (2, True)])
@pytest.mark.parametrize("share", [0.0, 0.5])
def test_a_writer_that_dies_bricks_nothing_and_lets_in_what_it_had_finished(
    lab, toxic, monkeypatch, n_whole, is_said, share
):
    """A word is three appends: begun, the line, said. The one after `n_whole` whole ones gets part of its bytes out."""
    written, real = [], os.write

    def dying(descriptor, data):
        if len(written) < n_whole:
            written.append(data)
            return real(descriptor, data)
        real(descriptor, data[: int(len(data) * share)])
        raise Killed

    with lab.at(after(NEXT)) as work, monkeypatch.context() as patch:
        patch.setattr(audit.os, "write", dying)
        with pytest.raises(Killed):
            override(work, "release", toxic["id"], by="anna", why="the tape says so")
    with lab.at(after(NEXT)) as work:
        assert not [one for one in work.words.doubts() if one.is_tampering]
        assert len(work.words.lines()) == int(is_said)
        assert not [one for one in audit_data(work) if one.severity == "error"]
    curated(lab)
    assert bool(statuses(lab)) == is_said
    speak(lab, "release", toxic["id"])
    curated(lab)
    assert [close for close, _, _ in statuses(lab)] == [toxic["close"]]
    with lab.at(after(NEXT)) as work:
        assert not [one for one in work.words.doubts() if one.is_tampering]
        assert len(exhibit(work, toxic["id"]).words) == 1, "what was finished stands, and is not said twice"


TALK = """
import sys
from pathlib import Path
from quant_assets.control.audit import AuditLog
from quant_assets.flows.words import Words, say
words, log = Words(Path(sys.argv[1]), Path(sys.argv[2])), AuditLog(Path(sys.argv[2]))
for n in range(40):
    say(words, log, "quarantine_release", run_id="", symbol="", body={"session": "2024-03-14", "row": str(n), "who": "a", "why": "b"})
"""


def test_words_are_proved_while_others_are_being_said(tmp_path):
    paths = tmp_path / "overrides.jsonl", tmp_path / "audit.jsonl"
    child = subprocess.Popen(
        [sys.executable, "-c", TALK, *map(str, paths)], env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    )
    seen = {0}
    while child.poll() is None:
        words = Words(*paths)
        assert not [one for one in words.doubts() if one.is_tampering]
        seen.add(len(words.lines(SESSION)))
    assert child.returncode == 0
    assert len(Words(*paths).lines(SESSION)) == 40
    assert len(seen) > 5, "it was read between the words"


def test_a_reader_sees_what_is_said_after_it_first_looked(tmp_path):
    words, log = Words(tmp_path / "overrides.jsonl", tmp_path / "audit.jsonl"), AuditLog(tmp_path / "audit.jsonl")
    assert words.lines() == []
    body = {"session": str(SESSION), "row": "x", "who": "anna", "why": "the tape"}
    first = say(words, log, "quarantine_release", run_id="", symbol="", body=body)
    assert words.lines() == [first]
    second = say(words, log, "quarantine_confirm", run_id="", symbol="", body={**body, "session": str(NEXT)})
    assert words.lines() == [first, second]
    assert words.lines(SESSION) == [first]


def test_a_word_is_not_appended_to_a_chain_that_is_broken(tmp_path):
    words, log = Words(tmp_path / "overrides.jsonl", tmp_path / "audit.jsonl"), AuditLog(tmp_path / "audit.jsonl")
    body = {"session": str(SESSION), "row": "x", "who": "anna", "why": "the tape"}
    say(words, log, "quarantine_release", run_id="", symbol="", body=body)
    words.path.write_bytes(words.path.read_bytes().replace(b"anna", b"bert"))
    before = words.path.read_bytes(), log.path.read_bytes()
    with pytest.raises(BrokenChainError):
        say(words, log, "quarantine_confirm", run_id="", symbol="", body=body)
    assert (words.path.read_bytes(), log.path.read_bytes()) == before


def test_without_words_the_audit_log_is_read_once_to_know_that_there_were_none(lab, monkeypatch):
    asked, real = [], audit.read
    monkeypatch.setattr(
        "quant_assets.flows.words.read", lambda path, **options: asked.append(path) or real(path, **options)
    )
    with lab.at(after(NEXT)) as work:
        for session in (SESSION, NEXT, SESSION):
            assert Curator(work).minute_bars(session)[0].is_committed
    assert asked.count(lab.lake.layout.audit) == 1

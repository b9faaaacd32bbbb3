"""A growing file is read from its end, whole lines only, and never further back than somebody looks."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from quant_assets.lakehouse import lines as lines_module
from quant_assets.lakehouse.lines import GrowingLines


@pytest.fixture
def path(tmp_path):
    return tmp_path / "log.jsonl"


def read_all(lines):
    parts = [lines.refresh()]
    while older := lines.look_back():
        parts.insert(0, older)
    assert lines.look_back() == b""
    return parts


def test_of_a_long_file_only_the_newest_block_is_read(path):
    path.write_bytes(b"".join(b"%06d\n" % n for n in range(100_000)))
    lines = GrowingLines(path)
    newest = lines.refresh()
    assert len(newest) <= 1 << 16
    assert newest.endswith(b"099999\n")
    assert newest[:7] == b"%06d\n" % (100_000 - len(newest) // 7)
    assert lines.number_of(0) == 100_001 - len(newest) // 7
    assert lines.look_back().endswith(b"%06d\n" % (100_000 - len(newest) // 7 - 1))


@given(
    texts=st.lists(st.binary(max_size=9).filter(lambda text: b"\n" not in text), max_size=30),
    torn=st.binary(max_size=5).filter(lambda text: b"\n" not in text),
    block=st.integers(1, 24),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_going_back_gives_every_whole_line_once(tmp_path, monkeypatch, texts, torn, block):
    monkeypatch.setattr(lines_module, "_BLOCK", block)
    whole = b"".join(text + b"\n" for text in texts)
    (tmp_path / "log").write_bytes(whole + torn)
    lines = GrowingLines(tmp_path / "log")
    parts = read_all(lines)
    assert b"".join(parts) == bytes(lines.text) == whole
    assert all(part.endswith(b"\n") for part in parts if part)


def test_what_is_added_is_read_alone_and_a_torn_end_waits_for_its_rest(path):
    path.write_bytes(b"one\ntw")
    lines = GrowingLines(path)
    assert lines.refresh() == b"one\n"
    assert lines.refresh() == b""
    with path.open("ab") as stream:
        stream.write(b"o\nthree\n")
    assert lines.refresh() == b"two\nthree\n"
    assert bytes(lines.text) == b"one\ntwo\nthree\n"


def test_a_file_that_was_replaced_cut_or_removed_is_read_anew(path):
    path.write_bytes(b"one\ntwo\n")
    lines = GrowingLines(path)
    lines.refresh()
    other = path.with_name("other")
    other.write_bytes(b"a\nb\nc\n")
    other.replace(path)
    assert lines.refresh() == bytes(lines.text) == b"a\nb\nc\n"
    path.write_bytes(b"a\n")
    assert lines.refresh() == bytes(lines.text) == b"a\n"
    path.unlink()
    assert lines.refresh() == bytes(lines.text) == b""


def put(path, text):
    """Put another file in a path's place, as a collection or a rebuild does."""
    staged = path.with_name("staged")
    staged.write_bytes(text)
    staged.replace(path)


def just_before_it_is_opened(monkeypatch, path, meanwhile):
    """Let something happen once, between a reader's look at a path and its opening it."""
    real, waiting = Path.open, [meanwhile]

    def opened(self, *args, **options):
        if self == path and args == ("rb",) and waiting:
            waiting.pop()()
        return real(self, *args, **options)

    monkeypatch.setattr(Path, "open", opened)


def test_a_file_that_is_replaced_before_it_is_opened_is_read_as_the_one_that_it_is(path, monkeypatch):
    path.write_bytes(b"one\ntwo\n")
    lines = GrowingLines(path)
    lines.refresh()
    with path.open("ab") as stream:
        stream.write(b"three\nfour\nfive\n")
    just_before_it_is_opened(monkeypatch, path, lambda: put(path, b"the second\nthird\n"))
    assert lines.refresh() == bytes(lines.text) == b"the second\nthird\n"
    assert lines.refresh() == b""
    with path.open("ab") as stream:
        stream.write(b"fourth\n")
    assert lines.refresh() == b"fourth\n"
    assert lines.number_of(len(b"the second\n")) == 2


def test_a_new_file_that_is_replaced_before_it_is_opened_is_read_whole(path, monkeypatch):
    path.write_bytes(b"one\n")
    just_before_it_is_opened(monkeypatch, path, lambda: put(path, b"another\nand more\n"))
    lines = GrowingLines(path)
    assert read_all(lines) == [b"another\nand more\n"]
    assert bytes(lines.text) == b"another\nand more\n"


@pytest.mark.parametrize(
    ("by", "then"), [(b"a\nb\n", b"a\nb\n"), (b"", b""), (b"".join(b"%d\n" % n for n in range(50)), b"48\n49\n")]
)
def test_looking_back_reads_a_file_that_was_replaced_from_its_end(path, monkeypatch, by, then):
    monkeypatch.setattr(lines_module, "_BLOCK", 8)
    path.write_bytes(b"".join(b"line %d\n" % n for n in range(9)))
    lines = GrowingLines(path)
    assert lines.refresh() == b"line 8\n"
    put(path, by)
    assert (lines.look_back(), bytes(lines.text), lines.n_replaced) == (then, then, 1)
    assert lines.refresh() == b""
    while lines.look_back():
        pass
    assert bytes(lines.text) == by


@pytest.mark.parametrize("look", [GrowingLines.refresh, GrowingLines.look_back])
def test_a_file_that_is_removed_before_it_is_opened_has_no_lines(path, monkeypatch, look):
    monkeypatch.setattr(lines_module, "_BLOCK", 9)
    path.write_bytes(b"one\ntwo\nthree\n")
    lines = GrowingLines(path)
    assert lines.refresh() == b"three\n"
    with path.open("ab") as stream:
        stream.write(b"four\n")
    just_before_it_is_opened(monkeypatch, path, path.unlink)
    assert (look(lines), bytes(lines.text)) == (b"", b"")


def test_another_file_under_the_same_inode_is_told_by_its_bytes(path):
    path.write_bytes(b"one\ntwo\nthree\n")
    lines = GrowingLines(path)
    lines.refresh()
    inode = path.stat().st_ino
    path.write_bytes(b"six\nseven\neight\n")
    assert path.stat().st_ino == inode
    assert lines.refresh() == bytes(lines.text) == b"six\nseven\neight\n"

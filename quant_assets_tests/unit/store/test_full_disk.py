"""A disk without space, or that is read-only: a real small file system, so that the system itself refuses."""

import os
import resource
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from quant_assets.errors import DiskFullError
from quant_assets.lakehouse.bronze_rules import broken_rules
from quant_assets.lakehouse.layout import Layout, Partition
from quant_assets.lakehouse.store import Lakehouse
from quant_assets_tests.builders import SESSION, small_rows, small_table

CURATED = small_table()
RAW = small_table(zone="bronze", name="small_raw", key=("session", "con_id", "batch_id"), append_only=True)
AT = Partition(SESSION)


@pytest.fixture
def disk(tmp_path):
    if os.geteuid() != 0:
        pytest.skip("only root may mount a file system")
    mount = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(tmp_path)], capture_output=True, text=True, check=False
    )
    if mount.returncode:
        pytest.skip(f"no file system can be mounted here: {mount.stderr.strip()}")
    try:
        yield tmp_path
    finally:
        subprocess.run(["umount", "-l", str(tmp_path)], check=True)


def fill(disk: Path, leave: int = 0) -> Path:
    ballast = disk / "ballast"
    try:
        with ballast.open("wb", buffering=0) as stream:
            while True:
                stream.write(os.urandom(4096))
    except OSError:
        pass
    if leave:
        os.truncate(ballast, max(0, ballast.stat().st_size - leave))
    return ballast


def noise(n: int, seed: int = 0) -> object:
    import random

    draw = random.Random(seed)
    return small_rows({i: draw.random() for i in range(1, n)})


def staged(disk: Path) -> list[Path]:
    return [path for path in disk.rglob("*") if ".staged" in path.name]


@pytest.mark.parametrize("leave", [0, 4096, 16384])
def test_a_write_without_space_leaves_what_stood(disk, leave):
    lake = Lakehouse(Layout(disk))
    first = lake.curated.write(CURATED, AT, small_rows({1: 1.0}))
    ballast = fill(disk, leave)
    with pytest.raises(DiskFullError, match="free some space and run the same command again") as caught:
        lake.curated.write(CURATED, AT, noise(20_000))
    assert caught.value.exit_code == 75
    assert lake.curated.read(CURATED, AT)["price"].to_list() == [1.0]
    assert Lakehouse(Layout(disk)).curated.footer(CURATED, AT).content_id == first.content_id
    assert staged(disk) == []
    ballast.unlink()
    assert lake.curated.write(CURATED, AT, noise(2_000)).rows == 1999
    assert staged(disk) == []


@contextmanager
def files_of_at_most(n_bytes: int) -> Iterator[None]:
    """Let the system refuse larger files, as a quota does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_file_that_may_not_grow_further_is_a_lack_of_space_too(tmp_path):
    lake = Lakehouse(Layout(tmp_path))
    lake.curated.write(CURATED, AT, small_rows({1: 1.0}))
    with files_of_at_most(16_384), pytest.raises(DiskFullError, match=r"File too large.*free some space") as caught:
        lake.curated.write(CURATED, AT, noise(20_000))
    assert caught.value.path == lake.layout.file(CURATED, AT)
    assert lake.curated.read(CURATED, AT)["price"].to_list() == [1.0]
    assert staged(tmp_path) == []


def test_an_append_without_space_adds_nothing(disk):
    lake = Lakehouse(Layout(disk))
    lake.raw.append(RAW, AT, small_rows({1: 1.0}), "b1")
    ballast = fill(disk)
    with pytest.raises(DiskFullError):
        lake.raw.append(RAW, AT, noise(5_000), "b2")
    assert [file.stem for file in lake.raw.batches(RAW, AT)] == ["b1"]
    ballast.unlink()
    lake.raw.append(RAW, AT, noise(5_000), "b2")
    assert lake.raw.read(RAW, AT).height == 5_000


def test_an_index_without_space_does_not_lie(disk):
    """The file fits and its manifest line does not: the error is the disk's, and the footer answers."""
    lake = Lakehouse(Layout(disk))
    for value in range(1, 12):
        lake.curated.write(CURATED, AT, small_rows({1: float(value)}))
    manifest = lake.layout.manifest(CURATED)
    manifest.write_bytes(manifest.read_bytes() + b"\n" * (4096 - manifest.stat().st_size % 4096))  # its block is full
    ballast = fill(disk, leave=4096)
    with pytest.raises(DiskFullError) as caught:
        lake.curated.write(CURATED, AT, small_rows({1: 99.0}))
    assert caught.value.path in (manifest, lake.layout.file(CURATED, AT))
    stands = lake.curated.read(CURATED, AT)["price"].to_list()
    assert stands in ([99.0], [11.0])
    again = Lakehouse(Layout(disk))
    assert again.curated.footer(CURATED, AT).n_rows == 1
    ballast.unlink()
    again.curated.write(CURATED, AT, small_rows({1: 99.0}))
    assert again.curated.read(CURATED, AT)["price"].to_list() == [99.0]
    assert staged(disk) == []


def test_a_rebuild_of_the_index_without_space_keeps_the_old_one(disk):
    lake = Lakehouse(Layout(disk))
    for day in range(2, 29):
        lake.curated.write(
            CURATED, Partition(SESSION.replace(day=day)), small_rows({1: 1.0}, session=SESSION.replace(day=day))
        )
    manifest = lake.layout.manifest(CURATED)
    before = manifest.read_bytes()
    fill(disk)
    with pytest.raises(DiskFullError):
        lake.curated.reindex(CURATED)
    assert manifest.read_bytes() == before
    assert staged(disk) == []


def test_a_read_only_lakehouse_is_read(disk):
    """Nobody has asked for the id of these batches yet, so that the answer would be noted; it is only not noted."""
    lake = Lakehouse(Layout(disk))
    for value, batch in ((1.0, "b1"), (2.0, "b2")):
        lake.raw.append(RAW, AT, small_rows({int(value): value}, batch=batch), batch)
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    raw = Lakehouse(Layout(disk)).raw
    said = raw.content_id(RAW, AT)
    assert broken_rules(raw, RAW, AT) == ()
    assert not raw.layout.contents.exists()
    subprocess.run(["mount", "-o", "remount,rw", str(disk)], check=True)
    assert raw.content_id(RAW, AT) == said
    assert raw.layout.content(RAW, AT).is_file()

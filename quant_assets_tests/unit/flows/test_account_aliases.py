"""The secret behind account aliases: whole or not there, and the same one for everybody who starts together."""

import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from quant_assets.errors import CorruptFileError
from quant_assets.flows.positions import alias_key

WITHOUT_SPACE = """
import resource, sys
from pathlib import Path
from quant_assets.flows.positions import alias_key
resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
alias_key(Path(sys.argv[1]))
"""


@pytest.mark.parametrize("text", ["", "ab" * 31, "ab" * 33, "zz" * 32, "é" * 64])
def test_a_file_that_holds_no_whole_key_is_refused(tmp_path, text):
    """With part of a key, or none, account numbers could be found by trying them out."""
    path = tmp_path / "key"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(CorruptFileError) as refused:
        alias_key(path)
    assert refused.value.path == path
    assert "delete" in str(refused.value)
    assert path.read_text(encoding="utf-8") == text, "what a person may want to restore from is left alone"


def test_a_process_that_ends_while_it_writes_leaves_no_part_of_a_key(tmp_path):
    path = tmp_path / "deep" / "key"
    ended = subprocess.run(
        [sys.executable, "-c", WITHOUT_SPACE, str(path)], capture_output=True, text=True, check=False
    )
    assert ended.returncode != 0
    assert "DiskFullError" in ended.stderr
    assert not path.exists()
    assert len(alias_key(path)) == 32


def test_all_that_start_together_use_one_key(tmp_path):
    path, together = tmp_path / "key", threading.Barrier(8)

    def start(_: int) -> bytes:
        together.wait()
        return alias_key(path)

    with ThreadPoolExecutor(8) as starters:
        keys = set(starters.map(start, range(8)))
    assert keys == {alias_key(path)}
    assert [len(key) for key in keys] == [32]
    assert path.stat().st_mode & 0o777 == 0o600

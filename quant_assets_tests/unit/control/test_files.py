"""Files beside files: what is looked at while others write and remove."""

import shutil

from quant_assets.control.files import below


def test_what_goes_away_while_a_tree_is_looked_at_is_left_out(tmp_path):
    for name in ("a/b/c.txt", "d/e.txt"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).touch()
    assert {path.relative_to(tmp_path).as_posix() for path in below(tmp_path)} == {
        "a",
        "a/b",
        "a/b/c.txt",
        "d",
        "d/e.txt",
    }
    looking = below(tmp_path)
    seen = {next(looking), next(looking)}
    shutil.rmtree(tmp_path / "a")
    assert seen | set(looking) == {tmp_path / "a", tmp_path / "d", tmp_path / "d" / "e.txt"}
    assert list(below(tmp_path / "never")) == []

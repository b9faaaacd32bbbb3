"""The repository as text: which files it has, what its documents print, and what its command line knows."""

import re
import shlex
import subprocess
from functools import cache
from pathlib import Path

import click

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "quant_assets"
DOCUMENTS = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "data/README.md", "docs/*.md", "docs/adr/*.md"]


@cache
def files() -> tuple[Path, ...]:
    """Every file that is, or would be, committed."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if listed.returncode == 0:
        found = [ROOT / name for name in listed.stdout.split("\0") if name]
    else:
        hidden = {".venv", "data", "build", "dist", "__pycache__"}
        found = [path for path in ROOT.rglob("*") if not hidden & set(path.relative_to(ROOT).parts)]
    return tuple(sorted(path for path in found if path.is_file()))


@cache
def texts() -> dict[str, str]:
    """Path → text of every file that is text."""
    read = {}
    for path in files():
        try:
            read[path.relative_to(ROOT).as_posix()] = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
    return read


def documents() -> dict[str, str]:
    """Path → text of every document that people read, the generated one left out."""
    found = [path for pattern in DOCUMENTS for path in ROOT.glob(pattern)]
    return {path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8") for path in sorted(found)}


def commands() -> list[tuple[str, list[str]]]:
    """(document, words) of every command in a shell block, and of every `make` or `quant` command inside a sentence."""
    found: list[tuple[str, list[str]]] = []
    for name, text in documents().items():
        for block in re.findall(r"```sh\n(.*?)```", text, flags=re.DOTALL):
            found += [(name, _words(line)) for line in block.replace("\\\n", " ").splitlines() if _words(line)]
        prose = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
        found += [(name, _words(one)) for one in re.findall(r"`((?:make|quant|dagster) [^`]+)`", prose)]
    return found


def _words(line: str) -> list[str]:
    words = shlex.split(line, comments=True)
    while words and re.fullmatch(r"[A-Z_]+=\S*", words[0]):
        words = words[1:]
    return [word.removeprefix(".venv/bin/") for word in words]


def make_targets() -> list[str]:
    """Targets that `make help` lists."""
    return re.findall(r"^([a-z-]+):.*## ", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE)


def find_command(words: list[str]) -> click.Command:
    """Return the command that `quant …` words name; raises when a word is no command."""
    from quant_assets.cli import cli

    here: click.Command = cli
    for word in words:
        if not isinstance(here, click.Group):
            break
        if here.invoke_without_command and not re.fullmatch(r"[a-z-]+", word):
            break  # a command with subcommands, and the value of its own option
        found = here.get_command(click.Context(here), word)
        assert found is not None, f"quant has no command {' '.join(words)!r}"
        here = found
    return here

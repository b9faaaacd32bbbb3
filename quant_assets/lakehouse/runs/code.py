"""Which code made a number: digests of source files that comments, docstrings and layout do not change."""

import ast
import hashlib
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

import quant_assets

ROOT = Path(quant_assets.__file__).parent

_CODE = (
    "domain/allocation.py",
    "domain/candidates.py",
    "domain/indicators.py",
    "domain/meta.py",
    "domain/returns.py",
    "domain/selection",
    "domain/synthesis.py",
    "domain/optimization",
    "domain/costs.py",
    "domain/robustness.py",
    "domain/verification.py",
    "domain/reports",
    "lakehouse/content.py",
    "lakehouse/runs",
    "flows/alpha",
    "flows/meta",
    "flows/snapshot",
    "settings/manifest/profile.py",
)

_DECIDE_NO_NUMBER = ("errors.py", "clock.py", "control/")
"""What a stage imports besides: sentences, stamps and locks."""


@cache
def code_version() -> str:
    """Return the release and a digest of the code that decides what a run holds, as `0.1.0+1a2b3c4d5e6f`.

    The release alone would not do: between two releases the code changes while its number does not, and a run that
    differs from the one that stands would claim its name.
    """
    return f"{quant_assets.__version__}+{_joined(_sources(ROOT))[:12]}"


@cache
def stage_code(roots: tuple[str, ...]) -> str:
    """Return one digest of modules and of everything of ours that they import, directly or not.

    Args:
        roots: files relative to the package, such as `flows/alpha/weigh.py`.

    The imports are followed by reading them, so that a new helper counts from the day it is imported, and a change
    anywhere else leaves the digest as it is.
    """
    return _joined(closure(roots))


@cache
def closure(roots: tuple[str, ...]) -> tuple[Path, ...]:
    """Return the files of `roots` and of all that they import, sorted."""
    found: set[Path] = set()
    queue = [ROOT / name for name in roots]
    while queue:
        path = queue.pop()
        if path in found or path.relative_to(ROOT).as_posix().startswith(_DECIDE_NO_NUMBER):
            continue
        found.add(path)
        queue.extend(_imported(path))
    return tuple(sorted(found))


def _sources(root: Path) -> list[Path]:
    found: set[Path] = set()
    for name in _CODE:
        path = root / name
        found.update(path.rglob("*") if path.is_dir() else [path.with_suffix(".py")])
    kept = (path for path in found if path.suffix in {".py", ".j2", ".css"} and path.is_file())
    return sorted(kept, key=lambda path: path.relative_to(root).as_posix())


def _joined(files: Iterable[Path]) -> str:
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.relative_to(ROOT).as_posix().encode())
        digest.update(_digest(file).encode())
    return digest.hexdigest()


@cache
def _digest(file: Path) -> str:
    data = file.read_bytes()
    text = syntax(data) if file.suffix == ".py" else data.replace(b"\r\n", b"\n")
    return hashlib.sha256(text).hexdigest()


def syntax(source: bytes) -> bytes:
    """Return what Python understands of a source text, in a form that its comments and its docstrings do not enter.

    The form is our own and leaves out what is empty, because `ast.dump` writes the same program differently from one
    Python version to the next.
    """
    return "".join(_written(ast.parse(source))).encode()


def _written(node: object) -> Iterator[str]:
    if isinstance(node, ast.AST):
        yield f"({type(node).__name__}"
        for name, value in ast.iter_fields(node):
            if value is not None and value != []:
                yield f" {name}="
                yield from _written(value)
        yield ")"
    elif isinstance(node, list):
        yield "["
        for item in node:
            if not _is_text(item):
                yield from _written(item)
        yield "]"
    else:
        yield repr(node)


def _is_text(node: object) -> bool:
    """Return whether a statement is a bare string: a docstring, of whatever it stands under."""
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def _imported(path: Path) -> Iterator[Path]:
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            for one in node.names:
                yield from _module(one.name)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield from _module(node.module)
            for one in node.names:
                yield from _module(f"{node.module}.{one.name}")


def _module(name: str) -> Iterator[Path]:
    first, *rest = name.split(".")
    if first != ROOT.name or not rest:
        return
    path = ROOT.joinpath(*rest)
    yield from (one for one in (path.with_suffix(".py"), path / "__init__.py") if one.is_file())

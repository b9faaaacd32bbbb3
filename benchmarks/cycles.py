"""Whole cycles, run as a user runs them: in a process of their own, on the synthetic market."""

import itertools
import json
import os
import shutil
import subprocess
import sys
import time
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from measure import Line


def cycles(scratch: Path, root: Path) -> list[Line]:
    """The data cycle, the same again, and the alpha cycle."""
    data = scratch / "cycles"
    _, first = _flow("data", data, root)
    before = _stamps(data)
    no_op_s, second = _flow("data", data, root)
    rewritten = sum(before.get(file) != stamp for file, stamp in _stamps(data).items())
    alpha_s, _ = _flow("alpha", data, root)
    n_requests = sum(one["requests"] for one in second)
    first_requests = sum(one["requests"] for one in first)
    return [
        Line(
            "data cycle again, nothing new",
            "0 requests, 0 files rewritten",
            f"{n_requests} requests, {rewritten} files rewritten (first: {first_requests} requests); {no_op_s:.1f} s",
            None,
            n_requests == 0 and rewritten == 0,
        ),
        Line("alpha cycle, one profile, its start included", "< 10 min", f"{alpha_s:.1f} s", None, alpha_s < 600),
    ]


def no_op_after(scratch: Path, root: Path, *, n_sessions: int, repeats: int) -> Line:
    """Run the data cycle again with nothing new, after a short history and after a long one, in turns."""
    first = scratch / "first"
    _flow("data", first, root)
    lakes = {n: shutil.copytree(first, scratch / f"after-{n}") for n in (10, n_sessions)}
    for n, data in lakes.items():
        _grow(data / "lakehouse", n)
        _flow("data", data, root)  # what came into being is summed up once
    runs = [{n: _flow("data", data, root) for n, data in lakes.items()} for _ in range(repeats)]
    assert all(one["requests"] == 0 for run in runs for _, done in run.values() for one in done)
    brief, lasting = (min(run[n][0] for run in runs) for n in lakes)
    told = f"{lasting:.1f} s (after 10: {brief:.1f} s)"
    what = f"data cycle again, nothing new, after {n_sessions:,} sessions"
    return Line(what, "flat: ≤ 1.25", told, lasting / brief, lasting <= 1.25 * brief)


def _grow(lakehouse: Path, n_sessions: int) -> None:
    """Give every table older sessions: the files of its newest one, linked, and their lines in the manifest."""
    for newest in sorted(lakehouse.glob("*/*/*=*")):
        label, _, day = newest.name.partition("=")
        before = (date.fromisoformat(day) - timedelta(days=n) for n in itertools.count(1))
        manifest = lakehouse / "_metadata" / "manifests" / f"{newest.parent.name}.jsonl"
        lines, older = manifest.read_text(), []
        for session in itertools.islice((day for day in before if day.weekday() < 5), n_sessions - 1):
            copy = newest.with_name(f"{label}={session}")
            copy.mkdir()
            for file in newest.glob("*.parquet"):
                os.link(file, copy / file.name)
            older.append(lines.replace(day, str(session)))
        manifest.write_text("".join(reversed(older)) + lines)


def _flow(cycle: str, data: Path, root: Path) -> tuple[float, list[dict[str, Any]]]:
    environment = {**os.environ, "QUANT_DATA": str(data), "QUANT_CONFIGS": str(root / "configs")}
    data.mkdir(exist_ok=True)
    begin = time.perf_counter()
    done = subprocess.run(
        [Path(sys.executable).with_name("quant"), "flow", cycle, "--json"],
        cwd=data,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"quant flow {cycle} failed:\n{done.stderr}")
    return time.perf_counter() - begin, json.loads(done.stdout)


def _stamps(data: Path) -> dict[Path, int]:
    return {file: file.stat().st_mtime_ns for file in (data / "lakehouse").rglob("*.parquet")}

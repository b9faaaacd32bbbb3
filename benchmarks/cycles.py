"""Whole cycles, run as a user runs them: in a process of their own, on the synthetic market."""

import json
import os
import subprocess
import sys
import time
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

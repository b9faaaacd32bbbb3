# ruff: noqa: INP001 - scripts, not a package
"""Plant faults into clean sessions, and write what the rules make of them into docs/quality.md.

python tools/measure_quality.py            measure and write
python tools/measure_quality.py --check    exit 1 when the document says something else
"""

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from quant_assets_tests.mutations.document import measured, render, replaced  # noqa: E402

TARGET = ROOT / "docs" / "quality.md"


def main(arguments: list[str] | None = None) -> int:
    """Write or check; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 when the file is stale")
    options = parser.parse_args(arguments)
    held = TARGET.read_text(encoding="utf-8")
    fresh = replaced(held, render(measured()))
    if options.check:
        sys.stdout.write("" if held == fresh else "docs/quality.md is stale: run `python tools/measure_quality.py`.\n")
        return int(held != fresh)
    TARGET.write_text(fresh, encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

# ruff: noqa: INP001 - scripts, not a package
"""Write docs/tables.md from the table declarations, or say whether it is stale.

python tools/generate_docs.py            write it
python tools/generate_docs.py --check    exit 1, with the difference, when it is stale
"""

import argparse
import difflib
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from quant_assets.domain.tables import ALL  # noqa: E402
from quant_assets.domain.tables.document import render  # noqa: E402

TARGET = ROOT / "docs" / "tables.md"


def main(arguments: list[str] | None = None) -> int:
    """Write or check; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 when the file is stale")
    parser.add_argument("--path", type=Path, default=TARGET, help="file to write or check")
    options = parser.parse_args(arguments)
    fresh = render(ALL)
    if not options.check:
        options.path.write_text(fresh, encoding="utf-8")
        return 0
    held = options.path.read_text(encoding="utf-8") if options.path.exists() else ""
    difference = difflib.unified_diff(
        held.splitlines(), fresh.splitlines(), "docs/tables.md", "declarations", lineterm=""
    )
    sys.stdout.writelines(f"{line}\n" for line in difference)
    if held != fresh:
        sys.stdout.write(f"{options.path} is stale: run `python tools/generate_docs.py`.\n")
    return int(held != fresh)


if __name__ == "__main__":
    raise SystemExit(main())

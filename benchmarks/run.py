"""Print the numbers to hold beside what this machine measures, as ratios against bare libraries in the same run.

python benchmarks/run.py           the sizes that the numbers speak of; some minutes
python benchmarks/run.py --small   a tenth of them, for a quick look

Nothing here fails because a machine is slow: a miss is printed. The exit code is 0 unless a benchmark is broken.
"""

import argparse
import os
import platform
import tempfile
from pathlib import Path

import polars as pl
from alpha import returns, running, selecting
from cycles import cycles
from ingest import ingesting
from measure import markdown
from storage import curating, reading, writing

ROOT = Path(__file__).resolve().parents[1]


def main() -> None:
    """Measure everything and print one table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true", help="smaller inputs, fewer repetitions")
    small = parser.parse_args().small
    with tempfile.TemporaryDirectory(prefix="quant-bench-", ignore_cleanup_errors=True) as directory:
        scratch = Path(directory)
        lines = [
            *reading(scratch, n_symbols=20 if small else 200, n_sessions=42 if small else 252),
            *writing(scratch, repeats=20 if small else 50),
            *curating(scratch, n_instruments=100 if small else 1000, repeats=3 if small else 5),
            *ingesting(small=small),
            *selecting(),
            *returns(),
            *running(scratch, n=100 if small else 500),
            *cycles(scratch, ROOT),
        ]
    print(f"Python {platform.python_version()}, Polars {pl.__version__}, {os.cpu_count()} cores\n")
    print(markdown(lines))


if __name__ == "__main__":
    main()

"""A process that runs the data flow in a directory, and says when it starts; it is there to be killed."""

import sys
from pathlib import Path

from quant_assets.flows.ingest import groups
from quant_assets_tests.unit.flows.lab import SESSION, Lab, window

SESSIONS = window(SESSION, 3)


def lab_in(root: Path) -> Lab:
    """Commit every second request, so that there is much to interrupt."""
    groups.GROUP = 2
    return Lab(root)


if __name__ == "__main__":
    from quant_assets_tests.unit.flows.lab import market

    lab = lab_in(Path(sys.argv[1]))
    market()
    print("started", flush=True)
    lab.run(SESSIONS)
    print("done", flush=True)

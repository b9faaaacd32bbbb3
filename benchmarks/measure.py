"""What every benchmark shares: a clock, repetitions, and a line of the table."""

import gc
import os
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Line:
    """One number that has to hold, beside what was measured in this run."""

    what: str
    held: str
    measured: str
    ratio: float | None
    """Measured against the baseline of the same run; None where there is no baseline."""
    holds: bool | None
    """None where the number depends on the machine and only informs."""

    def cells(self) -> tuple[str, ...]:
        """The line as text."""
        verdict = {True: "holds", False: "**misses**", None: "—"}[self.holds]
        return self.what, self.held, self.measured, "—" if self.ratio is None else f"{self.ratio:.2f}", verdict


def markdown(lines: Iterable[Line]) -> str:
    """Return the table."""
    rows = [("what", "to hold", "measured", "ratio", "verdict"), ("---",) * 5, *(line.cells() for line in lines)]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def seconds(work: Callable[[], object]) -> float:
    """Return how long one call takes."""
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def side_by_side(repeats: int, *works: Callable[[], object]) -> list[float]:
    """Return the best time of each, measured in turns, so that a busy moment of the machine hits all of them."""
    for work in works:
        work()
    gc.collect()
    rounds = [[seconds(work) for work in works] for _ in range(repeats)]
    return [min(column) for column in zip(*rounds, strict=True)]


def forget(files: Iterable[Path]) -> None:
    """Ask the kernel to drop files from its cache, where it can; they must be on disk for that."""
    if not hasattr(os, "posix_fadvise"):
        return
    for file in files:
        handle = os.open(file, os.O_RDONLY)
        try:
            os.fsync(handle)
            os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(handle)

"""Which files are opened: the interpreter's own audit events, so that no reader can forget to be counted."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_RECORDS: list[list[Path]] = []


def _hook(event: str, arguments: tuple[object, ...]) -> None:
    if _RECORDS and event == "open" and isinstance(arguments[0], str | os.PathLike):
        for record in _RECORDS:
            record.append(Path(arguments[0]))


sys.addaudithook(_hook)


@contextmanager
def opened_files(suffix: str = ".parquet") -> Iterator["Opened"]:
    """Record the files with a suffix that Python opens inside the block.

    Every reader of the lakehouse hands open streams to Polars and pyarrow, so nothing is opened behind Python's back;
    `test_no_reader_opens_a_file_behind_pythons_back` holds it to that.
    """
    record: list[Path] = []
    _RECORDS.append(record)
    try:
        yield Opened(record, suffix)
    finally:
        _RECORDS.remove(record)


class Opened:
    """What was opened so far, in order."""

    def __init__(self, record: list[Path], suffix: str) -> None:
        self._record, self._suffix = record, suffix

    def __call__(self) -> list[Path]:
        return [path for path in self._record if path.name.endswith(self._suffix)]

    def clear(self) -> None:
        self._record.clear()

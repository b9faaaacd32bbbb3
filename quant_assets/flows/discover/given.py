"""Candidates that somebody hands over: a file, or the instruments of a finished run. They replace lists and scanners.

Resolution order: `CANDIDATES_FILE`, then a run id (`QUANT_CANDIDATES_RUN`), then the tables.
"""

import hashlib
import json
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from quant_assets.errors import ConfigurationError, EmptyUniverseError, UnsafeNameError
from quant_assets.flows.work import Work
from quant_assets.lakehouse.runs import open_run
from quant_assets.settings.names import split_qualified


class CandidateRecord(BaseModel):
    """One record of a candidates.json; keys that are not listed here are left alone."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    symbol: str
    """`EXCHANGE:SYMBOL`."""
    con_id: int | None = Field(default=None, gt=0)
    currency: str = Field(default="USD", pattern="^[A-Z]{3}$")
    asset_type: str = "STK"
    profiles: str = ""
    """Separated by `;`; empty is every active profile."""
    metadata: dict[str, Any] = Field(default_factory=dict)

    @field_validator("symbol")
    @classmethod
    def _is_qualified(cls, symbol: str) -> str:
        try:
            exchange, _ = split_qualified(symbol)
        except UnsafeNameError as error:
            raise ValueError(str(error)) from None
        if not exchange:
            raise ValueError("write EXCHANGE:SYMBOL")
        return symbol.strip()


@dataclass(frozen=True, slots=True)
class Given:
    """Candidates that were handed over."""

    origin: str
    """`file` or `run`."""
    where: str
    """The path, or the run id."""
    session: date
    records: tuple[CandidateRecord, ...]
    content_id: str
    problems: tuple[tuple[str, str], ...] = ()
    """(record, why it cannot be used)"""

    @property
    def label(self) -> str:
        """How they are called among the sources."""
        return f"file:{Path(self.where).name}" if self.origin == "file" else f"run:{self.where}"


def given_candidates(work: Work, session: date | None, run_id: str = "") -> Given | None:
    """Return the candidates that the environment names, or a run id does, or None where the tables decide.

    Raises:
        ConfigurationError: see `read_candidates`; or the run is of a later session.
        UnknownNameError: there is no such run.
    """
    settings = work.settings
    if settings.candidates_file:
        return read_candidates(settings.candidates_file, session)
    if named := run_id or settings.candidates_run:
        return _of_run(work, named, session)
    return None


def read_candidates(path: Path, session: date | None) -> Given:
    """Read a candidates.json.

    Args:
        path: the file.
        session: the session that it has to be of; None leaves that open.

    Raises:
        ConfigurationError: it is absent, is no JSON, has no list of candidates, or is of another session.
        EmptyUniverseError: it holds no candidate.
    """
    where = f"CANDIDATES_FILE {path}"
    try:
        data = path.read_bytes()
        content = json.loads(data)
    except FileNotFoundError:
        raise ConfigurationError(where, "there is no such file.", "Correct CANDIDATES_FILE, or unset it.") from None
    except OSError as error:
        raise ConfigurationError(where, f"it cannot be read ({error.strerror}).") from None
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ConfigurationError(where, f"not valid JSON: {error}.", "data/export/ holds files that are.") from None
    listed = content.get("candidates") if isinstance(content, dict) else None
    if not isinstance(listed, list):
        raise ConfigurationError(where, 'it must hold {"session": "YYYY-MM-DD", "candidates": [...]}.')
    of = _session_of(content, where)
    if session is not None and of != session:
        raise ConfigurationError(
            where, f"it is of session {of}, and {session} is asked for.", "Give the file of that session, or unset it."
        )
    if not listed:
        raise EmptyUniverseError(of, [where])
    records, problems = _records(listed)
    return Given("file", str(path), of, records, hashlib.sha256(data).hexdigest(), problems)


def _session_of(content: dict[str, Any], where: str) -> date:
    try:
        return date.fromisoformat(str(content["session"]))
    except (KeyError, ValueError):
        raise ConfigurationError(f"{where}, key 'session'", "it must be a date, written YYYY-MM-DD.") from None


def _records(listed: list[Any]) -> tuple[tuple[CandidateRecord, ...], tuple[tuple[str, str], ...]]:
    records, problems = [], []
    for number, raw in enumerate(listed):
        try:
            records.append(CandidateRecord.model_validate(raw))
        except ValidationError as error:
            first = error.errors()[0]
            key = ".".join(str(part) for part in ("candidates", number, *first["loc"]))
            problems.append((key, first["msg"].removeprefix("Value error, ")))
    return tuple(records), tuple(problems)


def _of_run(work: Work, run_id: str, session: date | None) -> Given:
    run = open_run(work.layout, run_id)
    inputs = run.inputs
    of = date.fromisoformat(inputs["session"])
    if session is not None and of > session:
        raise ConfigurationError(
            f"candidates of run {run_id}",
            f"the run is of {of}, later than session {session}: its choice could not be known then.",
        )
    records = tuple(
        CandidateRecord(symbol=one["symbol"], con_id=one["con_id"], profiles=inputs["profile"])
        for one in inputs["instruments"]
    )
    return Given("run", run_id, of, records, str(inputs["merkle_root"]))

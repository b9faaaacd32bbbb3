"""Fault scripts: YAML that says what goes wrong and when, checked in full before anything runs."""

from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from quant_assets.errors import ConfigurationError
from quant_assets.gateway.faults.events import Event
from quant_assets.gateway.faults.moments import BAR_ACTIONS, KINDS, Fault, MomentKind
from quant_assets.gateway.faults.vocabulary import EVENTS, FAULTS, NAMES

_BARS_COME_WITH: Final = {"history"}


class FaultLine(BaseModel):
    """One line: a fault, and either the requests (`request`) or the moment (`at`) that set it off."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    fault: str
    """A name of the vocabulary."""
    request: tuple[MomentKind, ...] = ()
    """Kinds of requests that it strikes, or that set it off; `any` means all."""
    at: float | None = Field(default=None, ge=0)
    """Seconds on the gateway's clock after the first request for data."""
    symbol: str = ""
    con_id: int = 0
    what: str = ""
    """Only requests for this tick type, `ADJUSTED_LAST` for instance."""
    bar_size: str = ""
    """Only requests for bars of this size, `1 day` for instance."""
    nth: int | None = Field(default=None, ge=1)
    """From the nth matching request on."""
    every: int | None = Field(default=None, ge=1)
    """Every nth matching request."""
    probability: float | None = Field(default=None, gt=0, le=1)
    """Each matching request with this probability; the script's seed decides."""
    times: int | None = Field(default=None, ge=1)
    """How often; by default once, and without end with `every` or `probability`."""
    since: float = Field(default=0.0, ge=0)
    until: float | None = Field(default=None, gt=0)
    """Seconds after the first request for data, between which requests are looked at."""
    lasts: float | None = Field(default=None, gt=0)
    """Of an event: its length. Of a fault: it strikes every matching request for so long after its first."""
    repeat: float | None = Field(default=None, gt=0)
    """With `at`: again every so many seconds."""
    code: int | None = None
    text: str | None = None
    delay: float | None = Field(default=None, gt=0)
    share: float | None = Field(default=None, ge=0, le=1)

    @field_validator("fault")
    @classmethod
    def _is_known(cls, name: str) -> str:
        if name not in NAMES:
            near = get_close_matches(name, NAMES, n=1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise ValueError(f"there is no such fault.{hint} Legal: {', '.join(NAMES)}")
        return name

    @field_validator("request", mode="before")
    @classmethod
    def _one_or_several(cls, value: object) -> object:
        if value == "any":
            return KINDS
        return (value,) if isinstance(value, str) else value

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        if bool(self.request) == (self.at is not None):
            raise ValueError(f"give either `request` (one or more of: any, {', '.join(KINDS)}) or `at` (seconds)")
        if self.at is not None and self.fault in FAULTS:
            raise ValueError(f"`at` goes with events ({', '.join(EVENTS)}); a fault of answers needs `request`")
        if sum(chosen is not None for chosen in (self.nth, self.every, self.probability)) > 1:
            raise ValueError("give at most one of `nth`, `every` and `probability`")
        if self.repeat is not None and self.at is None:
            raise ValueError("`repeat` goes with `at`; with `request`, say `every`")
        fault = FAULTS.get(self.fault)
        if fault and fault.action in BAR_ACTIONS and set(self.request) != _BARS_COME_WITH:
            raise ValueError(f"{self.fault} changes bars, so `request` must be history")
        if self.fault in EVENTS and {self.code, self.text, self.delay, self.share} != {None}:
            raise ValueError("`code`, `text`, `delay` and `share` go with faults of answers")
        return self

    @property
    def limit(self) -> int | None:
        """How often it strikes; None means without end."""
        is_endless = self.every is not None or self.probability is not None or self.repeat is not None
        return self.times if self.times is not None or is_endless else 1

    def trouble(self) -> Fault | Event:
        """Return what goes wrong, with this line's own numbers and words."""
        if event := EVENTS.get(self.fault):
            return replace(event, lasts_s=self.lasts) if self.lasts is not None else event
        named = {"code": self.code, "text": self.text, "delay_s": self.delay, "share": self.share}
        changes: dict[str, Any] = {name: value for name, value in named.items() if value is not None}
        return replace(FAULTS[self.fault], **changes)


class FaultScript(BaseModel):
    """A whole script. Equal scripts and equal requests give equal trouble."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    description: str = ""
    seed: int = 0
    faults: tuple[FaultLine, ...]

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a script.

        Raises:
            ConfigurationError: the file is absent or no YAML, or a key or value is wrong; names file, key and what is
                legal.
        """
        raw = _read(path)
        try:
            return cls.model_validate(raw)
        except ValidationError as error:
            first = error.errors()[0]
            key = ".".join(str(part) for part in first["loc"]) or "faults"
            problem = first["msg"].removeprefix("Value error, ")
            raise ConfigurationError(f"{path}, key {key!r}", f"{problem} (got {_shown(first['input'])}).") from None

    def to_yaml(self) -> str:
        """Return the text of a file that `load` reads back."""
        text: str = yaml.safe_dump(self.model_dump(mode="json", exclude_defaults=True), sort_keys=False)
        return text


def _read(path: Path) -> object:
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        mend = "Give the path of a YAML file such as configs/faults/flaky_day.yaml."
        raise ConfigurationError(str(path), "the fault script does not exist.", mend) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(str(path), f"the fault script cannot be read ({error}).") from None
    except yaml.YAMLError as error:
        raise ConfigurationError(
            str(path), f"the fault script is not valid YAML: {error}.", "Mend the syntax."
        ) from None


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}…"  # noqa: PLR2004 - what a line of a message can hold

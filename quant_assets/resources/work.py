"""The one resource that assets need: settings, stores and the way to TWS, as a unit of work."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
from pydantic import Field, PrivateAttr

from quant_assets.control.progress import ConsoleProgress, watched_progress
from quant_assets.flows.gate import TwsGate
from quant_assets.flows.work import Work
from quant_assets.settings import Settings

REPAIR_TAG = "quant/repair"
"""A run that bears this tag asks again for what is in doubt, without waiting for the fetch throttle."""
KNOWN = "known"
"""Value of the tag with which a run asks for known holes, too."""


class WorkResource(dg.ConfigurableResource):  # type: ignore[type-arg]
    """Opens one unit of work per Dagster run; the replay gateway starts only when something is asked of it."""

    data: str
    configs: str
    assignments: list[str] = Field(default_factory=list)
    is_watched: bool = False
    """A person waits for the run at a terminal; the UI's runs go on when nobody looks."""

    _work: Work | None = PrivateAttr(default=None)

    @contextlib.contextmanager
    def yield_for_execution(self, context: dg.InitResourceContext) -> Iterator["WorkResource"]:
        """Give the run its unit of work, and stop the gateway after it."""
        settings = Settings.from_env(data=Path(self.data), configs=Path(self.configs), assignments=self.assignments)
        settings.check_data_directory()
        run_id = context.run.run_id[:12] if context.run else "direct"
        tag = context.run.tags.get(REPAIR_TAG) if context.run else None
        watched = watched_progress() if self.is_watched else contextlib.nullcontext(ConsoleProgress())
        with TwsGate(settings, run_id=run_id) as gate, watched as progress:
            self._work = Work(
                settings,
                gate,
                run_id=run_id,
                progress=progress,
                is_repair=tag is not None,
                asks_known=tag == KNOWN,
            )
            yield self

    @property
    def work(self) -> Work:
        """The unit of work of this run."""
        assert self._work is not None, "the resource is used inside a run"
        return self._work

"""Checks of this machine: configuration, client library, disk, calendar, locks, Dagster's instance."""

import shutil
import tempfile
from dataclasses import replace
from datetime import timedelta
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

import yaml

from quant_assets.clock import ManualClock
from quant_assets.control.locks import holder_of
from quant_assets.domain.calendar import day_start
from quant_assets.errors import ConfigurationError, QuantAssetsError
from quant_assets.errors.base import number_of
from quant_assets.flows.discover import load_sources
from quant_assets.flows.doctor.checks import Check, size_text
from quant_assets.flows.plan import plan_cycle
from quant_assets.flows.work import Work

_A_YEAR: Final = timedelta(days=330)
_ROOMY: Final = 5
"""Free space below this many times the need is worth a warning."""
_COMFORT: Final = 10**9
_DAGSTER_FILES: Final = ("history/runs.db", "schedules/schedules.db")


def configuration(work: Work) -> Check:
    """Read the manifest, and every list and scanner that it names."""
    name = "configuration"
    try:
        manifest, sources = work.settings.manifest, load_sources(work)
    except QuantAssetsError as error:
        return Check(name, "fail", str(error), f"Mend {_place(work, error)}; `quant manifest audit` checks it again.")
    if not sources.named and not sources.scanners:
        mend = "Name a list of configs/lists in discovery.lists of a profile."
        return Check(name, "fail", "no active profile names a list or a scanner", mend)
    names = len({one.name for one in sources.named})
    counted = number_of(len(manifest.active_profiles), "profile"), number_of(names, "listed name")
    return Check(name, "pass", f"{', '.join(counted)}, tws.mode {manifest.tws.mode}")


def _place(work: Work, error: QuantAssetsError) -> str:
    """Return where somebody mends the configuration: a variable or an option that is at fault, else the directory."""
    where = error.where if isinstance(error, ConfigurationError) else ""
    origins = [one for one in work.settings.origins.values() if where.startswith(one)]
    return origins[0] if origins else str(work.settings.configs)


def client_library() -> Check:
    """Name the IB client library; two of them overwrite each other's event package."""
    name = "client library"
    found = {package: _version(package) for package in ("ib_insync", "ib_async")}
    present = [f"{package} {number}" for package, number in found.items() if number]
    if not present:
        return Check(name, "fail", "no IB client library is installed", "Run: pip install ib_insync")
    if len(present) > 1:
        mend = "Keep one: pip uninstall ib_async aeventkit, then pip install --force-reinstall ib_insync eventkit."
        return Check(name, "fail", f"{' and '.join(present)} overwrite each other's files", mend)
    return Check(name, "pass", present[0])


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def data_directory(work: Work) -> Check:
    """Make the data directory, and write to it."""
    name, data = "data directory", work.settings.data
    try:
        work.settings.check_data_directory()
        with tempfile.NamedTemporaryFile(dir=data, prefix=".doctor-"):
            pass
    except QuantAssetsError as error:
        return Check(name, "fail", str(error), "Set QUANT_DATA to a directory that this user can write.")
    except OSError as cause:
        mend = "Set QUANT_DATA to a directory that this user can write, or free some space."
        return Check(name, "fail", f"{data} cannot be written ({cause.strerror})", mend)
    return Check(name, "pass", f"{data} can be written")


def disk(work: Work) -> Check:
    """Compare free space with what the next data cycle would store: the newest closed session, or the one after it."""
    name, mend = (
        "disk space",
        "Free some space, or move the data with QUANT_DATA. `quant plan` shows what a range needs.",
    )
    needed = max(plan_cycle(one, [one.latest_session()]).disk_bytes for one in (work, _a_session_later(work)))
    free = shutil.disk_usage(work.settings.data).free
    found = f"{size_text(free)} free, the next session needs about {size_text(needed)}"
    if free < needed:
        return Check(name, "fail", found, mend)
    if free < max(_ROOMY * needed, _COMFORT):
        return Check(name, "warn", found, mend)
    return Check(name, "pass", found)


def _a_session_later(work: Work) -> Work:
    """Return the work as it stands once the session after the latest one can be asked for."""
    following = work.calendar.following(work.latest_session())
    if following is None:
        return work
    closed = work.calendar.hours(following).closes_at + work.fetch_delay
    return replace(work, clock=ManualClock(max(closed, day_start(following) + timedelta(days=1))))


def calendar(work: Work) -> Check:
    """Ask whether the coming year's sessions are known."""
    name, mend = "calendar", "Run: pip install --upgrade exchange_calendars"
    last, today = work.calendar.all_sessions[-1], work.clock.now().date()
    found = f"{', '.join(work.calendar.names)} known to {last}, latest closed session {work.latest_session()}"
    if last <= today:
        return Check(name, "fail", found, mend)
    return Check(name, "pass", found) if last >= today + _A_YEAR else Check(name, "warn", found, mend)


def locks(work: Work) -> Check:
    """Name who holds a lock at this moment."""
    files = sorted(work.layout.locks.glob("*.lock"))
    held = {file.stem: holder for file in files if (holder := holder_of(file.stem, work.layout.locks)) is not None}
    if not held:
        return Check("locks", "pass", "nobody holds any")
    who = "; ".join(f"{name}: " + ", ".join(f"{k}={v}" for k, v in note.items()) for name, note in held.items())
    return Check("locks", "warn", who, "Wait for that process; a lock frees itself when its process ends.")


def dagster_instance(work: Work, root: Path, home: str | None) -> Check:
    """Look whether the instance's databases were made, by one process; two that meet a fresh one corrupt it."""
    name, mend = "Dagster instance", "Run `make setup` once in the project's directory."
    config = (Path(home) if home else root) / "dagster.yaml"
    try:
        base = Path(home) if home and not config.is_file() else _base_of(config, work)
    except (OSError, yaml.YAMLError, KeyError, TypeError) as cause:
        found = f"{config} does not say where it is ({type(cause).__name__})"
        return Check(name, "warn", found, "Work in the project's directory, or set DAGSTER_HOME.")
    missing = [file for file in _DAGSTER_FILES if not (base / file).is_file()]
    if missing:
        return Check(name, "warn", f"{base} is not initialised: no {', '.join(missing)}", mend)
    if base != work.layout.history:
        apart = "Let no other data directory use it: unset DAGSTER_HOME and name no storage in dagster.yaml."
        return Check(name, "warn", f"{base} is not in {work.settings.data}", apart)
    return Check(name, "pass", str(base))


def _base_of(config: Path, work: Work) -> Path:
    said = yaml.safe_load(config.read_text(encoding="utf-8"))
    if "storage" in said:
        return config.parent.absolute() / str(said["storage"]["sqlite"]["base_dir"])
    return work.layout.history if "instance_class" in said else config.parent.absolute()

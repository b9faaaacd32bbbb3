"""The environment of the process: touched in this file and nowhere else."""

import os
from collections.abc import Iterable, Mapping


def of_process() -> Mapping[str, str]:
    """Return the variables of the process as they are now."""
    return os.environ


def names_dagster_home(environ: Mapping[str, str] | None = None) -> bool:
    """Return whether DAGSTER_HOME names an instance, in the process's environment or the one that is given."""
    return bool((os.environ if environ is None else environ).get("DAGSTER_HOME"))


def suggest(names: Iterable[str], value: str) -> None:
    """Set variables that a library reads when it is imported; what somebody has set stays."""
    for name in names:
        os.environ.setdefault(name, value)

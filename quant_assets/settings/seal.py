"""How tight the network seal of a command is to be."""

import os
from collections.abc import Mapping


def wants_namespace(environ: Mapping[str, str] | None = None) -> bool:
    """Return whether the alpha cycle's own process is to give up the network for good.

    `QUANT_SEAL=audit_hook` keeps it to the hook. So does DAGSTER_HOME: the instance that it names may keep its runs in
    a database, which a process without a network cannot reach.
    """
    env = os.environ if environ is None else environ  # noqa: TID251 - the settings are where it is read
    return env.get("QUANT_SEAL", "") != "audit_hook" and not env.get("DAGSTER_HOME")

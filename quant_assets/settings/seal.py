"""How tight the network seal of a command is to be."""

from collections.abc import Mapping

from quant_assets.settings.environment import names_dagster_home, of_process


def wants_namespace(environ: Mapping[str, str] | None = None) -> bool:
    """Return whether the alpha cycle's own process is to give up the network for good.

    `QUANT_SEAL=audit_hook` keeps it to the hook. So does DAGSTER_HOME: the instance that it names may keep its runs in
    a database, which a process without a network cannot reach.
    """
    env = of_process() if environ is None else environ
    return env.get("QUANT_SEAL", "") != "audit_hook" and not names_dagster_home(env)

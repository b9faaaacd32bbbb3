"""Which runs are the sleeves of a meta portfolio."""

from datetime import date

from quant_assets.domain.tables import REPORTS
from quant_assets.errors import ConfigurationError, NotPublishedError, SnapshotIncompleteError, UnknownNameError
from quant_assets.lakehouse.layout import Layout, Partition
from quant_assets.lakehouse.runs import RunDirectory
from quant_assets.lakehouse.store import Lakehouse
from quant_assets.settings.manifest import Manifest, Profile


def meta_profile(manifest: Manifest, name: str | None) -> tuple[str, Profile]:
    """Return a meta portfolio by its name or alias; without a name, the only one there is.

    Raises:
        UnknownNameError: there is no such one.
        ConfigurationError: none or several are configured, and none was named.
    """
    known = manifest.meta_profiles
    if name is not None:
        real = manifest.aliases.get(name, name)
        if real not in known:
            raise UnknownNameError("meta portfolio", name, known)
        return real, known[real]
    if len(known) != 1:
        told = f"{len(known)} profiles have sleeves" + (f" ({', '.join(known)})" if known else "")
        raise ConfigurationError("sleeves", f"{told}.", "Name one with --profile.")
    return next(iter(known.items()))


def published_sleeves(
    lake: Lakehouse, layout: Layout, manifest: Manifest, name: str, session: date
) -> list[RunDirectory]:
    """Return the finished runs of a meta portfolio's profiles at a session.

    Raises:
        SnapshotIncompleteError: lists every sleeve that has no finished run, with the command that makes it.
    """
    found, missing = [], []
    for sleeve in manifest.profiles[name].sleeves:
        real = manifest.resolve(sleeve)
        try:
            row = lake.curated.read(REPORTS, Partition(session, real))
            found.append(RunDirectory(layout.run(row["run_id"][0])))
        except NotPublishedError:
            mend = f"quant flow alpha --profile {real} --session {session}"
            missing.append((f"profile {real} has no finished run of {session}", mend))
    if missing:
        raise SnapshotIncompleteError(session, name, missing)
    return found

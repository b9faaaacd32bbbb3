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
        return real, _resolved(manifest, known[real])
    if len(known) != 1:
        told = f"{len(known)} profiles have sleeves" + (f" ({', '.join(known)})" if known else "")
        raise ConfigurationError("sleeves", f"{told}.", "Name one with --profile.")
    only = next(iter(known))
    return only, _resolved(manifest, known[only])


def _resolved(manifest: Manifest, profile: Profile) -> Profile:
    """Return a meta portfolio whose sleeves are called after the profiles that they really are of."""
    named = ((manifest.resolve(one.profile or name), one) for name, one in profile.sleeves.items())
    return profile.model_copy(
        update={"sleeves": {real: one.model_copy(update={"profile": real}) for real, one in named}}
    )


def published_sleeves(
    lake: Lakehouse, layout: Layout, name: str, profile: Profile, session: date
) -> list[RunDirectory]:
    """Return the finished runs of a meta portfolio's profiles at a session.

    Args:
        lake: the lakehouse.
        layout: where run directories are.
        name: of the meta portfolio.
        profile: as `meta_profile` returns it.
        session: of the sleeves.

    Raises:
        SnapshotIncompleteError: lists every sleeve that has no finished run, with the command that makes it.
    """
    found, missing = [], []
    for real in profile.sleeves:
        try:
            row = lake.curated.read(REPORTS, Partition(session, real))
            found.append(RunDirectory(layout.run(row["run_id"][0])))
        except NotPublishedError:
            mend = f"quant flow alpha --profile {real} --session {session}"
            missing.append((f"profile {real} has no finished run of {session}", mend))
    if missing:
        raise SnapshotIncompleteError(session, name, missing)
    return found

"""What a session that does not keep the limits of a certificate needs: which commands lead out of it."""

from collections.abc import Mapping
from datetime import date

from quant_assets.domain.limits import QUARANTINED, UNEXPLAINED, Limits, beyond
from quant_assets.domain.tables import BAR_ACCOUNTING, CERTIFIED_SESSIONS
from quant_assets.errors import DataWrong
from quant_assets.flows.reader import Reader
from quant_assets.lakehouse.layout import Partition

READABLE = "the bars are published and can be read, but the session has no certificate, so no run uses it"


def ways_out(session: date, problems: Mapping[str, str]) -> str:
    """Return the commands that mend what is beyond the limits.

    Args:
        session: the session.
        problems: configuration key → what is beyond it, as `domain.limits.beyond` returns them.
    """
    ways = {
        UNEXPLAINED: f"`quant repair --sessions {session}` asks TWS again, with --known also for what it gave up; "
        f'`quant repair accept --session {session} --symbol SYMBOL --why "…"` puts on record that nothing is to be had',
        QUARANTINED: f"`quant quarantine list --session {session}` shows the rows; release them, or mend the rule's "
        "threshold in section `quality` of the manifest, then run the session again",
    }
    return "; ".join(way for key, way in ways.items() if key in problems)


def beyond_today(store: Reader, session: date, limits: Limits) -> dict[str, str]:
    """Return what is beyond today's limits of a session, by configuration key; a certificate of wider ones is no proof.

    Args:
        store: the lakehouse, or a part of it.
        session: the session.
        limits: of today; where the certificate was given under the same or narrower ones, nothing is read.
    """
    partition = Partition(session)
    certified = store.footer(CERTIFIED_SESSIONS, partition)
    if certified and not limits.may_refuse(certified.inputs):
        return {}
    try:
        return beyond(store.read(BAR_ACCOUNTING, partition), limits)
    except DataWrong:
        return {}  # its content is not what was certified, and that is said by who compares contents

"""Certifying sessions: their tables passed, fit together and balance, and the content ids say of what this is true."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date

from quant_assets.domain.accounting import equation
from quant_assets.domain.certificates import Certificate, judged
from quant_assets.domain.limits import QUARANTINED, UNEXPLAINED, Limits, beyond, told
from quant_assets.domain.tables import (
    ADJUSTMENT_FACTORS,
    BAR_ACCOUNTING,
    CERTIFIED_SESSIONS,
    RAW_INSTRUMENTS,
    RAW_TWS_BARS,
    RAW_TWS_DAILY_BARS,
    UNIVERSE,
)
from quant_assets.domain.toxic import REAL_MOVE
from quant_assets.errors import BrokenChainError, CorruptFileError
from quant_assets.errors.base import listed
from quant_assets.flows.accounting import balance
from quant_assets.flows.breaks import broken_at
from quant_assets.flows.care import DATA_TABLES
from quant_assets.flows.confirming import BREAKS, MADE_WITH_BREAKS, breaks_id, concerning
from quant_assets.flows.dimension import DETAILS
from quant_assets.flows.ingest.ledger import in_other_units
from quant_assets.flows.limits import READABLE, beyond_today, ways_out
from quant_assets.flows.publishing import Finding, Published, publish_frame, unchanged
from quant_assets.flows.returning import outdated_factors
from quant_assets.flows.work import Work
from quant_assets.lakehouse.content import combined_id
from quant_assets.lakehouse.footer import Footer
from quant_assets.lakehouse.layout import Partition

PUBLISHED = "every_table_published"
COHERENT = "made_from_what_stands"
BALANCED = "accounting_balances"
BOUNDED = "quarantine_within_limits"
ONE_UNIT = "volumes_of_one_unit"
CHECKS = {
    PUBLISHED: "Every table of the data cycle is published, which its blocking checks allow only when they are green",
    COHERENT: "No table was computed from what something newer has replaced",
    BALANCED: "Every expected minute is accounted for, and no more than lakehouse.max_unexplained is unexplained",
    ONE_UNIT: "Of no instrument, minutes and daily bar are a hundred times apart in volume: one of them is in lots",
    BOUNDED: "Quarantine takes more than lakehouse.max_quarantined of no more instruments than lakehouse.max_degraded",
}

CERTIFIED_TABLES = tuple(table for table in DATA_TABLES if table is not CERTIFIED_SESSIONS)


def certify(work: Work, session: date) -> Published:
    """Publish the certificate of a session, unless something about it is not in order: then it stays uncertified."""
    partition = Partition(session)
    footers = _footers(work, session)
    found = {name: footer for name, footer in footers.items() if footer}
    raw_id = work.lake.raw.input_id(RAW_TWS_BARS, partition)
    inputs = {name: footer.content_id for name, footer in found.items()} | {RAW_TWS_BARS.name: raw_id}
    inputs |= {"overrides": work.words.id_of(session), **Limits.of(work.settings.manifest.lakehouse).as_inputs()}
    if len(found) == len(footers) and (standing := unchanged(work, CERTIFIED_SESSIONS, partition, inputs)):
        return standing
    account = _account(work, session, found)
    findings = [
        Finding(PUBLISHED, not (absent := sorted(footers.keys() - found.keys())), _absent(session, absent)),
        Finding(COHERENT, not (stale := stale_tables(work, session, found)), _older(session, stale)),
        Finding(BALANCED, not (odd := account.problem(session, UNEXPLAINED)), odd),
        Finding(ONE_UNIT, not (apart := _apart(work, session)), apart),
        Finding(BOUNDED, not (out := account.problem(session, QUARANTINED)), out),
    ]
    certificate = combined_id(f"{session}|{name}|{footer.content_id}" for name, footer in found.items())
    rows = [
        {
            "session": session,
            "table_name": name,
            "content_id": footer.content_id,
            "n_rows": footer.n_rows,
            "warnings": ";".join(sorted(footer.warnings)),
            "balance": account.equation,
            "degraded": account.degraded,
            "accepted": account.accepted,
            "certificate_id": certificate,
            "certified_at": work.clock.now(),
        }
        for name, footer in found.items()
    ]
    return publish_frame(
        work,
        CERTIFIED_SESSIONS,
        partition,
        CERTIFIED_SESSIONS.frame(rows),
        inputs=inputs,
        watermark=max((footer.watermark for footer in found.values()), default=""),
        findings=findings,
        metadata={"certificate": certificate, "tables": len(found), **account.metadata()},
    )


def _footers(work: Work, session: date) -> dict[str, Footer | None]:
    """Return what stands of every table; a file that cannot be read, or was altered, does not stand."""
    footers: dict[str, Footer | None] = {}
    for table in CERTIFIED_TABLES:
        try:
            footers[table.name] = work.lake.curated.proved_footer(table, Partition(session))
        except CorruptFileError:
            footers[table.name] = None
    return footers


def _absent(session: date, absent: Sequence[str]) -> str:
    return f"not published: {', '.join(absent)}; run `quant flow data --session {session}`" if absent else ""


def _apart(work: Work, session: date) -> str:
    """Name the instruments whose volumes are in two units."""
    apart = in_other_units(work, [session])
    if apart.is_empty():
        return ""
    members = work.lake.curated.read(UNIVERSE, Partition(session), ["con_id", "symbol"])
    names = members.join(apart, on="con_id", how="semi")["symbol"].sort().to_list()
    return (
        f"minutes and daily bar are a hundred times apart in volume: {listed(names)}; `quant flow data --session "
        f"{session}` asks TWS again for both, `quant doctor` says whether it counts in lots"
    )


def _older(session: date, stale: Sequence[tuple[str, str]]) -> str:
    return "; ".join(f"{told}; run `quant flow data --session {session}`" for told in _in_words(stale))


def _in_words(stale: Sequence[tuple[str, str]]) -> list[str]:
    return [f"{name} was made from an older {source}" for name, source in stale]


def stale_tables(
    work: Work,
    session: date,
    found: Mapping[str, Footer] | None = None,
    outdated: Collection[date] | None = None,
) -> list[tuple[str, str]]:
    """Return the tables that were computed from another state of an input than the one that stands, and that input.

    Args:
        work: the stores.
        session: the session.
        found: table name → footer, when the caller has them.
        outdated: sessions with outdated factors, when the caller has looked for them.
    """
    stored = _footers(work, session) if found is None else found
    footers = {name: footer for name, footer in stored.items() if footer}
    raw_id = work.lake.raw.input_id(RAW_TWS_BARS, Partition(session))
    stands = {name: footer.content_id for name, footer in footers.items()} | {RAW_TWS_BARS.name: raw_id}
    stands[DETAILS] = work.lake.raw.lineage(RAW_INSTRUMENTS).get(session, "")
    stands |= _words_id(work, session)
    breaks = _breaks_ids(work, session)
    behind = outdated_factors(work, session, session) if outdated is None else outdated
    return [
        *(
            (name, _NAMES.get(source, source))
            for name, footer in footers.items()
            for source, used in footer.inputs.items()
            if source in stands and stands[source] != used
        ),
        *(
            (name, _WORDS)
            for name, words in breaks.items()
            if name in footers and footers[name].inputs.get(BREAKS, "") != words
        ),
        *([(ADJUSTMENT_FACTORS.name, RAW_TWS_DAILY_BARS.name)] if session in behind else []),
    ]


_WORDS = "overrides.jsonl"
_NAMES = {"overrides": _WORDS, DETAILS: RAW_INSTRUMENTS.name}


def _words_id(work: Work, session: date) -> dict[str, str]:
    """Return the id of what people said about a session; nothing while that cannot be proved, as audits tell."""
    try:
        return {"overrides": work.words.id_of(session)}
    except BrokenChainError:
        return {}


def _breaks_ids(work: Work, session: date) -> dict[str, str]:
    """Return the same of the words on breaks, for the tables that are made with them."""
    try:
        return {name: breaks_id(work, concerning(work, name, session)) for name in MADE_WITH_BREAKS}
    except BrokenChainError:
        return {}


@dataclass(frozen=True, slots=True)
class _Account:
    """What a session's accounting says for a certificate."""

    equation: str = ""
    odd: str = ""
    """What does not come out even."""
    beyond: Mapping[str, str] = field(default_factory=dict)
    """Configuration key → what is beyond it."""
    degraded: str = ""
    accepted: str = ""

    def problem(self, session: date, key: str) -> str:
        """Return what is beyond a limit and which commands lead out of it; what does not come out even first."""
        texts = [self.odd] if self.odd and key == UNEXPLAINED else []
        if key in self.beyond:
            texts += [self.beyond[key], READABLE, ways_out(session, {key: self.beyond[key]})]
        return "; ".join(texts)

    def metadata(self) -> dict[str, str]:
        """Return what is shown beside the certificate."""
        shown = {"balance": self.equation, "degraded": self.degraded, "accepted": self.accepted}
        return {name: text for name, text in shown.items() if text}


def _account(work: Work, session: date, found: Mapping[str, Footer]) -> _Account:
    """Hold the session's accounting against the equation and the limits."""
    if BAR_ACCOUNTING.name not in found or UNIVERSE.name not in found:
        return _Account()  # what is absent is named by another check
    partition, limits = Partition(session), Limits.of(work.settings.manifest.lakehouse)
    rows = work.lake.curated.read(BAR_ACCOUNTING, partition)
    members = work.lake.curated.read(UNIVERSE, partition)
    degraded, accepted = told(rows, limits)
    has_factors = ADJUSTMENT_FACTORS.name in found
    broken = broken_at(work.lake.curated, session) if has_factors else {}
    moved = broken_at(work.lake.curated, session, REAL_MOVE) if has_factors else {}
    degraded = _also(degraded, (f"{symbol} on another price basis, {times}" for symbol, times in broken.items()))
    accepted = _also(accepted, (f"{symbol} moved {times}" for symbol, times in moved.items()))
    return _Account(equation(rows), balance(rows, members), beyond(rows, limits), degraded, accepted)


def _also(text: str, more: Iterable[str]) -> str:
    return "; ".join([*([text] if text else []), *more])


# ------------------------------------------------------------ asking


def certificate_of(work: Work, session: date, outdated: Collection[date] | None = None) -> Certificate:
    """Return a session's certificate, held against what stands now and against today's limits."""
    if not _is_certified(work, session):
        return Certificate(session, "none")
    return examined(work, session, outdated).certificate


@dataclass(frozen=True, slots=True)
class Examined:
    """One session: its certificate, and its tables that were made from another state of something."""

    certificate: Certificate
    stale: tuple[tuple[str, str], ...]
    """(table, source), of sessions without a certificate, too."""


def examined(work: Work, session: date, outdated: Collection[date] | None = None) -> Examined:
    """Look at what stands of a session once; of many sessions, look for those with outdated factors before."""
    footers = _footers(work, session)
    stale = stale_tables(work, session, {name: footer for name, footer in footers.items() if footer}, outdated)
    return Examined(_held_against(work, session, footers, stale), tuple(stale))


def _is_certified(work: Work, session: date) -> bool:
    return work.lake.curated.exists(CERTIFIED_SESSIONS, Partition(session))


def _held_against(
    work: Work, session: date, footers: Mapping[str, Footer | None], stale: Sequence[tuple[str, str]]
) -> Certificate:
    if not _is_certified(work, session):
        return Certificate(session, "none")
    try:
        rows = work.lake.curated.read(CERTIFIED_SESSIONS, Partition(session))
    except CorruptFileError:
        return Certificate(session, "none")  # damaged, or of an earlier release
    standing = {name: footer.content_id if footer else None for name, footer in footers.items()}
    problems = beyond_today(work.lake.curated, session, Limits.of(work.settings.manifest.lakehouse))
    return judged(session, rows, standing, list(problems.values()), _in_words(stale))


def published_certificates(work: Work, newest: int | None = None) -> list[Certificate]:
    """Return the certificates of the sessions that have a universe, ascending; of the newest ones only, if asked."""
    published = published_sessions(work)
    sessions = published[-newest:] if newest else published
    outdated = outdated_factors(work, sessions[0], sessions[-1]) if sessions else {}
    return [certificate_of(work, session, outdated) for session in sessions]


def published_sessions(work: Work) -> list[date]:
    """Return the sessions that have a universe, ascending."""
    return [partition.session for partition in work.lake.curated.partitions(UNIVERSE)]

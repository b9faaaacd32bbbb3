"""Tags: a state of the lakehouse by name. A tag holds content ids and an instant of knowledge, never a copy."""

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal, NamedTuple

from quant_assets.control.files import write_text
from quant_assets.control.locks import hold
from quant_assets.domain.tables import ALL, BY_NAME, Table
from quant_assets.errors import (
    ChangingLakeError,
    ConfigurationError,
    CorruptFileError,
    DamagedSourcesError,
    UnknownNameError,
    cannot_write,
)
from quant_assets.flows.damage import mend_of
from quant_assets.flows.past import open_past
from quant_assets.flows.work import Work
from quant_assets.lakehouse.damage import damages
from quant_assets.lakehouse.layout import Partition
from quant_assets.lakehouse.tag import Tag, load_tag

Verdict = Literal["same", "proved", "damaged", "differs"]


@dataclass(frozen=True, slots=True)
class TagFinding:
    """How one partition of a tag stands now."""

    table: str
    partition: str
    verdict: Verdict
    """same: it stands as tagged; proved: it was replaced, and what was known then still has the tagged content;
    damaged: a file of it is lost, or its rows are not what its footer says."""
    what: str = ""


class _Named(NamedTuple):
    """One partition of a tag."""

    table: Table
    partition: Partition
    content: str


_WAIT_S = 10.0
_LOOKS = 5
"""How often a state is looked at before somebody else's commits are left to end first."""
_AS_OF_TAG = "replaced since; computed again as of the tag"


def planned_tag(work: Work, name: str) -> Tag:
    """Return what a tag of this name would hold, and write nothing; every file is hashed.

    Raises:
        ConfigurationError: the name is taken.
        DamagedSourcesError: a file does not hold what was committed, so nothing can be named after it.
        ChangingLakeError: others commit so often that no state of it can be told.
        UnsafeNameError: it is no name for a file.
    """
    _require_free(work, name)
    if found := [one for one in damages(work.lake, ALL, progress=work.progress) if one.kind != "gone"]:
        mends = " ".join(dict.fromkeys(f"Mend: {mend_of(one)}." for one in found))
        raise DamagedSourcesError(f"Tag {name!r} would name damaged files", [str(one) for one in found], mends)
    instant, ids = _state(work)
    return Tag(name, instant, {table: found for table, found in ids.items() if found})


def create_tag(work: Work, name: str) -> Tag:
    """Freeze the state of the lakehouse under a name.

    Raises:
        ConfigurationError: the name is taken.
        DamagedSourcesError, ChangingLakeError: see `planned_tag`.
        LockHeldError: somebody else is writing a tag.
        UnsafeNameError: it is no name for a file.
    """
    tag = planned_tag(work, name)
    with hold("tags", work.layout.locks, wait_s=_WAIT_S, owner={"run": work.run_id}):
        _require_free(work, name)
        write_text(work.layout.tag(name), tag.to_text())
    work.audit.record("tag_created", run_id=work.run_id, status="ok", rows=tag.n_partitions)
    return tag


def _require_free(work: Work, name: str) -> None:
    if work.layout.tag(name).exists():
        made = read_tag(work, name).created_at
        raise ConfigurationError(
            f"tag {name!r}", f"it names a state of {made:%Y-%m-%d %H:%M} UTC already.", "Choose another name."
        )


def _state(work: Work) -> tuple[datetime, dict[str, dict[str, str]]]:
    """Return an instant and what stood at it, as table → partition → content id: equal before the instant and after.

    Raises:
        ChangingLakeError: something changed at every look.
    """
    before = _looked_at(work)
    for _ in range(_LOOKS):
        instant = work.clock.now()
        after = _looked_at(work)
        if before == after:
            return instant, after
        changed = sorted(name for name in after if after[name] != before[name])
        before = after
    raise ChangingLakeError(changed)


def _looked_at(work: Work) -> dict[str, dict[str, str]]:
    return {table.name: dict(_standing(work, table)) for table in ALL}


def _standing(work: Work, table: Table) -> Iterator[tuple[str, str]]:
    """Yield (partition, content id) of every partition that can be read."""
    store = work.lake.raw if table.append_only else work.lake.curated
    for partition in store.partitions(table):
        try:
            if found := _content(work, table, partition):
                yield partition.key, found
        except CorruptFileError:
            continue


def _content(work: Work, table: Table, partition: Partition) -> str | None:
    if table.append_only:
        return work.lake.raw.content_id(table, partition) if work.lake.raw.batches(table, partition) else None
    footer = work.lake.curated.footer(table, partition)
    return footer.content_id if footer else None


def list_tags(work: Work) -> list[Tag]:
    """Return all tags, the newest first."""
    return sorted((read_tag(work, path.stem) for path in _files(work)), key=lambda tag: tag.created_at, reverse=True)


def read_tag(work: Work, name: str) -> Tag:
    """Return a tag.

    Raises:
        UnknownNameError: there is none of this name.
        CorruptFileError: its file is no tag.
    """
    try:
        return load_tag(work.layout.tag(name))
    except FileNotFoundError:
        raise UnknownNameError("tag", name, (path.stem for path in _files(work))) from None


def damaged_tags(work: Work) -> dict[str, CorruptFileError]:
    """Return what is wrong with each tag that cannot be read, by name."""
    found = {}
    for path in _files(work):
        try:
            load_tag(path)
        except FileNotFoundError:
            continue  # somebody gave it up meanwhile
        except CorruptFileError as error:
            found[path.stem] = error
    return found


def _files(work: Work) -> list[Path]:
    return sorted(work.layout.tags.glob("[!.]*.json"))


def delete_tag(work: Work, name: str) -> None:
    """Forget a name; the data that it named stay, but nothing keeps them from being collected.

    One that cannot be read is forgotten as well: whoever gives it up says so by this.

    Raises:
        UnknownNameError: there is none of this name.
        ConfigurationError: something else than a file has its name.
    """
    with contextlib.suppress(CorruptFileError):
        read_tag(work, name)
    path = work.layout.tag(name)
    try:
        path.unlink()
    except OSError as error:
        raise cannot_write(path, error) from error
    work.audit.record("tag_deleted", run_id=work.run_id, status="ok")


def verify_tag(work: Work, name: str) -> list[TagFinding]:
    """Hold a tag against what stands, all of it hashed, and prove what was replaced since from what was known then.

    Raises:
        UnknownNameError: there is no such tag.
    """
    tag = read_tag(work, name)
    damaged = _damaged(work, tag)
    findings = [TagFinding(name, partition.key, "damaged", why) for (name, partition), why in damaged.items()]
    replaced: list[_Named] = []
    for one in _named(tag):
        if (one.table.name, one.partition) in damaged:
            continue
        if _now(work, one.table, one.partition) == one.content:
            findings.append(TagFinding(one.table.name, one.partition.key, "same"))
        else:
            replaced.append(one)
    as_of_tag = _given(work, tag.created_at, replaced)
    behind: dict[str, list[_Named]] = {}
    for one in replaced:
        if one not in as_of_tag:
            behind.setdefault(_made_at(work, tag, *one), []).append(one)
    findings += [TagFinding(one.table.name, one.partition.key, "proved", _AS_OF_TAG) for one in as_of_tag]
    for made_at, named in behind.items():
        given = _given(work, datetime.fromisoformat(made_at), named) if made_at else []
        findings += [_judged(work, one, made_at if one in given else "") for one in named]
    return findings


def _named(tag: Tag) -> Iterable[_Named]:
    for name, partitions in tag.tables.items():
        if name in BY_NAME:
            for key, content in partitions.items():
                yield _Named(BY_NAME[name], Partition.from_key(key), content)


def _damaged(work: Work, tag: Tag) -> dict[tuple[str, Partition], str]:
    """Return the partitions of a tag with a file that is lost or damaged, by table, and what is wrong."""
    named = {(one.table.name, one.partition) for one in _named(tag)}
    tables = [BY_NAME[name] for name in tag.tables if name in BY_NAME]

    def is_named(table: Table, partition: Partition) -> bool:
        return (table.name, partition) in named

    found: dict[tuple[str, Partition], str] = {}
    for one in damages(work.lake, tables, is_named, progress=work.progress):
        found.setdefault((one.table.name, one.partition), f"{one}; {mend_of(one)}")
    return found


def _now(work: Work, table: Table, partition: Partition) -> str | None:
    try:
        return _content(work, table, partition)
    except CorruptFileError:
        return None


def _given(work: Work, as_of: datetime, named: Sequence[_Named]) -> list[_Named]:
    """Return those whose tagged content is what was known by an instant."""
    if not named:
        return []
    with open_past(work, as_of) as past:
        return [one for one in named if _now(past.work, one.table, one.partition) == one.content]


def _made_at(work: Work, tag: Tag, table: Table, partition: Partition, content: str) -> str:
    """Return when the tagged content was made; what had come between that and the tag it did not know."""
    file, until = work.layout.file(table, partition), tag.created_at.isoformat()
    return "" if table.append_only else work.lake.curated.manifest(table).committed_at(file, content, until)


def _judged(work: Work, one: _Named, made_at: str) -> TagFinding:
    if made_at:
        what = f"replaced since; was behind at the tag, and is computed again as of {made_at}, when it was made"
        return TagFinding(one.table.name, one.partition.key, "proved", what)
    gone = _now(work, one.table, one.partition) is None
    what = "is gone" if gone else "holds other content"
    why = "its runs hold it" if one.partition.profile else "and what was known then does not give the tagged content"
    return TagFinding(one.table.name, one.partition.key, "differs", f"{what}; {why}")

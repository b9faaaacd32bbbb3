"""Proof of one file: its rows, hashed anew, are what its footer says."""

from pathlib import Path

from quant_assets.domain.tables import Table
from quant_assets.errors import CorruptFileError
from quant_assets.lakehouse.content import content_id, set_id
from quant_assets.lakehouse.footer import MEND, Footer, instant_text, known_range
from quant_assets.lakehouse.manifest import Manifest
from quant_assets.lakehouse.scanning import read_file

ALTERED = "its rows are not what its footer says"


def proved(table: Table, file: Path, manifest: Manifest) -> Footer | None:
    """Return what stands in a file, None where there is none; its rows are hashed where it is not the committed one.

    Another process may publish between the look and the hashing, so that what contradicts is looked at once more.

    Raises:
        FileNotFoundError: it was removed meanwhile.
        CorruptFileError: it cannot be read, or its rows are not what its footer says.
    """
    footer, is_committed = manifest.standing(file)
    while footer and not is_committed:
        try:
            prove(table, file, footer)
        except CorruptFileError:
            looked = footer
            footer, is_committed = manifest.standing(file)
            if not is_committed and footer == looked:
                raise
        else:
            return footer
    return footer


def prove(table: Table, file: Path, footer: Footer) -> None:
    """Decode every column of a file and hash its rows.

    Columns of provenance are in no content id; of those, when rows became known is held against the footer, because
    every view of the past stands on it.

    Raises:
        FileNotFoundError: it does not exist.
        CorruptFileError: it cannot be decoded, or its rows are not those of the footer.
    """
    rows = read_file(table, file)
    columns = table.content_columns
    said = set_id(rows, columns) if table.append_only else content_id(rows, columns, table.key)
    if said != footer.content_id:
        raise CorruptFileError(file, ALTERED, MEND)
    told = {"known_from": footer.known_from, "known_until": footer.known_until}
    if any(told[name] and instant_text(told[name]) != instant for name, instant in known_range(rows).items()):
        raise CorruptFileError(file, "its rows became known at other times than its footer says", MEND)

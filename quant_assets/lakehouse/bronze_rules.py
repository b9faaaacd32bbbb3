"""Which declared rules bronze breaks: what TWS served is kept as it was served, and what is odd about it is named."""

from quant_assets.domain.tables import Table
from quant_assets.lakehouse.contents import recall_failures, remember_failures
from quant_assets.lakehouse.layout import Partition
from quant_assets.lakehouse.store import RawStore


def broken_rules(raw: RawStore, table: Table, partition: Partition) -> tuple[str, ...]:
    """Return the declared rules that a partition breaks, as text; it is judged once per set of batches.

    Raises:
        CorruptFileError: a batch cannot be read.
    """
    from quant_assets.domain.validation import validate

    files = raw.batches(table, partition)
    if not files:
        return ()
    known = recall_failures(raw.layout, table, partition, files)
    if known is None:
        known = tuple(str(failure) for failure in validate(table, raw.read(table, partition)))
        if raw.batches(table, partition) == files:
            remember_failures(raw.layout, table, partition, files, known)
    return known

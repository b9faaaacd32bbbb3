"""A wipe takes the locks of all who write what it removes, so that nobody dies of it."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from quant_assets.domain.tables import CURATED_TWS_1M_BARS as BARS
from quant_assets.errors import LockHeldError
from quant_assets.flows.slate import DERIVED, wipe
from quant_assets.lakehouse import compaction
from quant_assets.lakehouse.layout import Partition
from quant_assets_tests.builders import curated_bars
from quant_assets_tests.unit.flows.lab import SESSION, Lab, after

MONTH = "2024-03"


@pytest.fixture
def work(tmp_path):
    with Lab(tmp_path).at(after(SESSION)) as opened:
        opened.lake.curated.write(BARS, Partition(SESSION), curated_bars([1.0, 2.0], session=SESSION))
        yield opened


def test_a_month_that_is_being_copied_is_not_wiped_from_under_its_copy(work, monkeypatch):
    prove, told = compaction.prove, []

    def then_wiped(*of):
        prove(*of)
        with ThreadPoolExecutor(1) as another, pytest.raises(LockHeldError, match=f"{BARS.name}.copies") as caught:
            another.submit(wipe, work, DERIVED).result()
        told.append(caught.value)

    monkeypatch.setattr("quant_assets.flows.slate._WAIT_S", 0.1)
    monkeypatch.setattr(compaction, "prove", then_wiped)
    made = compaction.compact(work.lake.curated, BARS, MONTH)
    assert (made.rows, len(told)) == (2, 1)
    assert work.lake.curated.exists(BARS, Partition(SESSION)), "a wipe that is refused removes nothing"
    wipe(work, DERIVED)
    assert not work.layout.copy(BARS, MONTH).exists()
    assert not work.lake.curated.exists(BARS, Partition(SESSION))


def test_what_killed_writers_left_of_a_table_and_its_copies_goes_with_them(work):
    compaction.compact(work.lake.curated, BARS, MONTH)
    targets = (work.layout.file(BARS, Partition(SESSION)), work.layout.copy(BARS, MONTH))
    left = [target.with_name(f".staged-0123456789ab-{target.name}") for target in targets]
    for one in left:
        one.write_bytes(b"half")
    wipe(work, DERIVED)
    assert not [one for one in (*left, *targets) if one.exists()]

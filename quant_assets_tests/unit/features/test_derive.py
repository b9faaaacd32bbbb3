"""Publishing a group: what leaks is held back, what is unchanged is not computed again."""

from dataclasses import replace

import polars as pl
import pytest

from quant_assets.domain.features import GROUPS, LABELS, volume_1m
from quant_assets.domain.tables import CURATED_TWS_1M_BARS
from quant_assets.errors import NotPublishedError
from quant_assets.flows.derive import CAUSAL, publish_group
from quant_assets.lakehouse.layout import Partition
from quant_assets_tests.builders import curated_bars
from quant_assets_tests.unit.features.conftest import CON_IDS, DAYS, known_at, write_session

VOLUME = GROUPS["volume_1m", "v1"]
TECHNICALS = GROUPS["tv_technicals_1d", "v1"]


def never(*_):
    raise AssertionError("computed again")


@pytest.mark.parametrize("group", [*GROUPS.values(), *LABELS.values()], ids=lambda group: group.table.name)
def test_a_partition_tells_what_it_rests_on(lake, group):
    footer = lake.lake.curated.footer(group.table, Partition(DAYS[1]))
    source = lake.lake.curated.footer(group.inputs.table, Partition(DAYS[1]))
    assert footer.inputs == {
        group.inputs.table.name: source.content_id,
        "feature": group.revision,
        "rules": group.table.rules_id,
    }
    assert footer.watermark == source.watermark
    again = publish_group(lake, replace(group, compute=never), DAYS[1])
    assert (again.report.unchanged, again.report.rows) == (footer.n_rows, footer.n_rows)


def test_technicals_are_published_for_their_session_only(lake):
    frame = lake.lake.curated.read(TECHNICALS.table, Partition(DAYS[1]))
    assert frame.select("session", "con_id").rows() == [(DAYS[1], con_id) for con_id in CON_IDS]


def test_a_leaking_group_is_not_published_and_says_why(work):
    write_session(work, DAYS[0])
    peek = pl.col("vol_ma_20").shift(-1).over("con_id")
    leaking = replace(VOLUME, compute=lambda *args: volume_1m(*args).with_columns(peek.alias("vol_ma_20")))
    held_back = publish_group(work, leaking, DAYS[0])
    assert not held_back.is_committed
    assert "vol_ma_20 at session=2024-01-02, con_id=101" in held_back.reason
    (finding,) = [finding for finding in held_back.findings if finding.check == CAUSAL]
    assert (finding.passed, finding.blocking) == (False, True)
    assert not work.lake.curated.exists(VOLUME.table, Partition(DAYS[0]))

    mended = publish_group(work, VOLUME, DAYS[0])
    assert mended.is_committed
    (finding,) = [finding for finding in mended.findings if finding.check == CAUSAL]
    assert finding.metadata["instruments"] == 3
    assert finding.metadata["values_recomputed"] > 1000


def test_minutes_on_the_two_sides_of_a_break_inside_a_session_never_meet_in_a_value(work):
    """Thirty bars at 100, then thirty at 1000 that nothing explains: no return, mean or label knows of both."""
    write_session(work, DAYS[0])
    marked = pl.col("close") == 1000.0
    bars = curated_bars([100.0] * 30 + [1000.0] * 30, session=DAYS[0]).with_columns(
        pl.when(marked).then(pl.lit("warn")).otherwise("dq_status").alias("dq_status"),
        pl.when(marked).then(pl.lit("unexplained_break")).alias("dq_rules"),
    )
    mark = known_at(DAYS[0]).isoformat()
    work.lake.curated.write(CURATED_TWS_1M_BARS, Partition(DAYS[0]), bars, inputs={"test": "2"}, watermark=mark)
    frames = {}
    for group in (GROUPS["price_1m", "v1"], VOLUME, *LABELS.values()):
        assert publish_group(work, group, DAYS[0]).is_committed
        frames[group.name] = work.lake.curated.read(group.table, Partition(DAYS[0]))
    price = frames["price_1m"].sort("ts")
    assert price.height == 60
    for name, first in (("ret_1", 1), ("ret_5", 5), ("ret_20", 20)):
        side = [None] * first + [0.0] * (30 - first)
        assert price[name].to_list() == side * 2
    assert price["ma_5"].to_list() == [None] * 4 + [100.0] * 26 + [1000.0] * 30
    labels = frames["tws_returns"]
    assert set(labels["forward_return"].drop_nulls()) == {0.0}


def test_another_revision_computes_again_and_equal_content_is_not_rewritten(work):
    write_session(work, DAYS[0])
    first = publish_group(work, VOLUME, DAYS[0])
    again = publish_group(work, replace(VOLUME, revision="2"), DAYS[0])
    assert again.metadata.get("served_from") is None
    assert (again.report.unchanged, again.report.content_id) == (first.report.rows, first.report.content_id)


def test_missing_bars_are_named(work):
    with pytest.raises(NotPublishedError, match=r"curated_tws_1d_bars\[2024-01-02\] is not published"):
        publish_group(work, TECHNICALS, DAYS[0])


def test_knowledge_is_that_of_the_bars(lake):
    for group in GROUPS.values():
        footer = lake.lake.curated.footer(group.table, Partition(DAYS[0]))
        assert footer.watermark.startswith(known_at(DAYS[0]).isoformat()[:19])

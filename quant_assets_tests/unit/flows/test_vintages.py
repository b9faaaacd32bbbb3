"""Vintages over a range: each is read once, and let go when no session needs it any more."""

import weakref
from collections import Counter
from datetime import date
from types import SimpleNamespace

from quant_assets.domain.tables import RAW_TWS_DAILY_BARS
from quant_assets.flows.vintages import Vintages
from quant_assets.lakehouse.layout import Layout, Partition
from quant_assets.lakehouse.store import Lakehouse
from quant_assets_tests.builders import CALENDAR, vintage

DAYS = CALENDAR.between(date(2024, 1, 2), date(2024, 1, 31))


def test_over_a_range_each_vintage_is_read_once_and_no_more_are_held_than_one_session_needs(tmp_path, monkeypatch):
    raw = Lakehouse(Layout(tmp_path)).raw
    for day in DAYS:
        raw.append(RAW_TWS_DAILY_BARS, Partition(day), vintage({day: 100.0}, day), "b1")
    asked, frames, read = Counter(), [], raw.read

    def watched(table, partition):
        asked[partition.session] += 1
        frame = read(table, partition)
        frames.append(weakref.ref(frame))
        return frame

    monkeypatch.setattr(raw, "read", watched)
    reader = Vintages(SimpleNamespace(lake=SimpleNamespace(raw=raw)))
    for place in range(len(DAYS) - 2):
        near = DAYS[place : place + 3]
        assert reader.read(near)["session"].to_list() == near
        assert reader.read(near, near[1])["session"].to_list() == near[1:]
        assert sum(frame() is not None for frame in frames) == 3
    assert asked == dict.fromkeys(DAYS, 1)
    assert reader.read([]).equals(RAW_TWS_DAILY_BARS.empty())
    assert not any(frame() is not None for frame in frames)

"""catalog.json over a lakehouse whose every number is known."""

import json
from datetime import UTC, date, datetime

import pytest

from quant_assets.domain.tables import ALL, CURATED_TWS_1D_BARS, RAW_TWS_BARS, UNIVERSE
from quant_assets.errors import CorruptFileError
from quant_assets.lakehouse.catalog import build_catalog, read_catalog, write_catalog
from quant_assets.lakehouse.layout import Partition

SESSIONS = [date(2023, 12, 29), *(date(2024, 1, day) for day in (2, 3, 4, 5, 8, 9))]
NOW = datetime(2024, 1, 9, 22, 0, tzinfo=UTC)


@pytest.fixture
def catalog(filled):
    return build_catalog(filled, ALL, SESSIONS, NOW)


def test_a_table_in_numbers(catalog, lakehouse, layout):
    entry = catalog["tables"]["universe"]
    last = Partition(date(2024, 1, 5))
    assert entry == {
        "zone": "discovery",
        "n_partitions": 3,
        "first_partition": "2024-01-02",
        "last_partition": "2024-01-05",
        "rows": 6,
        "bytes": sum(path.stat().st_size for path in layout.table(UNIVERSE).rglob("*.parquet")),
        "last_content_id": lakehouse.curated.footer(UNIVERSE, last).content_id,
        "sessions_behind": 2,
        "missing_sessions": ["2024-01-04"],
        "unreadable_files": [],
        "conditions": {
            "2024-01-02": "available",
            "2024-01-03": "available",
            "2024-01-04": "missing",
            "2024-01-05": "available",
            "2024-01-08": "missing",
            "2024-01-09": "pending",
        },
        "data_quality_parts": {"coverage": 0.75, "freshness": 0.5, "sound": 1.0},
        "data_quality_score": round((0.40 * 0.75 + 0.20 * 0.5 + 0.15 * 1.0) / 0.75, 4),
        "health": "RED",
        "reasons": ["quality score 0.7333", "2 sessions behind", "1 session missing"],
    }


def test_bronze_counts_every_batch(catalog, lakehouse):
    entry = catalog["tables"]["raw_tws_bars"]
    assert (entry["n_partitions"], entry["rows"], entry["sessions_behind"]) == (1, 2, 5)
    assert entry["last_content_id"] == lakehouse.raw.content_id(RAW_TWS_BARS, Partition(date(2024, 1, 2)))


def test_profiles_are_partitions_of_their_own(catalog):
    entry = catalog["tables"]["weights"]
    assert (entry["n_partitions"], entry["rows"]) == (2, 2)
    assert (entry["first_partition"], entry["last_partition"]) == ("default|2024-01-05", "hrp|2024-01-05")
    assert entry["conditions"] == {"2024-01-05": "available"}


def test_a_table_without_files(catalog):
    entry = catalog["tables"]["reports"]
    assert (entry["n_partitions"], entry["rows"], entry["bytes"]) == (0, 0, 0)
    assert (entry["last_partition"], entry["last_content_id"], entry["sessions_behind"]) == (None, None, None)
    assert (entry["missing_sessions"], entry["conditions"]) == ([], {})


def test_instruments_of_the_newest_window(catalog):
    assert catalog["instruments"] == {
        "1": {
            "symbol": "A",
            "first_session": "2024-01-02",
            "last_session": "2024-01-05",
            "n_sessions": 3,
            "coverage": 1.0,
            "sessions_behind": 2,
            "n_minutes_in_newest_session": 3,
        },
        "2": {
            "symbol": "B",
            "first_session": "2024-01-02",
            "last_session": "2024-01-03",
            "n_sessions": 2,
            "coverage": 0.5,
            "sessions_behind": 4,
            "n_minutes_in_newest_session": 0,
        },
    }


def test_the_head_says_when_and_against_what(catalog):
    assert catalog["generated_at"] == "2024-01-09T22:00:00Z"
    assert catalog["latest_expected_session"] == "2024-01-09"
    assert list(catalog["tables"]) == [table.name for table in ALL]


def test_an_empty_lakehouse_has_a_catalog(layout):
    catalog = build_catalog(layout, ALL, [], NOW)
    assert catalog["latest_expected_session"] is None
    assert catalog["instruments"] == {}
    assert {entry["rows"] for entry in catalog["tables"].values()} == {0}


def test_an_unreadable_file_degrades_its_session_and_nothing_else(filled):
    filled.file(UNIVERSE, Partition(date(2024, 1, 5))).write_bytes(b"PAR1 nonsense")
    filled.file(CURATED_TWS_1D_BARS, Partition(date(2024, 1, 5))).write_bytes(b"PAR1 nonsense")
    catalog = build_catalog(filled, ALL, SESSIONS, NOW)
    entry = catalog["tables"]["universe"]
    assert entry["unreadable_files"] == ["lakehouse/discovery/universe/session=2024-01-05/part.parquet"]
    assert entry["conditions"]["2024-01-05"] == "degraded"
    assert entry["conditions"]["2024-01-03"] == "available"
    assert (entry["rows"], entry["last_content_id"]) == (4, None)
    assert catalog["instruments"] == {}


def test_it_is_written_atomically_and_deterministically(catalog, filled):
    path = write_catalog(filled, catalog)
    assert path == filled.catalog
    first = path.read_bytes()
    assert read_catalog(filled) == catalog == json.loads(first)
    write_catalog(filled, build_catalog(filled, ALL, SESSIONS, NOW))
    assert path.read_bytes() == first
    assert [other.name for other in path.parent.iterdir() if other.name.startswith(".")] == []


def test_reading_what_is_not_there_or_broken(layout):
    assert read_catalog(layout) is None
    layout.catalog.parent.mkdir(parents=True)
    layout.catalog.write_text("{")
    with pytest.raises(CorruptFileError, match="Build it again"):
        read_catalog(layout)

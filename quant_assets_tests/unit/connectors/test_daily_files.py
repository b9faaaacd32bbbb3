"""A file of daily history: what is a bar, what is left out, and what is refused."""

import polars as pl
import pytest

from quant_assets.connectors.files import read_daily
from quant_assets.errors import ConfigurationError, CorruptFileError

HEAD = "symbol,date,open,high,low,close,adj_close,volume\n"
GOOD = "B,2024-01-02,1,2,1,2,1.9,100\nA,2024-01-02,1,2,1,2,2,100\nA,2024-01-03,2,3,2,3,3,50\n"


def read(tmp_path, text, sectors=None):
    path = tmp_path / "daily.csv"
    path.write_text(text)
    beside = None
    if sectors is not None:
        beside = tmp_path / "sectors.csv"
        beside.write_text(sectors)
    return read_daily(path, beside)


def test_rows_become_bars_with_ids_and_sectors(tmp_path):
    found = read(tmp_path, HEAD + GOOD, "symbol,sector,company\nA,Energy,A Corp\nZ,None,Z\n")
    assert found.bars.select("con_id", "symbol", "close", "adj_close").rows() == [
        (1, "A", 2.0, 2.0),
        (1, "A", 3.0, 3.0),
        (2, "B", 2.0, 1.9),
    ]
    assert found.members.rows() == [(1, "A", "Energy", "A Corp"), (2, "B", "unknown", "B")]
    assert found.rejected.is_empty()
    assert set(found.digests) == {"daily.csv", "sectors.csv"}
    assert all(len(one) == 64 for one in found.digests.values())


def test_rows_that_are_no_bar_are_left_out_with_their_reason_and_twins_count_once(tmp_path):
    bad = "C,2024-01-02,,2,1,2,2,1\nC,2024-01-03,1,2,0,2,2,1\nC,2024-01-04,1,2,1,2,2,-1\nA,2024-01-02,1,2,1,2,2,100\n,2024-01-02,1,2,1,2,2,1\n"
    found = read(tmp_path, HEAD + GOOD + bad)
    assert found.rejected["reason"].to_list() == ["no_price", "not_positive", "no_volume", "no_key"]
    assert found.bars.height == 3


def test_ids_of_the_file_are_kept_and_the_close_stands_in_for_an_adjusted_one(tmp_path):
    found = read(tmp_path, "symbol,session,con_id,open,high,low,close,volume\nA,2024-01-02,7,1,2,1,2,5\n")
    assert found.bars.select("con_id", "adj_close").rows() == [(7, 2.0)]


def test_parquet_is_read_too(tmp_path):
    path = tmp_path / "daily.parquet"
    pl.read_csv((HEAD + GOOD).encode()).write_parquet(path)
    assert read_daily(path).bars.height == 3


@pytest.mark.parametrize(
    ("text", "error", "says"),
    [
        (HEAD + GOOD + "A,2024-01-03,2,3,2,4,3,50\n", CorruptFileError, "A stands twice on 2024-01-03"),
        (HEAD + "A,tomorrow,2,3,2,4,3,50\n", CorruptFileError, "parse dates"),
        (HEAD + "A,2024-01-03,,,,,,\n", CorruptFileError, "none of its 1 rows is a bar"),
        ("symbol,date,close\nA,2024-01-03,1\n", ConfigurationError, "lacks open, high, low, volume"),
        ("", CorruptFileError, "empty"),
    ],
)
def test_what_cannot_be_read_is_refused_with_the_culprit(tmp_path, text, error, says):
    with pytest.raises(error, match=says):
        read(tmp_path, text)


def test_sectors_without_their_columns_are_refused(tmp_path):
    with pytest.raises(ConfigurationError, match="lacks sector"):
        read(tmp_path, HEAD + GOOD, "symbol,branch\nA,x\n")

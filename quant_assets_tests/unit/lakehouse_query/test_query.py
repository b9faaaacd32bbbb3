"""SQL over the lakehouse: what it answers, and that nothing can be written through it."""

from datetime import UTC, date, datetime
from pathlib import Path

import duckdb
import polars as pl
import pytest

from quant_assets.domain.tables import ALL, RAW_TWS_BARS, UNIVERSE
from quant_assets.errors import ConfigurationError, CorruptFileError, UnknownNameError
from quant_assets.lakehouse.layout import Layout, Partition
from quant_assets.lakehouse.query import connect, install_views, run_sql
from quant_assets.lakehouse.store import Lakehouse


def files(layout):
    """Every file of the data directory with its bytes."""
    return {path: path.read_bytes() for path in sorted(layout.data.rglob("*")) if path.is_file()}


def test_answers_are_those_of_the_files(filled):
    answer = run_sql(filled, "SELECT session, count(*) AS n FROM curated_tws_1m_bars GROUP BY session ORDER BY session")
    assert answer.rows() == [(date(2024, 1, 2), 3), (date(2024, 1, 3), 3), (date(2024, 1, 5), 3)]
    assert run_sql(filled, "SELECT sum(weight) AS w FROM weights").item() == 0.5
    assert run_sql(filled, "SELECT profile FROM weights ORDER BY 1 DESC").to_series().to_list() == ["hrp", "default"]


def test_bronze_shows_every_batch_and_nothing_that_is_not_committed(filled):
    directory = filled.directory(RAW_TWS_BARS, Partition(date(2024, 1, 2)))
    (directory / ".staged-0123-b3.parquet").write_bytes((directory / "b1.parquet").read_bytes())
    (directory / ".staged-0124-b4.parquet").write_bytes(b"half a fi")
    answer = run_sql(filled, "SELECT batch_id, close FROM raw_tws_bars ORDER BY batch_id")
    assert answer.rows() == [("b1", 2.5), ("b2", 2.5)]


@pytest.mark.parametrize("table", ALL, ids=lambda table: table.name)
def test_an_empty_lakehouse_answers_with_the_declared_columns(layout, table):
    assert run_sql(layout, f"SELECT * FROM {table.name}").schema == table.schema


def test_filled_tables_answer_with_the_declared_columns_too(filled):
    with connect(filled) as connection:
        for table in ALL:
            assert connection.frame(f"SELECT * FROM {table.name}").schema == table.schema, table.name


def test_instants_are_utc_whatever_the_machine_says(filled, monkeypatch):
    monkeypatch.setenv("TZ", "America/New_York")
    answer = run_sql(filled, "SELECT min(ts) AS ts, min(ts)::VARCHAR AS text FROM curated_tws_1m_bars")
    assert answer.row(0) == (datetime(2024, 1, 2, 14, 30, tzinfo=UTC), "2024-01-02 14:30:00+00")


def test_parameters_and_relations(filled):
    with connect(filled) as connection:
        query = "SELECT symbol FROM universe WHERE con_id = $1 AND session = $2"
        assert connection.frame(query, [2, date(2024, 1, 3)]).rows() == [("B",)]
        assert connection.execute(query, [2, date(2024, 1, 3)]).fetchall() == [("B",)]


@pytest.mark.parametrize(
    "sql",
    [
        "FROM universe",
        "TABLE universe;",
        "SELECT 1 -- the end",
        "WITH a AS (SELECT 1 AS x) SELECT * FROM a",
        "DESCRIBE universe",
        "SHOW TABLES",
        "SUMMARIZE universe",
        "VALUES (1), (2)",
        "SELECT * FROM (PIVOT universe ON symbol IN ('A', 'B') USING count(*))",
        "SELECT count(*) FROM information_schema.columns",
    ],
)
def test_all_ways_to_ask_are_allowed(filled, sql):
    assert run_sql(filled, sql).height >= 1


WRITES = [
    "COPY universe TO '{inside}'",
    "COPY universe TO '{standing}' (FORMAT parquet, USE_TMP_FILE false)",
    "COPY universe TO '{outside}'",
    "COPY (SELECT 1) TO '{inside}'",
    "WITH x AS (COPY universe TO '{inside}') SELECT * FROM x",
    "WITH x AS (COPY (SELECT 1) TO '{standing}') SELECT 1",
    "with x as materialized (copy (select 1) to '{inside}') select 1",
    "SELECT * FROM query('WITH x AS (COPY (SELECT 1) TO ''{inside}'') SELECT 1')",
    "SELECT * FROM query('COPY (SELECT 1) TO ''{inside}''')",
    "EXPLAIN ANALYZE WITH x AS (COPY universe TO '{inside}') SELECT * FROM x",
    "EXPLAIN ANALYZE COPY universe TO '{inside}'",
    "SELECT 1; COPY universe TO '{inside}'",
    "SELECT 1) TO '{inside}'; SELECT (1",
    "PREPARE p AS COPY universe TO '{inside}'",
    "EXPORT DATABASE '{inside}'",
    "ATTACH '{inside}' AS other",
    "ATTACH ':memory:' AS other",
    "CREATE TABLE mine AS SELECT 1",
    "CREATE TEMP TABLE mine AS SELECT 1",
    "CREATE OR REPLACE VIEW universe AS SELECT 1",
    "CREATE MACRO universe() AS TABLE SELECT 1",
    "DROP VIEW universe",
    "INSERT INTO universe SELECT * FROM universe",
    "UPDATE universe SET con_id = 1",
    "DELETE FROM universe",
    "INSTALL httpfs",
    "LOAD httpfs",
    "SET enable_external_access = true",
    "SET lock_configuration = false",
    "RESET allowed_directories",
    "PRAGMA enable_profiling",
    "CALL enable_logging()",
    "CHECKPOINT",
    "BEGIN",
    "USE memory",
]


@pytest.mark.parametrize("statement", WRITES)
def test_nothing_can_be_written(filled, tmp_path, statement):
    before = files(filled)
    standing = filled.file(UNIVERSE, Partition(date(2024, 1, 2)))
    sql = statement.format(inside=filled.lakehouse / "x.csv", outside=tmp_path / "x.csv", standing=standing)
    with connect(filled) as connection:
        with pytest.raises(ConfigurationError):
            connection.frame(sql)
        assert connection.frame("SELECT count(*) FROM universe").item() == 6, "and the next question is answered"
    assert files(filled) == before
    assert not (tmp_path / "x.csv").exists()


def test_duckdb_itself_refuses_files_outside_and_every_change_of_its_settings(filled, tmp_path):
    """The second lock, tried without the first: on the raw connection underneath."""
    (tmp_path / "secret.csv").write_text("a\n1\n")
    sibling = filled.data / "lakehouse_of_others"
    sibling.mkdir()
    (sibling / "secret.csv").write_text("a\n1\n")
    raw = connect(filled)._connection
    for path in (tmp_path / "secret.csv", sibling / "secret.csv", filled.lakehouse / ".." / ".." / "secret.csv"):
        with pytest.raises(duckdb.PermissionException):
            raw.execute(f"SELECT * FROM read_csv('{path}')")
        with pytest.raises(duckdb.PermissionException):
            raw.execute(f"COPY universe TO '{path}'")
    with pytest.raises(duckdb.PermissionException):
        raw.execute(f"ATTACH '{tmp_path / 'x.db'}'")
    for change in ("SET enable_external_access = true", "SET lock_configuration = false", "SET threads = 1"):
        with pytest.raises(duckdb.InvalidInputException, match="locked"):
            raw.execute(change)


def test_python_variables_are_no_tables(layout):
    secret = pl.DataFrame({"a": [1]})
    with pytest.raises(UnknownNameError):
        run_sql(layout, "SELECT * FROM secret")
    assert secret.height == 1


def test_an_unknown_table_suggests_the_nearest(filled):
    with pytest.raises(UnknownNameError, match=r"no table 'univers'\. Did you mean 'universe'"):
        run_sql(filled, "SELECT * FROM univers")
    with pytest.raises(UnknownNameError, match="curated_tws_1m_bars"):
        run_sql(filled, "SELECT * FROM universe JOIN curated_tws_1m_bar USING (con_id)")


@pytest.mark.parametrize(
    ("sql", "words"),
    [
        ("SELEC 1", "syntax error"),
        ("SELECT nope FROM universe", "nope"),
        ("", "one statement is expected, not 0"),
        ("-- nothing", "one statement is expected, not 0"),
        ("SELECT 1; SELECT 2", "one statement is expected, not 2"),
        ("SELECT 'a'::INTEGER", "Could not convert"),
        ("SELECT * FROM universe WHERE con_id = $1", "parameters"),
        ("PIVOT universe ON symbol", "PIVOT has to say its values"),
        ("COPY universe TO 'x'", "COPY is refused: the lakehouse is read-only"),
    ],
)
def test_other_mistakes_are_configuration_errors_in_duckdbs_words(filled, sql, words):
    with pytest.raises(ConfigurationError, match=words):
        run_sql(filled, sql)


@pytest.mark.parametrize("day", [date(2024, 1, 2), date(2024, 1, 5)], ids=["first", "last"])
def test_a_corrupt_file_is_named_and_spares_the_other_tables(filled, day):
    broken = filled.file(UNIVERSE, Partition(day))
    broken.write_bytes(b"PAR1 nonsense")
    with connect(filled) as connection:
        assert connection.frame("SELECT count(*) FROM curated_tws_1m_bars").item() == 9
        with pytest.raises(CorruptFileError) as refused:
            connection.frame("SELECT max(con_id) FROM universe")
    assert refused.value.path == broken


def test_a_data_directory_with_a_name_full_of_special_characters(tmp_path):
    layout = Layout(tmp_path / "it's [my] da*ta?")
    frame = UNIVERSE.frame(
        [
            {name: "x" for name, dtype in UNIVERSE.schema.items() if dtype == pl.String}
            | {
                "session": date(2024, 1, 2),
                "con_id": 1,
                "is_pit": True,
                "observed_at": datetime(2024, 1, 2, tzinfo=UTC),
            }
        ]
    )
    Lakehouse(layout).curated.write(UNIVERSE, Partition(date(2024, 1, 2)), frame)
    assert run_sql(layout, "SELECT con_id FROM universe").item() == 1


def test_a_view_sees_partitions_that_are_published_later(lakehouse, layout):
    with connect(layout) as connection:
        before = connection.frame("SELECT count(*) FROM universe").item()
        day = date(2024, 1, 8)
        lakehouse.curated.write(
            UNIVERSE,
            Partition(day),
            lakehouse.curated.read(UNIVERSE, Partition(date(2024, 1, 2))).with_columns(session=pl.lit(day)),
        )
        assert connection.frame("SELECT count(*) FROM universe").item() == before + 2


def test_views_can_be_installed_in_somebody_elses_connection(filled):
    with duckdb.connect(":memory:") as connection:
        install_views(connection, filled)
        install_views(connection, filled)
        assert connection.execute("SELECT count(*) FROM universe").fetchone() == (6,)
        assert {name for (name,) in connection.execute("SHOW TABLES").fetchall()} == {table.name for table in ALL}


def test_only_some_tables(filled):
    with connect(filled, [UNIVERSE]) as connection:
        assert connection.frame("SHOW TABLES").to_series().to_list() == ["universe"]


def test_asking_leaves_no_trace(filled, tmp_path, monkeypatch):
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")
    before = files(filled)
    run_sql(filled, "SELECT * FROM universe ORDER BY con_id")
    assert files(filled) == before
    assert list(Path.cwd().iterdir()) == []

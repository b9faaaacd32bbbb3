"""These test Pandera, DuckDB, Polars and filelock, not this package: surprises that decisions of ours lean on.

A red test here after an upgrade says that a decision can be taken again, or must be.
"""

import inspect
import math
import threading

import duckdb
import filelock
import pandera.errors
import pandera.polars as pa
import polars as pl
import pytest

SCHEMA = pa.DataFrameSchema({"a": pa.Column(pl.Float64, checks=pa.Check.gt(0.0, n_failure_cases=2), nullable=True)})


# ------------------------------------------------------------------ Pandera


def test_pandera_validates_only_the_schema_of_a_lazy_frame():
    """Why `validate` takes a collected frame."""
    bad = pl.DataFrame({"a": [-1.0]})
    SCHEMA.validate(bad.lazy(), lazy=True)
    with pytest.raises(pandera.errors.SchemaErrors):
        SCHEMA.validate(bad, lazy=True)


def test_pandera_lets_nulls_pass_a_check_and_nan_pass_a_lower_bound():
    """Why bounded columns carry a `finite` check."""
    SCHEMA.validate(pl.DataFrame({"a": [None, math.nan, math.inf]}), lazy=True)


def test_pandera_takes_nan_for_null_where_null_is_forbidden():
    schema = pa.DataFrameSchema({"a": pa.Column(pl.Float64)})
    with pytest.raises(pandera.errors.SchemaErrors, match="null"):
        schema.validate(pl.DataFrame({"a": [math.nan]}), lazy=True)


def test_pandera_keeps_all_verdicts_when_it_limits_the_examples():
    """Why failures are counted from `check_output` and not from `failure_cases`."""
    with pytest.raises(pandera.errors.SchemaErrors) as caught:
        SCHEMA.validate(pl.DataFrame({"a": [-1.0] * 9 + [1.0]}), lazy=True)
    (error,) = caught.value.schema_errors
    assert error.failure_cases.height == 2
    assert error.check_output.to_series(0).to_list() == [False] * 9 + [True]


def test_pandera_can_be_switched_off_from_outside():
    """Why `validate` sets the configuration itself."""
    from pandera.config import config_context

    with config_context(validation_enabled=False):
        SCHEMA.validate(pl.DataFrame({"a": [-1.0]}), lazy=True)


def test_pandera_reports_a_check_that_raises_as_a_failure():
    """Why CHECK_ERROR is told apart: it is a defect of a rule, not of the data."""
    schema = pa.DataFrameSchema(checks=pa.Check(lambda data: data.lazyframe.select(pl.col("zz") > 0), name="odd"))
    with pytest.raises(pandera.errors.SchemaErrors) as caught:
        schema.validate(pl.DataFrame({"a": [1]}), lazy=True)
    assert [error.reason_code.name for error in caught.value.schema_errors] == ["CHECK_ERROR"]


# ------------------------------------------------------------------ DuckDB


@pytest.fixture
def connection():
    with duckdb.connect(":memory:") as opened:
        yield opened


def test_a_cte_that_writes_is_a_select_for_the_parser(connection, tmp_path):
    """Why the type of a statement does not prove that it only reads."""
    sql = f"WITH x AS (COPY (SELECT 1) TO '{tmp_path / 'x.csv'}') SELECT * FROM x"
    (statement,) = connection.extract_statements(sql)
    assert statement.type == duckdb.StatementType.SELECT
    connection.execute(sql)
    assert (tmp_path / "x.csv").exists()


@pytest.mark.parametrize(
    "inner", ["COPY (SELECT 1) TO '{path}'", "INSERT INTO t VALUES (1) RETURNING a", "DELETE FROM t RETURNING a"]
)
def test_but_it_does_not_bind_as_a_subquery(connection, tmp_path, inner):
    """What the judge of `query.py` leans on."""
    connection.execute("CREATE TABLE t (a INTEGER)")
    sql = f"WITH x AS ({inner.format(path=tmp_path / 'x.csv')}) SELECT * FROM x"
    with pytest.raises(duckdb.BinderException, match="must be at the top level"):
        connection.execute(f"EXPLAIN SELECT * FROM (\n{sql}\n)")
    assert list(tmp_path.iterdir()) == []


def test_allowed_directories_allow_writing_too(connection, tmp_path):
    """Why DuckDB's own settings are not enough inside the lakehouse."""
    connection.execute(f"SET allowed_directories = ['{tmp_path}']")
    connection.execute("SET enable_external_access = false")
    connection.execute("SET lock_configuration = true")
    connection.execute(f"COPY (SELECT 1) TO '{tmp_path / 'x.csv'}'")
    assert (tmp_path / "x.csv").exists()
    with pytest.raises(duckdb.PermissionException):
        connection.execute(f"COPY (SELECT 1) TO '{tmp_path.parent / 'x.csv'}'")


def test_a_glob_matches_hidden_files(connection, tmp_path):
    """Why views ask for `[!.]*.parquet`: what is being written starts with a dot."""
    for name in ("a.parquet", ".staged-b.parquet"):
        pl.DataFrame({"a": [1]}).write_parquet(tmp_path / name)
    count = "SELECT count(*) FROM read_parquet('{}/{}')"
    assert connection.execute(count.format(tmp_path, "*.parquet")).fetchone() == (2,)
    assert connection.execute(count.format(tmp_path, "[!.]*.parquet")).fetchone() == (1,)


def test_hive_partitioning_would_add_or_replace_columns(connection, tmp_path):
    """Why views switch it off: `session` is in the file, with its own type."""
    (tmp_path / "session=2024-01-02").mkdir()
    pl.DataFrame({"session": ["own"]}).write_parquet(tmp_path / "session=2024-01-02" / "part.parquet")
    read = f"SELECT session FROM read_parquet('{tmp_path}/*/part.parquet', hive_partitioning = {{}})"
    assert connection.execute(read.format("false")).fetchone() == ("own",)
    assert connection.execute(read.format("true")).fetchone() != ("own",)


def test_python_variables_answer_for_tables_unless_told_not_to(connection):
    frame = pl.DataFrame({"a": [1]})
    assert connection.execute("SELECT a FROM frame").fetchone() == (1,)
    connection.execute("SET python_enable_replacements = false")
    with pytest.raises(duckdb.CatalogException, match="Table with name frame does not exist"):
        connection.execute("SELECT a FROM frame")
    assert frame.height == 1


# ------------------------------------------------------------------ Polars and filelock


def test_polars_orders_nan_above_every_number():
    assert pl.Series([math.nan]).ge(0.0).to_list() == [True]
    assert pl.Series([math.nan]).gt(math.inf).to_list() == [True]


def test_sql_expr_is_three_valued():
    """Row rules hold for null, as a SQL CHECK does."""
    frame = pl.DataFrame({"high": [1.0, None], "low": [2.0, 2.0]})
    assert frame.select(pl.sql_expr("high >= low")).to_series().to_list() == [False, None]


def test_two_locks_of_one_process_on_one_file_exclude_each_other(tmp_path):
    """Why threads need nothing more than a lock object of their own each."""
    got = []
    with filelock.FileLock(tmp_path / "x.lock", thread_local=False):

        def other():
            try:
                filelock.FileLock(tmp_path / "x.lock", thread_local=False).acquire(timeout=0)
            except filelock.Timeout:
                got.append("refused")

        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
    assert got == ["refused"]


def test_filelock_would_fall_back_to_a_lock_that_outlives_its_process():
    """Why `fallback_to_soft=False`: a soft lock is a file that `kill -9` leaves behind."""
    default = inspect.signature(filelock.FileLock.__init__).parameters["fallback_to_soft"].default
    assert default is True

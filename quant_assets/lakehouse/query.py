"""SQL over the lakehouse: DuckDB in memory, one view per declared table, reading the Parquet files where they lie.

The connection holds no state, so it can neither lock nor go stale. It is read-only in two ways. DuckDB itself is
locked: no file outside the lakehouse, no extension, no attached database outside, no setting can be changed. Inside
the lakehouse, where DuckDB must be able to open files, each text is judged before it runs: exactly one statement, a
SELECT by DuckDB's own parser, and one that still binds as a subquery, where DuckDB refuses every statement that
writes (a `WITH x AS (COPY … TO …)` parses as a SELECT).
"""

import re
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import polars as pl

from quant_assets.domain.tables import ALL, Table
from quant_assets.errors import ConfigurationError, CorruptFileError, UnknownNameError
from quant_assets.lakehouse.layout import Layout

_TYPES: dict[Any, str] = {
    pl.String: "VARCHAR",
    pl.Float64: "DOUBLE",
    pl.Float32: "FLOAT",
    pl.Int64: "BIGINT",
    pl.Int32: "INTEGER",
    pl.Boolean: "BOOLEAN",
    pl.Date: "DATE",
    pl.Datetime("us", "UTC"): "TIMESTAMP WITH TIME ZONE",
}

_MEND = "`quant lake rebuild --sessions` with the session moves it aside and computes it again."

_DEPTH = {"session": "session=*", "vintage": "vintage=*", "session_profile": "session=*/profile=*"}


class ReadOnlyConnection:
    """A DuckDB connection that answers SELECT and nothing else."""

    def __init__(self, connection: Any, tables: Iterable[Table]) -> None:
        self._connection = connection
        self._names = sorted(table.name for table in tables)

    def sql(self, query: str, parameters: Sequence[object] | None = None) -> Any:
        """Return a DuckDB relation: `.pl()`, `.fetchall()`, `.arrow()`, `.df()`.

        Raises:
            ConfigurationError: the text is no single valid SELECT.
            UnknownNameError: it names a table that is not declared.
        """
        import duckdb

        try:
            self._judge(query, parameters)
            return self._connection.sql(query, params=parameters)
        except duckdb.Error as error:
            raise self._translated(error) from error

    def frame(self, query: str, parameters: Sequence[object] | None = None) -> pl.DataFrame:
        """Return the answer as a frame.

        Raises:
            ConfigurationError: the text is no single valid SELECT.
            UnknownNameError: it names a table that is not declared.
            CorruptFileError: a file of the lakehouse cannot be read.
        """
        import duckdb

        relation = self.sql(query, parameters)
        try:
            answer: pl.DataFrame = relation.pl()
        except duckdb.Error as error:
            raise self._translated(error) from error
        return answer

    execute = sql

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _judge(self, query: str, parameters: Sequence[object] | None) -> None:
        import duckdb

        statements = self._connection.extract_statements(query)
        if len(statements) != 1:
            raise ConfigurationError("SQL", f"one statement is expected, not {len(statements)}.")
        if statements[0].type != duckdb.StatementType.SELECT:
            raise _not_a_select(statements[0].type.name)
        text = statements[0].query.strip().rstrip(";")
        try:
            self._connection.execute(f"EXPLAIN SELECT * FROM (\n{text}\n)", parameters)  # noqa: S608 - the point is to judge it
        except duckdb.BinderException as error:
            if "must be at the top level" in str(error):
                raise _not_a_select("writing WITH clause") from None
            raise

    def _translated(self, error: Exception) -> Exception:
        import duckdb

        text = str(error)
        if unknown := re.search(r"Table with name (\S+) does not exist", text):
            return UnknownNameError("table", unknown.group(1), self._names)
        path = re.search(r"(/.+?\.parquet)", text)
        if path and isinstance(error, duckdb.IOException | duckdb.InvalidInputException):
            return CorruptFileError(Path(path.group(1)), text.splitlines()[0], _MEND)
        return ConfigurationError("SQL", text.strip())


def connect(layout: Layout, tables: Iterable[Table] = ALL) -> ReadOnlyConnection:
    """Open a read-only connection with one view per table."""
    import duckdb

    chosen = tuple(tables)
    spill = str(Path(tempfile.gettempdir()) / "quant_assets_duckdb")
    connection = duckdb.connect(":memory:", config={"temp_directory": spill, "autoinstall_known_extensions": "false"})
    connection.execute("SET python_enable_replacements = false")
    install_views(connection, layout, chosen)
    root = layout.lakehouse.absolute()
    reachable = ", ".join(_quoted(spelling) for spelling in (root.as_posix(), _literal(root)))
    connection.execute(f"SET allowed_directories = [{reachable}]")
    connection.execute("SET enable_external_access = false")
    connection.execute("SET lock_configuration = true")
    return ReadOnlyConnection(connection, chosen)


def install_views(connection: Any, layout: Layout, tables: Iterable[Table] = ALL) -> None:
    """Create one view per table in a DuckDB connection, which is also set to show instants in UTC.

    A view reads whatever files its table has when it is queried. A table without files becomes an empty view with the
    declared columns; make the views again to see its first file. A table whose first file is corrupt becomes a view
    that says so when it is asked, so that the other tables can still be.
    """
    import duckdb

    connection.execute("SET TimeZone = 'UTC'")
    for table in tables:
        create = f'CREATE OR REPLACE VIEW "{table.name}" AS'
        try:
            connection.execute(f"{create} {view_sql(layout, table)}")
        except duckdb.Error as error:
            connection.execute(f"{create} {_failing_sql(table, str(error).splitlines()[0])}")


def view_sql(layout: Layout, table: Table) -> str:
    """Return the SELECT behind a table's view: its declared columns, all batches of a bronze table."""
    files = layout.table(table).absolute()
    pattern = f"{_DEPTH[table.partition_by]}/{'[!.]*' if table.append_only else 'part'}.parquet"
    if next(files.glob(pattern), None) is None:
        return f"SELECT {_nulls(table)} WHERE false"
    names = ", ".join(f'"{name}"' for name in table.schema)
    source = _quoted(f"{_literal(files)}/{pattern}")
    return f"SELECT {names} FROM read_parquet({source}, hive_partitioning = false, union_by_name = false)"  # noqa: S608


def _nulls(table: Table) -> str:
    return ", ".join(f'NULL::{_TYPES[dtype]} AS "{name}"' for name, dtype in table.schema.items())


def _failing_sql(table: Table, message: str) -> str:
    return f"SELECT {_nulls(table)} FROM (SELECT error({_quoted(message)}) AS e) WHERE e IS NOT NULL"  # noqa: S608


def run_sql(layout: Layout, sql: str) -> pl.DataFrame:
    """Answer one SELECT over all tables.

    Raises:
        ConfigurationError: the text is no single valid SELECT.
        UnknownNameError: it names a table that is not declared.
        CorruptFileError: a file of the lakehouse cannot be read.
    """
    with connect(layout) as connection:
        return connection.frame(sql)


def _not_a_select(what: str) -> ConfigurationError:
    if what == "MULTI":  # DuckDB makes a type for the values first
        return ConfigurationError("SQL", "PIVOT has to say its values here.", "Write `ON column IN ('a', 'b')`.")
    return ConfigurationError("SQL", f"{what} is refused: the lakehouse is read-only here.", "Ask with SELECT.")


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _literal(path: Path) -> str:
    """Return a path whose own `*`, `?` and `[` mean themselves in a glob."""
    return re.sub(r"([*?\[])", r"[\1]", path.as_posix())

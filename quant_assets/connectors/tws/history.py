"""The one message that is decoded here and not by the library: historical bars, column by column.

The library builds an object and a datetime per bar, which costs seven times as much as the columns do, and drops an
undecodable bar into its log, after which the request never ends. Here it is an error of that request at once.
"""

from collections.abc import Sequence

import polars as pl

from quant_assets.connectors.base import DAILY_ANSWER, MINUTE_ANSWER, BarSize

MESSAGE_ID = 17
_HEADER = 5
"""message id, request id, nominal start and end, number of bars"""
_NOT_AVAILABLE = -1


def to_frame(message: Sequence[str], bar_size: BarSize) -> pl.DataFrame:
    """The bars of one message in the order received; "not available" becomes null.

    The nominal start in the header is ignored: it counts calendar days where the bars count trading days.

    Raises:
        ValueError: the message is not what a request of this bar size is answered with.
    """
    schema = _schema(bar_size)
    width, n_bars = len(schema), int(message[_HEADER - 1])
    if len(message) != _HEADER + width * n_bars:
        raise ValueError(f"{n_bars} bars announced, {len(message) - _HEADER} fields sent")
    texts = [pl.Series(name, message[_HEADER + i :: width], dtype=pl.String) for i, name in enumerate(schema)]
    try:
        label = _sessions(texts[0]) if bar_size == "1 day" else _instants(texts[0])
        values = [text.cast(dtype) for text, dtype in zip(texts[1:], schema.dtypes()[1:], strict=True)]
    except pl.exceptions.PolarsError as error:
        raise ValueError(f"undecodable bar: {error}") from error
    return _with_nulls(pl.DataFrame([label, *values]))


def no_bars(bar_size: BarSize) -> pl.DataFrame:
    """The frame of an answer without bars."""
    return pl.DataFrame(schema=_schema(bar_size))


def _schema(bar_size: BarSize) -> pl.Schema:
    return DAILY_ANSWER if bar_size == "1 day" else MINUTE_ANSWER


def _sessions(label: pl.Series) -> pl.Series:
    return label.str.to_date("%Y%m%d", strict=True)


def _instants(label: pl.Series) -> pl.Series:
    return (label.cast(pl.Int64) * 1_000_000).cast(pl.Datetime("us", "UTC"))


def _with_nulls(frame: pl.DataFrame) -> pl.DataFrame:
    """Only midpoint and quote bars carry the mark, so that the common case pays three comparisons."""
    marked = [name for name in ("volume", "wap", "bar_count") if (frame[name] == _NOT_AVAILABLE).any()]
    return frame.with_columns(pl.col(marked).replace(_NOT_AVAILABLE, None)) if marked else frame

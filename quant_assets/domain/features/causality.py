"""The causality certificate: no value changes when what comes after it is cut off, or becomes something else."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from quant_assets.domain.features.group import FeatureGroup

_N_INSTRUMENTS = 5
_CUTS = (0.0, 0.1, 0.5, 0.9)
"""Where the future is cut off, as shares of the times in the input. The first cut is after the first time: it finds
windows that are filled from behind before they are full."""

_TOLERANCE = 1e-9
"""Values closer than this, relative beyond 1, are equal: other rows may be summed in another order."""

_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Certificate:
    """What a trial of one group on one input came to."""

    n_instruments: int
    n_values: int
    """How many values were computed again."""
    cuts: tuple[Any, ...]
    """Last times that the trials could see, or could see unchanged."""
    leaks: tuple[str, ...]
    """The first values that the future changed, in words."""

    @property
    def is_causal(self) -> bool:
        """Whether no value changed."""
        return not self.leaks


def certify(group: FeatureGroup, bars: pl.DataFrame, minutes: pl.DataFrame, computed: pl.DataFrame) -> Certificate:
    """Compute a sample of instruments again, with less of the future and with another one, and compare.

    Deterministic: the sample is spread evenly over the instruments, the cuts over the times of the input. The values
    of an instrument may not depend on other instruments either, for the sample is computed alone.

    Args:
        group: the group on trial.
        bars: its input.
        minutes: expected minutes of the input's sessions.
        computed: what the group made of all of it.

    Returns:
        The certificate; its leaks say which values changed.
    """
    instruments = _spread(bars["con_id"].unique().sort().to_list(), _N_INSTRUMENTS)
    sample = bars.filter(pl.col("con_id").is_in(instruments))
    expected = computed.filter(pl.col("con_id").is_in(instruments))
    cuts = _cuts(sample[group.time].unique().sort().to_list())
    leaks: list[str] = []
    n_values = 0
    for cut in cuts:
        before = expected.filter(pl.col(group.known) <= cut)
        n_values += 2 * before.height * len(group.features)
        for what, trial in _trials(group, sample, cut):
            again = group.compute(trial, minutes).filter(pl.col(group.known) <= cut)
            leaks += _differences(group, before, again, what)
    return Certificate(len(instruments), n_values, tuple(cuts), tuple(leaks[:_SHOWN]))


def _spread(items: Sequence[Any], n: int) -> list[Any]:
    if len(items) <= n:
        return list(items)
    return [items[round(i * (len(items) - 1) / (n - 1))] for i in range(n)]


def _cuts(times: Sequence[Any]) -> list[Any]:
    """Return the times to cut after; the last time of all has no future."""
    last = len(times) - 2
    return [times[place] for place in sorted({round(share * last) for share in _CUTS})] if last >= 0 else []


def _trials(group: FeatureGroup, bars: pl.DataFrame, cut: Any) -> Iterator[tuple[str, pl.DataFrame]]:
    is_later = pl.col(group.time) > cut
    yield f"rows after {cut} are cut off", bars.filter(~is_later)
    factor = 1.25 + (pl.col(group.time).rank("dense") % 5) / 8
    numbers = [name for name, dtype in bars.schema.items() if dtype.is_float()]
    other = [pl.when(is_later).then(pl.col(name) * factor).otherwise(pl.col(name)).alias(name) for name in numbers]
    yield f"rows after {cut} are changed", bars.with_columns(other)


def _differences(group: FeatureGroup, before: pl.DataFrame, again: pl.DataFrame, what: str) -> list[str]:
    """Return sentences about values that are not what they were, and about rows that came or went."""
    key = list(group.table.key)
    names = [feature.name for feature in group.features]
    both = before.select(*key, *names).join(again.select(*key, *names), on=key, how="full", suffix="_again")
    found = []
    for name in [key[-1], *names]:
        changed = both.filter(_is_changed(name, before.schema[name])).head(1)
        found += [_sentence(row, key, name, what) for row in changed.iter_rows(named=True)]
    return found


def _is_changed(name: str, dtype: pl.DataType) -> pl.Expr:
    one, other = pl.col(name), pl.col(f"{name}_again")
    if not dtype.is_float():
        return one.ne_missing(other)
    scale = pl.max_horizontal(one.abs(), other.abs(), 1.0)
    is_far = ((one - other).abs() > _TOLERANCE * scale).fill_null(value=False)
    return (one.is_null() != other.is_null()) | is_far


def _sentence(row: dict[str, Any], key: Sequence[str], name: str, what: str) -> str:
    where = ", ".join(f"{part}={row[part] if row[part] is not None else row[f'{part}_again']}" for part in key)
    return f"{name} at {where} is {row[name]}, but {row[f'{name}_again']} when {what}"

"""The causality certificate: no value changes when what comes after it is cut off, or becomes something else.

A trial gives every instrument a time, takes from it what comes after that time, or changes it, and computes again. All
instruments stand trial together at a few times; a sample of them stands alone at many, its copies laid side by side
as if each were an instrument of its own, so that one computation serves all of them.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from quant_assets.domain.features.group import FeatureGroup

_N_SAMPLED = 2
_N_TIMES = 64
"""Times at which the sample stands trial; other sessions draw others."""

_TOLERANCE = 1e-9
"""Values closer than this, relative beyond 1, are equal: other rows may be summed in another order."""

_SHOWN = 5

_CUT, _OF, _GOES = "_cut", "_of", "_goes"
"""The last time that a trial leaves as it was; the instrument that a row on trial was copied from; whether what comes
after the cut is cut off, or else changed."""

_EITHER = (True, False)


@dataclass(frozen=True, slots=True)
class Certificate:
    """What the trials of one group on one input came to."""

    n_instruments: int
    n_values: int
    """How many values were computed again."""
    cuts: tuple[Any, ...]
    """The earliest and the latest time that the trials of all instruments left as it was."""
    sampled_cuts: tuple[Any, ...]
    """The times after which the sample was cut."""
    leaks: tuple[str, ...]
    """The first values that the future changed, in words."""

    @property
    def is_causal(self) -> bool:
        """Whether no value changed."""
        return not self.leaks


def certify(group: FeatureGroup, bars: pl.DataFrame, minutes: pl.DataFrame, computed: pl.DataFrame) -> Certificate:
    """Compute again with less of the future and with another one, and compare.

    - All instruments are cut after their last time but one, which finds whatever knows the last of all, in any of
      them; after their first, which finds windows that are filled from behind before they are full; and each after a
      time of its own, so that many instruments are cut everywhere.
    - A sample is cut after many times. The values of an instrument may not depend on other instruments either, for the
      sample is computed alone.

    Deterministic: sample and times are drawn by group and newest time of the input, so that other sessions draw others.

    Args:
        group: the group on trial.
        bars: its input.
        minutes: expected minutes of the input's sessions.
        computed: what the group made of all of it.

    Returns:
        The certificate; its leaks say which values changed.
    """
    lived = bars.group_by("con_id").agg(pl.col(group.time).unique().sort()).sort("con_id")
    times = {con_id: seen[:-1] for con_id, seen in lived.iter_rows() if len(seen) > 1}
    if not times:
        return Certificate(lived.height, 0, (), (), ())
    newest = max(seen[-1] for seen in times.values())
    seed = f"{group.name} {group.version} {newest}"
    drawn = {con_id: _drawn(times[con_id], f"{seed} {con_id}") for con_id in _shuffled(times, seed)[:_N_SAMPLED]}
    trials = [
        *(_assigned([(con_id, mine[-1], goes) for con_id, mine in times.items()]) for goes in _EITHER),
        _assigned([(con_id, mine[0], True) for con_id, mine in times.items()]),
        _assigned(_each_its_own(times, seed)),
        _assigned([(con_id, cut, goes) for con_id, cuts in drawn.items() for cut in cuts for goes in _EITHER]),
    ]
    court = _Court(group, bars, minutes, computed)
    leaks: list[str] = []
    n_values = 0
    for assigned in trials:
        n, found = court.hear(assigned)
        n_values += n
        leaks += found
    common = {min(mine[0] for mine in times.values()), max(mine[-1] for mine in times.values())}
    sampled = {cut for cuts in drawn.values() for cut in cuts}
    return Certificate(lived.height, n_values, tuple(sorted(common)), tuple(sorted(sampled)), tuple(leaks[:_SHOWN]))


def _shuffled(items: Iterable[Any], seed: str) -> list[Any]:
    """Return items in an order that only the seed and they themselves decide."""
    return sorted(items, key=lambda item: hashlib.sha256(f"{seed} {item}".encode()).digest())


def _drawn(times: Sequence[Any], seed: str) -> list[Any]:
    return sorted({times[-1], *_shuffled(times, seed)[:_N_TIMES]})


def _each_its_own(times: Mapping[int, Sequence[Any]], seed: str) -> list[tuple[int, Any, bool]]:
    """Return every instrument with one cut, spread evenly over their times in an order that is drawn."""
    order = _shuffled(times, f"{seed} own")
    return [
        (con_id, times[con_id][place * len(times[con_id]) // len(order)], place % 2 == 0)
        for place, con_id in enumerate(order)
    ]


def _assigned(triples: Sequence[tuple[int, Any, bool]]) -> pl.DataFrame:
    """Return con_id, _of, _cut and _goes; each row is an instrument of the trial, who is alone in it keeps its name."""
    of, cuts, goes = (list(part) for part in zip(*triples, strict=True))
    names = of if len(set(of)) == len(of) else range(1, len(of) + 1)
    return pl.DataFrame({"con_id": pl.Series(names, dtype=pl.Int64), _OF: of, _CUT: cuts, _GOES: goes})


@dataclass(frozen=True, slots=True)
class _Court:
    """One group, its input, and what it made of it."""

    group: FeatureGroup
    bars: pl.DataFrame
    minutes: pl.DataFrame
    computed: pl.DataFrame

    def hear(self, assigned: pl.DataFrame) -> tuple[int, list[str]]:
        """Return how many values were computed again, and sentences about those that changed."""
        expected = self._known(_copied(self.computed, assigned), assigned)
        minutes = _copied(self.minutes, assigned) if "con_id" in self.minutes.columns else self.minutes
        again = self._known(self.group.compute(self._tried(assigned), minutes), assigned)
        return expected.height * len(self.group.features), self._differences(expected, again, assigned)

    def _tried(self, assigned: pl.DataFrame) -> pl.DataFrame:
        """Return the input of a trial; numbers that change do so in proportion within a row, some up and some down."""
        is_later = pl.col(self.group.time) > pl.col(_CUT)
        factor = 0.45 + (pl.col(self.group.time).dt.epoch("s") // 60 % 11) * 0.1
        numbers = [name for name, dtype in self.bars.schema.items() if dtype.is_float()]
        dated = _copied(self.bars, assigned).join(assigned.drop(_OF), on="con_id", maintain_order="left")
        kept = dated.filter(~(is_later & pl.col(_GOES)))
        other = kept.with_columns(pl.when(is_later).then(pl.col(numbers) * factor).otherwise(pl.col(numbers)))
        return other.select(self.bars.columns)

    def _known(self, rows: pl.DataFrame, assigned: pl.DataFrame) -> pl.DataFrame:
        """Return key and features of the rows that depend on nothing later than the cut."""
        known = pl.col(self.group.known).fill_null(pl.col(self.group.time))
        dated = rows.join(assigned.select("con_id", _CUT), on="con_id", maintain_order="left")
        names = [feature.name for feature in self.group.features]
        key = list(self.group.table.key)
        return dated.filter(known <= pl.col(_CUT)).select(*key, *names)

    def _differences(self, before: pl.DataFrame, again: pl.DataFrame, assigned: pl.DataFrame) -> list[str]:
        """Return sentences about values that are not what they were, and about rows that came or went."""
        key = list(self.group.table.key)
        names = [feature.name for feature in self.group.features]
        if before.select(key).equals(again.select(key)):
            both = before.hstack(again.select(pl.col(names).name.suffix("_again")))
            compared = names
        else:
            marked = [one.with_columns(_is_there=pl.lit(1)) for one in (before, again)]
            both = marked[0].join(marked[1], on=key, how="full", coalesce=True, suffix="_again")
            compared = ["_is_there", *names]
        found = both.select(_is_changed(name, both.schema[name]).any().alias(name) for name in compared)
        told = []
        for name in (column.name for column in found if column.any()):
            changed = both.filter(_is_changed(name, both.schema[name])).sort(key).head(1)
            named = changed.join(assigned, on="con_id", how="left")
            told += [_sentence(row, key, name) for row in named.iter_rows(named=True)]
        return told


def _copied(rows: pl.DataFrame, assigned: pl.DataFrame) -> pl.DataFrame:
    """Return the rows of each instrument under every name that it has in a trial."""
    names = assigned.select("con_id", _OF)
    joined = rows.rename({"con_id": _OF}).join(names, on=_OF, how="inner", maintain_order="left_right")
    return joined.select(rows.columns)


def _is_changed(name: str, dtype: pl.DataType) -> pl.Expr:
    one, other = pl.col(name), pl.col(f"{name}_again")
    if not dtype.is_float():
        return one.ne_missing(other)
    scale = pl.max_horizontal(one.abs(), other.abs(), 1.0)
    is_far = ((one - other).abs() > _TOLERANCE * scale).fill_null(value=False)
    return (one.is_null() != other.is_null()) | is_far


def _sentence(row: dict[str, Any], key: Sequence[str], name: str) -> str:
    where = ", ".join(f"{part}={row[_OF if part == 'con_id' else part]}" for part in key)
    when = f"when rows after {row[_CUT]} are {'cut off' if row[_GOES] else 'changed'}"
    if name == "_is_there":
        came, went = f"no row at {where}, but one {when}", f"a row at {where}, but none {when}"
        return went if row[name] else came
    return f"{name} at {where} is {row[name]}, but {row[f'{name}_again']} {when}"

"""Brownian motion that can be read at any session without computing the ones before.

Between sessions: Lévy's dyadic construction over two points a session, its open and its close. Inside a session: a
bridge from the open to the close. Both are functions of (stream, position), never of what was asked before.
"""

from functools import lru_cache
from typing import Final

import numpy as np
import numpy.typing as npt

from quant_assets.gateway.hours import FULL_SESSION_MINUTES
from quant_assets.gateway.synthetic.randomness import Floats, normal

LEVELS: Final = 15
"""2 ** 15 points are 16,384 sessions: from 1990 to 2055."""
SESSION_SHARE: Final = 0.75
"""How much of a session-to-session variance happens while the exchange is open."""
_CHUNK: Final = 1024
_ROW: Final = 512

Indexes = npt.NDArray[np.int64]


def _time_of(index: Indexes) -> Floats:
    """Return the Brownian time of each point: session n opens at n and closes at n + SESSION_SHARE."""
    return np.asarray(index // 2 + SESSION_SHARE * (index % 2))


def brownian(key: int, index: Indexes) -> Floats:
    """Return the level of a Brownian motion (variance 1 a session) at points in [0, 2 ** LEVELS)."""
    left, right = np.zeros_like(index), np.full_like(index, 2**LEVELS)
    at_left = np.zeros(index.shape)
    at_right = np.sqrt(_time_of(right)) * normal(key, right)
    for _ in range(LEVELS):
        middle = (left + right) // 2
        t_left, t_middle, t_right = _time_of(left), _time_of(middle), _time_of(right)
        weight = (t_middle - t_left) / (t_right - t_left)
        spread = np.sqrt(weight * (t_right - t_middle))
        at_middle = at_left + weight * (at_right - at_left) + spread * normal(key, middle)
        is_right = index >= middle
        left, right = np.where(is_right, middle, left), np.where(is_right, right, middle)
        at_left, at_right = np.where(is_right, at_middle, at_left), np.where(is_right, at_right, at_middle)
    return at_left


@lru_cache(maxsize=512)
def _chunk(key: int, chunk: int) -> Floats:
    first = chunk * _CHUNK
    return brownian(key, np.arange(first, first + _CHUNK)).reshape(-1, 2)


def session_levels(key: int, first: int, n: int) -> Floats:
    """Return the levels at open and close of `n` sessions from ordinal `first`; shape (n, 2)."""
    per_chunk = _CHUNK // 2
    chunks = range(first // per_chunk, (first + n - 1) // per_chunk + 1)
    levels = np.concatenate([_chunk(key, chunk) for chunk in chunks])
    start = first - chunks[0] * per_chunk
    return levels[start : start + n]


def u_shape(n: int = FULL_SESSION_MINUTES) -> Floats:
    """Return weights of mean 1 for the minutes of a session: busy at the open, calm at noon, busy at the close."""
    x = (np.arange(n) + 0.5) / n
    shape = 0.6 + 2.4 * np.exp(-x * 14) + 1.6 * np.exp(-(1 - x) * 18) + 0.8 * (x - 0.5) ** 2
    return np.asarray(shape / shape.mean())


_CLOCK = np.concatenate([[0.0], np.cumsum(u_shape() ** 0.5)])
"""Variance that has passed at each minute boundary."""


def elapsed(minutes: Indexes) -> Floats:
    """Return the share of the session's variance that has passed at each boundary; (n, 391), 1 from the close on."""
    return np.asarray(np.minimum(_CLOCK[None, :] / _CLOCK[minutes][:, None], 1.0))


def session_paths(key: int, first: int, minutes: Indexes, roughness: Floats | None = None) -> Floats:
    """Return levels at every minute boundary of consecutive sessions; shape (n, 391).

    Args:
        key: the stream.
        first: ordinal of the first session.
        minutes: length of each session; boundaries after a session's close repeat its closing level.
        roughness: factor per session on what happens between the open and the close, or None for 1.
    """
    n = len(minutes)
    levels = session_levels(key, first, n)
    passed = elapsed(minutes)
    steps = normal(key ^ 0x5E55, (np.arange(first, first + n)[:, None] * _ROW + np.arange(FULL_SESSION_MINUTES)))
    steps *= np.sqrt(SESSION_SHARE * np.diff(passed, axis=1))
    walk = np.concatenate([np.zeros((n, 1)), np.cumsum(steps, axis=1)], axis=1)
    bridge = walk - passed * walk[:, -1:]
    if roughness is not None:
        bridge *= roughness[:, None]
    path: Floats = levels[:, :1] + passed * (levels[:, 1:] - levels[:, :1]) + bridge
    return path

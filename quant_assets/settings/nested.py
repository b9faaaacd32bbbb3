"""Nested mappings, as configurations and records are."""

from collections.abc import Iterator, Mapping
from typing import Any


def leaves(value: Any, key: str = "", *, opens_lists: bool = False) -> Iterator[tuple[str, Any]]:
    """Yield the leaves of nested mappings with their dotted keys; an empty mapping is a leaf.

    Args:
        value: a mapping, or anything else, which is a leaf itself.
        key: of the value.
        opens_lists: whether lists of mappings are opened, too, their places as keys.
    """
    if opens_lists and isinstance(value, list) and value and all(isinstance(one, Mapping) for one in value):
        value = dict(enumerate(value))
    if isinstance(value, Mapping) and value:
        for name, inner in value.items():
            yield from leaves(inner, f"{key}.{name}" if key else str(name), opens_lists=opens_lists)
    else:
        yield key, value

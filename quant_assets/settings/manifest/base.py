"""What every section of the manifest has in common."""

from collections.abc import Iterable
from typing import Any

from pydantic import BaseModel, ConfigDict


def legal_keys(model: type[BaseModel], place: Iterable[object]) -> list[str]:
    """Return the keys that a mapping may have, which stands at a place inside a model."""
    for part in place:
        kinds = _models(model.model_fields[str(part)].annotation) if str(part) in model.model_fields else []
        model = kinds[0] if kinds else model
    return sorted(model.model_fields)


def _models(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for inner in getattr(annotation, "__args__", ()) for model in _models(inner)]


class Strict(BaseModel):
    """Unknown keys are errors: a misspelt key must never be a silent default.

    So are numbers that are none: whatever is compared with NaN passes, and whatever waits for infinity never ends.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

"""What every section of the manifest has in common."""

from pydantic import BaseModel, ConfigDict


class Strict(BaseModel):
    """Unknown keys are errors: a misspelt key must never be a silent default."""

    model_config = ConfigDict(extra="forbid", frozen=True)

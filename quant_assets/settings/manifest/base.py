"""What every section of the manifest has in common."""

from pydantic import BaseModel, ConfigDict


class Strict(BaseModel):
    """Unknown keys are errors: a misspelt key must never be a silent default.

    So are numbers that are none: whatever is compared with NaN passes, and whatever waits for infinity never ends.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

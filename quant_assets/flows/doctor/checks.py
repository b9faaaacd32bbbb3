"""One check, and the ways to make one."""

from dataclasses import dataclass
from typing import Literal

from quant_assets.errors import QuantAssetsError

Status = Literal["pass", "warn", "fail", "skip"]


@dataclass(frozen=True, slots=True)
class Check:
    """What was looked at, what was found, and what to do about it."""

    name: str
    status: Status
    found: str
    mend: str = ""

    @classmethod
    def failed(cls, name: str, error: QuantAssetsError, status: Status = "fail") -> "Check":
        """Return the check that an error ended; its own mend is kept apart from its words."""
        mend = str(getattr(error, "mend", "") or "")
        text = str(getattr(error, "cause", "") or "") or str(error).removesuffix(mend).strip()
        return cls(name, status, text, mend or "docs/tws.md, section 5, says what it means.")

    @classmethod
    def skipped(cls, name: str, reason: str) -> "Check":
        """Return a check that could not be made."""
        return cls(name, "skip", reason)


def size_text(n_bytes: float) -> str:
    """Render bytes for people."""
    for unit in ("bytes", "kB", "MB"):
        if n_bytes < 1000:  # noqa: PLR2004 - SI
            return f"{n_bytes:.0f} {unit}" if unit == "bytes" else f"{n_bytes:.1f} {unit}"
        n_bytes /= 1000
    return f"{n_bytes:.1f} GB"

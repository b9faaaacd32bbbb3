"""What stands between this machine and the next data cycle: a list of checks, each with its mend."""

from quant_assets.flows.doctor.checks import Check, Status
from quant_assets.flows.doctor.examine import examine

__all__ = ["Check", "Status", "examine"]

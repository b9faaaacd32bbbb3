"""Trouble on purpose: before each handshake, start and request a plan is asked what goes wrong.

moments      where it may strike, and what may happen to one answer
events       what may happen to the gateway as a whole
vocabulary   every trouble by name, in TWS's words
script       YAML files of them · engine  plays one · schedule  makes one from a seed
spoiling     bytes made wrong
"""

from quant_assets.gateway.faults.engine import FaultEngine
from quant_assets.gateway.faults.moments import (
    NO_FAULTS,
    Fault,
    FaultPlan,
    Moment,
    MomentKind,
    NoFaults,
    ScriptedFaults,
    Strike,
)
from quant_assets.gateway.faults.script import FaultLine, FaultScript

__all__ = [
    "Moment",
    "MomentKind",
    "Fault",
    "FaultPlan",
    "NoFaults",
    "NO_FAULTS",
    "Strike",
    "ScriptedFaults",
    "FaultLine",
    "FaultScript",
    "FaultEngine",
]

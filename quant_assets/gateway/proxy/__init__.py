"""A recorder between API clients and a real TWS: bytes pass unmodified, bars and contract details are kept."""

from quant_assets.gateway.proxy.record import record
from quant_assets.gateway.proxy.relay import Relay
from quant_assets.gateway.proxy.tape import Tape

__all__ = ["Relay", "Tape", "record"]

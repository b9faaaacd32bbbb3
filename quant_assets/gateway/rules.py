"""IBKR's rate limits, and the judges that apply them."""

from collections import defaultdict, deque
from dataclasses import dataclass
from typing import Final, Literal

from quant_assets.clock import Clock
from quant_assets.gateway.requests import HistoryRequest
from quant_assets.gateway.validation import BAR_SECONDS

Breach = Literal["identical", "burst", "window", "open", "messages"]

PACING_TEXT: Final = "Historical Market Data Service error message:Historical data request pacing violation"
_SMALL_BAR_S: Final = 30


@dataclass(frozen=True, slots=True)
class Rules:
    """IBKR's documented numbers. Set a limit to None to switch its rule off; `Rules.off()` switches all off.

    Sources: TWS API, "Historical Data Limitations" and "Pacing Limitations".
    """

    identical_s: float | None = 15.0
    """An identical request within this time is a violation."""
    burst: int | None = 6
    """So many requests for one contract, exchange and tick type within `burst_s` are a violation."""
    burst_s: float = 2.0
    window: int | None = 60
    """More requests than this within `window_s` are a violation; BID_ASK counts twice."""
    window_s: float = 600.0
    max_open: int | None = 50
    """Requests that may be unanswered at the same time."""
    messages_a_second: int | None = 50
    strikes: int = 3
    """How often the message rate may be exceeded before the session is ended."""
    small_bars_only: bool = False
    """IBKR no longer paces bars of a minute and more, yet slows heavy users down; the default is the strict reading."""
    validates: bool = True
    """Whether malformed requests are refused (321, 10314)."""

    @classmethod
    def off(cls) -> "Rules":
        """Return rules that limit nothing but still refuse malformed requests."""
        return cls(identical_s=None, burst=None, window=None, max_open=None, messages_a_second=None)


class Pacing:
    """Judges history requests of all clients together, as IBKR does for one user."""

    def __init__(self, rules: Rules, clock: Clock) -> None:
        self._rules, self._clock = rules, clock
        self._last_identical: dict[tuple[object, ...], float] = {}
        self._bursts: defaultdict[tuple[object, ...], deque[float]] = defaultdict(deque)
        self._window: deque[float] = deque()

    def judge(self, request: HistoryRequest) -> Breach | None:
        """Return the rule that this request breaks; it counts against the limits either way."""
        if self._is_exempt(request):
            return None
        now = self._clock.monotonic()
        breach = self._broken_at(request, now)
        self._last_identical[request.identity] = now
        self._bursts[request.series].append(now)
        self._window.extend([now] * _weight(request))
        return breach

    def _is_exempt(self, request: HistoryRequest) -> bool:
        """Head timestamps obey the limits of small bars whatever the rules say."""
        is_bars = request.kind == "history"
        return is_bars and self._rules.small_bars_only and BAR_SECONDS.get(request.bar_size, 0) > _SMALL_BAR_S

    def _broken_at(self, request: HistoryRequest, now: float) -> Breach | None:
        rules, burst = self._rules, self._bursts[request.series]
        _forget(burst, now - rules.burst_s)
        _forget(self._window, now - rules.window_s)
        last = self._last_identical.get(request.identity)
        if rules.identical_s is not None and last is not None and now - last < rules.identical_s:
            return "identical"
        if rules.burst is not None and len(burst) + 1 >= rules.burst:
            return "burst"
        if rules.window is not None and len(self._window) + _weight(request) > rules.window:
            return "window"
        return None


class MessageRate:
    """Judges all messages of one connection."""

    def __init__(self, rules: Rules, clock: Clock) -> None:
        self._rules, self._clock = rules, clock
        self._recent: deque[float] = deque()
        self._last_strike = float("-inf")
        self.strikes = 0

    def is_exceeded(self) -> bool:
        """Count one message; return whether it is one too many. At most one strike a second is counted."""
        limit = self._rules.messages_a_second
        if limit is None:
            return False
        now = self._clock.monotonic()
        _forget(self._recent, now - 1.0)
        self._recent.append(now)
        if len(self._recent) <= limit:
            return False
        if now - self._last_strike >= 1.0:
            self.strikes, self._last_strike = self.strikes + 1, now
        return True

    @property
    def is_out(self) -> bool:
        """Whether the session has to end."""
        return self.strikes >= self._rules.strikes


def _weight(request: HistoryRequest) -> int:
    return 2 if request.what == "BID_ASK" else 1


def _forget(times: deque[float], until: float) -> None:
    while times and times[0] <= until:
        times.popleft()

"""The HTTP client of TradingView's scanner: time limits, patience, a pace, and nothing believed unread."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

import requests
import tenacity
from pydantic import ValidationError

import quant_assets
from quant_assets.connectors.tradingview.query import Answer, ScanQuery, ScanResult, results
from quant_assets.errors import MalformedAnswerError, ScannerRefusedError, ScannerUnavailableError
from quant_assets.settings.manifest import TradingViewConfig

_TOO_MANY = 429
_SERVER = 500
_OK = 200
_MAX_WAIT_S = 60.0
_SHOWN = 200


class _TryAgain(Exception):  # noqa: N818 - control flow, not an error that anybody sees
    """An attempt that failed for a reason that passes."""

    def __init__(self, cause: str, wait_s: float = 0.0) -> None:
        super().__init__(cause)
        self.wait_s = wait_s


@dataclass(frozen=True, slots=True)
class Limits:
    """How patient the client is, and how fast it may ask."""

    connect_timeout_s: float = 5.0
    read_timeout_s: float = 20.0
    attempts: int = 4
    min_interval_s: float = 1.0
    page_size: int = 100


@dataclass
class TradingViewClient:
    """Asks the scanner of one market; a context manager that keeps one connection.

    A time-out, a lost connection, HTTP 429 and 5xx, and an answer that is no scan result are tried again with growing
    waits (`Retry-After` is obeyed); any other refusal is final at once.
    """

    base_url: str
    market: str = "america"
    limits: Limits = Limits()
    sleep: Callable[[float], None] = time.sleep
    monotonic: Callable[[], float] = time.monotonic
    n_requests: int = 0
    _session: requests.Session = field(default_factory=requests.Session)
    _not_before: float = 0.0

    @classmethod
    def of(cls, config: TradingViewConfig) -> Self:
        """Return the client of a configuration."""
        limits = Limits(
            config.connect_timeout_s, config.read_timeout_s, config.attempts, config.min_interval_s, config.page_size
        )
        return cls(config.base_url.rstrip("/"), config.market, limits)

    def __enter__(self) -> Self:
        self._session.headers["User-Agent"] = f"quant_assets/{quant_assets.__version__}"
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._session.close()

    @property
    def address(self) -> str:
        """Where scans are sent."""
        return f"{self.base_url}/{self.market}/scan"

    def scan(self, query: ScanQuery) -> list[ScanResult]:
        """Return what a scan finds, best first, each instrument once, page by page up to the query's limit.

        Raises:
            ScannerUnavailableError: no attempt was answered.
            ScannerRefusedError: it refuses the scan.
            MalformedAnswerError: what it answers is no scan result.
        """
        found: dict[str, ScanResult] = {}
        first, total = 0, 1
        while first < min(total, query.limit):
            last = min(first + self.limits.page_size, query.limit)
            total, page = self._page(query, first, last)
            for one in page:
                found.setdefault(one.name, one)
            if not page:
                break
            first = last
        return list(found.values())

    def _page(self, query: ScanQuery, first: int, last: int) -> tuple[int, list[ScanResult]]:
        payload = query.payload(self.market, first, last)
        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type((_TryAgain, MalformedAnswerError)),
            stop=tenacity.stop_after_attempt(self.limits.attempts),
            wait=_wait,
            sleep=self.sleep,
            reraise=True,
        )
        try:
            answer, page = retrying(self._attempt, query, payload)
        except _TryAgain as error:
            raise ScannerUnavailableError(self.address, str(error), self.limits.attempts) from None
        return answer.totalCount, page

    def _attempt(self, query: ScanQuery, payload: dict[str, Any]) -> tuple[Answer, list[ScanResult]]:
        self._pace()
        self.n_requests += 1
        try:
            response = self._session.post(
                self.address,
                json=payload,
                timeout=(self.limits.connect_timeout_s, self.limits.read_timeout_s),
                allow_redirects=False,
            )
        except requests.Timeout:
            raise _TryAgain(f"no answer within {self.limits.read_timeout_s:g} s") from None
        except requests.RequestException as error:
            raise _TryAgain(_cause(error)) from None
        if response.status_code == _TOO_MANY or response.status_code >= _SERVER:
            raise _TryAgain(f"HTTP {response.status_code} {response.reason}", _retry_after(response))
        if response.status_code != _OK:
            raise ScannerRefusedError(query.name, response.status_code, _words(response))
        return _read(query, response)

    def _pace(self) -> None:
        """Wait until the next request may be sent."""
        if (left := self._not_before - self.monotonic()) > 0:
            self.sleep(left)
        self._not_before = self.monotonic() + self.limits.min_interval_s


def _read(query: ScanQuery, response: requests.Response) -> tuple[Answer, list[ScanResult]]:
    """Return a response's answer and its rows.

    Raises:
        MalformedAnswerError: it is no JSON, or not of the expected form.
        ScannerRefusedError: it carries an error in words.
    """
    try:
        answer = Answer.model_validate_json(response.content)
        rows = results(answer, query.columns)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise MalformedAnswerError(query.name, f"{key}: {first['msg']}" if key else first["msg"]) from None
    except ValueError as error:
        raise MalformedAnswerError(query.name, str(error)) from None
    if answer.error:
        raise ScannerRefusedError(query.name, response.status_code, answer.error)
    return answer, rows


def _words(response: requests.Response) -> str:
    """Return the reason that a refusal gives."""
    try:
        told = response.json().get("error")
    except (ValueError, AttributeError):
        told = None
    return str(told or response.text or response.reason).strip()[:_SHOWN]


def _retry_after(response: requests.Response) -> float:
    text = response.headers.get("Retry-After", "")
    return min(float(text), _MAX_WAIT_S) if text.isdigit() else 0.0


def _wait(state: tenacity.RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome else None
    return max(min(2.0 ** (state.attempt_number - 1), _MAX_WAIT_S), getattr(error, "wait_s", 0.0))


def _cause(error: requests.RequestException) -> str:
    text = str(error)
    return "connection refused" if "refused" in text else type(error).__name__ if len(text) > _SHOWN else text

"""The failures that only a TWS connection knows, each under the branch of `quant_assets.errors` that says what to do.

SourceUnavailableError
├── PortRefusedError        nothing listens there
├── PortSilentError         something listens and does not speak
│   └── PortDroppedError        … and ends the connection before the greeting is over
├── NotTwsError             another program listens, and says so
├── ClientIdInUseError      every client id of the range is taken
└── LinkDownError           the connection, or TWS's own link to the market, broke
SourceTransientError        TWS failed for a reason that it does not tell; retry
├── UntoldError                 … in a language that is not read here: it may well be pacing
├── UnlistedError               … in English, and not in the table: it is no pacing
├── LinkBreakerError            the connection breaks whenever this is asked
└── UnconfirmedContractError    TWS denies a contract, and has not done so often enough to be believed
PacingError
└── TooManyOpenError        more historical requests are open than TWS allows
SourceRefusedError
└── RepeatedRefusalError    TWS refused as often as it was asked
BadRequestError
└── TooLongError            the same request with a shorter duration may pass
"""

import re

from quant_assets.connectors.tws.codes import SPEAK_ENGLISH, Verdict, classify, is_foreign, is_unlisted, mend_of
from quant_assets.errors import (
    BadRequestError,
    NoPermissionError,
    PacingError,
    QuantAssetsError,
    RetryLater,
    SourceRefusedError,
    SourceUnavailableError,
    UnknownContractError,
)

PAUSE_AFTER_REFUSAL_S = 15.0
_USUAL_PORTS = "TWS 7496, paper 7497; Gateway 4001, paper 4002"
_SHOWN = 40
"""Characters of another program's words that are repeated."""


class PortRefusedError(SourceUnavailableError):
    """Nothing listens at the address."""

    def __init__(self, address: str, cause: str) -> None:
        super().__init__(
            address,
            cause,
            "Start TWS or IB Gateway, enable its API (Configuration > API > Settings > Enable ActiveX and Socket "
            f"Clients) and check tws.host and tws.port ({_USUAL_PORTS}).",
        )


class PortSilentError(SourceUnavailableError):
    """The port is open and the API does not answer."""

    def __init__(self, address: str, cause: str) -> None:
        super().__init__(
            address,
            cause,
            "The port is open but the API is not answering: look for a login or confirmation window, restart TWS or "
            "IB Gateway, and log in again if the weekly session has expired (Sundays, 01:00 New York). If TWS is well, "
            f"tws.port is another program's ({_USUAL_PORTS}).",
        )


class PortDroppedError(PortSilentError):
    """The API ended the connection during the greeting, as a TWS does that is about to restart."""


class NotTwsError(SourceUnavailableError):
    """What came from the port is no word of TWS's protocol."""

    def __init__(self, address: str, words: bytes) -> None:
        readable = re.findall(r"[^\x00-\x1f\x7f]+", words.decode("utf-8", "backslashreplace"))
        said = readable[0][:_SHOWN] if readable else words.hex(" ")[:_SHOWN]
        super().__init__(
            address,
            f"another program listens there, and answers {said!r}",
            f"Set tws.host and tws.port to what TWS shows under Configuration > API > Settings ({_USUAL_PORTS}).",
        )


class ClientIdInUseError(SourceUnavailableError):
    """Every client id that may be tried is taken (326)."""

    def __init__(self, address: str, client_ids: range) -> None:
        self.client_ids = client_ids
        taken = str(client_ids[0]) if len(client_ids) == 1 else f"{client_ids[0]} to {client_ids[-1]}"
        super().__init__(address, f"client id {taken} in use (error 326)", mend_of(Verdict.CLIENT_ID_IN_USE))


class LinkDownError(SourceUnavailableError):
    """The connection broke, or TWS lost its own link to the market."""

    def __init__(self, address: str, cause: str) -> None:
        super().__init__(address, cause, "Nothing was lost; the same command resumes where it stopped.")


class SourceTransientError(RetryLater):
    """TWS failed on a request without a reason that is known to be permanent."""

    def __init__(self, what: str, code: int, text: str) -> None:
        self.what, self.code, self.text = what, code, text
        super().__init__(f"TWS failed on {what} (error {code}: {text}). {mend_of(Verdict.TRANSIENT)}")


class UntoldError(SourceTransientError):
    """Error 162 in another language: possibly a pacing violation."""

    def __init__(self, what: str, code: int, text: str) -> None:
        super().__init__(what, code, text)
        self.args = (f"{self.args[0]} {SPEAK_ENGLISH}",)


class UnlistedError(SourceTransientError):
    """Error 162 in English with words that are not in the table: whatever it is, it is no pacing violation."""


class UnconfirmedContractError(SourceTransientError):
    """TWS denies a contract (200), as it also does to valid ones around its nightly reset."""

    def __init__(self, denial: UnknownContractError, n_denials: int) -> None:
        self.n_denials = n_denials
        super().__init__(denial.what, denial.code, denial.text)
        cause = f"error {denial.code}: {denial.text}"
        self.args = (f"TWS refused {denial.what} ({cause}) on {n_denials} connection(s). {denial.mend}",)


class LinkBreakerError(SourceTransientError):
    """The connection broke each time that this request was sent, and stood again after it; others may pass."""

    def __init__(self, what: object, last: LinkDownError) -> None:
        super().__init__(str(what), 0, last.cause)
        self.args = (f"The connection broke on every attempt at {what}, at last because {last.cause}. {last.mend}",)


class TooManyOpenError(PacingError):
    """More historical requests are open than TWS allows (322)."""


class TooLongError(BadRequestError):
    """TWS does not serve that much in one request."""


class RepeatedRefusalError(SourceRefusedError):
    """TWS refused a request each time, for a reason that another attempt does not change."""

    def __init__(self, last: UnlistedError | TooLongError, n_refusals: int) -> None:
        self.n_refusals = n_refusals
        mend = "It is left alone for lakehouse.fetch_throttle_hours; `quant repair` asks again at once."
        super().__init__(last.what, last.code, last.text, mend)
        cause = f"error {last.code}: {last.text}"
        self.args = (f"TWS refused {last.what} on each of {n_refusals} attempts ({cause}). {mend}",)


class Refusal(Exception):  # noqa: N818 - a message of TWS that ends one request; the client makes it an error or an answer
    """TWS ended a request with a message. Never leaves the package."""

    def __init__(self, code: int, text: str) -> None:
        self.code, self.text = code, text
        self.verdict = classify(code, text)
        super().__init__(f"{code}: {text}")

    def as_error(self, what: str, address: str) -> QuantAssetsError:
        """The typed error for a caller who asked `what`."""
        refused = _REFUSED.get(self.verdict)
        if refused:
            return refused(what, self.code, self.text, mend_of(self.verdict))
        if self.verdict is Verdict.PACING:
            return PacingError(what, PAUSE_AFTER_REFUSAL_S, self.text)
        if self.verdict is Verdict.TOO_MANY_OPEN:
            return TooManyOpenError(what, PAUSE_AFTER_REFUSAL_S, self.text)
        if self.verdict is Verdict.LINK_DOWN:
            return LinkDownError(address, f"{self.text} (error {self.code})")
        if is_foreign(self.code, self.text):
            return UntoldError(what, self.code, self.text)
        failure = UnlistedError if is_unlisted(self.code, self.text) else SourceTransientError
        return failure(what, self.code, self.text)


_REFUSED: dict[Verdict, type[SourceRefusedError]] = {
    Verdict.UNKNOWN_CONTRACT: UnknownContractError,
    Verdict.NO_PERMISSION: NoPermissionError,
    Verdict.BAD_REQUEST: BadRequestError,
    Verdict.TOO_LONG: TooLongError,
    Verdict.NO_DATA: SourceRefusedError,
}

"""Every error a caller can see: its class, its HTTP status and its JSON body, decided here alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec import UNSET, Struct, UnsetType

from zmartd.errors import ZmartdError


class Problem(Struct, frozen=True):
    """One field of a request that breaks its rule."""

    field: str
    message: str


class InvalidRequest(ZmartdError):
    """The request is not valid."""

    code = "invalid_request"

    def __init__(self, *problems: Problem) -> None:
        super().__init__("; ".join(f"{problem.field} {problem.message}" for problem in problems) + ".")
        self.problems = problems


class InvalidJson(ZmartdError):
    """The body is not valid JSON; send one JSON object, UTF-8 encoded."""

    code = "invalid_json"


class UnsupportedMediaType(ZmartdError):
    """The body has to be JSON; send it with the header `Content-Type: application/json`."""

    code = "unsupported_media_type"


class BodyTooLarge(ZmartdError):
    """The body is larger than this route accepts."""

    code = "body_too_large"


class InvalidHttp(ZmartdError):
    """The request is not one that HTTP/1.1 allows here."""

    code = "invalid_http"


class CorsRefused(ZmartdError):
    """This origin may not call the API; add it to server.cors_origins if it should."""

    code = "cors_refused"


class RouteNotFound(ZmartdError):
    """There is nothing at this path; the README lists every route."""

    code = "route_not_found"


class MethodNotAllowed(ZmartdError):
    """This path exists, but not for this method; the Allow header names those it has."""

    code = "method_not_allowed"


class MarketNotFound(ZmartdError):
    """No market has this id; give its 64 hexadecimal digits or its address on the chain."""

    code = "market_not_found"


class PositionNotFound(ZmartdError):
    """This wallet has never held a position in this market."""

    code = "position_not_found"


class Unexpected(ZmartdError):
    """Something went wrong on our side; try again, and quote the request id if it goes on."""

    code = "internal_error"


STATUS: Mapping[type[ZmartdError], int] = {
    InvalidRequest: 400,
    InvalidJson: 400,
    UnsupportedMediaType: 415,
    BodyTooLarge: 413,
    InvalidHttp: 400,
    CorsRefused: 403,
    RouteNotFound: 404,
    MethodNotAllowed: 405,
    MarketNotFound: 404,
    PositionNotFound: 404,
    Unexpected: 500,
}
"""A subclass has the status of its nearest ancestor here. A class without one is a bug and answers 500."""

RETRY_AFTER_SECONDS = 2
"""How long a caller is asked to wait when something the daemon needs is away for the moment (status 503)."""


class ErrorBody(Struct, frozen=True, kw_only=True):
    """The one shape of every error: flat, with a stable machine-readable `code`."""

    error: str
    code: str
    message: str
    status: int
    details: tuple[Problem, ...] | dict[str, Any] | UnsetType = UNSET
    request_id: str


def status_of(error: ZmartdError) -> int:
    """The HTTP status of `error`; 500 for a class that the table does not know."""
    return next((STATUS[kind] for kind in type(error).__mro__ if kind in STATUS), 500)


def body_of(error: ZmartdError, request_id: str) -> ErrorBody:
    """What the caller is told. An error without a status of its own tells nothing about our insides."""
    status = status_of(error)
    if status == 500:
        error = Unexpected()
    details = error.problems if isinstance(error, InvalidRequest) else error.details or UNSET
    return ErrorBody(
        error=type(error).__name__,
        code=error.code,
        message=error.message,
        status=status,
        details=details,
        request_id=request_id,
    )

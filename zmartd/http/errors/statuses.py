"""Every error a caller can see: its class, its HTTP status and its JSON body, decided here alone."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from msgspec import UNSET, Struct, UnsetType

from zmartd.chain.failures import ProgramFailure
from zmartd.chain.sender import SenderUnavailable, TransactionExpired
from zmartd.chain.transport import RpcRejected, RpcUnavailable
from zmartd.errors import ZmartdError
from zmartd.http.errors.auth import SessionsUnavailable, TooManyAttempts, Unauthorized
from zmartd.http.errors.websocket import TooManyConnections, UpgradeRequired
from zmartd.http.trading.lookups import LookupsExhausted
from zmartd.indexer.fetch import TransactionNotFound
from zmartd.indexer.inbox import MalformedDelivery
from zmartd.store.decisions import AlreadyDecided
from zmartd.store.discussions import (
    CommentNotFound,
    EditWindowClosed,
    NotTheAuthor,
    ParentNotFound,
    ThreadTooDeep,
)
from zmartd.store.dispute_requests import DisputeRequestRefused
from zmartd.store.errors import DatabaseNotReady, DatabaseTimeout, DatabaseUnavailable
from zmartd.store.markets import MarketNotFound
from zmartd.store.metadata import TooManyPendingMarkets
from zmartd.store.outbox import TooManyPending
from zmartd.store.votes import AlreadyVoted, NotAHolder, VotingClosed
from zmartd.tasks.authority import ProgramNotInitialized
from zmartd.tasks.deciding import DisputeWindowClosed, NothingToDecide, NotTheAdmin, SettlementUnderWay


class Problem(Struct, frozen=True):
    """One field of a request that breaks its rule."""

    field: str
    """The name of the field, parameter or variable."""
    message: str
    """Its rule, to be read on from its name."""


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


class RequestTooSlow(ZmartdError):
    """The request's body took too long to arrive: send it again, at once."""

    code = "request_too_slow"


class ServerFull(ZmartdError):
    """There are too many connections: close some, or connect again later."""

    code = "server_full"


class CorsRefused(ZmartdError):
    """This origin may not call the API; add it to server.cors_origins if it should."""

    code = "cors_refused"


class RouteNotFound(ZmartdError):
    """There is nothing at this path; GET /api/openapi.json lists every one there is."""

    code = "route_not_found"


class MethodNotAllowed(ZmartdError):
    """This path exists, but not for this method; the Allow header names those it has."""

    code = "method_not_allowed"


class NotYours(ZmartdError):
    """This belongs to another wallet than the one that is signed in."""

    code = "not_yours"


class NotTheCreator(ZmartdError):
    """Only the wallet that created this market, or a trusted resolver, may propose its outcome here."""

    code = "not_the_creator"


class BalanceTooLow(ZmartdError):
    """A vote on a proposal counts if its wallet has traded before, or holds enough SOL."""

    code = "balance_too_low"


class MarketPending(ZmartdError):
    """This market is registered, but not on the chain yet: its creator has to sign and send create_market."""

    code = "market_pending"


class MarketIdTaken(ZmartdError):
    """There is another market with this id; leave market_id out to get one of your own."""

    code = "market_id_taken"


class PositionNotFound(ZmartdError):
    """This wallet has never held a position in this market."""

    code = "position_not_found"


class TransactionRefused(ZmartdError):
    """This transaction is not one that the daemon passes on."""

    code = "transaction_refused"


class RateLimited(ZmartdError):
    """Too many requests: wait as long as Retry-After says. RateLimit-Policy names the limits."""

    code = "rate_limited"

    def __init__(self, retry_after_seconds: int) -> None:
        super().__init__(retry_after_seconds=retry_after_seconds)


class IdempotencyConflict(ZmartdError):
    """This Idempotency-Key was used for another request: take a new key for each thing you want done."""

    code = "idempotency_conflict"


class StillUnderWay(ZmartdError):
    """A request with this Idempotency-Key is being answered: send the same again in a moment."""

    code = "still_under_way"

    def __init__(self) -> None:
        super().__init__(retry_after_seconds=RETRY_AFTER_SECONDS)


class ProtocolNotInitialized(ZmartdError):
    """The program has no configuration on this cluster yet: its admin has to run initialize_global_config."""

    code = "protocol_not_initialized"


class WebhookUnauthorized(ZmartdError):
    """This delivery does not prove that it comes from Helius: its Authorization header or HMAC is wrong."""

    code = "webhook_unauthorized"


class WebhookRefusedTooOften(ZmartdError):
    """Too many deliveries from this address proved nothing: wait as long as Retry-After says."""

    code = "webhook_refused_too_often"

    def __init__(self, retry_after_seconds: int) -> None:
        super().__init__(retry_after_seconds=retry_after_seconds)


class WebhookTooSlow(ZmartdError):
    """The body of a delivery with an HMAC has to arrive faster; send it again."""

    code = "webhook_too_slow"


class WebhookBusy(ZmartdError):
    """Too much is being read of deliveries with an HMAC; send this one again in a moment."""

    code = "webhook_busy"


class ProgramRefused(ZmartdError):
    """The program refuses this. Error and code are the program's own name for the reason."""

    code = "program_refused"

    def __init__(self, failure: ProgramFailure, **details: Any) -> None:
        super().__init__(failure.message, program_error=failure.code, **details)
        self.failure = failure


class Unexpected(ZmartdError):
    """Something went wrong on our side; try again, and quote the request id if it goes on."""

    code = "internal_error"


STATUS: Mapping[type[ZmartdError], int] = {
    InvalidRequest: 400,
    InvalidJson: 400,
    InvalidHttp: 400,
    TransactionRefused: 400,
    MalformedDelivery: 400,
    Unauthorized: 401,
    WebhookUnauthorized: 401,
    CorsRefused: 403,
    NotYours: 403,
    NotTheCreator: 403,
    NotTheAuthor: 403,
    NotTheAdmin: 403,
    NotAHolder: 403,
    BalanceTooLow: 403,
    DisputeRequestRefused: 403,
    RouteNotFound: 404,
    MarketNotFound: 404,
    PositionNotFound: 404,
    CommentNotFound: 404,
    ParentNotFound: 404,
    TransactionNotFound: 404,
    MethodNotAllowed: 405,
    WebhookTooSlow: 408,
    RequestTooSlow: 408,
    MarketPending: 409,
    MarketIdTaken: 409,
    TooManyPendingMarkets: 409,
    AlreadyVoted: 409,
    VotingClosed: 409,
    AlreadyDecided: 409,
    NothingToDecide: 409,
    SettlementUnderWay: 409,
    DisputeWindowClosed: 409,
    ThreadTooDeep: 409,
    EditWindowClosed: 409,
    TransactionExpired: 409,
    ProtocolNotInitialized: 409,
    ProgramNotInitialized: 409,
    IdempotencyConflict: 409,
    StillUnderWay: 409,
    BodyTooLarge: 413,
    UnsupportedMediaType: 415,
    ProgramRefused: 422,
    UpgradeRequired: 426,
    TooManyAttempts: 429,
    RateLimited: 429,
    TooManyConnections: 429,
    TooManyPending: 429,
    WebhookRefusedTooOften: 429,
    Unexpected: 500,
    ServerFull: 503,
    DatabaseUnavailable: 503,
    DatabaseTimeout: 503,
    DatabaseNotReady: 503,
    SessionsUnavailable: 503,
    RpcUnavailable: 503,
    RpcRejected: 503,
    SenderUnavailable: 503,
    LookupsExhausted: 503,
    WebhookBusy: 503,
}
"""A subclass has the status of its nearest ancestor here. A class without one is a bug and answers 500."""

RETRY_AFTER_SECONDS = 2
"""How long a caller is asked to wait when something the daemon needs is away for the moment (status 503)."""

_WORD_START = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


class ErrorBody(Struct, frozen=True, kw_only=True):
    """The one shape of every error: flat, with a stable machine-readable `code`."""

    error: str
    """The error's name; for a failure on the chain the name that the program or the chain has for it."""
    code: str
    """A stable name in snake_case, for programs to tell errors by."""
    message: str
    """What is wrong and what to do, in words that may change."""
    status: int
    """The HTTP status."""
    details: tuple[Problem, ...] | dict[str, Any] | UnsetType = UNSET
    """Each problem of an invalid request, else particulars by their names; left out where there are none."""
    request_id: str
    """The name under which the daemon logged the request, as in X-Request-Id."""


def status_of(error: ZmartdError) -> int:
    """The HTTP status of `error`; 500 for a class that the table does not know."""
    return next((STATUS[kind] for kind in type(error).__mro__ if kind in STATUS), 500)


def body_of(error: ZmartdError, request_id: str) -> ErrorBody:
    """What the caller is told: of an error of ours, or of what we depend on, nothing about our insides."""
    status = status_of(error)
    if status == 500:
        error = Unexpected()
    name = error.failure.name if isinstance(error, ProgramRefused) else type(error).__name__
    return ErrorBody(
        error=name,
        code=snake_case(name) if isinstance(error, ProgramRefused) else error.code,
        message=type(error).meaning() if status == 503 else error.message,
        status=status,
        details=UNSET if status == 503 else _details(error),
        request_id=request_id,
    )


def _details(error: ZmartdError) -> tuple[Problem, ...] | dict[str, Any] | UnsetType:
    return error.problems if isinstance(error, InvalidRequest) else error.details or UNSET


def snake_case(name: str) -> str:
    """`SlippageExceeded` as `slippage_exceeded`: the program's error names as stable codes."""
    return _WORD_START.sub("_", name).lower()

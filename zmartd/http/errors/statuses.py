"""The HTTP status and the JSON body of every error that a caller can get."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from msgspec import UNSET, Struct, UnsetType, structs

from zmartd.chain.admins import NotTheAdmin
from zmartd.chain.failures import ProgramRefused
from zmartd.chain.program_accounts import ProtocolNotInitialized
from zmartd.chain.sender import SenderUnavailable
from zmartd.chain.signed_transactions import TransactionExpired
from zmartd.chain.transport import RpcRejected, RpcUnavailable
from zmartd.errors import DetailedError, ZmartdError
from zmartd.http.errors.auth import SessionsUnavailable, TooManyAttempts, Unauthorized
from zmartd.http.errors.requests import (
    BalanceTooLow,
    BodyTooLarge,
    CorsRefused,
    IdempotencyConflict,
    InvalidHttp,
    InvalidJson,
    InvalidRequest,
    MarketIdTaken,
    MarketPending,
    MethodNotAllowed,
    NotTheCreator,
    NotYours,
    PositionNotFound,
    QuoteExpired,
    RateLimited,
    RequestTooSlow,
    RouteNotFound,
    ServerFull,
    StillUnderWay,
    TooEarly,
    Unexpected,
    UnsupportedMediaType,
    WebhookBusy,
    WebhookRefusedTooOften,
    WebhookTooSlow,
    WebhookUnauthorized,
    WrongState,
)
from zmartd.http.errors.websocket import Restarting, TooManyConnections, UnknownChannel, UpgradeRequired
from zmartd.indexer.deliveries import MalformedDelivery
from zmartd.indexer.fetch import TransactionNotFound
from zmartd.ipfs.retrieval import DocumentUnreachable
from zmartd.realtime.followed import StreamUnavailable
from zmartd.realtime.subscription_errors import ForeignStream
from zmartd.store.alerts import AlertNotFound
from zmartd.store.decisions import AlreadyDecided
from zmartd.store.discussions import (
    CommentNotFound,
    EditWindowClosed,
    NotTheAuthor,
    ParentNotFound,
    ThreadTooDeep,
)
from zmartd.store.dispute_requests import DisputeRequestRefused
from zmartd.store.evidence import DocumentNotFound, NotTheDisputer
from zmartd.store.markets import MarketNotFound
from zmartd.store.metadata import PendingTextsTooLarge, SimilarMarketExists, TooManyPendingMarkets
from zmartd.store.outbox import TooManyPending
from zmartd.store.postgres.errors import DatabaseNotReady, DatabaseTimeout, DatabaseUnavailable
from zmartd.store.votes import AlreadyVoted, NotAHolder
from zmartd.transactions.admission import TransactionRefused
from zmartd.transactions.funds import InsufficientFunds
from zmartd.transactions.lookup_limit import LookupsExhausted
from zmartd.transactions.price_protection import PriceMoved

STATUS: Mapping[type[ZmartdError], int] = {
    InvalidRequest: 400,
    InvalidJson: 400,
    InvalidHttp: 400,
    TransactionRefused: 400,
    MalformedDelivery: 400,
    UnknownChannel: 400,
    Unauthorized: 401,
    WebhookUnauthorized: 401,
    CorsRefused: 403,
    NotYours: 403,
    NotTheCreator: 403,
    NotTheAuthor: 403,
    NotTheAdmin: 403,
    NotAHolder: 403,
    NotTheDisputer: 403,
    ForeignStream: 403,
    BalanceTooLow: 403,
    DisputeRequestRefused: 403,
    RouteNotFound: 404,
    MarketNotFound: 404,
    PositionNotFound: 404,
    CommentNotFound: 404,
    DocumentNotFound: 404,
    ParentNotFound: 404,
    TransactionNotFound: 404,
    AlertNotFound: 404,
    MethodNotAllowed: 405,
    WebhookTooSlow: 408,
    RequestTooSlow: 408,
    MarketPending: 409,
    WrongState: 409,
    TooEarly: 409,
    MarketIdTaken: 409,
    TooManyPendingMarkets: 409,
    PendingTextsTooLarge: 409,
    SimilarMarketExists: 409,
    AlreadyVoted: 409,
    AlreadyDecided: 409,
    ThreadTooDeep: 409,
    EditWindowClosed: 409,
    TransactionExpired: 409,
    PriceMoved: 409,
    ProtocolNotInitialized: 409,
    IdempotencyConflict: 409,
    StillUnderWay: 409,
    QuoteExpired: 409,
    BodyTooLarge: 413,
    UnsupportedMediaType: 415,
    ProgramRefused: 422,
    InsufficientFunds: 422,
    UpgradeRequired: 426,
    TooManyAttempts: 429,
    RateLimited: 429,
    TooManyConnections: 429,
    TooManyPending: 429,
    WebhookRefusedTooOften: 429,
    Unexpected: 500,
    ServerFull: 503,
    Restarting: 503,
    DatabaseUnavailable: 503,
    DatabaseTimeout: 503,
    DatabaseNotReady: 503,
    SessionsUnavailable: 503,
    StreamUnavailable: 503,
    RpcUnavailable: 503,
    RpcRejected: 503,
    SenderUnavailable: 503,
    LookupsExhausted: 503,
    WebhookBusy: 503,
    DocumentUnreachable: 503,
}
"""By class; a subclass has the status of its nearest ancestor here. An error without one gets 500: a bug."""

_CODES = frozenset(kind.code for kind in STATUS)
_WORD_START = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


class ErrorBody(Struct, frozen=True, kw_only=True):
    """The form of every error: flat, with a stable `code` for programs."""

    error: str
    """The name of the error, for people; for a failure on the chain, the name that the program or the chain
    gives it."""
    code: str
    """A stable name in snake_case, for programs. Each belongs to one error."""
    message: str
    """What is wrong and what to do, for people. The wording may change."""
    status: int
    """The HTTP status."""
    details: Any = UNSET
    """Facts for programs, of the type that goes with `code`. Left out if there are none."""
    request_id: str
    """The id under which the daemon logged the request, as in X-Request-Id."""


def status_of(kind: type[ZmartdError]) -> int:
    """The HTTP status of errors of `kind`; 500 for a class that is not in STATUS."""
    return next((STATUS[parent] for parent in kind.__mro__ if parent in STATUS), 500)


def error_body(error: ZmartdError, request_id: str) -> ErrorBody:
    """The body for the caller. A 500 or 503 has no details of the daemon or of what it depends on."""
    status = status_of(type(error))
    if status == 500:
        error = Unexpected()
    return ErrorBody(
        error=error.failure.name if isinstance(error, ProgramRefused) else named_by(type(error)).__name__,
        code=program_code(error.name) if isinstance(error, ProgramRefused) else error.code,
        message=type(error).meaning() if status == 503 else error.message,
        status=status,
        details=_details(error),
        request_id=request_id,
    )


def sends_details(kind: type[ZmartdError]) -> bool:
    """Whether the details of `kind` are told: not those of what the daemon depends on."""
    return status_of(kind) not in {500, 503}


def _details(error: ZmartdError) -> Struct | tuple[Struct, ...] | UnsetType:
    if not isinstance(error, DetailedError) or not sends_details(type(error)):
        return UNSET
    details: Struct | tuple[Struct, ...] = error.details
    is_empty = isinstance(details, Struct) and all(value is UNSET for value in structs.astuple(details))
    return UNSET if is_empty else details


def named_by(kind: type[ZmartdError]) -> type[ZmartdError]:
    """The class that gives `kind` its code, and so is named to callers: `kind`, or an ancestor."""
    return next(parent for parent in kind.__mro__ if "code" in parent.__dict__)


def program_code(name: str) -> str:
    """The code for an error's name of the program or the chain: `slippage_exceeded` for `SlippageExceeded`.

    It begins with `program_` where an error of this API has the code without it: a code is of one error.
    """
    code = _WORD_START.sub("_", name).lower()
    return f"program_{code}" if code in _CODES else code

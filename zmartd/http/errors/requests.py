"""Errors of requests. The docstring of a class is the message that the caller gets."""

from __future__ import annotations

from collections.abc import Collection

from msgspec import Struct

from zmartd.errors import AboutMarket, DetailedError, RetryDetails, ZmartdError
from zmartd.market.json_fields import Amount, MarketKey, Time
from zmartd.market.next_bodies import StepDetails

RETRY_AFTER_SECONDS = 2
"""The Retry-After of a 503, while something that the daemon needs is away."""


class Problem(Struct, frozen=True):
    """An invalid field of a request."""

    field: str
    """The name of the field, parameter or variable."""
    message: str
    """The rule that it breaks, worded to follow its name."""


class InvalidRequest(DetailedError[tuple[Problem, ...]]):
    """The request is not valid."""

    code = "invalid_request"

    def __init__(self, *problems: Problem) -> None:
        message = "; ".join(f"{problem.field} {problem.message}" for problem in problems) + "."
        super().__init__(problems, message)


class InvalidJson(ZmartdError):
    """The body is not valid JSON; send one JSON object, UTF-8 encoded."""

    code = "invalid_json"


class UnsupportedMediaType(ZmartdError):
    """The body has to be JSON; send it with the header `Content-Type: application/json`."""

    code = "unsupported_media_type"


class BodyLimit(Struct, frozen=True):
    """How long a body may be."""

    limit_bytes: int
    """The most bytes that the route accepts."""


class BodyTooLarge(DetailedError[BodyLimit]):
    """The body is larger than this route accepts; send a shorter one."""

    code = "body_too_large"

    def __init__(self, limit_bytes: int) -> None:
        super().__init__(
            BodyLimit(limit_bytes),
            f"The body is larger than this route accepts; send at most {limit_bytes} bytes.",
        )


class InvalidHttp(ZmartdError):
    """The request is not valid HTTP/1.1; send it with a client or a proxy that keeps to the standard."""

    code = "invalid_http"


class RequestTooSlow(ZmartdError):
    """The body of the request took too long to arrive; send it again without pauses."""

    code = "request_too_slow"


class ServerFull(ZmartdError):
    """There are too many connections; close some, or connect again later."""

    code = "server_full"


class CorsRefused(ZmartdError):
    """This origin may not call the API; the operator can add it to server.cors_origins."""

    code = "cors_refused"


class RouteNotFound(ZmartdError):
    """There is no such path; GET /api/openapi.json lists all paths."""

    code = "route_not_found"


class MethodNotAllowed(ZmartdError):
    """This path does not support this method; the Allow header lists the methods that it does."""

    code = "method_not_allowed"

    def __init__(self, methods: Collection[str]) -> None:
        super().__init__()
        self.methods = ",".join(sorted(methods))


class NotYours(ZmartdError):
    """This belongs to another wallet; sign in with the wallet that the path names."""

    code = "not_yours"


class CreatorDetails(Struct, frozen=True):
    """Who may do what an error refuses."""

    market_id: MarketKey
    creator: str | None
    """The wallet that created the market, base58; null while that is not indexed."""


class EndDetails(StepDetails, frozen=True, kw_only=True):
    """When a market is expected to end, its state, and what can happen next with it."""

    end_date: Time | None
    """The market's expected end."""


class BalanceDetails(Struct, frozen=True):
    """What a wallet holds, and what it has to hold."""

    balance_lamports: Amount
    """What it holds."""
    minimum_lamports: Amount
    """The least with which it may vote."""


class PendingDetails(Struct, frozen=True):
    """The market that is not on the chain yet."""

    given: str
    """Its id or its address, as it was given."""


class NotTheCreator(DetailedError[CreatorDetails]):
    """Only the creator of this market, or whom the message names beside it, may do this; sign in as one."""

    code = "not_the_creator"

    def __init__(
        self,
        market_id: str,
        creator: str | None,
        may: str = "or a trusted resolver may propose its outcome; sign in as one of them",
    ) -> None:
        """`may`: what the creator may do, after whoever else may."""
        name = "" if creator is None else f", {creator},"
        super().__init__(CreatorDetails(market_id, creator), f"Only the creator of this market{name} {may}.")


class TooEarly(DetailedError[EndDetails]):
    """The expected end of this market has not come: to propose its outcome all the same, set early to true in
    POST /api/markets/{id}/resolve, say why in early_reason, which everybody can read, and send the
    transaction of its answer.
    """

    code = "too_early"


class BalanceTooLow(DetailedError[BalanceDetails]):
    """To vote on a proposal, a wallet has to have traded, or to hold enough SOL; trade, or add SOL to it."""

    code = "balance_too_low"

    def __init__(self, balance_lamports: int, minimum_lamports: int) -> None:
        super().__init__(
            BalanceDetails(str(balance_lamports), str(minimum_lamports)),
            "Only wallets that have traded, or that hold at least "
            f"{minimum_lamports} lamports, may vote on a proposal, and this one holds {balance_lamports}; "
            "trade, or add SOL to it.",
        )


class MarketPending(DetailedError[PendingDetails]):
    """This market is not on the chain yet; its creator has to sign and send what POST /api/markets gave."""

    code = "market_pending"


class WrongState(DetailedError[StepDetails]):
    """The market is not in the state for this; its `next` says what can happen now."""

    code = "wrong_state"


class MarketIdTaken(DetailedError[AboutMarket]):
    """Another market has this id; leave market_id out to get a new one."""

    code = "market_id_taken"


class PositionNotFound(DetailedError[AboutMarket]):
    """This wallet has never held a position in this market; check the wallet and the market."""

    code = "position_not_found"


class RateLimited(DetailedError[RetryDetails]):
    """Too many requests; wait as long as Retry-After says. RateLimit-Policy lists the limits."""

    code = "rate_limited"

    def __init__(self, retry_after_seconds: int) -> None:
        super().__init__(RetryDetails(retry_after_seconds))


class IdempotencyConflict(ZmartdError):
    """This Idempotency-Key was used for a different request; use a new key for each write."""

    code = "idempotency_conflict"


class QuoteExpired(ZmartdError):
    """The transaction of this quote can no longer land. Ask GET /api/transactions/{signature} whether it did;
    if it did not, ask for a new quote with a new Idempotency-Key.
    """

    code = "quote_expired"


class StillUnderWay(DetailedError[RetryDetails]):
    """The first request with this Idempotency-Key is still in progress; send it again in a moment."""

    code = "still_under_way"

    def __init__(self) -> None:
        super().__init__(RetryDetails(RETRY_AFTER_SECONDS))


class WebhookUnauthorized(ZmartdError):
    """This delivery does not prove that it comes from Helius; send the right Authorization header or HMAC."""

    code = "webhook_unauthorized"


class WebhookRefusedTooOften(DetailedError[RetryDetails]):
    """Too many deliveries from this address had wrong credentials; wait as long as Retry-After says."""

    code = "webhook_refused_too_often"

    def __init__(self, retry_after_seconds: int) -> None:
        super().__init__(RetryDetails(retry_after_seconds))


class WebhookTooSlow(ZmartdError):
    """The body of a delivery with an HMAC took too long to arrive; send it again without pauses."""

    code = "webhook_too_slow"


class WebhookBusy(ZmartdError):
    """Too many deliveries with an HMAC are being read; send this one again in a moment."""

    code = "webhook_busy"


class Unexpected(ZmartdError):
    """Something went wrong on our side; try again. If it happens again, report it with the request id."""

    code = "internal_error"

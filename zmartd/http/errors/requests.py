"""What is wrong with a request, or keeps it from its handler."""

from __future__ import annotations

from collections.abc import Collection

from msgspec import Struct

from zmartd.errors import ZmartdError

RETRY_AFTER_SECONDS = 2
"""How long a caller is asked to wait when something the daemon needs is away for the moment (status 503)."""


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

    def __init__(self, methods: Collection[str]) -> None:
        super().__init__()
        self.methods = ",".join(sorted(methods))


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


class Unexpected(ZmartdError):
    """Something went wrong on our side; try again, and quote the request id if it goes on."""

    code = "internal_error"

"""Everything that happens to a request before and after its handler, one step after the other.

The steps are one function, not one each: a coroutine within a coroutine for every step costs a request as
much as what the steps do.
"""

from __future__ import annotations

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler, Middleware

from zmartd.clock import Clock
from zmartd.endpoint import is_loopback_url
from zmartd.http.auth.authenticator import Authenticator
from zmartd.http.errors.requests import InvalidHttp, RateLimited
from zmartd.http.kit.error_responses import answer_to, error_response
from zmartd.http.kit.expectations import require_known_expectation
from zmartd.http.kit.identity import ANONYMOUS, IDENTITY
from zmartd.http.middleware import access_log, request_buckets
from zmartd.http.middleware.access_log import AccessLog
from zmartd.http.middleware.cors import BrowserHeaders
from zmartd.http.middleware.request_buckets import RateLimit
from zmartd.http.middleware.security_headers import secure
from zmartd.log import CURRENT_REQUEST_ID


def middleware(
    clock: Clock,
    log: AccessLog,
    authenticator: Authenticator | None = None,
    limit: RateLimit | None = None,
    browsers: BrowserHeaders | None = None,
    *,
    for_own_host: bool = False,
) -> Middleware:
    """The steps, in the order that `zmartd.http.middleware` explains.

    Without an authenticator nobody signs in, without a limit requests are not counted, and without headers
    for browsers none may call. `for_own_host`: whether only this machine's names are answered to.
    """
    now = clock.monotonic

    @web.middleware
    async def steps(request: web.Request, handler: Handler) -> web.StreamResponse:
        started, status, asked = now(), 0, request.headers
        request_id = log.name(asked)
        outer = CURRENT_REQUEST_ID.set(request_id)
        try:
            standing = None
            try:
                authorization = asked.get(hdrs.AUTHORIZATION)
                request[IDENTITY] = (
                    await authenticator.identify(authorization)
                    if authorization and authenticator is not None
                    else ANONYMOUS
                )
                if limit is not None and (accounts := limit.accounts_of(request)):
                    limiter = limit.limiter
                    standing = limiter.count_leased(accounts, started) or await limiter.count(accounts)
                if standing is None or standing.admitted:
                    if for_own_host:
                        _require_own_host(request)
                    if hdrs.EXPECT in asked:
                        require_known_expectation(request)
                    response = await handler(request)
                else:
                    response = error_response(request, RateLimited(standing.reset_seconds))
            except Exception as error:
                response = answer_to(request, error)
            status = response.status
            if response.prepared:
                return response
            headers = response.headers
            headers[access_log.HEADER] = request_id
            if standing is not None:
                request_buckets.tell(headers, standing)
            secure(headers)
            if browsers is not None and hdrs.ORIGIN in asked:
                await browsers(request, response)
            return response
        finally:
            log.note(request, request_id, status, now() - started)
            CURRENT_REQUEST_ID.reset(outer)

    return steps


def _require_own_host(request: web.Request) -> None:
    """Raises InvalidHttp for a request to another host."""
    if not all(is_loopback_url(f"http://{host}") for host in request.headers.getall(hdrs.HOST, [])):
        raise InvalidHttp("This listener answers to localhost and loopback addresses only.")

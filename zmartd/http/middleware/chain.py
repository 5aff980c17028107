"""The middleware: everything that happens to a request before and after its handler.

All steps are in one function, because a coroutine for each step would cost a request as much as the steps do.
"""

from __future__ import annotations

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler, Middleware

from zmartd.clock import Clock
from zmartd.endpoint import is_loopback_url
from zmartd.http.auth.authenticator import Authenticator
from zmartd.http.errors.requests import InvalidHttp, RateLimited
from zmartd.http.kit.error_responses import error_response, response_to
from zmartd.http.kit.expectations import require_known_expectation
from zmartd.http.kit.identity import ANONYMOUS, IDENTITY
from zmartd.http.middleware import access_log
from zmartd.http.middleware.access_log import AccessLog
from zmartd.http.middleware.cors import AddCorsHeaders
from zmartd.http.middleware.rate_limiter import add_rate_limit_headers
from zmartd.http.middleware.request_buckets import RequestBuckets
from zmartd.http.middleware.security_headers import add_security_headers
from zmartd.log import CURRENT_REQUEST_ID


def middleware(
    clock: Clock,
    log: AccessLog,
    authenticator: Authenticator | None = None,
    buckets: RequestBuckets | None = None,
    add_cors_headers: AddCorsHeaders | None = None,
    *,
    local_only: bool = False,
) -> Middleware:
    """The steps, in the order that `zmartd.http.middleware` gives.

    Steps whose argument is None are left out: nobody is signed in, requests are not counted, browsers of
    other origins may not call. With `local_only`, requests to any host but this machine are refused.
    """
    now = clock.monotonic

    @web.middleware
    async def steps(request: web.Request, handler: Handler) -> web.StreamResponse:
        started, status, request_headers = now(), 0, request.headers
        request_id = log.request_id_for(request_headers)
        outer = CURRENT_REQUEST_ID.set(request_id)
        try:
            limit = None
            try:
                authorization = request_headers.get(hdrs.AUTHORIZATION)
                request[IDENTITY] = (
                    await authenticator.identify(authorization)
                    if authorization and authenticator is not None
                    else ANONYMOUS
                )
                if buckets is not None and (counted := buckets.of(request)):
                    limiter = buckets.limiter
                    limit = limiter.count_leased(counted, started) or await limiter.count(counted)
                if limit is None or limit.allowed:
                    if local_only:
                        _require_local_host(request)
                    if hdrs.EXPECT in request_headers:
                        require_known_expectation(request)
                    response = await handler(request)
                else:
                    response = error_response(request, RateLimited(limit.reset_seconds))
            except Exception as error:
                response = response_to(request, error)
            status = response.status
            if response.prepared:
                return response
            headers = response.headers
            headers[access_log.REQUEST_ID] = request_id
            if limit is not None:
                add_rate_limit_headers(headers, limit)
            add_security_headers(headers)
            if add_cors_headers is not None and hdrs.ORIGIN in request_headers:
                await add_cors_headers(request, response)
            return response
        finally:
            log.record(request, request_id, status, now() - started)
            CURRENT_REQUEST_ID.reset(outer)

    return steps


def _require_local_host(request: web.Request) -> None:
    """Raises InvalidHttp for a request to another host than this machine."""
    if not all(is_loopback_url(f"http://{host}") for host in request.headers.getall(hdrs.HOST, [])):
        raise InvalidHttp("This listener serves localhost and loopback addresses only.")

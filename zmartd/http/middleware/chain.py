"""Everything that happens to a request before and after its handler.

All steps are in one function, which is put around each handler when its route is added: a coroutine for each
step would cost a request as much as the steps do, and a middleware of aiohttp as much as two of them.
"""

from __future__ import annotations

from typing import Final

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler

from zmartd.clock import Clock
from zmartd.endpoint import is_loopback_url
from zmartd.http.auth.authenticator import Authenticator
from zmartd.http.errors.requests import InvalidHttp, RateLimited
from zmartd.http.kit.dispatch import Peek, Weigh
from zmartd.http.kit.error_responses import error_response, response_to
from zmartd.http.kit.expectations import require_known_expectation
from zmartd.http.kit.identity import ANONYMOUS, IDENTITY
from zmartd.http.kit.operation import Quota
from zmartd.http.kit.weights import FROM_MEMORY, REQUEST
from zmartd.http.middleware import access_log
from zmartd.http.middleware.access_log import AccessLog
from zmartd.http.middleware.cors import CORS
from zmartd.http.middleware.rate_limiter import add_rate_limit_headers
from zmartd.http.middleware.request_buckets import RequestBuckets
from zmartd.http.middleware.security_headers import add_security_headers
from zmartd.log import CURRENT_REQUEST_ID


class Pipeline:
    """The steps, in the order that `zmartd.http.middleware` gives.

    Steps whose argument is None are left out: nobody is signed in, requests are not counted. With
    `local_only`, requests to any host but this machine are refused.
    """

    def __init__(
        self,
        clock: Clock,
        log: AccessLog,
        authenticator: Authenticator | None = None,
        buckets: RequestBuckets | None = None,
        *,
        local_only: bool = False,
    ) -> None:
        self._clock = clock
        self._log = log
        self._authenticator = authenticator
        self._buckets = buckets
        self._local_only = local_only

    def wrap(
        self,
        handler: Handler,
        quota: Quota = Quota.REQUESTS,
        peek: Peek | None = None,
        weigh: Weigh | None = None,
    ) -> Handler:
        """`handler` with the steps around it. Its requests count towards `quota`, each with its weight.

        A response that `peek` finds in memory is returned instead of the handler's, and weighs less.
        """
        now, log = self._clock.monotonic, self._log
        authenticator, buckets = self._authenticator, self._buckets

        async def wrapped(request: web.Request) -> web.StreamResponse:
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
                    known = None if peek is None else peek(request)
                    if buckets is not None and (counted := buckets.of(request, quota)):
                        limiter, weight = buckets.limiter, REQUEST
                        if known is not None:
                            weight = FROM_MEMORY
                        elif weigh is not None:
                            weight = weigh(request)
                        limit = limiter.count_leased(counted, started, weight) or await limiter.count(
                            counted, weight
                        )
                    if limit is None or limit.allowed:
                        if self._local_only:
                            _require_local_host(request)
                        if hdrs.EXPECT in request_headers:
                            require_known_expectation(request)
                        response = await handler(request) if known is None else known.respond_to(request)
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
                if hdrs.ORIGIN in request_headers and (cors := request.app.get(CORS)) is not None:
                    cors.add(headers, request_headers[hdrs.ORIGIN])
                return response
            finally:
                log.record(request, request_id, status, now() - started)
                CURRENT_REQUEST_ID.reset(outer)

        return wrapped


PIPELINE: Final[web.AppKey[Pipeline]] = web.AppKey("pipeline")


def _require_local_host(request: web.Request) -> None:
    """Raises InvalidHttp for a request to another host than this machine."""
    if not all(is_loopback_url(f"http://{host}") for host in request.headers.getall(hdrs.HOST, [])):
        raise InvalidHttp("This listener serves localhost and loopback addresses only.")

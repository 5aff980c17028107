"""JSON-RPC calls that survive what nodes and networks do: solana-py's HTTP provider, with patience.

Answers are decoded with msgspec: solders' own response types refuse errors that are newer than they are.
"""

from __future__ import annotations

import asyncio
import random
import ssl
from contextlib import nullcontext
from functools import cache
from typing import Any, TypeVar

import httpx
import msgspec
from msgspec import Raw, Struct
from solana.rpc.providers.async_http import AsyncHTTPProvider
from solders.rpc.requests import Body

from zmartd import endpoint
from zmartd.chain.requests import GetRecentPrioritizationFees
from zmartd.clock import Clock
from zmartd.errors import ZmartdError
from zmartd.metrics import Counter, Histogram

MAX_ATTEMPTS = 6
MAX_IN_FLIGHT = 32
FIRST_PAUSE_SECONDS = 0.2
LONGEST_PAUSE_SECONDS = 5.0
LONGEST_RETRY_AFTER_SECONDS = 30.0
MAX_MESSAGE_LENGTH = 300

INVALID_PARAMS = -32602
INTERNAL_ERROR = -32603
TRANSIENT_RPC_CODES = frozenset(
    {
        429,  # some providers send the HTTP status as a JSON-RPC code
        -32429,
        INTERNAL_ERROR,
        -32004,  # block not available yet
        -32005,  # node is behind
        -32014,  # block status not available yet
        -32016,  # minimum context slot not reached
    }
)

_OTHER_METHODS = {
    "SendRawTransaction": "sendTransaction",
    "SimulateVersionedTransaction": "simulateTransaction",
}
"""Request types of solders that are not named for their method."""

T = TypeVar("T")
Request = Body | GetRecentPrioritizationFees

_SECONDS = Histogram("zmartd_rpc_seconds", "Duration of one answered RPC request.", ["method"])
_FAILURES = Counter("zmartd_rpc_failures", "RPC requests that were not answered.", ["method", "reason"])


class RpcUnavailable(ZmartdError):
    """The Solana RPC node does not answer; try again in a moment."""

    code = "rpc_unavailable"


class RpcUnusable(RpcUnavailable):
    """The Solana RPC node answers this request with nothing that can be used; try again in a moment."""

    # An internal error each time, a strange HTTP status, or what is not the method's result: whether that is
    # the node's trouble, or that of what it was asked for, only another request tells.


class RpcRejected(ZmartdError):
    """The Solana RPC node refused the request; try again in a moment."""

    code = "rpc_rejected"

    def __init__(self, method: str, rpc_code: int, rpc_message: str, data: Any = None) -> None:
        super().__init__(f"the RPC node refused {method}: {rpc_message} ({rpc_code})")
        self.rpc_code = rpc_code
        self.rpc_message = rpc_message
        self.data = data
        """What the node added, for example the error and logs of a simulation."""


class _Failure(Struct, frozen=True):
    code: int
    message: str = ""
    data: Any = None


class _Answer(Struct, frozen=True):
    result: Raw = Raw(b"null")
    error: _Failure | None = None


class _TransientError(Exception):
    """Worth another attempt: `reason` in a few words, and for how long the node asked to be left alone.

    `ends_as` is what is raised when no other attempt is made.
    """

    def __init__(
        self,
        reason: str,
        retry_after_seconds: float = 0.0,
        ends_as: type[RpcUnavailable] = RpcUnavailable,
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.retry_after_seconds = retry_after_seconds
        self.ends_as = ends_as


@cache
def _certificate_authorities() -> ssl.SSLContext:
    """Those that httpx trusts, read once: that takes as long as a hundred requests."""
    return httpx.create_ssl_context()


class _Provider(AsyncHTTPProvider):
    """solana-py's provider on a session of ours. Its own would read the certificate authorities anew."""

    def __init__(self, url: str, session: httpx.AsyncClient) -> None:
        super(AsyncHTTPProvider, self).__init__(url)
        self.session = session

    async def make_request_unparsed(self, body: Body) -> str:
        response = await self.session.post(**self._before_request(body=body))
        # The two hold each other, so that each answer would stay in memory until garbage is searched for.
        del response.stream
        response.raise_for_status()
        return response.text


class Transport:
    """One RPC endpoint. At most MAX_IN_FLIGHT requests run at a time."""

    def __init__(self, url: str, *, clock: Clock, rng: random.Random, timeout_seconds: float) -> None:
        """One call takes at most `timeout_seconds`, further attempts included; one attempt half of that."""
        self._clock = clock
        self._rng = rng
        self._timeout_seconds = timeout_seconds
        self._turns = asyncio.Semaphore(MAX_IN_FLIGHT)
        self._decoder = msgspec.json.Decoder(_Answer)
        self._providers: list[_Provider] = []
        self.lead_to(url)

    def lead_to(self, url: str) -> None:
        """Send what is asked from now on to another URL. What is under way ends where it began."""
        self.endpoint = endpoint_name(url)
        self._secrets = endpoint.Secrets(url)
        session = httpx.AsyncClient(
            timeout=self._timeout_seconds / 2,
            verify=_certificate_authorities(),
            # A proxy that the environment names cannot reach this machine's own ports.
            trust_env=not endpoint.is_loopback_url(url),
        )
        self._provider = _Provider(url, session)
        self._providers.append(self._provider)

    async def close(self) -> None:
        for provider in self._providers:
            await provider.close()

    async def call(self, body: Request, result: type[T], turns: asyncio.Semaphore | None = None) -> T:
        """The answer to `body` as a `result`. Each attempt takes one of `turns` as well, where there are any.

        Raises RpcRejected when the node refuses the request, RpcUnavailable when it stays unanswered, and of
        these RpcUnusable when it was answered with nothing that can be used.
        """
        method = _method(body)
        last = _TransientError(f"no answer within {self._timeout_seconds:g} seconds")
        try:
            async with asyncio.timeout(self._timeout_seconds):
                for attempt in range(MAX_ATTEMPTS):
                    if attempt:
                        await self._clock.sleep(self._pause_seconds(attempt, last))
                    try:
                        return await self._attempt(method, body, result, turns)
                    except _TransientError as error:
                        _FAILURES.labels(method, error.reason).inc()
                        last = error
        except TimeoutError:
            _FAILURES.labels(method, "timeout").inc()
        raise self._unavailable(method, last.reason, last.ends_as)

    async def _attempt(
        self, method: str, body: Request, result: type[T], turns: asyncio.Semaphore | None
    ) -> T:
        async with turns or nullcontext(), self._turns:
            with _SECONDS.labels(method).time():
                text = await self._post(method, body)
        try:
            answer = self._decoder.decode(text)
            if answer.error is None:
                return msgspec.json.decode(answer.result, type=result)
        except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
            reason = f"its answer is not what {method} gives: {error}"
            raise self._unavailable(method, reason, RpcUnusable) from error
        if answer.error.code in TRANSIENT_RPC_CODES:
            ends_as = RpcUnusable if answer.error.code == INTERNAL_ERROR else RpcUnavailable
            raise _TransientError(f"error {answer.error.code}", ends_as=ends_as)
        # Hidden before it is cut, which could leave the first part of a key.
        message = self._secrets.hidden(answer.error.message)[:MAX_MESSAGE_LENGTH]
        data = self._secrets.hidden_in(answer.error.data)
        raise RpcRejected(method, answer.error.code, message, data)

    async def _post(self, method: str, body: Request) -> str:
        """Exceptions of the HTTP client hold the URL, which may hold a key: none of them is passed on."""
        try:
            return await self._provider.make_request_unparsed(body)  # type: ignore[arg-type]  # it takes the JSON of any
        except httpx.HTTPStatusError as error:
            response = error.response
        except httpx.TimeoutException:
            raise _TransientError("timeout") from None
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise _TransientError(type(error).__name__) from None
        status = response.status_code
        if status == httpx.codes.TOO_MANY_REQUESTS or status >= httpx.codes.INTERNAL_SERVER_ERROR:
            ends_as = RpcUnusable if status == httpx.codes.INTERNAL_SERVER_ERROR else RpcUnavailable
            raise _TransientError(f"HTTP {status}", _retry_after_seconds(response), ends_as) from None
        raise self._unavailable(method, f"HTTP {status}", RpcUnusable) from None

    def _pause_seconds(self, attempt: int, last: _TransientError) -> float:
        """Exponential, with jitter so that daemons that failed together do not return together."""
        longest = min(LONGEST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2.0 ** (attempt - 1))
        return max(longest * self._rng.uniform(0.5, 1.0), last.retry_after_seconds)

    def _unavailable(
        self, method: str, reason: str, kind: type[RpcUnavailable] = RpcUnavailable
    ) -> RpcUnavailable:
        reason = self._secrets.hidden(reason)
        return kind(
            f"the Solana RPC at {self.endpoint} did not answer {method}: {reason}. "
            "Check that solana.rpc_url is right and the node is up",
        )


class Share:
    """A part of a transport: at most `places` of the requests that run at a time."""

    def __init__(self, transport: Transport, places: int) -> None:
        self._transport = transport
        self._turns = asyncio.Semaphore(places)

    @property
    def endpoint(self) -> str:
        return self._transport.endpoint

    async def call(self, body: Request, result: type[T]) -> T:
        """As `Transport.call`."""
        return await self._transport.call(body, result, self._turns)


def endpoint_name(url: str) -> str:
    """Scheme, host and port: what may be shown of an RPC URL, whose rest may be a key."""
    try:
        read = endpoint.read(url, endpoint.HTTP)
    except endpoint.UnreadableUrl:
        return "an invalid URL"
    return f"{read.scheme}://{','.join(map(str, read.addresses))}"


def _method(body: Request) -> str:
    name = type(body).__name__
    return _OTHER_METHODS.get(name, name[0].lower() + name[1:])


def _retry_after_seconds(response: httpx.Response) -> float:
    """The header as seconds; its other form, a date, is treated as absent."""
    header: str = response.headers.get("Retry-After", "0")
    seconds = int(header) if header.isdecimal() and len(header) < 10 else 0
    return float(min(seconds, LONGEST_RETRY_AFTER_SECONDS))

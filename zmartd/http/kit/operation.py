"""What the API can do, said once: routes, access, validation, limits and the OpenAPI document all follow it.

Each module of handlers lists its operations as `OPERATIONS`; `zmartd.http.routes` collects them, and
`zmartd.http.kit.dispatch` does for each request what its operation declares.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from enum import Enum, auto
from typing import Any, Generic, Protocol, TypeVar

import msgspec
from aiohttp import web
from msgspec import Struct

from zmartd.errors import ZmartdError
from zmartd.http.kit.identity import Identity, Session
from zmartd.http.kit.path_variables import PathVariable, variables_of
from zmartd.store.postgres.rls import Caller

Input = TypeVar("Input")

MACHINES_TAG = "machines"
_WRITES = frozenset({"POST", "PATCH", "DELETE"})


class Access(Enum):
    """Who may call an operation."""

    PUBLIC = "public"
    """Anybody; a session, when there is one, may show more."""
    WALLET = "wallet"
    """Only a wallet that has signed in, or signed a header where those are accepted."""
    OWNER = "owner"
    """Only the wallet that the path names."""
    SESSION = "session"
    """Only a wallet with a session: what moves money, or changes the session."""
    HELIUS = "helius"
    """Only Helius, with what its webhook was registered with."""


class Quota(Enum):
    """Which of its limits a caller uses up."""

    REQUESTS = auto()
    """Those of its address, or of its wallet and all wallets at its address once it has signed in."""
    SIGN_INS = auto()
    """Those of its address, whatever token it sends: one free key must not pay for the next."""
    COMMENTS = auto()
    """Besides its requests, comments: they stay."""
    NOTHING = auto()
    """None: for load balancers and Helius."""


class Raw(Struct, frozen=True):
    """An answer that is not JSON."""

    media_type: str


class Answer(Struct, frozen=True):
    """What a handler gives to answer with another status than the operation's first, or with headers."""

    body: Any
    status: int
    headers: Mapping[str, str] = {}


class Call(Generic[Input]):
    """A request whose operation lets its caller through, with what the operation says it carries."""

    __slots__ = ("identity", "input", "path", "request")

    def __init__(
        self, request: web.Request, given: Input, path: Mapping[str, str], identity: Identity
    ) -> None:
        self.request = request
        self.input = given
        """The query or the body as the type that the operation declares; None where it declares neither."""
        self.path = path
        """The variables of the path."""
        self.identity = identity

    @property
    def app(self) -> web.Application:
        """The application, with what `zmartd.http.kit.keys` lists."""
        return self.request.app

    @property
    def caller(self) -> Caller:
        """On whose behalf to read."""
        return self.identity.caller

    @property
    def wallet(self) -> str:
        """The caller's wallet, where the operation is for one."""
        return self.identity.require_wallet()

    @property
    def session(self) -> Session:
        """The caller's session, where the operation needs one."""
        return self.identity.require_session()


Result = Struct | Sequence[Struct] | Answer | web.StreamResponse
"""What a handler gives: a body, to be answered as JSON with the operation's first status, or an answer."""
Handler = Callable[[Call[Input]], Awaitable[Result]]


Read = Callable[[], Awaitable[bytes]]
"""Gives the JSON that anybody is shown; its errors reach everybody who waits for it."""


class AnswerCache(Protocol):
    """Remembers answers of one operation."""

    async def answer(self, request: web.Request, read: Read) -> web.Response | None:
        """The answer to `request`, from memory or by `read`; None where it is not one to be remembered."""
        ...


class Operation(Struct, Generic[Input], frozen=True, kw_only=True):
    """One method on one path."""

    method: str
    path: str
    """As aiohttp writes it. `{id}`, `{wallet}` and the like have one meaning wherever they stand."""
    handler: Handler[Input]
    summary: str
    """A sentence without a full stop; the handler's docstring, if any, says more."""
    tag: str
    variables: Mapping[str, PathVariable] = {}
    """Those of the path that have another meaning here than elsewhere."""
    query: type[Input] | None = None
    """What the handler gets of the query string."""
    body: type[Input] | None = None
    """What the handler gets of the JSON body."""
    max_body_bytes: int | None = None
    """The longest body; server.max_body_bytes without it."""
    proof: Callable[[web.Request], Awaitable[Input]] | None = None
    """For Access.HELIUS: what the handler gets of a request that proves its origin. Refuses others."""
    proof_body: Any = None
    """The JSON that is the body of such a request."""
    answers: Mapping[int, Any]
    """The type of each successful answer's JSON, by status; None where there is no body. The first status is
    that of a handler that gives a body alone."""
    errors: tuple[type[ZmartdError], ...] = ()
    """Those that are special to this operation: what every operation may answer is not repeated."""
    access: Access = Access.PUBLIC
    quota: Quota = Quota.REQUESTS
    is_secret: bool = False
    """Whether the answer is a credential: then it is written down nowhere, and takes no Idempotency-Key."""
    cache: AnswerCache | None = None
    """Remembers what anybody is shown."""

    def __post_init__(self) -> None:
        if sum(one is not None for one in (self.query, self.body, self.proof)) > 1:
            raise TypeError(f"{self.method} {self.path}: a handler takes one of query, body and proof")
        if (self.access is Access.HELIUS) != (self.proof is not None):
            raise TypeError(f"{self.method} {self.path}: what is for Helius, and that alone, needs a proof")
        if self.cache is not None:
            msgspec.structs.force_setattr(self, "answers", {**self.answers, 304: None})

    @property
    def json_body(self) -> Any:
        """The type of the JSON body, whoever reads it; None where there is none."""
        return self.body if self.proof is None else self.proof_body

    @property
    def status(self) -> int:
        """The status of a handler that gives a body alone."""
        first: int = next(iter(self.answers))
        return first

    @property
    def path_variables(self) -> dict[str, PathVariable]:
        """What each variable of the path stands for."""
        return variables_of(self.path, self.variables)

    @property
    def needs_wallet(self) -> bool:
        return self.access in {Access.WALLET, Access.OWNER, Access.SESSION}

    @property
    def writes(self) -> bool:
        return self.method in _WRITES

    @property
    def takes_idempotency_key(self) -> bool:
        """Whether the same request with the same key is answered the same."""
        return self.needs_wallet and self.writes and not self.is_secret

    @property
    def has_empty_body(self) -> bool:
        """Whether it writes, and its path says all that there is to say."""
        return self.writes and self.body is None and self.proof is None

    @property
    def is_for_machines(self) -> bool:
        """Whether it is called all the time, so that successes are not worth a line in the log."""
        return self.tag == MACHINES_TAG


def is_json(answer: Any) -> bool:
    """Whether one of the `answers` of an operation is the type of a JSON answer."""
    return answer is not None and not isinstance(answer, Raw)


def by_path(operations: tuple[Operation[Any], ...]) -> tuple[Operation[Any], ...]:
    """`operations` in the order for a table of routes: those on one path together, literals first."""
    return tuple(sorted(operations, key=lambda operation: _precedence(operation.path)))


def _precedence(path: str) -> list[tuple[bool, str]]:
    return [(segment.startswith("{"), segment) for segment in path.split("/")]

"""Declarations of the API's operations: the route, access, validation, limits and OpenAPI entry of each.

Each module of handlers lists its operations as `OPERATIONS`. `zmartd.http.routes` collects them, and
`zmartd.http.kit.dispatch` enforces for each request what its operation declares.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from enum import Enum, auto
from typing import Any, Generic, Protocol, TypeVar

import msgspec
from aiohttp import web
from asyncpg import Connection
from msgspec import Struct

from zmartd.errors import ZmartdError
from zmartd.http.kit import keys
from zmartd.http.kit.earlier_names import CREDENTIALS
from zmartd.http.kit.etags import TaggedResponse
from zmartd.http.kit.identity import Identity, Session
from zmartd.http.kit.path_variables import PathVariable, variables_of
from zmartd.store.postgres.rls import Caller
from zmartd.store.postgres.sources import Source
from zmartd.store.streams import StreamPosition

Input = TypeVar("Input")

MACHINES_TAG = "machines"
_READ = "GET"
_WRITES = frozenset({"POST", "PATCH", "DELETE"})


class Access(Enum):
    """Who may call an operation."""

    PUBLIC = "public"
    """Anybody. A caller who has signed in may see more."""
    WALLET = "wallet"
    """A wallet with a session, or with a legacy header where the settings allow those."""
    OWNER = "owner"
    """The wallet that the path names, and no other."""
    SESSION = "session"
    """A wallet with a session: for what moves money or changes the session."""
    HELIUS = "helius"
    """Helius, with the credentials of its webhook."""


class Quota(Enum):
    """The rate limits that an operation counts towards."""

    REQUESTS = auto()
    """Those of reads or those of writes, by the method: of the address; after sign-in those of the wallet,
    and of all wallets at the address."""
    SIGN_INS = auto()
    """Those of writes of the address, also after sign-in: otherwise one free key would pay for the next."""
    COMMENTS = auto()
    """REQUESTS, and those of comments, which are stored."""
    NONE = auto()
    """None, for load balancers and Helius."""


class NonJson(Struct, frozen=True):
    """A body of this media type, or of one of the others, for `Operation.responses`."""

    media_type: str
    others: tuple[str, ...] = ()


class JsonResponse(Struct, frozen=True):
    """What a handler returns to respond with another status than the default one, or with headers."""

    body: Any
    status: int
    headers: Mapping[str, str] = {}


class AtPosition(Struct, frozen=True):
    """What a handler returns that reads all it shows of a market in one statement."""

    body: Struct
    position: StreamPosition | None
    """How far the market's stream had come then; None for a market that is not on the chain."""


Result = Struct | Sequence[Struct] | JsonResponse | web.StreamResponse
"""What a handler returns: a body, sent as JSON with the operation's default status, or a response."""
KeepAnswer = Callable[[Connection, Struct | JsonResponse], Awaitable[None]]


class Call(Generic[Input]):
    """A request that has passed all checks of its operation, with its decoded input."""

    __slots__ = ("_keep", "identity", "input", "path", "replica", "request")

    def __init__(
        self,
        request: web.Request,
        value: Input,
        path: Mapping[str, str],
        identity: Identity,
        keep: KeepAnswer | None = None,
    ) -> None:
        self._keep = keep
        self.request = request
        self.input = value
        """The query or body, decoded as the operation declares; None where it declares neither."""
        self.path = path
        """The variables of the path."""
        self.identity = identity
        self.replica: Source | None = None
        """What `database` is instead of the primary."""

    @property
    def app(self) -> web.Application:
        """The application, with the keys of `zmartd.http.kit.keys`."""
        return self.request.app

    @property
    def database(self) -> Source:
        """Where to read: the primary, or for an operation with `from_replica` perhaps its replica."""
        return self.replica or self.app[keys.DATABASE]

    @property
    def caller(self) -> Caller:
        """The role and wallet that database access runs as."""
        return self.identity.caller

    @property
    def wallet(self) -> str:
        """The caller's wallet, where the operation requires one."""
        return self.identity.require_wallet()

    @property
    def session(self) -> Session:
        """The caller's session, where the operation requires one."""
        return self.identity.require_session()

    async def keep_answer(self, connection: Connection, answer: Struct | JsonResponse) -> None:
        """Keep what the handler will return, for when the request comes again under its Idempotency-Key.

        Takes the transaction that writes what the answer tells of, acting as the service. Raises
        StillUnderWay, which rolls it back, where a repetition has the key by now. Does nothing without a key.
        """
        if self._keep is not None:
            await self._keep(connection, answer)


Handler = Callable[[Call[Input]], Awaitable[Result]]

MAX_EXPORT_ROWS = 1_000
"""The rows of an export without a limit, and the most that one has."""


class ExportedRows(Struct, frozen=True):
    """The rows of an export, read while they are sent, and the key after which the next one begins."""

    batches: AsyncIterator[Sequence[Struct]]
    next_key: Struct | None


class Export(Struct, Generic[Input], frozen=True):
    """The rows of an operation's page, for clients that accept CSV or JSON Lines rather than JSON."""

    row: type[Struct]
    """The type of the rows. Its fields are values, or structs of values."""
    read: Callable[[Call[Input]], Awaitable[ExportedRows]]
    """Reads the rows of a call, as many as `limit` says, or MAX_EXPORT_ROWS. Raises what the handler does."""


STREAM_POSITION = "Stream-Position"


class LoadedBody(Struct, frozen=True):
    """The JSON that an anonymous caller gets, with headers of its own."""

    content: bytes
    headers: Mapping[str, str] = {}


LoadBody = Callable[[], Awaitable[LoadedBody]]
"""Whoever waits for what it returns gets its errors."""
LoadAnswer = Callable[[web.Request], Awaitable[LoadedBody]]
"""The same, for a request."""


class CachePolicy(Protocol):
    """Decides which responses of an operation are cached, and under which key."""

    def peek(self, request: web.Request, load: LoadAnswer) -> TaggedResponse | None:
        """The cached response to `request`; None where there is none, or a new one is asked for.

        With `load` one that ends soon may be made anew, for which this does not wait. It never raises:
        requests are counted after it.
        """
        ...

    async def respond(self, request: web.Request, load: LoadBody) -> web.Response | None:
        """The response to `request`, made with `load`; None where it must not be cached."""
        ...


class Operation(Struct, Generic[Input], frozen=True, kw_only=True):
    """One method on one path."""

    method: str
    path: str
    """In aiohttp's notation. `path_variables` says what `{id}`, `{wallet}` and the like mean."""
    handler: Handler[Input]
    name: str = ""
    """The operationId, such as `buy_shares`: a function of generated clients. By default the handler's."""
    summary: str
    """A sentence without a full stop. The handler's docstring, if any, is the description."""
    tag: str
    replaced_by: str = ""
    """The name of the operation that does the same for new clients: this one is deprecated, and kept for
    earlier ones."""
    variables: Mapping[str, PathVariable] = {}
    """Variables of the path that mean something else than in `PATH_VARIABLES`."""
    query: type[Input] | None = None
    """The type of the query string."""
    body: type[Input] | None = None
    """The type of the JSON body. Other fields are refused, and so is one that is given twice."""
    max_body_bytes: int | None = None
    """server.max_body_bytes if None."""
    verify: Callable[[web.Request], Awaitable[Input]] | None = None
    """For Access.HELIUS: returns the handler's input; raises for a request that does not prove its origin."""
    verified_body: Any = None
    """The type of the JSON that `verify` reads. It may have other fields: others decide what they send."""
    responses: Mapping[int, Any]
    """The JSON type of each successful response by status; None for one without a body. The first status is
    the default one."""
    errors: tuple[type[ZmartdError], ...] = ()
    """The operation's own errors, besides those that follow from the rest of the declaration."""
    access: Access
    quota: Quota = Quota.REQUESTS
    is_secret: bool = False
    """Whether the response is a credential. It is never stored, so there is no Idempotency-Key."""
    keeps_answer: bool = True
    """Whether a successful answer is given again under the same Idempotency-Key. False where it tells of
    something that goes on; the request does nothing twice by itself."""
    is_repeatable: bool = False
    """Whether its transaction would do the same a second time: a trade. Under an Idempotency-Key one is made,
    and no other when that is void."""
    shows_market: bool = False
    """Whether its responses show one market, and say in a header how far the market's stream had come."""
    reads_once: bool = False
    """Whether the handler says that itself, with `AtPosition`."""
    cache: CachePolicy | None = None
    """For a public operation whose body is the same for every caller."""
    export: Export[Input] | None = None
    """For a list: what makes CSV and JSON Lines of it."""
    from_replica: bool = False
    """Whether it may be read from a replica that has all that was announced, and all that its caller has
    written. Its handler reads from `Call.database`, and does nothing but read: it may be called twice."""

    is_shared: bool = False
    """Whether one reading answers all requests of a caller for the same that came before it began: for what
    takes longer to read than a round trip. An export is not shared."""

    def __post_init__(self) -> None:
        """Raises TypeError where parts of the declaration contradict each other."""
        for is_contradiction, rule in (
            (self.method not in _WRITES | {_READ}, f"the method is GET, {', '.join(sorted(_WRITES))}"),
            (
                sum(one is not None for one in (self.query, self.body, self.verify)) > 1,
                "a handler takes one of query, body and verify",
            ),
            (self.method == _READ and self.json_body is not None, "GET has no body"),
            ((self.access is Access.HELIUS) != (self.verify is not None), "Access.HELIUS goes with verify"),
            (
                self.access is Access.OWNER and "wallet" not in self.path_variables,
                "Access.OWNER needs {wallet} in the path",
            ),
            (
                self.access is Access.PUBLIC and self.writes and self.quota is not Quota.SIGN_INS,
                "what anybody may write counts towards Quota.SIGN_INS",
            ),
            (self.reads_once and not self.shows_market, "a position is that of a market"),
            (
                self.is_repeatable and not self.carries_transaction,
                "what is repeatable is a transaction to sign",
            ),
            (
                self.cache is not None and (self.access is not Access.PUBLIC or self.writes),
                "a cached response is a public one to GET",
            ),
            (self.from_replica and self.method != _READ, "a replica takes no writes"),
            (
                self.is_shared and (self.method != _READ or self.cache is not None),
                "what is shared is read, and not cached",
            ),
            (
                self.export is not None and not self._is_exportable,
                "an export is of a list that is not cached, with limit and cursor in its query",
            ),
        ):
            if is_contradiction:
                raise TypeError(f"{self.method} {self.path}: {rule}")
        if not self.name:
            msgspec.structs.force_setattr(self, "name", self.handler.__name__)
        if self.cache is not None:
            msgspec.structs.force_setattr(self, "responses", {**self.responses, 304: None})

    @property
    def _is_exportable(self) -> bool:
        parameters = getattr(self.query, "__struct_fields__", ())
        return self.cache is None and {"limit", "cursor"} <= set(parameters)

    @property
    def json_body(self) -> Any:
        """The type of the JSON body, read by the dispatcher or by `verify`; None where there is none."""
        return self.body if self.verify is None else self.verified_body

    @property
    def default_status(self) -> int:
        """The status where the handler returns a body."""
        first: int = next(iter(self.responses))
        return first

    @property
    def path_variables(self) -> dict[str, PathVariable]:
        """The variables of the path by name."""
        return variables_of(self.path, self.variables)

    @property
    def needs_wallet(self) -> bool:
        return self.access in {Access.WALLET, Access.OWNER, Access.SESSION}

    @property
    def writes(self) -> bool:
        return self.method in _WRITES

    @property
    def takes_idempotency_key(self) -> bool:
        """Whether clients may send an Idempotency-Key."""
        return self.needs_wallet and self.writes and not self.is_secret

    @property
    def carries_transaction(self) -> bool:
        """Whether an answer has a transaction to sign, which is void after its `last_valid_block_height`."""
        return any(
            "last_valid_block_height" in getattr(body, "__struct_fields__", ())
            for body in self.responses.values()
        )

    @property
    def expects_no_body(self) -> bool:
        """Whether it is a write without input. Clients may send an empty object as its body."""
        return self.writes and self.body is None and self.verify is None

    @property
    def unread_fields(self) -> frozenset[str]:
        """Fields that its body may have besides those of its type. They are not read."""
        return CREDENTIALS if self.needs_wallet else frozenset()

    @property
    def is_for_machines(self) -> bool:
        """Whether machines call it all the time, so that successes are logged at level debug."""
        return self.tag == MACHINES_TAG


def is_json(body: Any) -> bool:
    """Whether a value of `Operation.responses` is the type of a JSON body."""
    return body is not None and not isinstance(body, NonJson)


def by_path(operations: tuple[Operation[Any], ...]) -> tuple[Operation[Any], ...]:
    """`operations` in the order of a routing table: those on one path together, literals before variables."""
    return tuple(sorted(operations, key=lambda operation: _precedence(operation.path)))


def _precedence(path: str) -> list[tuple[bool, str]]:
    return [(segment.startswith("{"), segment) for segment in path.split("/")]

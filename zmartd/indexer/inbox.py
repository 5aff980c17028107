"""Webhook deliveries: committed before they are acknowledged, then applied; parked if they keep failing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Annotated, Final, TypeVar

import msgspec
from asyncpg import Connection
from msgspec import Meta
from prometheus_client import Gauge

from zmartd.chain.arguments import MalformedTransaction
from zmartd.chain.transactions import ChainTransaction
from zmartd.clock import Clock
from zmartd.errors import ZmartdError
from zmartd.faults import Point, reached
from zmartd.indexer.apply import Indexer
from zmartd.indexer.group_commit import GroupCommit
from zmartd.indexer.plausibility import Plausibility
from zmartd.indexer.verification import set_aside
from zmartd.log import get_logger
from zmartd.metrics import Counter
from zmartd.store import inbox
from zmartd.store.inbox import Delivery
from zmartd.store.postgres.database import Database
from zmartd.store.postgres.errors import DatabaseTimeout, DatabaseUnavailable

MAX_TRANSACTIONS = 1_000
"""Per delivery; Helius usually sends one."""

RETENTION: Final = timedelta(days=7)
"""How long applied deliveries are kept, to look up what they said."""

MEASURE_SECONDS = 10.0

_MAX_COMMIT = 500
_BURST = 32
"""Deliveries that are committed and waiting at the same time: they arrive faster than they can be applied."""
CALM_SECONDS = 0.25
"""A burst ends after this time without that many at once. Longer than a commit and a round trip."""
_MAX_TAKE = 500
_PATIENCE = 4
"""How much more time than applying gets is left to accepting during a burst."""
_MAX_ATTEMPTS = 5
_POLL_SECONDS = 2.0
_RETRY_SECONDS = (1, 5, 30, 120, 600)

_DELIVERIES = Counter("zmartd_inbox_deliveries_total", "Webhook deliveries by outcome", ["outcome"])
_WAITING = Gauge(
    "zmartd_inbox_waiting", "Webhook deliveries in the queue, or parked for an operator", ["status"]
)
_ACCEPTED = _DELIVERIES.labels("accepted")

Decoded = TypeVar("Decoded")
_Parsed = tuple[Delivery, list[ChainTransaction]]
_Doubt = tuple[ChainTransaction, str]

log = get_logger(__name__)


class MalformedDelivery(ZmartdError):
    """A delivery must be a JSON object or an array of at most 1000: transactions in Helius' raw form."""

    code = "malformed_delivery"


class Inbox:
    """Accepts and applies deliveries. Daemons share one inbox; each takes deliveries that no other holds.

    Accepting and applying share one event loop. A sender gives up within seconds, while deliveries in the
    inbox can wait, so accepting goes first: during a burst, each applied batch is followed by a pause of up
    to four times the time that it took. So applying gets at least a fifth of the time, and all of it once
    the burst is over, which ends the pause.
    """

    def __init__(
        self,
        database: Database,
        indexer: Indexer,
        parse: Callable[[msgspec.Raw], ChainTransaction],
        clock: Clock,
        plausibility: Plausibility,
        *,
        calm_seconds: float = CALM_SECONDS,
    ) -> None:
        """`parse` parses a transaction of a delivery; it raises MalformedTransaction."""
        self._database = database
        self._indexer = indexer
        self._parse = parse
        self._clock = clock
        self._plausibility = plausibility
        self._arrived = asyncio.Event()
        self._measure_from = 0.0
        self._commit: GroupCommit[tuple[bytes, int]] = GroupCommit(
            self._add, _MAX_COMMIT, _BURST, calm_seconds
        )

    async def accept(self, body: bytes) -> int:
        """Make a delivery durable and return the number of its transactions.

        Raises MalformedDelivery, or DatabaseUnavailable if it could not be committed and must be sent again.
        """
        count = _count(body)
        if count:
            await reached(Point.INBOX_READ)
            await self._commit.add((body, count))
            _ACCEPTED.inc()
            self._arrived.set()
        return count

    async def run(self) -> None:
        """Apply deliveries for ever: its own at once, those that other daemons accepted within seconds."""
        while True:
            self._arrived.clear()
            try:
                started = self._clock.monotonic()
                while await self.apply_batch():
                    await self._pause_in_burst(self._clock.monotonic() - started)
                    started = self._clock.monotonic()
                await self._measure()
            except (DatabaseUnavailable, DatabaseTimeout) as error:
                log.warning("inbox.waiting_for_database", reason=error.message)
                await self._clock.sleep(_POLL_SECONDS)
            try:
                async with asyncio.timeout(_POLL_SECONDS):
                    await self._arrived.wait()
            except TimeoutError:
                continue

    async def _measure(self) -> None:
        """Update the metrics of the queue, at most every MEASURE_SECONDS."""
        now = self._clock.monotonic()
        if now < self._measure_from:
            return
        self._measure_from = now + MEASURE_SECONDS
        async with self._database.service() as connection:
            depth = await inbox.depth(connection)
        _WAITING.labels("pending").set(depth.pending)
        _WAITING.labels("parked").set(depth.parked)

    async def apply_batch(self) -> int:
        """Apply one batch of waiting deliveries. Returns how many there were.

        They stay locked until their outcome is committed. After a crash they are applied again, which changes
        nothing. Each batch also purges applied deliveries that are older than RETENTION.
        """
        now = datetime.fromtimestamp(self._clock.time(), tz=UTC)
        async with self._database.service() as connection:
            deliveries = await inbox.take(connection, now, _MAX_TAKE)
            if deliveries:
                await reached(Point.INBOX_TAKEN)
                await self._apply(connection, deliveries, now)
                await inbox.purge(connection, now - RETENTION)
        if deliveries:
            await reached(Point.INBOX_SETTLED)
        return len(deliveries)

    async def _pause_in_burst(self, applying_seconds: float) -> None:
        """Leave time to accepting while a burst lasts, up to the bound that the class promises."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_PATIENCE * applying_seconds):
                await self._commit.calm.wait()

    async def _add(self, deliveries: list[tuple[bytes, int]]) -> None:
        async with self._database.service() as connection:
            await inbox.add(connection, deliveries)
            await reached(Point.INBOX_WRITTEN)
        await reached(Point.INBOX_COMMITTED)

    async def _apply(self, connection: Connection, deliveries: Sequence[Delivery], now: datetime) -> None:
        readable: list[_Parsed] = []
        for delivery in deliveries:
            try:
                parsed = [self._parse(raw) for raw in transactions_of(delivery.body)]
            except (MalformedTransaction, MalformedDelivery) as error:
                await self._park(connection, delivery, error.message)
            else:
                readable.append((delivery, parsed))
        readable, doubts = await self._separate_implausible(readable)
        await set_aside(connection, doubts)
        try:
            await self._indexer.apply([tx for _, parsed in readable for tx in parsed])
        except (DatabaseUnavailable, DatabaseTimeout):
            raise
        except Exception:
            log.exception("inbox.batch_failed", deliveries=len(readable))
            await self._apply_one_by_one(connection, readable, now)
        else:
            await reached(Point.INBOX_APPLIED)
            await inbox.finish(connection, [delivery.id for delivery, _ in readable])
            await reached(Point.INBOX_FINISHED)
            _DELIVERIES.labels("applied").inc(len(readable))

    async def _separate_implausible(
        self, deliveries: Sequence[_Parsed]
    ) -> tuple[list[_Parsed], list[_Doubt]]:
        """The deliveries without their implausible transactions, and these with their doubts."""
        await self._plausibility.refresh_if_needed(tx for _, parsed in deliveries for tx in parsed)
        plausible: list[_Parsed] = []
        doubts: list[_Doubt] = []
        for delivery, parsed in deliveries:
            checked = [(tx, self._plausibility.doubt(tx)) for tx in parsed]
            plausible.append((delivery, [tx for tx, doubt in checked if doubt is None]))
            doubts += [(tx, doubt) for tx, doubt in checked if doubt is not None]
        return plausible, doubts

    async def _apply_one_by_one(
        self,
        connection: Connection,
        deliveries: Sequence[_Parsed],
        now: datetime,
    ) -> None:
        """Apply the deliveries of a failed batch separately, so that one that fails holds up no other."""
        for delivery, parsed in deliveries:
            try:
                await self._indexer.apply(parsed)
            except (DatabaseUnavailable, DatabaseTimeout):
                raise
            except Exception as error:
                await self._fail(connection, delivery, f"{type(error).__name__}: {error}", now)
            else:
                await inbox.finish(connection, [delivery.id])
                _DELIVERIES.labels("applied").inc()

    async def _fail(self, connection: Connection, delivery: Delivery, error: str, now: datetime) -> None:
        if delivery.attempts + 1 >= _MAX_ATTEMPTS:
            await self._park(connection, delivery, error)
            return
        pause = timedelta(seconds=_RETRY_SECONDS[delivery.attempts])
        await inbox.postpone(connection, delivery.id, error, now + pause)

    async def _park(self, connection: Connection, delivery: Delivery, error: str) -> None:
        log.error("inbox.parked", delivery=delivery.id, attempts=delivery.attempts + 1, reason=error)
        _DELIVERIES.labels("parked").inc()
        await inbox.park(connection, delivery.id, error)


class _Object(msgspec.Struct, gc=False):
    """Any JSON object; its members are skipped."""


_AtMost = Meta(max_length=MAX_TRANSACTIONS)
_OBJECTS = msgspec.json.Decoder(_Object | Annotated[list[_Object], _AtMost])
_ELEMENTS = msgspec.json.Decoder(Annotated[list[msgspec.Raw], _AtMost])


def transactions_of(body: bytes) -> list[msgspec.Raw]:
    """The JSON of each transaction of a delivery, which is an object or an array of objects.

    Raises MalformedDelivery. Does not check whether an element is a transaction.
    """
    if body.lstrip().startswith(b"["):
        return _decoded(body, _ELEMENTS)
    return [msgspec.Raw(body)]


def _count(body: bytes) -> int:
    """The number of transactions in a delivery, without parsing them. Raises MalformedDelivery."""
    objects = _decoded(body, _OBJECTS)
    return len(objects) if isinstance(objects, list) else 1


def _decoded(body: bytes, decoder: msgspec.json.Decoder[Decoded]) -> Decoded:
    try:
        return decoder.decode(body)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise MalformedDelivery(f"{MalformedDelivery.meaning()} {error}.") from error

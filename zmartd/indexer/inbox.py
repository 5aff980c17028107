"""Webhook deliveries: committed before they are acknowledged, then applied; parked if they keep failing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import msgspec
from asyncpg import Connection
from structlog.contextvars import bound_contextvars

from zmartd.chain.transactions import ChainTransaction
from zmartd.clock import Clock
from zmartd.faults import Point, reached
from zmartd.indexer.apply import Indexer
from zmartd.indexer.deliveries import DeliveryContent, count_transactions, read_delivery
from zmartd.indexer.group_commit import GroupCommit
from zmartd.indexer.parking import apply_each
from zmartd.indexer.plausibility import Plausibility
from zmartd.indexer.verification import set_aside
from zmartd.log import CURRENT_REQUEST_ID, get_logger
from zmartd.metrics import Counter, Histogram
from zmartd.store import inbox, parked
from zmartd.store.inbox import Delivery, NewDelivery
from zmartd.store.postgres.database import Database
from zmartd.store.postgres.errors import DatabaseTimeout, DatabaseUnavailable
from zmartd.store.unverified import Claim

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

_DELIVERIES = Counter("zmartd_inbox_deliveries_total", "Webhook deliveries by outcome.", ["outcome"])
_DELAYS = Histogram(
    "zmartd_inbox_delay_seconds",
    "From when a webhook delivery was received until it was applied.",
    (),
    (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800),
).labels()
_ACCEPTED = _DELIVERIES.labels("accepted")

log = get_logger(__name__)


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
        self._has_taken_all = False
        """Whether the last batch had all deliveries that waited, but for those that came meanwhile."""
        self._commit: GroupCommit[NewDelivery] = GroupCommit(self._add, _MAX_COMMIT, _BURST, calm_seconds)

    async def accept(self, body: bytes) -> int:
        """Make a delivery durable and return the number of its transactions.

        Raises MalformedDelivery, or DatabaseUnavailable if it could not be committed and must be sent again.
        """
        count = count_transactions(body)
        if count:
            await reached(Point.INBOX_READ)
            await self._commit.add(NewDelivery(body, count, CURRENT_REQUEST_ID.get(None)))
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
                    if self._has_taken_all and not self._arrived.is_set():
                        break
                    self._arrived.clear()
                    started = self._clock.monotonic()
            except (DatabaseUnavailable, DatabaseTimeout) as error:
                log.warning("inbox.waiting_for_database", reason=error.message)
                await self._clock.sleep(_POLL_SECONDS)
            try:
                async with asyncio.timeout(_POLL_SECONDS):
                    await self._arrived.wait()
            except TimeoutError:
                continue

    async def apply_batch(self) -> int:
        """Apply one batch of waiting deliveries. Returns how many there were.

        They stay locked until their outcome is committed. After a crash they are applied again, which changes
        nothing. Where the node has to be asked about one, the batch is let go, and taken again afterwards: no
        answer of a node is waited for while a connection is held. No transaction is set aside before the
        node's first answer: a daemon that has just started would doubt all that it is told.
        """
        if not self._plausibility.is_known and not self._plausibility.is_to_be_refreshed(()):
            return 0  # the node was asked a moment ago: there is nothing to read deliveries for
        taken = await self._apply_taken(may_ask=True)
        if taken is None:
            await self._plausibility.refresh_in_time()
            taken = await self._apply_taken(may_ask=False)
        if taken:
            await reached(Point.INBOX_SETTLED)
        return taken or 0

    async def _apply_taken(self, *, may_ask: bool) -> int | None:
        """Take a batch and apply it. None where the node is to be asked first: the batch is let go."""
        now = datetime.fromtimestamp(self._clock.time(), tz=UTC)
        async with self._database.service(keeps_plans=True) as connection:
            deliveries = await inbox.take(connection, now, _MAX_TAKE)
            transactions_taken = sum(one.transactions for one in deliveries)
            self._has_taken_all = (
                len(deliveries) < _MAX_TAKE and transactions_taken < inbox.ENOUGH_TRANSACTIONS
            )
            if deliveries:
                read = [read_delivery(delivery, self._parse) for delivery in deliveries]
                transactions = [tx for one in read for tx in one.transactions]
                if may_ask and self._plausibility.is_to_be_refreshed(transactions):
                    return None
                if not self._plausibility.is_known and any(map(self._plausibility.doubt, transactions)):
                    return 0
                await reached(Point.INBOX_TAKEN)
                await self._apply(connection, read, now)
        return len(deliveries)

    async def _pause_in_burst(self, applying_seconds: float) -> None:
        """Leave time to accepting while a burst lasts, up to the bound that the class promises."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_PATIENCE * applying_seconds):
                await self._commit.calm.wait()

    async def _add(self, deliveries: list[NewDelivery]) -> None:
        async with self._database.service(keeps_plans=True) as connection:
            await inbox.add(connection, deliveries)
            await reached(Point.INBOX_WRITTEN)
        await reached(Point.INBOX_COMMITTED)

    async def _apply(self, connection: Connection, read: Sequence[DeliveryContent], now: datetime) -> None:
        held = await parked.slots(connection, [tx.signature for one in read for tx in one.transactions])
        plausible = [self._without_doubtful(one, held) for one in read]
        await set_aside(connection, (claim for one in plausible for claim in one.claims))
        try:
            with bound_contextvars(request_ids=_request_ids(plausible)):
                await self._indexer.apply([tx for one in plausible for tx in one.transactions])
        except (DatabaseUnavailable, DatabaseTimeout):
            raise
        except Exception:
            log.exception("inbox.batch_failed", deliveries=len(plausible))
            await self._apply_one_by_one(connection, plausible, now)
        else:
            await reached(Point.INBOX_APPLIED)
            await self._finish(connection, plausible)
            await reached(Point.INBOX_FINISHED)

    def _without_doubtful(self, read: DeliveryContent, held: Collection[str]) -> DeliveryContent:
        """The delivery with claims instead of the transactions that are implausible, or are parked: what it
        says of the latter would be compared with the chain by nobody.
        """
        checked = [
            (tx, "it is parked" if tx.signature in held else self._plausibility.doubt(tx))
            for tx in read.transactions
        ]
        doubted = (Claim(tx.signature, tx.slot, doubt) for tx, doubt in checked if doubt is not None)
        return DeliveryContent(
            read.delivery,
            tuple(tx for tx, doubt in checked if doubt is None),
            (*read.claims, *doubted),
            read.garbage,
        )

    async def _finish(self, connection: Connection, applied: Iterable[DeliveryContent]) -> None:
        """Settle deliveries whose transactions are applied: what holds garbage is parked with its reason."""
        good = [one.delivery.id for one in applied if one.garbage is None]
        for seconds in await inbox.finish(connection, good):
            _DELAYS.observe(seconds)
        _DELIVERIES.labels("applied").inc(len(good))
        await self._park(
            connection, [(one.delivery, one.garbage) for one in applied if one.garbage], unreadable=True
        )

    async def _apply_one_by_one(
        self, connection: Connection, batch: Sequence[DeliveryContent], now: datetime
    ) -> None:
        """Apply the deliveries of a failed batch separately, so that one that fails holds up no other; nor
        does one of its transactions hold up the others in it.
        """
        for one in batch:
            try:
                with bound_contextvars(request_ids=_request_ids([one])):
                    done = await apply_each(self._indexer, one.transactions)
            except (DatabaseUnavailable, DatabaseTimeout):
                raise
            except Exception as error:
                await self._fail(connection, one.delivery, f"{type(error).__name__}: {error}", now)
            else:
                if done.failed:
                    first = done.failed[0]
                    await self._fail(connection, one.delivery, f"{first.signature}: {first.detail}", now)
                else:
                    await self._finish(connection, [one])

    async def _fail(self, connection: Connection, delivery: Delivery, error: str, now: datetime) -> None:
        if delivery.attempts + 1 >= _MAX_ATTEMPTS:
            await self._park(connection, [(delivery, error)], unreadable=False)
            return
        pause = timedelta(seconds=_RETRY_SECONDS[delivery.attempts])
        await inbox.postpone(connection, delivery.id, error, now + pause)

    async def _park(
        self, connection: Connection, deliveries: Sequence[tuple[Delivery, str]], *, unreadable: bool
    ) -> None:
        if not deliveries:
            return
        for delivery, error in deliveries:
            log.error("inbox.parked", delivery=delivery.id, attempts=delivery.attempts + 1, reason=error)
        errors = {delivery.id: error for delivery, error in deliveries}
        await inbox.park(connection, errors, unreadable=unreadable)
        _DELIVERIES.labels("parked").inc(len(deliveries))
        dropped = await inbox.trim_parked(connection)
        if dropped:
            log.warning("inbox.dropped", deliveries=dropped, most=inbox.MOST_PARKED)
            _DELIVERIES.labels("dropped").inc(dropped)


def _request_ids(read: Iterable[DeliveryContent]) -> list[str]:
    """The ids of the requests that brought these deliveries."""
    return [one.delivery.request_id for one in read if one.delivery.request_id is not None]

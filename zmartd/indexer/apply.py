"""The one door into the projection: everything that the chain says enters through `Indexer.apply`.

A batch is one database transaction. Event rows are unique by their place on the chain, and only the effects
of rows that are new are applied, so that the same transaction given twice, late or out of order changes
nothing that it should not. What is published afterwards is news of what is already true.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from typing import TypeVar

import asyncpg
from asyncpg import Connection
from msgspec import Struct

from zmartd.chain.pdas import Pdas
from zmartd.chain.transactions import ChainTransaction
from zmartd.errors import ZmartdError
from zmartd.faults import Point, reached
from zmartd.indexer.effects import markets
from zmartd.indexer.effects.apply_effects import apply_effects
from zmartd.indexer.effects.batch import Batch
from zmartd.indexer.effects.market_messages import batch_messages
from zmartd.indexer.events.incomplete import (
    quarantine,
    record_truncated,
    reopen_truncated,
    resolve_quarantined,
)
from zmartd.indexer.events.recording import TransactionInSlot, record_eventless, record_events
from zmartd.indexer.events.rows import EventRow, event_row, stored_row
from zmartd.indexer.rebuild.event_diff import EventDiff
from zmartd.indexer.rebuild.replacement import rebuild_configuration, replace_events
from zmartd.indexer.rebuild.rollback import Rollback, roll_back
from zmartd.log import get_logger
from zmartd.metrics import Counter
from zmartd.realtime.bus import Bus, BusUnavailable
from zmartd.realtime.messages import Message
from zmartd.store.postgres.database import Database

_ATTEMPTS = 5
_EVENTS = Counter(
    "zmartd_indexer_events_total", "Program events applied to the projection, each once", ["type"]
)
_QUARANTINED = Counter("zmartd_indexer_quarantined_total", "Data lines of the program that nobody can decode")

_TRUNCATED = Counter(
    "zmartd_indexer_truncated_total", "Transactions whose logs were cut off, each time they came"
)
_UNDONE = Counter("zmartd_indexer_undone_total", "Events taken back, whose transactions left the chain")

T = TypeVar("T")

log = get_logger(__name__)


class IndexAltered(ZmartdError):
    """Rows of the index say otherwise than its events: run `zmartd audit --repair`, with --all if need be."""

    code = "index_altered"


class Applied(Struct, frozen=True):
    """What a batch did: how many transactions were given, how many of their events were new, and the news."""

    transactions: int
    new_events: int
    messages: tuple[Message, ...]


Besides = Callable[[Connection, Sequence[EventRow]], Awaitable[list[Message]]]
"""What is done to the database together with a batch, before it, and the news of that."""


class Indexer:
    """Applies transactions of the program to the database, and tells everybody what changed."""

    def __init__(self, database: Database, bus: Bus, pdas: Pdas) -> None:
        self._database = database
        self._bus = bus
        self._pdas = pdas

    async def apply(self, transactions: Sequence[ChainTransaction], commitment: str = "confirmed") -> Applied:
        """Bring the projection up to date with these transactions, whatever their order and number of times.

        Returns when it is committed. Raises DatabaseUnavailable or DatabaseTimeout, having changed nothing.
        """
        return await self._enter(transactions, commitment, _nothing_besides)

    async def apply_quarantined(
        self, transactions: Sequence[ChainTransaction], lines: Sequence[tuple[str, int]]
    ) -> Applied:
        """Apply what lines in quarantine say, and resolve these in the same database transaction.

        `lines` are signatures and ordinals. Raises what `apply` raises.
        """

        async def besides(connection: Connection, _rows: Sequence[EventRow]) -> list[Message]:
            await resolve_quarantined(connection, lines)
            return []

        return await self._enter(transactions, "confirmed", besides)

    async def roll_back(
        self,
        lost: Sequence[TransactionInSlot],
        instead: Sequence[ChainTransaction] = (),
        commitment: str = "confirmed",
    ) -> Rollback:
        """Take back transactions that are not on the chain, or not any more in these slots.

        `instead` is what they did where they landed again, applied in the same database transaction. Where
        `lost` is not in the index like this, it changes nothing. Raises what `apply` raises.
        """
        rolled_back = Rollback(0, ())

        async def besides(connection: Connection, _rows: Sequence[EventRow]) -> list[Message]:
            nonlocal rolled_back
            rolled_back = await roll_back(connection, lost)
            await reached(Point.APPLY_UNDONE)
            return list(rolled_back.messages)

        await self._enter(instead, commitment, besides)
        _UNDONE.inc(rolled_back.events)
        return rolled_back

    async def replace_events(
        self,
        correction: EventDiff,
        market_addresses: Mapping[str, str],
        incomplete: Sequence[ChainTransaction],
        at: datetime,
    ) -> None:
        """Replace event rows that are not what the chain says, and build again what follows from them.

        `market_addresses` are the markets (ids to addresses) to build again, whether or not a row of theirs
        is replaced; `incomplete` are the transactions with lines that nobody can read, or too few: what these
        lack is worked out again. The news is of the time `at`. Raises what `apply` raises.
        """
        addresses = dict(market_addresses)
        for row in correction.right:
            if row.market_id is not None:
                addresses[row.market_id] = str(self._pdas.market(bytes.fromhex(row.market_id)))

        async def work(connection: Connection) -> list[Message]:
            _QUARANTINED.inc(await quarantine(connection, incomplete))
            _TRUNCATED.inc(await record_truncated(connection, incomplete))
            await reopen_truncated(connection, [tx.signature for tx in incomplete if tx.logs_truncated])
            return await replace_events(connection, correction, addresses, at)

        await self._publish(await self._commit(work))

    async def rebuild_configuration(self, at: datetime) -> None:
        """Build the program's configuration again from its event rows. Raises what `apply` raises."""
        await self._publish(await self._commit(lambda connection: rebuild_configuration(connection, at)))

    async def _enter(
        self, transactions: Sequence[ChainTransaction], commitment: str, besides: Besides
    ) -> Applied:
        succeeded = {tx.signature: tx for tx in transactions if tx.succeeded}
        rows = sorted(
            (event_row(tx, event, self._pdas) for tx in succeeded.values() for event in tx.events),
            key=lambda row: row.key,
        )
        incomplete = any(tx.quarantined or tx.logs_truncated for tx in succeeded.values())
        # What is not final may land again elsewhere, and do something there.
        eventless = [tx for tx in succeeded.values() if commitment == "finalized" and _is_eventless(tx)]
        if not rows and not incomplete and not eventless and besides is _nothing_besides:
            return Applied(len(transactions), 0, ())

        async def work(connection: Connection) -> tuple[list[EventRow], list[Message]]:
            news = await besides(connection, rows)
            _QUARANTINED.inc(await quarantine(connection, list(succeeded.values())))
            _TRUNCATED.inc(await record_truncated(connection, list(succeeded.values())))
            await record_eventless(connection, eventless)
            new, messages = await self._apply(connection, rows, commitment)
            return new, news + messages

        new, messages = await self._commit(work)
        await reached(Point.APPLY_COMMITTED)
        for row in new:
            _EVENTS.labels(row.event_type).inc()
        await self._publish(messages)
        return Applied(len(transactions), len(new), tuple(messages))

    async def _commit(self, work: Callable[[Connection], Awaitable[T]]) -> T:
        """Do it in one database transaction, again when another daemon was in the way."""
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                async with self._database.service() as connection:
                    return await work(connection)
            except asyncpg.UniqueViolationError as error:
                raise IndexAltered(row=error.detail) from error
            except (asyncpg.DeadlockDetectedError, asyncpg.SerializationError):
                if attempt == _ATTEMPTS:
                    raise
                log.info("indexer.contended", attempt=attempt)
        raise AssertionError("unreachable")

    async def _apply(
        self, connection: Connection, rows: Sequence[EventRow], commitment: str
    ) -> tuple[list[EventRow], list[Message]]:
        addresses = await markets.known_addresses(connection, rows)
        market_ids = [row.market_id or addresses.get(row.market_address or "") for row in rows]
        new_keys = await record_events(connection, rows, market_ids, commitment)
        new = [row for row in rows if row.key in new_keys]
        if not new:
            return [], []
        await reached(Point.APPLY_RECORDED)
        waited = await self._ensure_markets(connection, new, addresses)
        # An event of this batch whose market the batch makes has waited, too, for an instant.
        due = {row.key: row for row in new + waited}
        batch = Batch(list(due.values()), addresses, commitment)
        before = await markets.lock_markets(connection, batch.slots)
        repriced = await apply_effects(connection, batch, before)
        await reached(Point.APPLY_COUNTED)
        slots = dict.fromkeys(repriced, 0) | batch.slots
        after = await markets.advance_markets(connection, slots, commitment)
        await reached(Point.APPLY_SETTLED)
        return new, batch_messages(batch, before, after)

    async def _ensure_markets(
        self, connection: Connection, rows: Sequence[EventRow], addresses: dict[str, str]
    ) -> list[EventRow]:
        """Make missing market rows, learn their addresses, and return the events that waited for them."""
        first_seen: dict[str, tuple[str, datetime]] = {}
        for row in rows:
            if row.market_id is not None and row.market_id not in first_seen:
                address = str(self._pdas.market(bytes.fromhex(row.market_id)))
                first_seen[row.market_id] = (address, row.occurred_at)
        addresses.update({address: market_id for market_id, (address, _) in first_seen.items()})
        return [stored_row(row) for row in await markets.ensure_markets(connection, first_seen)]

    async def _publish(self, messages: Sequence[Message]) -> None:
        try:
            await self._bus.publish(messages)
        except BusUnavailable as error:
            # Committed is committed: clients see the gap in the versions, and read the market again.
            log.warning("indexer.unpublished", messages=len(messages), reason=error.message)


def _is_eventless(transaction: ChainTransaction) -> bool:
    return not (transaction.events or transaction.quarantined or transaction.logs_truncated)


async def _nothing_besides(_connection: Connection, _rows: Sequence[EventRow]) -> list[Message]:
    """The batch, and nothing else."""
    return []

"""The only way into the projection: everything the chain says is written by `Indexer`.

A batch is one database transaction. Event rows are unique by their place on the chain, and only the effects
of new rows are applied, so that a transaction applied twice, late or out of order has the same result as one
applied once and in order. Messages to subscribers commit with the changes that they tell of, and are
published afterwards.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Final, TypeVar

import asyncpg
import msgspec
from asyncpg import Connection
from msgspec import Struct
from solders.pubkey import Pubkey
from structlog.contextvars import bound_contextvars

from zmartd.chain.commitment import Commitment
from zmartd.chain.pdas import Pdas
from zmartd.chain.transactions import ChainTransaction
from zmartd.errors import ZmartdError
from zmartd.faults import Point, reached
from zmartd.indexer.effects import markets
from zmartd.indexer.effects.apply_effects import apply_effects
from zmartd.indexer.effects.batch import Batch
from zmartd.indexer.effects.configuration import (
    CONFIGURATION_EVENTS,
    ConfigurationCorrection,
    correct_configuration,
    drop_configuration_corrections,
    rates_changed_from,
)
from zmartd.indexer.effects.configuration_lock import CHANGE_IT, GO_BY_IT
from zmartd.indexer.effects.lifecycle import out_of_order
from zmartd.indexer.effects.market_messages import (
    batch_messages,
    market_promotion_messages,
    promotion_messages,
)
from zmartd.indexer.effects.repricing import due_markets
from zmartd.indexer.effects.wallet_messages import (
    finalized_messages,
    wallet_messages,
    wallet_promotions,
)
from zmartd.indexer.events.commitment import promote, promote_markets
from zmartd.indexer.events.incomplete import (
    quarantine_lines,
    record_truncated,
    reopen_truncated,
    resolve_quarantined,
)
from zmartd.indexer.events.recording import TransactionInSlot, record_eventless, record_events
from zmartd.indexer.events.rows import EventRow, event_row, stored_row
from zmartd.indexer.rebuild.corrections import Correction, corrected_since, put_correction
from zmartd.indexer.rebuild.event_diff import EventDiff, differing_signatures
from zmartd.indexer.rebuild.markets import rebuild_markets
from zmartd.indexer.rebuild.places import place_events
from zmartd.indexer.rebuild.replacement import rebuild_configuration, replace_events
from zmartd.indexer.rebuild.repricing import reprice_market
from zmartd.indexer.rebuild.rollback import Rollback, roll_back
from zmartd.log import get_logger
from zmartd.metrics import Counter, Histogram
from zmartd.realtime.messages import AnyMessage, Message
from zmartd.realtime.publisher import Publisher
from zmartd.store import pulses
from zmartd.store.postgres.database import Database
from zmartd.store.postgres.plans import FEW
from zmartd.store.pulses import ChainProgress, Pulse

MAX_SIGNATURES_LOGGED: Final = 20
"""How many of the transactions that are applied together each log line names."""
_ATTEMPTS = 5
_MOST_REPRICED_MARKETS = 20
_EVENTS = Counter(
    "zmartd_indexer_events_total", "Program events applied to the projection, each once.", ["type"]
)
_APPLYING = Histogram(
    "zmartd_indexer_apply_seconds",
    "How long it took to apply transactions that came together, to the end of their commit and publication.",
    (),
    (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
).labels()
_QUARANTINED = Counter("zmartd_indexer_quarantined_total", "Data lines of the program that were quarantined.")
_TRUNCATED = Counter(
    "zmartd_indexer_truncated_total", "Transactions with truncated logs, counted each time they arrive."
)
_UNDONE = Counter(
    "zmartd_indexer_undone_total", "Events rolled back because their transactions are not on the chain."
)

T = TypeVar("T")

log = get_logger(__name__)


class IndexAltered(ZmartdError):
    """Rows of the index contradict its events: run `zmartd audit --repair`, then with --all if need be."""

    code = "index_altered"


class Applied(Struct, frozen=True):
    """The result of a batch: the number of its transactions, of its new events, and what was published about
    markets."""

    transactions: int
    new_events: int
    messages: tuple[Message, ...]


class PromotionReport(Struct, frozen=True):
    """How many transactions became final, and the signatures of those that differ from the chain."""

    promoted: int
    differing: frozenset[str]


_Prepare = Callable[[Connection], Awaitable[list[AnyMessage]]]
"""What runs first in a batch's database transaction. Returns messages to publish with those of the batch."""


class Indexer:
    """Applies transactions of the program to the database, and publishes what changed."""

    def __init__(self, database: Database, publisher: Publisher, pdas: Pdas) -> None:
        self._database = database
        self._publisher = publisher
        self._pdas = pdas

    async def apply(
        self, transactions: Sequence[ChainTransaction], commitment: Commitment = "confirmed"
    ) -> Applied:
        """Apply transactions, in any order and any number of times.

        Returns once it is committed. Raises DatabaseUnavailable or DatabaseTimeout, having changed nothing.
        """
        return await self._apply_batch(transactions, commitment, None)

    async def apply_quarantined(
        self, transactions: Sequence[ChainTransaction], lines: Sequence[tuple[str, int]]
    ) -> Applied:
        """Apply transactions and resolve quarantined lines in the same database transaction.

        `lines` are signatures and ordinals. Raises what `apply` raises.
        """

        async def prepare(connection: Connection) -> list[AnyMessage]:
            await resolve_quarantined(connection, lines)
            return []

        return await self._apply_batch(transactions, "confirmed", prepare)

    async def roll_back(
        self,
        lost: Sequence[TransactionInSlot],
        instead: Sequence[ChainTransaction] = (),
        commitment: Commitment = "confirmed",
    ) -> Rollback:
        """Roll back transactions that are not on the chain, or not in these slots.

        `instead` are the transactions as the chain has them, applied in the same database transaction. Where
        the index has nothing of `lost`, nothing is rolled back. Raises what `apply` raises.
        """
        rollback = Rollback(0, ())

        async def prepare(connection: Connection) -> list[AnyMessage]:
            nonlocal rollback
            rollback = await roll_back(connection, lost, self._pdas.global_config())
            await reached(Point.APPLY_UNDONE)
            return [*rollback.messages, *rollback.private]

        applied = await self._apply_batch(instead, commitment, prepare)
        _UNDONE.inc(rollback.events)
        return msgspec.structs.replace(rollback, messages=applied.messages)

    async def replace_events(
        self,
        diff: EventDiff,
        market_addresses: Mapping[str, str],
        incomplete: Mapping[Commitment, Sequence[ChainTransaction]],
        at: datetime,
        commitment: Commitment = "confirmed",
        *,
        compared: Iterable[str] = (),
    ) -> None:
        """Replace event rows that differ from the chain, and rebuild what is derived from them.

        `market_addresses` are the markets to rebuild (ids to addresses), whether or not one of their rows is
        replaced; of those in `compared` all events have been compared. `incomplete` are the transactions with
        undecodable lines or truncated logs, by their commitment; the events that the latter lack will be
        inferred again. Rows are recorded with `commitment`, messages bear the time `at`. Raises what `apply`
        raises.
        """
        addresses = dict(market_addresses)
        for row in diff.to_record:
            if row.market_id is not None:
                addresses[row.market_id] = self._market_address(row.market_id)

        async def work(connection: Connection) -> tuple[None, list[AnyMessage]]:
            for certainty, transactions in incomplete.items():
                await _record_incomplete(connection, transactions, certainty)
                await reopen_truncated(connection, [tx.signature for tx in transactions if tx.logs_truncated])
            return None, await replace_events(connection, diff, addresses, at, commitment, compared=compared)

        await self._commit(work)

    async def promote(
        self, final: Sequence[TransactionInSlot], transactions: Sequence[ChainTransaction]
    ) -> PromotionReport:
        """Mark those of `final` as finalized whose rows equal `transactions`, as the node has them.

        Raises what `apply` raises.
        """
        fetched = {tx.signature for tx in transactions}

        async def work(connection: Connection) -> tuple[PromotionReport, list[AnyMessage]]:
            placed = await place_events(connection, transactions, verified=True)
            differing = frozenset(await differing_signatures(connection, transactions, self._pdas))
            equal = [one for one in final if one.signature in fetched - differing]
            promoted = await promote(connection, equal)
            messages: list[AnyMessage] = [
                *placed,
                *promotion_messages(promoted),
                *wallet_promotions(promoted),
                *await finalized_messages(connection, promoted.signatures),
            ]
            return PromotionReport(len(promoted.signatures), differing), messages

        report, _ = await self._commit(work)
        return report

    async def promote_markets(self, finalized_slot: int) -> None:
        """Mark the markets as finalized whose events all are. Raises what `apply` raises."""

        async def work(connection: Connection) -> tuple[None, list[AnyMessage]]:
            return None, [*market_promotion_messages(await promote_markets(connection, finalized_slot))]

        await self._commit(work)

    async def rebuild_configuration(self, at: datetime) -> None:
        """Rebuild the program's configuration from its event rows alone, without corrections.

        The truncated transactions that these made up for are open again. Raises what `apply` raises.
        """

        async def work(connection: Connection) -> tuple[None, list[AnyMessage]]:
            dropped_from = await drop_configuration_corrections(connection, self._pdas.global_config())
            messages = await rebuild_configuration(connection, at)
            messages += await rebuild_markets(connection, set(), at, dropped_from, removed=())
            return None, messages

        await self._commit(work, changes_configuration=True)

    async def correct(self, correction: Correction, address: Pubkey) -> None:
        """Correct the market at `address` from its accounts, unless it was from those of a later slot.

        Raises what `apply` raises.
        """

        async def work(connection: Connection) -> tuple[None, list[AnyMessage]]:
            await markets.ensure_markets(connection, {correction.market_id: (str(address), correction.at)})
            await put_correction(connection, correction)
            return None, await rebuild_markets(connection, {correction.market_id}, correction.at, removed=())

        await self._commit(work)

    async def correct_configuration(self, correction: ConfigurationCorrection, at: datetime) -> None:
        """Correct the configuration from its account, and reprice trades where fee rates changed.

        Messages bear the time `at`. Raises what `apply` raises.
        """

        async def work(connection: Connection) -> tuple[None, list[AnyMessage]]:
            rates_from = await correct_configuration(connection, correction)
            return None, await rebuild_markets(connection, set(), at, rates_from, removed=())

        await self._commit(work, changes_configuration=True)

    async def reprice(self) -> int:
        """Price some trades anew that were left to the background: a step for each of a few markets.

        Returns for how many, so 0 once nothing is left. Raises what `apply` raises.
        """
        async with self._database.service_reader() as connection:
            due = await due_markets(connection, _MOST_REPRICED_MARKETS)
        for market_id in due:
            await self._commit(partial(reprice_market, market_id=market_id), keeps_plans=True)
        return len(due)

    async def reprice_everything(self) -> None:
        """Price all trades anew that were left to the background. Raises what `apply` raises."""
        while await self.reprice():
            pass

    async def pulse(self, interval_seconds: float, progress: ChainProgress | None) -> Pulse | None:
        """Raise the pulse in a commit like those of batches, and publish it.

        None where another daemon has raised it within the interval. Raises what `apply` raises.
        """
        async with self._database.service() as connection:
            pulse = await pulses.beat(connection, interval_seconds, progress)
        if pulse is not None:
            await self._publisher.publish_pulse(pulse)
        return pulse

    async def _apply_batch(
        self, transactions: Sequence[ChainTransaction], commitment: Commitment, prepare: _Prepare | None
    ) -> Applied:
        succeeded = {tx.signature: tx for tx in transactions if tx.succeeded}
        rows = sorted(
            (event_row(tx, event, self._pdas) for tx in succeeded.values() for event in tx.events),
            key=lambda row: row.key,
        )
        incomplete = [tx for tx in succeeded.values() if tx.quarantined or tx.logs_truncated]
        # A transaction that is not final may land again in another slot, and have events there.
        eventless = [tx for tx in succeeded.values() if commitment == "finalized" and is_eventless(tx)]
        if not rows and not incomplete and not eventless and prepare is None:
            return Applied(len(transactions), 0, ())

        async def work(connection: Connection) -> tuple[list[EventRow], list[AnyMessage]]:
            prepared = [] if prepare is None else await prepare(connection)
            await _record_incomplete(connection, incomplete, commitment)
            await record_eventless(connection, eventless)
            new, messages = await self._apply_rows(connection, rows, commitment)
            known = {row.signature for row in rows}.difference(row.signature for row in new)
            placed = await place_events(
                connection, [succeeded[signature] for signature in known], verified=False
            )
            if commitment == "finalized":
                messages += await finalized_messages(connection, {row.signature for row in new})
            return new, prepared + messages + placed

        signatures = list(succeeded)[:MAX_SIGNATURES_LOGGED]
        with _APPLYING.time(), bound_contextvars(transactions=len(succeeded), signatures=signatures):
            new, messages = await self._commit(
                work,
                keeps_plans=len(transactions) <= FEW,
                changes_configuration=any(row.event_type in CONFIGURATION_EVENTS for row in rows),
            )
        for row in new:
            _EVENTS.labels(row.event_type).inc()
        about_markets = tuple(one for one in messages if isinstance(one, Message))
        return Applied(len(transactions), len(new), about_markets)

    async def _commit(
        self,
        work: Callable[[Connection], Awaitable[tuple[T, Sequence[AnyMessage]]]],
        *,
        keeps_plans: bool = False,
        changes_configuration: bool = False,
    ) -> tuple[T, list[AnyMessage]]:
        """Run `work` in one database transaction, with which its messages commit, and publish these.

        It is run again after a conflict with another daemon. Returns what `work` does, with what was
        published. `keeps_plans`: whether there are few rows in all its statements.
        `changes_configuration`: whether it is known to change that of the program.
        """
        lock = CHANGE_IT if changes_configuration else GO_BY_IT
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                async with self._database.service(keeps_plans=keeps_plans, first=lock) as connection:
                    result, messages = await work(connection)
                    appended = await self._publisher.append(connection, messages)
                    await reached(Point.APPLY_APPENDED)
                break
            except asyncpg.UniqueViolationError as error:
                raise IndexAltered from error
            except (asyncpg.DeadlockDetectedError, asyncpg.SerializationError):
                if attempt == _ATTEMPTS:
                    raise
                log.info("indexer.contended", attempt=attempt)
        await reached(Point.APPLY_COMMITTED)
        await self._publisher.publish(appended)
        return result, appended

    async def _apply_rows(
        self, connection: Connection, rows: Sequence[EventRow], commitment: Commitment
    ) -> tuple[list[EventRow], list[AnyMessage]]:
        addresses = await markets.known_addresses(connection, rows)
        market_ids = [row.market_id or addresses.get(row.market_address or "") for row in rows]
        new_keys = await record_events(connection, rows, market_ids, commitment)
        new = [row for row in rows if row.key in new_keys]
        if not new:
            return [], []
        await reached(Point.APPLY_RECORDED)
        due = Batch(new, addresses, commitment)
        before = await markets.lock_markets(connection, due.slots, unless_one_is_missing=True)
        if not before and due.slots:
            waited = await self._create_markets(connection, new, addresses)
            # Events of this batch whose market this batch creates are in both lists.
            due = Batch(list({row.key: row for row in new + waited}.values()), addresses, commitment)
            before = await markets.lock_markets(connection, due.slots)
        contained = _contained(due, before)
        contained |= await out_of_order(
            connection, [(row.event_type, due.market_of(row), row.slot, row.signature) for row in due.rows]
        )
        late = [row for row in due.rows if due.market_of(row) in contained]
        others = [row for row in due.rows if due.market_of(row) not in contained]
        batch = Batch(others, addresses, commitment)
        traded = await apply_effects(connection, batch, before)
        await reached(Point.APPLY_COUNTED)
        slots = dict.fromkeys(traded.changed, 0) | batch.slots
        after = await markets.advance_markets(connection, slots, traded.curves, traded.sums, commitment)
        await reached(Point.APPLY_SETTLED)
        messages: list[AnyMessage] = [*batch_messages(batch, before, after, traded.fills)]
        messages += await wallet_messages(
            connection, others, batch.market_of, traded.fills, commitment, read=traded.positions
        )
        if (rates_from := rates_changed_from(due.rows)) is not None:
            contained |= await corrected_since(connection, rates_from)
        if contained:
            at = max(row.occurred_at for row in due.rows)
            messages += await rebuild_markets(
                connection, contained, at, removed=(), recorded=late, commitment=commitment
            )
        return new, messages

    async def _create_markets(
        self, connection: Connection, rows: Sequence[EventRow], addresses: dict[str, str]
    ) -> list[EventRow]:
        """Create missing market rows, add them to `addresses`, and return the events that waited for them."""
        first_seen: dict[str, tuple[str, datetime]] = {}
        for row in rows:
            if row.market_id is not None and row.market_id not in first_seen:
                first_seen[row.market_id] = (self._market_address(row.market_id), row.occurred_at)
        addresses.update({address: market_id for market_id, (address, _) in first_seen.items()})
        return [stored_row(row) for row in await markets.ensure_markets(connection, first_seen)]

    def _market_address(self, market_id: str) -> str:
        return str(self._pdas.market(bytes.fromhex(market_id)))


def _contained(batch: Batch, before: Mapping[str, markets.LockedMarket]) -> set[str]:
    """The markets whose correction contains an event of the batch: added once more, it would count twice."""
    return {
        market_id
        for row in batch.rows
        if (market_id := batch.market_of(row)) is not None
        and (corrected_slot := before[market_id].curve.corrected_slot) is not None
        and row.slot <= corrected_slot
    }


async def _record_incomplete(
    connection: Connection, transactions: Sequence[ChainTransaction], commitment: Commitment
) -> None:
    """Record the undecodable lines and the truncated logs of transactions, and count them."""
    _QUARANTINED.inc(await quarantine_lines(connection, transactions))
    _TRUNCATED.inc(await record_truncated(connection, transactions, commitment))


def is_eventless(transaction: ChainTransaction) -> bool:
    """Whether the index will never have anything of a transaction but, once it is final, its signature."""
    return not (transaction.events or transaction.quarantined or transaction.logs_truncated)

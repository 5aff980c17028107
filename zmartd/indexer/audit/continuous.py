"""The continuous audit: compares what has changed, and within an hour everything, market by market.

Each market's result is recorded at once, so that a pass which is interrupted is gone on with by the next one.
A comparison that is disturbed by a change, or by a node that is behind the index, proves nothing: the market
is compared again by the next pass. A difference counts when two looks in a row show it.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

from msgspec import Struct
from solders.pubkey import Pubkey

from zmartd.chain.accounts import MarketAccount
from zmartd.chain.discriminators import discriminator
from zmartd.chain.pdas import Pdas
from zmartd.chain.rpc import Rpc
from zmartd.chain.transport import RpcRejected, RpcUnavailable
from zmartd.clock import Clock
from zmartd.errors import ZmartdError
from zmartd.indexer.audit import groups
from zmartd.indexer.audit.audit import (
    MarketComparison,
    compare_configuration,
    compare_market,
    without_strangers,
)
from zmartd.indexer.audit.comparison import Difference
from zmartd.indexer.parking import is_of_one_market
from zmartd.log import get_logger
from zmartd.store import market_audits
from zmartd.store.market_audits import Audited, AuditPass, DueAudit
from zmartd.store.postgres.database import Database
from zmartd.store.postgres.errors import DatabaseTimeout

log = get_logger(__name__)

LISTED_AFTER: Final = timedelta(minutes=5)
"""The chain's markets are listed this often, and the configuration is compared, changed or not."""
BATCH: Final = 50
GROUPED_FROM: Final = 3
"""Where the time of fewer markets of a group has come, they are compared one by one, as new ones are."""
MAX_NAMED: Final = 20
"""Fields that are recorded of a market that differs."""
LOOK_AGAIN_SECONDS: Final = 5.0
"""What differs is compared again after this pause: a node that answers, or a delivery, may be behind."""
MARKET_SECONDS: Final = 120.0
"""A market that takes longer to compare could not be compared."""
MOST_UNANSWERED: Final = 3
"""After so many markets in a row without an answer the trouble is the node's, or the database's."""


class AuditLimits(Struct, frozen=True, kw_only=True):
    """How fast it goes."""

    accounts_per_second: int
    """On average. The database is never used more than half of the time either."""
    pass_seconds: float
    """After this time a pass begins with no other market."""
    everything_seconds: float
    """Within this time every market is compared, changed or not."""


class PassReport(Struct, frozen=True):
    """What a pass did, and how the whole index is after it."""

    compared: int
    """Markets."""
    accounts: int
    found: tuple[Audited, ...]
    """The markets, and the configuration, that differ or could not be compared, of those of this pass."""
    total: AuditPass


class ContinuousAudit:
    """Compares in the background. `run` is one pass, and may be stopped at any await."""

    def __init__(
        self,
        database: Database,
        rpc: Rpc,
        program_id: Pubkey,
        limits: AuditLimits,
        clock: Clock,
        *,
        look_again_seconds: float = LOOK_AGAIN_SECONDS,
        grouped_from: int = GROUPED_FROM,
    ) -> None:
        self._database = database
        self._rpc = rpc
        self._program_id = program_id
        self._configuration = str(Pdas(program_id).global_config())
        self._limits = limits
        self._clock = clock
        self._look_again_seconds = look_again_seconds
        self._grouped_from = grouped_from
        self._unanswered = 0
        self._grouped: set[bytes] = set()
        """The groups that this pass has compared, or tried to."""

    async def run(self) -> PassReport:
        """Raises RpcUnavailable, DatabaseUnavailable and the like; what was compared by then is recorded."""
        stop_at = self._clock.monotonic() + self._limits.pass_seconds
        self._unanswered = 0
        self._grouped.clear()
        slot = await self._rpc.slot()
        async with self._database.service_reader() as connection:
            started_at = await market_audits.now(connection)
            await market_audits.enter(connection)
            shared_bytes = groups.prefix_length(await market_audits.number(connection))
        done = await self._audit_configuration(slot, started_at)
        while self._clock.monotonic() < stop_at and (batch := await self._due(started_at)):
            equal = await self._audit_groups(batch, shared_bytes, stop_at)
            done += equal
            compared = {one.address for one in equal}
            alone = [one for one in batch if one.address not in compared]
            done += await self._audit_batch(alone, slot, stop_at)
        async with self._database.service_reader() as connection:
            total = await market_audits.finish(connection, self._configuration, slot)
        markets = [one for one in done if one.address != self._configuration]
        return PassReport(
            len(markets),
            sum(one.accounts for one in markets),
            tuple(one for one in done if one.differences or one.failure),
            total,
        )

    async def _due(self, started_at: datetime) -> list[DueAudit]:
        # Those that wait are begun with early, so that they are done in time.
        before = started_at - timedelta(seconds=self._limits.everything_seconds) / 2
        async with self._database.service_reader() as connection:
            return await market_audits.due(connection, self._configuration, started_at, before, BATCH)

    async def _audit_configuration(self, slot: int, started_at: datetime) -> list[Audited]:
        """Compare the configuration and list the chain's markets, where either is due."""
        async with self._database.service_reader() as connection:
            due = await market_audits.due_configuration(
                connection, self._configuration, started_at - LISTED_AFTER
            )
        if due is None:
            return []
        not_listed = await self._list_markets(slot)
        differences = await compare_configuration(self._database, self._rpc, self._program_id)
        if differences:
            await self._clock.sleep(self._look_again_seconds)
            differences = await compare_configuration(self._database, self._rpc, self._program_id)
        audited = _audited(due, slot, MarketComparison(differences, due.version, 1, slot))
        if not_listed is not None and not differences:
            audited = Audited(address=due.address, version=due.version, slot=slot, failure=not_listed)
        await self._record(audited)
        return [audited]

    async def _list_markets(self, slot: int) -> str | None:
        """Enter the chain's markets that the index does not have; gives why, where the node lists none."""
        try:
            listed = await self._rpc.program_addresses(
                self._program_id, {0: discriminator("account", MarketAccount.__name__)}
            )
        except (RpcUnavailable, RpcRejected) as error:
            return f"the chain's markets could not be listed: {error.message}"
        async with self._database.service_reader() as connection:
            await market_audits.list_unknown(connection, [str(address) for address in listed], slot)
        return None

    async def _audit_groups(
        self, batch: Sequence[DueAudit], shared_bytes: int, stop_at: float
    ) -> list[Audited]:
        """Compare the groups of markets whose time has come; gives those of which nothing differs.

        What differs, or is in a group that cannot be read, is left to be compared alone.
        """
        done: list[Audited] = []
        due = Counter(
            bytes(Pubkey.from_string(one.address))[:shared_bytes]
            for one in batch
            if one.is_aged and one.version is not None
        )
        for group, number in due.items():
            if number < self._grouped_from or group in self._grouped:
                continue
            if self._clock.monotonic() >= stop_at:
                break
            self._grouped.add(group)
            begun = self._clock.monotonic()
            try:
                async with asyncio.timeout(MARKET_SECONDS):
                    compared = await groups.compare_group(self._database, self._rpc, self._program_id, group)
            except Exception as error:
                if self._ends_the_pass(error):
                    raise
                log.warning("audit.group_failed", group=group.hex(), reason=_reason(error))
                continue
            self._unanswered = 0
            async with self._database.service_reader() as connection:
                await market_audits.record_equal(connection, compared.equal)
            done += compared.equal
            await self._pause(compared.accounts, begun)
        return done

    async def _audit_batch(self, batch: Sequence[DueAudit], slot: int, stop_at: float) -> list[Audited]:
        """Compare markets until it is time to stop. Those that differ are compared again together."""
        done: list[Audited] = []
        doubtful: list[tuple[DueAudit, Audited]] = []
        for one in batch:
            if self._clock.monotonic() >= stop_at:
                break
            begun = self._clock.monotonic()
            audited = await self._compare(one, slot)
            if audited.differences or audited.moving:
                doubtful.append((one, audited))
            else:
                done.append(audited)
                await self._record(audited)
            await self._pause(audited.accounts, begun)
        if doubtful:
            await self._clock.sleep(self._look_again_seconds)
        for one, first in doubtful:
            begun = self._clock.monotonic()
            audited = _confirmed(first, await self._compare(one, slot))
            done.append(audited)
            await self._record(audited)
            await self._pause(audited.accounts, begun)
        return done

    async def _compare(self, due: DueAudit, slot: int) -> Audited:
        market = Pubkey.from_string(due.address)
        try:
            async with asyncio.timeout(MARKET_SECONDS):
                comparison = await compare_market(
                    self._database, self._rpc, self._program_id, market, due.equal_slot or 0
                )
                comparison = await without_strangers(self._rpc, self._program_id, comparison)
        except Exception as error:
            if self._ends_the_pass(error):
                raise
            log.warning("audit.market_failed", market=due.address, exc_info=error)
            return Audited(address=due.address, version=due.version, slot=slot, failure=_reason(error))
        self._unanswered = 0
        return _audited(due, slot, comparison)

    def _ends_the_pass(self, error: Exception) -> bool:
        """Whether an error is more than one market's. That nobody answers may be due to what was asked."""
        if isinstance(error, (RpcUnavailable, DatabaseTimeout, TimeoutError)):
            self._unanswered += 1
            return self._unanswered >= MOST_UNANSWERED
        return not (isinstance(error, RpcRejected) or is_of_one_market(error))

    async def _pause(self, accounts: int, begun: float) -> None:
        """Pause for as long as a comparison has to be paid with."""
        took_seconds = self._clock.monotonic() - begun
        await self._clock.sleep(max(accounts / self._limits.accounts_per_second, took_seconds))

    async def _record(self, audited: Audited) -> None:
        async with self._database.service_reader() as connection:
            if audited.is_nowhere:
                await market_audits.forget(connection, audited.address)
            else:
                await market_audits.record(connection, audited)


def _confirmed(first: Audited, second: Audited) -> Audited:
    """What the second look says. A difference that the first did not show has not been looked at twice."""
    if second.differences and not set(first.differing) & set(second.differing):
        return _moving(second.address, second.version, second.slot)
    return second


def _moving(address: str, version: int | None, slot: int) -> Audited:
    return Audited(address=address, version=version, slot=slot, moving=True)


def _audited(due: DueAudit, slot: int, comparison: MarketComparison) -> Audited:
    """What a comparison proves. A transaction that the index lacks was lost if it is older than the pass."""
    if not (comparison.is_conclusive() or comparison.lacks_until(slot)):
        return _moving(due.address, due.version, slot)
    differences = comparison.differences
    return Audited(
        address=due.address,
        version=comparison.version,
        slot=comparison.slot,
        accounts=comparison.accounts,
        differences=len(differences),
        differing=_named(differences),
    )


def _reason(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return f"it takes longer than {MARKET_SECONDS:g} s"
    return error.message if isinstance(error, ZmartdError) else type(error).__name__


def _named(differences: tuple[Difference, ...]) -> tuple[str, ...]:
    """The first fields that differ, those of positions with a word that says so. Wallets are not named."""
    names = (f"position.{one.field}" if one.wallet is not None else one.field for one in differences)
    return tuple(dict.fromkeys(names))[:MAX_NAMED]

"""Recovers the events of transactions with truncated logs.

Once everything before such a transaction is indexed, the events that its logs lack are inferred from its
instructions and applied under its signature, like any other event; a replay that does the same therefore
writes the same rows. The transaction counts as resolved when the accounts of its markets, read afterwards,
equal the index. Until then its row in `truncated_transactions` says why not, and it is tried again in each
run. Events that cannot be inferred stay missing, and an audit reports the difference: nothing is copied from
accounts over sums of events.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from asyncpg import Connection
from msgspec import Struct
from solders.pubkey import Pubkey

from zmartd.chain.calls import OtherCall
from zmartd.chain.rpc import Rpc
from zmartd.chain.transactions import ChainTransaction
from zmartd.indexer.audit.audit import compare_market
from zmartd.indexer.effects.configuration import rate_history
from zmartd.indexer.effects.lifecycle import SEED_SHARES_DIVISOR
from zmartd.indexer.events.incomplete import set_truncated_reason, unresolved_truncated
from zmartd.indexer.fetch import Fetcher
from zmartd.indexer.truncation.inference import MarketBefore, infer_events
from zmartd.log import get_logger
from zmartd.market.lmsr import Curve
from zmartd.market.quotes import Pool
from zmartd.store.postgres.database import Database

_MAX_PER_RUN = 50
_MARKET_BEFORE = """
select market.id, b_parameter, coalesce(sum(trades.shares * case trade_type when 'buy' then 1 else -1 end)
           filter (where outcome), 0)::numeric as yes,
       coalesce(sum(trades.shares * case trade_type when 'buy' then 1 else -1 end)
           filter (where not outcome), 0)::numeric as no
  from markets as market
  left join trades on trades.market_id = market.id and tx_signature <> $2
        and (trades.slot < $3 or tx_signature = any($4::text[]))
 where on_chain_address = $1 and b_parameter is not null
 group by market.id, b_parameter
"""

log = get_logger(__name__)


class RecoveryReport(Struct, frozen=True):
    """How many truncated transactions were tried, how many are resolved, and how many events that added."""

    transactions: int = 0
    resolved: int = 0
    new_events: int = 0


class TruncationRecovery:
    """Infers, applies and verifies the events of truncated transactions."""

    def __init__(self, rpc: Rpc, fetcher: Fetcher, database: Database, program_id: Pubkey) -> None:
        self._rpc = rpc
        self._fetcher = fetcher
        self._database = database
        self._program_id = program_id

    async def run(self, complete_slot: int) -> RecoveryReport:
        """Try the oldest unresolved transactions up to `complete_slot`, up to which the index is complete.

        Raises RpcUnavailable, RpcRejected, UndecodableData, DatabaseUnavailable.
        """
        async with self._database.service() as connection:
            signatures = await unresolved_truncated(connection, complete_slot, _MAX_PER_RUN)
        resolved = new_events = 0
        fetched = await self._fetcher.fetch(signatures)
        for transaction in fetched.transactions:
            applied, reason = await self._recover(transaction)
            new_events += applied
            resolved += reason is None
            if reason is not None:
                log.warning("truncated.open", signature=transaction.signature, reason=reason)
            async with self._database.service() as connection:
                await set_truncated_reason(connection, transaction.signature, reason)
        return RecoveryReport(len(signatures), resolved, new_events)

    async def _recover(self, transaction: ChainTransaction) -> tuple[int, str | None]:
        """How many events were added, and why the transaction stays unresolved; None if it is resolved."""
        if transaction.calls is None:
            return 0, "the node has not kept the inner instructions"
        if transaction.block_time is None:
            return 0, "the node does not know the time of its block"
        called = {call.market for call in transaction.calls if not isinstance(call, OtherCall)}
        markets: dict[Pubkey, MarketBefore] = {}
        for address in sorted(called, key=str):
            market = await self._market_before(address, transaction)
            if market is not None:
                markets[address] = market
        inferred = infer_events(transaction.calls, transaction.events, markets, transaction.block_time)
        complete = msgspec.structs.replace(transaction, events=inferred.events, logs_truncated=False)
        applied = await self._fetcher.indexer.apply([complete], "finalized")
        return applied.new_events, inferred.reason or await self._verify(sorted(markets, key=str))

    async def _market_before(self, address: Pubkey, transaction: ChainTransaction) -> MarketBefore | None:
        """The market just before a transaction; None where its creation is not indexed."""
        earlier = await self._rpc.signatures_for_address(address, before=transaction.signature)
        in_slot = [one.signature for one in earlier if one.slot == transaction.slot]
        async with self._database.service() as connection:
            return await _market_before(connection, address, transaction, in_slot)

    async def _verify(self, markets: Sequence[Pubkey]) -> str | None:
        """Compare markets with their accounts. Returns what differs, None if nothing does."""
        for market in markets:
            comparison = await compare_market(self._database, self._rpc, self._program_id, market)
            if not comparison.is_conclusive():
                return f"the market {market} goes on, and cannot be compared yet"
            if comparison.differences:
                fields = ", ".join(sorted({one.field for one in comparison.differences}))
                return f"the accounts of the market {market} differ in {fields}"
        return None


async def _market_before(
    connection: Connection, address: Pubkey, transaction: ChainTransaction, earlier_in_slot: Sequence[str]
) -> MarketBefore | None:
    row = await connection.fetchrow(
        _MARKET_BEFORE, str(address), transaction.signature, transaction.slot, earlier_in_slot
    )
    if row is None:
        return None
    b = int(row["b_parameter"])
    seed = b // SEED_SHARES_DIVISOR
    curve = Curve(seed + int(row["yes"]), seed + int(row["no"]), b)
    rates = (await rate_history(connection)).at(transaction.slot)
    return MarketBefore(bytes.fromhex(row["id"]), Pool(curve, rates))

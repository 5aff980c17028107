"""Truncated transactions, made whole: their events worked out, applied, and checked against the accounts.

The rule: once all that happened before such a transaction is indexed, the events that its logs lack are
worked out from its instructions (see `unlogged`) and go through the door under its signature, like any other
event; so a replay that does the same comes to the same rows. The transaction counts as resolved when the
accounts of its markets, read afterwards, equal the index. Until then it stays in `truncated_transactions`
with the reason, and is looked at again each time. What cannot be worked out stays missing, and an audit
names it: nothing is copied from accounts over sums of events.
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
from zmartd.indexer.audit.account_facts import read_market_accounts
from zmartd.indexer.audit.audit import missing_signatures
from zmartd.indexer.audit.comparison import compare
from zmartd.indexer.audit.indexed_facts import IndexedFacts, read_indexed_market
from zmartd.indexer.effects.configuration import rate_history
from zmartd.indexer.effects.lifecycle import SEED_SHARES_DIVISOR
from zmartd.indexer.events.incomplete import set_truncated_reason, unresolved_truncated
from zmartd.indexer.fetch import Fetcher
from zmartd.indexer.truncation.inference import MarketBefore, infer_events
from zmartd.log import get_logger
from zmartd.market.tape import Curve
from zmartd.store.postgres.database import Database

_AT_ONCE = 50
_START = """
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
    """How many truncated transactions were looked at, how many are resolved, and the events that came."""

    transactions: int = 0
    resolved: int = 0
    new_events: int = 0


class TruncationRecovery:
    """Makes truncated transactions whole."""

    def __init__(self, rpc: Rpc, fetcher: Fetcher, database: Database, program_id: Pubkey) -> None:
        self._rpc = rpc
        self._fetcher = fetcher
        self._database = database
        self._program_id = program_id

    async def run(self, complete_slot: int) -> RecoveryReport:
        """Look at those up to `complete_slot`, up to which nothing else may be missing; the oldest first.

        Raises RpcUnavailable, RpcRejected, UndecodableData, DatabaseUnavailable.
        """
        async with self._database.service() as connection:
            signatures = await unresolved_truncated(connection, complete_slot, _AT_ONCE)
        resolved = new_events = 0
        fetched = await self._fetcher.fetch(signatures)
        for transaction in fetched.transactions:
            applied, reason = await self._restore(transaction)
            new_events += applied
            resolved += reason is None
            if reason is not None:
                log.warning("truncated.open", signature=transaction.signature, reason=reason)
            async with self._database.service() as connection:
                await set_truncated_reason(connection, transaction.signature, reason)
        return RecoveryReport(len(signatures), resolved, new_events)

    async def _restore(self, transaction: ChainTransaction) -> tuple[int, str | None]:
        """How many events came, and what is left to say against it."""
        if transaction.calls is None:
            return 0, "the node has not kept the inner instructions"
        if transaction.block_time is None:
            return 0, "the node does not know the time of its block"
        markets = {call.market for call in transaction.calls if not isinstance(call, OtherCall)}
        starts: dict[Pubkey, MarketBefore] = {}
        for market in sorted(markets, key=str):
            start = await self._start(market, transaction)
            if start is not None:
                starts[market] = start
        async with self._database.service() as connection:
            rates = (await rate_history(connection)).at(transaction.slot)
        worked = infer_events(transaction.calls, transaction.events, starts, rates, transaction.block_time)
        whole = msgspec.structs.replace(transaction, events=worked.events, logs_truncated=False)
        applied = await self._fetcher.indexer.apply([whole], "finalized")
        return applied.new_events, worked.reason or await self._objection(sorted(starts, key=str))

    async def _start(self, market: Pubkey, transaction: ChainTransaction) -> MarketBefore | None:
        """The market's curve before a transaction; None where its creation is not indexed."""
        earlier = await self._rpc.signatures_for_address(market, before=transaction.signature)
        in_slot = [one.signature for one in earlier if one.slot == transaction.slot]
        async with self._database.service() as connection:
            return await _start(connection, market, transaction, in_slot)

    async def _objection(self, markets: Sequence[Pubkey]) -> str | None:
        """What the accounts say against the index, None if nothing."""
        for market in markets:
            before = await self._indexed(market)
            on_chain = await read_market_accounts(self._rpc, self._program_id, market)
            differences = compare(before.state, on_chain)
            if not differences:
                continue
            missing = await missing_signatures(self._database, self._rpc, market)
            if missing or await self._indexed(market) != before:
                return f"the market {market} goes on, and cannot be compared yet"
            fields = ", ".join(sorted({one.field for one in differences}))
            return f"the accounts of the market {market} differ in {fields}"
        return None

    async def _indexed(self, market: Pubkey) -> IndexedFacts:
        async with self._database.service() as connection:
            return await read_indexed_market(connection, str(market))


async def _start(
    connection: Connection, market: Pubkey, transaction: ChainTransaction, in_slot: Sequence[str]
) -> MarketBefore | None:
    row = await connection.fetchrow(_START, str(market), transaction.signature, transaction.slot, in_slot)
    if row is None:
        return None
    seed = int(row["b_parameter"]) // SEED_SHARES_DIVISOR
    curve = Curve(seed + int(row["yes"]), seed + int(row["no"]), int(row["b_parameter"]))
    return MarketBefore(bytes.fromhex(row["id"]), curve)

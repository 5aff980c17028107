"""Indexing what a market's transactions did, where the index still has the market in an earlier state."""

from __future__ import annotations

from solders.pubkey import Pubkey

from zmartd.chain.program_accounts import ChainMarket
from zmartd.errors import ZmartdError
from zmartd.indexer.walks.backfill import fill, missing_transactions
from zmartd.market.lifecycle import MarketState
from zmartd.store import markets
from zmartd.store.markets import MarketRow
from zmartd.tasks.base import TaskAction
from zmartd.tasks.context import TaskContext

_PAGE = 100
_MAX_PAGES = 10
_RESOLVED = frozenset({MarketState.RESOLVING, MarketState.DISPUTED})


class NotCaughtUp(ZmartdError):
    """The index still has the market otherwise than the chain, though it lacks no transaction."""

    code = "not_caught_up"


async def has_same_resolution(context: TaskContext, market: ChainMarket) -> bool:
    """Whether the index has the resolution of `market`: the same outcome, proposed in the same second by the
    same wallet.

    False: the opinions in the database are about another one.
    """
    async with context.database.service_reader() as connection:
        return is_same_resolution(await markets.get(connection, market.id), market)


def is_same_resolution(indexed: MarketRow, market: ChainMarket) -> bool:
    """The same of a market's row that the caller has read."""
    proposed_at, account = indexed.resolution_proposed_at, market.account
    return (
        proposed_at is not None
        and indexed.proposed_outcome is account.proposed_outcome
        and int(proposed_at.timestamp()) == account.resolution_proposed_at
        and indexed.resolver_wallet == str(account.resolver)
    )


async def catch_up(context: TaskContext, market: ChainMarket) -> TaskAction:
    """Index the transactions of `market` that the index lacks, until both have it in the same state and with
    the same resolution.

    Raises NotCaughtUp.
    """
    applied = await _apply_missing(context, market.address)
    async with context.database.service_reader() as connection:
        indexed = await markets.get(connection, market.id)
    state = market.account.state
    if indexed.state is not state:
        raise NotCaughtUp(
            f"the market is {state.name} on the chain and {indexed.state.name} in the index, "
            f"though the last of its transactions are indexed ({applied} just now)"
        )
    if state in _RESOLVED and not is_same_resolution(indexed, market):
        raise NotCaughtUp(
            "the account and the index have different resolutions of the market, though the last of its "
            f"transactions are indexed ({applied} just now)"
        )
    detail = f"already {state.name} on the chain; {applied} missing transactions applied"
    return TaskAction(market.id, "catch_up", ok=True, detail=detail)


async def _apply_missing(context: TaskContext, market: Pubkey) -> int:
    """Walk the market's transactions back, newest first, to a page of which the index has all."""
    applied = 0
    before: str | None = None
    for _ in range(_MAX_PAGES):
        page = await context.rpc.signatures_for_address(market, before=before, limit=_PAGE)
        succeeded = [info for info in page if info.err is None]
        missing = await missing_transactions(context.database, succeeded)
        if missing:
            applied += (await fill(context.database, context.fetcher, missing)).applied
        if not missing or len(page) < _PAGE:
            break
        before = page[-1].signature
    return applied

"""Votes on markets of which a transaction could not be read: who held what is known, not what it had cost."""

from __future__ import annotations

import pytest
from solders.keypair import Keypair

from tests.integration.indexer.market_lives import behind_memos
from tests.integration.indexer.test_reconcile import finalized, reconciled
from tests.integration.tasks.world import DISPUTE_PERIOD_SECONDS, HOLDERS, PROGRAM_ID, TREASURY, World
from zmartd.indexer.audit.account_facts import read_market_accounts
from zmartd.indexer.rebuild.corrections import Correction
from zmartd.market.decisions import Decision
from zmartd.market.iso_time import utc_from_unix
from zmartd.market.lifecycle import MarketState, VoteKind
from zmartd.store import electorates
from zmartd.store.electorates import ElectorateNotKnown
from zmartd.tasks.admin_decisions import AdminDecisions
from zmartd.tasks.announcements import Announcements
from zmartd.tasks.base import TaskAction
from zmartd.tasks.vote_aggregator import VoteAggregator

SOL = 10**9
RESOLVING, DISPUTED, FINALIZED = MarketState.RESOLVING, MarketState.DISPUTED, MarketState.FINALIZED


async def aggregate(world: World) -> list[TaskAction]:
    return await VoteAggregator(world.own.context()).run()


async def corrected(world: World, unread: Keypair, *read: Keypair) -> str:
    """A market that all these hold shares of, corrected for want of what one of them bought."""
    market_id = await world.active()
    address = world.address(market_id)
    for holder in read:
        await world.buy(market_id, holder, SOL)
    buy = world.program.buy_shares(
        user=unread.pubkey(),
        market=address,
        protocol_fee_wallet=TREASURY.pubkey(),
        outcome=False,
        target_cost=20 * SOL,
    )
    await world.act(unread, buy, indexed=False)
    held = await read_market_accounts(world.own.rpc, PROGRAM_ID, address)
    now = await world.own.rpc.chain_time()
    correction = Correction(
        market_id,
        now.slot,
        held.markets[str(address)],
        {wallet: facts for (_, wallet), facts in held.positions.items()},
        utc_from_unix(now.unix_timestamp),
    )
    await world.own.fetcher.indexer.correct(correction, address)
    await world.travel(1)
    return market_id


async def require_decided(world: World) -> None:
    """What the operator's health check asks."""
    async with world.database.service() as connection:
        await electorates.require_decided(connection)


async def test_votes_settle_nothing_where_a_holding_was_corrected_and_an_admin_decides(world: World) -> None:
    market_id = await corrected(world, HOLDERS[0], *HOLDERS[1:3])
    await world.resolve(market_id)
    await world.travel(60)
    await world.dispute(market_id)
    for holder in HOLDERS[:3]:
        await world.vote(VoteKind.DISPUTE, market_id, holder, True)
    await world.travel(DISPUTE_PERIOD_SECONDS)

    for _ in range(2):
        (action,) = await aggregate(world)
        assert (action.action, action.ok, action.awaits_admin) == ("await_decision", False, True)
        assert (
            "could not be read, so that not all votes and stakes are known (3 of 3 wallets" in action.detail
        )
    assert await world.states(market_id) == (DISPUTED, DISPUTED)
    awaits = "select awaiting_decision from markets where id = $1"
    assert await world.fetch(awaits, market_id) == [(True,)]
    with pytest.raises(ElectorateNotKnown, match=market_id):
        await require_decided(world)

    announcements = Announcements(world.database, world.publisher)
    admin = AdminDecisions(world.database, world.own.rpc, world.program, announcements, ())
    shown = await admin.pending(market_id, Decision.OVERTURN)
    assert not shown.is_electorate_known
    await admin.decide(market_id, Decision.OVERTURN, "all three holders say so", None, shown=shown)
    await require_decided(world)
    (settled,) = await aggregate(world)
    assert (settled.action, settled.ok) == ("finalize_market", True)
    assert await world.states(market_id) == (FINALIZED, FINALIZED)


async def test_any_holder_gets_a_dispute_where_nobody_knows_how_much_of_the_stake_asks(world: World) -> None:
    market_id = await corrected(world, HOLDERS[0], *HOLDERS[1:3])
    await world.resolve(market_id)
    await world.travel(60)
    assert await aggregate(world) == []
    await world.request_dispute(market_id, HOLDERS[1])
    (action,) = await VoteAggregator(world.own.context(dispute_petition_bps=9_000)).run()
    assert (action.action, action.ok) == ("initiate_dispute", True)
    assert action.detail == "holders ask for it, and how much of the stake they have is not known"


async def test_nothing_is_counted_while_a_vote_is_not_read_and_it_counts_once_it_is(world: World) -> None:
    market_id = await world.disputed(SOL, SOL)
    await world.vote(VoteKind.DISPUTE, market_id, HOLDERS[0], True)
    world.disguise = behind_memos
    await world.vote_on_chain(market_id, HOLDERS[1], True)
    world.disguise = tuple
    await world.travel(DISPUTE_PERIOD_SECONDS)

    (action,) = await aggregate(world)

    assert (action.action, action.ok) == ("count", False)
    assert "run `zmartd audit --repair`" in action.detail
    await finalized(world)
    assert (await reconciled(world)).recovered == 1
    (settled,) = await aggregate(world)
    assert settled.detail.startswith("2 of 2 wallets")

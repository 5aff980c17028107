"""Repairs of an index that was altered by hand."""

from __future__ import annotations

import asyncio

from tests.integration.chain.chain_nodes import node_before
from tests.integration.indexer.test_reconcile import active, assert_true_to_the_chain, purchase, settled
from tests.integration.indexer.test_rollback import facts
from tests.integration.indexer.test_truncation_recovery import trade_a_lot
from tests.integration.tasks.world import AUTHORITY, HOLDERS, PROGRAM_ID, World
from zmartd.chain.rpc import Rpc
from zmartd.clock import SystemClock
from zmartd.indexer.audit.kept_sums import kept_differences
from zmartd.indexer.repair.repair import Repairer, RepairReport

UNKNOWN_SIGNATURE = "2" * 88
FORGED_EVENT = """
insert into trade_events (event_type, tx_signature, event_index, slot, block_time, market_id, actor, payload)
select event_type, '{}', 0, slot, block_time, market_id, actor, payload
  from trade_events where event_type = 'SharesBought' order by slot, tx_signature limit 1
"""
FORGED = """
insert into market_events (event_type, tx_signature, event_index, slot, block_time, market_id, actor, payload)
select event_type, '{}', 0, slot, block_time, market_id, actor, payload
  from market_events where event_type = 'MarketCreated'
"""
_FIRST_PURCHASE = (
    "(select id from trade_events where event_type = 'SharesBought' order by slot, tx_signature limit 1)"
)

SEEN_BY_ACCOUNTS = {
    "a trade without its event": (
        f"delete from trade_events where id = {_FIRST_PURCHASE}",
        "update trades set cost = 1",
    ),
    "an event of several of a transaction": (
        "delete from market_events where event_type = 'ProposalApproved'",
        "update markets set approved_at = null",
    ),
    "an event that nobody counted": (
        "delete from vote_events where event_type = 'ProposalAggregated'",
        "update markets set proposal_likes = 0",
    ),
    "no event left": (
        *(f"delete from {table}_events where market_id is not null" for table in ("market", "trade", "vote")),
        "update markets set current_liquidity = 7",
    ),
    "other trades": ("update trades set shares = shares + 1, amount = 3, cost = 5",),
    "no trades": ("delete from trades",),
    "other positions": ("update user_positions set shares_yes = shares_yes + 1, total_invested = 0",),
    "no positions": ("delete from user_positions",),
    "another state": ("update markets set state = 'ACTIVE', final_outcome = null, finalized_at = null",),
    "another curve": ("update markets set b_parameter = 5, shares_yes = 4, current_price_yes = 0.1",),
    "another address": (
        f"update markets set on_chain_address = '{HOLDERS[0].pubkey()}' where state = 'ACTIVE'",
    ),
    "a hidden market": ("update markets set orphaned = true",),
    "an event of other content": (
        "update trade_events set payload = payload || jsonb_build_object('shares', '1')",
        "update markets set shares_yes = 1, shares_no = 1",
    ),
    "an event that nobody can read": (
        "update trade_events set payload = '{}', event_type = 'SomethingElse'",
        "delete from user_positions",
    ),
    "an event of nobody's market": ("update trade_events set market_id = null", "delete from user_positions"),
    "an event of another slot": (
        "update trade_events set slot = slot + 1000",
        "update user_positions set last_trade_at = null",
    ),
    "an event of no transaction": (
        FORGED_EVENT.format(UNKNOWN_SIGNATURE),
        "update user_positions set total_invested = total_invested + 1",
    ),
    "an event twice": (
        "insert into vote_events (event_type, tx_signature, event_index, slot, block_time, market_id, actor,"
        " payload) select event_type, tx_signature, event_index, slot, block_time, market_id, actor, payload"
        f" from trade_events where id = {_FIRST_PURCHASE}",
        "delete from user_positions",
    ),
    "another configuration": ("update protocol set protocol_fee_bps = 1, is_paused = true, slot = 99999",),
    "no configuration": ("delete from protocol_config_history", "update protocol set protocol_fee_bps = 1"),
    "a configuration from another event": (
        "update admin_events set payload = payload || jsonb_build_object('protocol_fee_bps', 7)"
        " where event_type = 'GlobalConfigInitialized'",
        "update protocol set protocol_fee_bps = 7",
    ),
    "a configuration without its event": (
        "delete from admin_events",
        "update protocol set protocol_fee_bps = 1",
    ),
}
NOT_SEEN_BY_ACCOUNTS = {
    "a lost event": (f"delete from trade_events where id = {_FIRST_PURCHASE}",),
    "an event of other content": ("update market_events set actor = null, payload = '{}'",),
    "a forged event": (FORGED_EVENT.format(UNKNOWN_SIGNATURE),),
    "a trade of another time": ("update trades set block_time = now(), price_after = 0.5",),
    "another history of fees": ("update protocol_config_history set protocol_fee_bps = 1",),
}

KEPT_SUMS = {
    "candles": "update candles set volume = volume + 1, close = 1",
    "no candles": "delete from candles where seconds = 3600",
    "lots": "update lots set cost = 1, newest_trade = 0",
    "no lots": "delete from lots",
    "trade_results": "update trade_results set profit = 5",
    "a result of no trade": "insert into trade_results select 77, at, 1, 1, 1, 1 from trade_results limit 1",
    "market_traders": "update market_traders set traders = 70",
    "market_holdings": "update market_holdings set holders_yes = 70",
    "market_counts": "update market_counts set markets = markets + 1",
    "market_volumes": "update market_volumes set total_volume = total_volume + 1, state = 'CANCELLED'",
    "position_results": "update position_results set profit = -1",
    "standings": "update standings set trades = 9",
    "changes of standings": "insert into standing_changes (user_wallet, at, profit, volume, trades, results) "
    "select user_wallet, now(), 1, 1, 1, 1 from lots limit 1",
}


async def a_market_that_is_over(world: World) -> str:
    market_id = await world.resolving(*[10**8] * 3)
    market = world.address(market_id)
    await world.travel(4 * 86_400)
    finalize = world.program.finalize_market(backend_authority=AUTHORITY.pubkey(), market=market)
    await world.act(AUTHORITY, finalize)
    return market_id


def repairer(world: World) -> Repairer:
    return Repairer(world.own.rpc, world.own.fetcher, world.database, PROGRAM_ID)


async def alter(world: World, *statements: str) -> None:
    async with world.database.service() as connection:
        for statement in statements:
            await connection.execute(statement)


def assert_right(repaired: RepairReport, what: str) -> None:
    assert (repaired.report.differences, repaired.report.moving, repaired.ok) == ((), (), True), what


async def test_whatever_was_altered_by_hand_a_repair_makes_the_index_equal_to_the_chain(
    world: World, database_url: str
) -> None:
    await a_market_that_is_over(world)
    await world.act(HOLDERS[0], purchase(world, await active(world), HOLDERS[0]))
    expected = await facts(world.database)
    for what, statements in SEEN_BY_ACCOUNTS.items():
        await alter(world, *statements)
        assert await facts(world.database) != expected
        assert_right(await repairer(world).repair(), what)
        assert await facts(world.database) == expected, what
    for what, statements in NOT_SEEN_BY_ACCOUNTS.items():
        await alter(world, *statements)
        assert await facts(world.database) != expected
        assert_right(await repairer(world).repair_everything(), what)
        assert await facts(world.database) == expected, what
    await assert_true_to_the_chain(world, database_url)


async def test_sums_that_were_altered_by_hand_are_found_and_counted_anew(world: World) -> None:
    await a_market_that_is_over(world)
    await world.act(HOLDERS[0], purchase(world, await active(world), HOLDERS[0]))
    await alter(world, "select zmartd.fold_standings(now())")
    audited = repairer(world)._audit
    assert (await audited()).kept == ()
    for what, statement in KEPT_SUMS.items():
        await alter(world, statement)
        found = await audited()
        assert found.kept, what
        assert (found.differences, found.ok) == ((), False), what
        assert_right(await repairer(world).repair(), what)
        assert await kept_differences(world.database) == (), what
        await alter(world, "select zmartd.fold_standings(now())")


async def test_a_repair_of_what_never_arrived_fetches_only_that(world: World, database_url: str) -> None:
    market_id = await active(world)
    for holder in HOLDERS[:3]:
        await world.act(holder, purchase(world, market_id, holder), indexed=False)
    lost = await world.proposal(indexed=False)
    await world.approve(lost, indexed=False)
    async with node_before(world.rpc_url) as node, Rpc(node.address, clock=SystemClock()) as rpc:
        repaired = await Repairer(rpc, world.fetcher(rpc), world.database, PROGRAM_ID).repair()
        assert node.requests["getTransaction"] == 5
    assert_right(repaired, "what never arrived")
    assert (repaired.done.transactions, repaired.done.written, repaired.done.removed) == (5, 6, 0)
    await assert_true_to_the_chain(world, database_url)


async def test_what_truncated_logs_lack_is_inferred_again(world: World, database_url: str) -> None:
    market_id = await active(world)
    await trade_a_lot(world, market_id, HOLDERS[0])
    await world.act(HOLDERS[1], purchase(world, market_id, HOLDERS[1]))
    await settled(world)
    expected = await facts(world.database)
    for statement in (
        "delete from trade_events",
        "delete from trade_events where event_index > 12",
        "update trade_events set payload = payload || jsonb_build_object('shares', '1')",
    ):
        await alter(world, statement, "update markets set shares_yes = 1")
        assert_right(await repairer(world).repair(), statement)
        assert await facts(world.database) == expected, statement
    assert await world.fetch("select reason, resolved_at is null from truncated_transactions") == [
        (None, False)
    ]
    await assert_true_to_the_chain(world, database_url)


async def test_a_repair_leaves_what_the_chain_does_not_decide(world: World) -> None:
    market_id = await active(world)
    await world.act(HOLDERS[0], purchase(world, market_id, HOLDERS[0]))
    await world.vote_on_proposal(await world.proposal(), 2)
    kept = (
        "select id, tx_signature from trades",
        "select market_id, user_wallet, vote, source from proposal_votes order by 1, 2",
    )
    before = [await world.fetch(query) for query in kept]
    ((version,),) = await world.fetch("select version from markets where id = $1", market_id)
    await alter(world, "update markets set current_liquidity = 3, proposal_likes = 0")
    assert_right(await repairer(world).repair(), "sums")
    assert [await world.fetch(query) for query in kept] == before
    ((later,),) = await world.fetch("select version from markets where id = $1", market_id)
    assert later > version


async def test_what_a_repair_took_away_can_be_looked_up(world: World) -> None:
    await active(world)
    await alter(world, FORGED.format(UNKNOWN_SIGNATURE), "update markets set current_liquidity = 3")
    assert (await repairer(world).repair()).done.removed == 1
    assert await world.fetch("select source, tx_signature from orphaned_events") == [
        ("market_events", UNKNOWN_SIGNATURE)
    ]


async def test_a_transaction_that_an_old_node_has_forgotten_is_not_taken_for_a_forgery(world: World) -> None:
    await active(world)
    await alter(world, FORGED.format(UNKNOWN_SIGNATURE), "update markets set current_liquidity = 3")
    async with node_before(world.rpc_url) as node, Rpc(node.address, clock=SystemClock()) as rpc:
        node.instead("getFirstAvailableBlock", 10**9, 10**9)
        forgetful = Repairer(rpc, world.fetcher(rpc), world.database, PROGRAM_ID)
        assert (await forgetful.repair()).done.removed == 0


async def test_a_transaction_that_the_node_does_not_give_is_named(world: World) -> None:
    market_id = await active(world)
    signature = await world.act(HOLDERS[0], purchase(world, market_id, HOLDERS[0]), indexed=False)
    async with node_before(world.rpc_url) as node, Rpc(node.address, clock=SystemClock()) as rpc:
        node.instead("getTransaction", None)
        repaired = await Repairer(rpc, world.fetcher(rpc), world.database, PROGRAM_ID).repair_everything()
    assert repaired.done.not_found == (signature,)
    assert not repaired.ok


async def test_a_repair_while_the_daemon_indexes_does_no_harm(world: World, database_url: str) -> None:
    market_id = await active(world)
    for holder in HOLDERS:
        await world.act(holder, purchase(world, market_id, holder), indexed=holder is HOLDERS[0])
    await alter(world, "update trades set amount = 1", "update markets set current_liquidity = 3")
    history = [info.signature for info in await world.own.rpc.signatures_for_address(PROGRAM_ID)]
    await asyncio.gather(
        repairer(world).repair_everything(),
        *(world.own.fetcher.apply_signature(signature) for signature in history),
        repairer(world).repair(),
    )
    await assert_true_to_the_chain(world, database_url)

"""Every instruction with a log that lacks its event: the index equals the chain all the same."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest
from redis.asyncio import Redis
from solders.instruction import Instruction
from solders.keypair import Keypair
from solders.message import MessageV0
from solders.system_program import TransferParams, transfer
from solders.transaction import VersionedTransaction

from tests.integration.chain.chain_nodes import node_before
from tests.integration.indexer.market_lives import (
    behind_memos,
    every_instruction,
    finalize,
    forwarded_behind_memos,
)
from tests.integration.indexer.test_forged_deliveries import deliver, inbox_of
from tests.integration.indexer.test_reconcile import (
    assert_true_to_the_chain,
    finalized,
    open_slot,
    purchase,
    reconciled,
    settled,
)
from tests.integration.indexer.test_repair import alter
from tests.integration.indexer.test_rollback import facts
from tests.integration.indexer.test_truncation_recovery import events_of
from tests.integration.tasks.world import (
    AUTHORITY,
    CREATOR,
    HOLDERS,
    PROGRAM_ID,
    RESOLVER,
    Daemon,
    Disguise,
    World,
    a_world,
)
from tests.patience import patient_database
from zmartd.chain.codec import Codec
from zmartd.chain.interface import INTERFACE
from zmartd.chain.rpc import Rpc
from zmartd.chain.transactions import ChainTransaction, parse_transaction
from zmartd.clock import SystemClock
from zmartd.indexer.audit.audit import audit
from zmartd.indexer.events.incomplete import (
    IndexIncomplete,
    incomplete_transactions,
    require_complete,
    take_unresolved,
)
from zmartd.indexer.plausibility import MARGIN_SLOTS
from zmartd.indexer.rebuild.corrections import drop_corrections
from zmartd.indexer.reconcile.reconciler import IndexReconciler
from zmartd.indexer.reconcile.reorgs import ReorgCheck
from zmartd.indexer.repair.repair import Repairer
from zmartd.indexer.replay.replay import replay
from zmartd.indexer.truncation.history import History
from zmartd.indexer.truncation.inference import INFERENCES, infer_events
from zmartd.indexer.truncation.recovery import TruncationRecovery
from zmartd.market.lifecycle import MarketState
from zmartd.store import indexed_transactions
from zmartd.store.postgres.database import Database
from zmartd.tasks.reconciler import Reconciler


def with_truncated_logs(raw: dict[str, Any]) -> dict[str, Any]:
    return raw | {"meta": raw["meta"] | {"logMessages": ["Log truncated"]}}


async def whole_history(world: World) -> list[dict[str, Any]]:
    """All transactions of the program as the node has them, oldest first."""
    listed = await world.own.rpc.signatures_for_address(PROGRAM_ID)
    found = [await world.own.rpc.transaction(one.signature) for one in reversed(listed)]
    return [one for one in found if one is not None]


def names_of(transaction: ChainTransaction) -> set[str]:
    return {call.name for call in transaction.calls or ()}


def test_every_instruction_of_the_program_has_its_inference() -> None:
    assert set(INFERENCES) == {form.arguments for form in INTERFACE.values()}
    assert len(INFERENCES) == 18


async def test_what_is_inferred_is_to_the_last_field_what_the_program_said(
    tmp_path: Path, database: Database, redis: Redis
) -> None:
    async with a_world(tmp_path / "chain", database, redis) as world:
        await every_instruction(world)
        await settled(world)
        parse = partial(parse_transaction, program_id=PROGRAM_ID, codec=Codec(world.idl))
        history = History(database, world.own.rpc, world.program.pdas)
        seen: set[str] = set()
        for raw in await whole_history(world):
            logged, truncated = parse(raw), parse(with_truncated_logs(raw))
            assert truncated.calls is not None
            assert truncated.block_time is not None
            known = await history.before(truncated)
            inference = infer_events(truncated.calls, (), known, truncated.flows, truncated.block_time)
            assert (inference.events, inference.reason) == (logged.events, None), names_of(truncated)
            assert inference.payments == logged.resolver_payments
            seen |= names_of(truncated)
        assert seen == set(INTERFACE)


@pytest.mark.parametrize("disguise", [behind_memos, forwarded_behind_memos], ids=["alone", "called"])
async def test_the_index_equals_the_chain_although_no_log_has_an_event(
    tmp_path: Path, database: Database, database_url: str, redis: Redis, disguise: Disguise
) -> None:
    async with a_world(tmp_path / "chain", database, redis, disguise=disguise) as world:
        await every_instruction(world)
        parse = partial(parse_transaction, program_id=PROGRAM_ID, codec=Codec(world.idl))
        transactions = [parse(raw) for raw in await whole_history(world)]
        assert [one.signature for one in transactions if one.events or not one.logs_truncated] == []
        assert set().union(*map(names_of, transactions)) == set(INTERFACE)
        assert await world.fetch("select * from program_events") == []
        report = await settled(world)
        assert report.recovered == len(transactions)
        async with database.service() as connection:
            found = [await indexed_transactions.find(connection, one.signature) for one in transactions]
        assert all(one is not None and one.events for one in found)
        await assert_true_to_the_chain(world, database_url)
        states = "select state, count(*) from markets group by state order by state::text"
        assert await world.fetch(states) == [("CANCELLED", 1), ("FINALIZED", 3)]
        assert await world.fetch("select user_wallet from user_positions where has_claimed") != []
        assert (await settled(world)).new_events == 0


Change = Callable[[dict[str, Any]], dict[str, Any] | None]


def forgotten(_: dict[str, Any]) -> None:
    return None


def without_inner_instructions(raw: dict[str, Any]) -> dict[str, Any]:
    return raw | {"meta": raw["meta"] | {"innerInstructions": None}}


def without_time(raw: dict[str, Any]) -> dict[str, Any]:
    return raw | {"blockTime": None}


def with_a_line_of_another_version(raw: dict[str, Any]) -> dict[str, Any]:
    line = f"Program data: {base64.b64encode(b'an event of later').decode()}"
    logs = [f"Program {PROGRAM_ID} invoke [1]", line, "Log truncated"]
    return raw | {"meta": raw["meta"] | {"logMessages": logs}}


UNREADABLE: dict[str, tuple[Change, str]] = {
    "no inner instructions": (without_inner_instructions, "the node has not kept the inner instructions"),
    "no time": (without_time, "the node does not know the time of its block"),
    "nothing": (forgotten, "the node does not give the transaction"),
    "an unknown event": (with_a_line_of_another_version, "a line of its logs cannot be decoded"),
}


@asynccontextmanager
async def unreadable(
    world: World, change: Change, signatures: Collection[str] | None = None
) -> AsyncIterator[Daemon]:
    """A daemon whose node has lost something of transactions with truncated logs: of these, or of all."""
    async with node_before(world.rpc_url) as node, Rpc(node.address, clock=SystemClock()) as rpc:

        def changed(raw: Any) -> Any:
            if raw is None or "Log truncated" not in raw["meta"]["logMessages"]:
                return raw
            spared = signatures is not None and raw["transaction"]["signatures"][0] not in signatures
            return raw if spared else change(raw)

        node.changes["getTransaction"] = changed
        yield Daemon(world, rpc, world.own.sender, world.fetcher(rpc))


@pytest.mark.parametrize("what", UNREADABLE)
async def test_where_no_event_can_be_inferred_it_is_an_alert_until_a_repair_reads_the_accounts(
    tmp_path: Path, database: Database, database_url: str, redis: Redis, what: str
) -> None:
    change, reason = UNREADABLE[what]
    async with a_world(tmp_path / "chain", database, redis) as world, unreadable(world, change) as daemon:
        market_id = await world.active()
        await world.buy(market_id, HOLDERS[0], 10**8)
        await finalized(world)
        await reconciled(world)
        before = await facts(database)
        world.disguise = behind_memos
        await world.buy(market_id, HOLDERS[1], 10**8)
        await world.resolve(market_id)
        world.disguise = tuple
        await finalized(world)
        task = Reconciler(daemon.context())
        actions = [action for action in await task.run() if not action.ok]
        assert len(actions) == 2
        assert reason in actions[0].detail
        assert await facts(database) == before
        repairer = Repairer(daemon.rpc, daemon.fetcher, database, PROGRAM_ID)
        found = await audit(database, daemon.rpc, PROGRAM_ID, patience_seconds=0.0)
        assert [one.signature for one in found.incomplete] == [action.signature for action in actions]
        assert found.differences != ()
        repaired = await repairer.repair()
        assert (repaired.report.differences, repaired.report.incomplete) == ((), ())
        assert repaired.corrected == (str(world.address(market_id)),)
        assert (await world.states(market_id))[1] is MarketState.RESOLVING
        assert [action for action in await task.run() if not action.ok] == []
        parse = partial(parse_transaction, program_id=PROGRAM_ID, codec=Codec(world.idl))
        settings = patient_database(database_url)
        replayed = await replay(database, settings, rpc=daemon.rpc, program_id=PROGRAM_ID, parse=parse)
        assert [one.table for one in replayed.tables if not one.ok] == []
        # Without the correction, what it made up for is an alert again.
        async with database.service() as connection:
            await drop_corrections(connection, [market_id])
            reopened = await incomplete_transactions(connection)
        assert [one.signature for one in reopened] == [action.signature for action in actions]
        # A node that has kept everything makes the correction unnecessary.
        repairer = Repairer(world.own.rpc, world.own.fetcher, database, PROGRAM_ID)
        assert (await repairer.repair_everything()).ok
        assert await world.fetch("select * from market_corrections") == []
        await assert_true_to_the_chain(world, database_url)


async def test_a_configuration_that_cannot_be_read_is_its_accounts_and_later_trades_are_charged_by_it(
    tmp_path: Path, database: Database, database_url: str, redis: Redis
) -> None:
    async with a_world(tmp_path / "chain", database, redis) as world:
        market_id = await world.active()
        await world.buy(market_id, HOLDERS[0], 10**8)
        world.disguise = behind_memos
        lost = [await world.act(AUTHORITY, one) for one in (other_fees(world), pause(world))]
        world.disguise = tuple
        await world.act(AUTHORITY, pause(world))
        world.disguise = behind_memos
        await world.buy(market_id, HOLDERS[1], 10**8)
        world.disguise = tuple
        await finalized(world)
        async with unreadable(world, without_inner_instructions, lost) as daemon:
            report = await IndexReconciler(daemon.rpc, daemon.fetcher, database, PROGRAM_ID).run()
            assert len(report.incomplete) == 3
            repaired = await Repairer(daemon.rpc, daemon.fetcher, database, PROGRAM_ID).repair()
            # What follows from the configuration is inferred.
            assert repaired.corrected == (str(world.program.pdas.global_config()),)
            assert await world.fetch("select is_paused, protocol_fee_bps from protocol") == [(False, 100)]
            await world.buy(market_id, HOLDERS[2], 10**8)
            assert await world.fetch("select exact from trades") == [(True,)] * 3
            found = await audit(database, daemon.rpc, PROGRAM_ID, patience_seconds=0.0)
            assert (found.differences, found.incomplete) == ((), ())
            parse = partial(parse_transaction, program_id=PROGRAM_ID, codec=Codec(world.idl))
            settings = patient_database(database_url)
            replayed = await replay(database, settings, rpc=daemon.rpc, program_id=PROGRAM_ID, parse=parse)
            assert [one.table for one in replayed.tables if not one.ok] == []
        assert (await Repairer(world.own.rpc, world.own.fetcher, database, PROGRAM_ID).repair_everything()).ok
        corrections = "select * from protocol_config_history where event_type = 'ConfigCorrected'"
        assert await world.fetch(corrections) == []
        await assert_true_to_the_chain(world, database_url)


def other_fees(world: World) -> Instruction:
    return world.program.update_global_config(
        admin=AUTHORITY.pubkey(),
        protocol_fee_bps=100,
        resolver_reward_bps=150,
        liquidity_provider_fee_bps=250,
        proposal_approval_threshold=6_000,
        dispute_success_threshold=5_000,
    )


def pause(world: World) -> Instruction:
    return world.program.emergency_pause(admin=AUTHORITY.pubkey())


async def test_what_comes_after_a_gap_in_a_market_waits_until_it_is_closed(
    tmp_path: Path, database: Database, database_url: str, redis: Redis
) -> None:
    async with a_world(tmp_path / "chain", database, redis) as world:
        market_id, other = await world.active(), await world.active()
        world.disguise = behind_memos
        first = await world.act(HOLDERS[0], purchase(world, market_id, HOLDERS[0]))
        second = await world.act(HOLDERS[1], purchase(world, market_id, HOLDERS[1]))
        third = await world.act(HOLDERS[2], purchase(world, other, HOLDERS[2]))
        await finalized(world)
        async with unreadable(world, without_inner_instructions, {first}) as daemon:
            reconciler = IndexReconciler(daemon.rpc, daemon.fetcher, database, PROGRAM_ID)
            report = await reconciler.run()
            assert report.recovered == 1
            assert {one.signature: one.reason for one in report.incomplete} == {
                first: "the node has not kept the inner instructions",
                second: f"call 0 (buy_shares): the market {world.address(market_id)} is not known: "
                f"{first} comes before",
            }
            assert await world.fetch("select tx_signature from trades") == [(third,)]
        assert (await reconciled(world)).recovered == 2
        await assert_true_to_the_chain(world, database_url)


async def test_a_market_that_fails_holds_up_the_recovery_of_no_other(
    tmp_path: Path, database: Database, redis: Redis
) -> None:
    async with a_world(tmp_path / "chain", database, redis) as world:
        broken, other = await world.active(), await world.active()
        await settled(world)
        world.disguise = behind_memos
        for holder, market_id in zip(HOLDERS, (broken, other), strict=False):
            await world.buy(market_id, holder, 10**8)
        await finalized(world)
        await world.fetch("update market_events set payload = '{}' where market_id = $1 returning 1", broken)
        report = await reconciled(world)
        assert (report.recovered, len(report.incomplete)) == (1, 1)
        assert report.incomplete[0].reason.startswith("its events cannot be inferred: An event row was not")
        assert await world.fetch("select market_id from trades") == [(other,)]


async def test_what_anybody_can_claim_of_truncated_logs_delays_nothing_and_alerts_nobody(
    tmp_path: Path, database: Database, database_url: str, redis: Redis
) -> None:
    async with a_world(tmp_path / "chain", database, redis) as world:
        market_id = await world.active()
        world.disguise = behind_memos
        true = await world.act(HOLDERS[0], purchase(world, market_id, HOLDERS[0]))
        await finalized(world)
        initialization, *_, bought = await whole_history(world)
        for of in (initialization, bought):
            await deliver_as_another(world, with_truncated_logs(of) | {"slot": bought["slot"] - 1})
        claimed = await world.fetch(
            "select changes from truncated_transactions where tx_signature <> $1", true
        )
        addresses = (world.program.pdas.global_config(), world.address(market_id))
        assert sorted(claimed) == sorted(([str(one)],) for one in addresses)
        # Claims have not been compared with the chain when the checkpoint passes them.
        report = await IndexReconciler(
            world.own.rpc, world.own.fetcher, database, PROGRAM_ID, max_fetched=0
        ).run()
        assert (report.recovered, report.incomplete) == (1, ())
        assert await events_of(world, true) == 1

        # One that is not final may be why an account differs.
        world.disguise = tuple
        await world.act(HOLDERS[1], *behind_memos([purchase(world, market_id, HOLDERS[1])]))
        await finalized(world)
        await open_slot(world)
        parts = [purchase(world, market_id, HOLDERS[2], target_cost=cost) for cost in (10**8, 2 * 10**8)]
        partly = await world.act(HOLDERS[2], parts[0], *behind_memos(parts[1:]))
        assert await events_of(world, partly) == 1
        assert (await reconciled(world)).incomplete == ()
        await settled(world)
        await settled(world)
        assert (
            await world.fetch("select tx_signature from truncated_transactions where resolved_at is null")
            == []
        )
        await assert_true_to_the_chain(world, database_url)


async def test_what_came_before_is_read_in_the_order_of_the_chain(
    tmp_path: Path, database: Database, redis: Redis
) -> None:
    async with a_world(tmp_path / "chain", database, redis) as world:
        market_id = await world.active()
        for threshold in (6_100, 6_200):
            await world.require_agreement_of(threshold)
        await world.buy(market_id, HOLDERS[0])
        await settled(world)
        # As if all of it had happened in one slot, and it were said of the last of each where in the block.
        for table, kinds in (("market_events", "%"), ("admin_events", "ConfigUpdated")):
            last = f"(select max(slot) from {table})"
            place = f"case when slot < {last} then 9 end"
            await alter(world, f"update {table} set index_in_block = {place}")
            await alter(world, f"update {table} set slot = {last} where event_type like '{kinds}'")
        *_, raw = await whole_history(world)
        parse = partial(parse_transaction, program_id=PROGRAM_ID, codec=Codec(world.idl))
        bought = parse(with_truncated_logs(raw))
        market, pdas = world.address(market_id), world.program.pdas
        known = await History(database, world.own.rpc, pdas).before(bought)
        assert known.markets[market].state is MarketState.ACTIVE
        assert known.configuration.dispute_threshold == 6_200
        # What is too old to be on the node's page is in the only order that is possible.
        async with node_before(world.rpc_url) as node, Rpc(node.address, clock=SystemClock()) as rpc:
            node.instead("getSignaturesForAddress", [], [])
            known = await History(database, rpc, pdas).before(bought)
            assert known.markets[market].state is MarketState.ACTIVE


async def deliver_as_another(world: World, told: dict[str, Any]) -> None:
    """Deliver a transaction under a signature that was never sent."""
    signatures = [str(Keypair().sign_message(b"never sent"))]
    await world.own.fetcher.plausibility.refresh()
    await deliver(inbox_of(world), told | {"transaction": told["transaction"] | {"signatures": signatures}})


def forged(transaction: ChainTransaction, slot: int, **changes: Any) -> ChainTransaction:
    """The same events, changed, under a signature that was never sent."""
    return msgspec.structs.replace(
        transaction,
        signature=str(Keypair().sign_message(b"never sent")),
        slot=slot,
        events=tuple(
            msgspec.structs.replace(record, event=msgspec.structs.replace(record.event, **changes))
            for record in transaction.events
        ),
    )


async def test_nothing_is_inferred_from_what_anybody_can_claim(
    tmp_path: Path, database: Database, database_url: str, redis: Redis
) -> None:
    """Forged trades, fees and holdings from before a truncated transaction and after it, of which the node
    knows nothing: they go, and the events are inferred in the same run."""
    async with a_world(tmp_path / "chain", database, redis) as world:
        market_id = await world.active()
        await world.buy(market_id, HOLDERS[0], 10**8)
        await world.buy(market_id, HOLDERS[1], 10**8, outcome=True)
        parse = partial(parse_transaction, program_id=PROGRAM_ID, codec=Codec(world.idl))
        await world.act(AUTHORITY, other_fees(world))
        *_, bought, changed = [parse(raw) for raw in await whole_history(world)]
        indexer = world.own.fetcher.indexer
        await indexer.apply([forged(changed, bought.slot, protocol_fee_bps=700)])
        await indexer.apply([forged(bought, bought.slot, shares=10**12), forged(bought, bought.slot + 1)])
        world.disguise = behind_memos
        hidden = await world.act(HOLDERS[2], purchase(world, market_id, HOLDERS[2]))
        await world.resolve(market_id, RESOLVER)
        await world.travel(4 * 86_400)
        await finalize(world, market_id)
        claim = world.program.claim_winnings(
            user=HOLDERS[1].pubkey(), market=world.address(market_id), resolver=RESOLVER.pubkey()
        )
        claimed = await world.act(HOLDERS[1], claim)
        world.disguise = tuple
        await finalized(world)
        await open_slot(world)
        await world.cheat("zmartd_advanceSlots", {"slots": 3})
        newest = await world.own.rpc.slot()
        await indexer.apply([forged(bought, newest, shares=10**12)])
        # The check of what is not final has come to none of it yet.
        hasty = IndexReconciler(world.own.rpc, world.own.fetcher, database, PROGRAM_ID, max_fetched=0)
        assert (await hasty.run()).incomplete == ()
        assert [await events_of(world, signature) for signature in (hidden, claimed)] == [1, 1]
        await settled(world)
        await settled(world)
        await assert_true_to_the_chain(world, database_url)
        assert await world.fetch("select distinct exact from trades") == [(True,)]
        assert (
            await world.fetch("select tx_signature from truncated_transactions where resolved_at is null")
            == []
        )


async def test_nothing_is_compared_that_is_not_final_to_the_node(
    tmp_path: Path, database: Database, redis: Redis
) -> None:
    async with a_world(tmp_path / "chain", database, redis) as world:
        market_id = await world.active()
        await world.buy(market_id, HOLDERS[0], 10**8)
        parse = partial(parse_transaction, program_id=PROGRAM_ID, codec=Codec(world.idl))
        *_, bought = [parse(raw) for raw in await whole_history(world)]
        world.disguise = behind_memos
        hidden = await world.act(HOLDERS[1], purchase(world, market_id, HOLDERS[1]))
        await finalized(world)
        await ReorgCheck(world.own.rpc, world.own.fetcher, database, PROGRAM_ID, max_fetched=100).run()
        claimed = forged(bought, bought.slot + 1)
        await world.own.fetcher.indexer.apply([claimed])
        async with node_before(world.rpc_url) as node, Rpc(node.address, clock=SystemClock()) as rpc:
            recovery = TruncationRecovery(rpc, world.fetcher(rpc), database, PROGRAM_ID)
            node.changes["getSlot"] = lambda _: bought.slot
            report = await recovery.run(10**9)
            assert (report.new_events, report.incomplete) == (0, ())
            assert await events_of(world, claimed.signature) == 1
            del node.changes["getSlot"]
            assert (await recovery.run(10**9)).new_events == 1
        assert [await events_of(world, one) for one in (claimed.signature, hidden)] == [0, 1]


async def test_what_stands_on_something_that_the_node_does_not_tell_waits_for_it(
    tmp_path: Path, database: Database, database_url: str, redis: Redis
) -> None:
    """An event of which the node says nothing certain, and a transaction that is parked."""
    async with a_world(tmp_path / "chain", database, redis) as world:
        market_id, other = await world.active(), await world.active()
        await settled(world)
        first = await world.act(HOLDERS[0], purchase(world, market_id, HOLDERS[0]))
        parked = await world.act(HOLDERS[0], purchase(world, other, HOLDERS[0]), indexed=False)
        world.disguise = behind_memos
        hidden = await world.act(HOLDERS[1], purchase(world, market_id, HOLDERS[1]))
        after_parked = await world.act(HOLDERS[1], purchase(world, other, HOLDERS[1]))
        world.disguise = tuple
        await finalized(world)
        async with node_before(world.rpc_url) as node, Rpc(node.address, clock=SystemClock()) as rpc:
            node.always(first, None)
            node.always(parked, [])
            reconciler = IndexReconciler(rpc, world.fetcher(rpc), database, PROGRAM_ID)
            for _ in range(2):
                report = await reconciler.run()
                assert {one.signature: one.reason for one in report.incomplete} == {
                    hidden: f"{first}, which comes before, cannot be compared with the chain",
                    after_parked: f"call 0 (buy_shares): the market {world.address(other)} is not known: "
                    f"{parked} comes before",
                }
                assert await world.fetch("select tx_signature from trades") == [(first,)]
        await alter(world, "update parked_transactions set next_attempt_at = now()")
        assert (await reconciled(world)).incomplete == ()
        assert [await events_of(world, signature) for signature in (hidden, after_parked)] == [1, 1]
        await assert_true_to_the_chain(world, database_url)


async def test_logs_that_come_whole_after_a_correction_take_its_place(
    tmp_path: Path, database: Database, database_url: str, redis: Redis
) -> None:
    async with a_world(tmp_path / "chain", database, redis) as world:
        market_id = await world.active()
        world.disguise = behind_memos
        await world.buy(market_id, HOLDERS[0], 10**8)
        world.disguise = tuple
        await finalized(world)
        await ReorgCheck(world.own.rpc, world.own.fetcher, database, PROGRAM_ID, max_fetched=100).run()
        whole = [await as_logged(world, raw) for raw in await whole_history(world)]
        async with unreadable(world, without_time) as daemon:
            await IndexReconciler(daemon.rpc, daemon.fetcher, database, PROGRAM_ID).run()
            repaired = await Repairer(daemon.rpc, daemon.fetcher, database, PROGRAM_ID).repair()
            assert repaired.corrected == (str(world.address(market_id)),)
        # Later events are counted beside the correction, whether they are logged or inferred.
        await world.buy(market_id, HOLDERS[1], 10**8)
        world.disguise = behind_memos
        await world.buy(market_id, HOLDERS[2], 10**8)
        world.disguise = tuple
        await finalized(world)
        assert (await reconciled(world)).recovered == 1
        assert await world.fetch("select distinct exact from trades") == [(True,)]
        found = await audit(database, world.own.rpc, PROGRAM_ID, patience_seconds=0.0)
        assert found.differences == ()
        assert await world.fetch("select count(*) from market_corrections") == [(1,)]
        for _ in range(2):
            await world.own.fetcher.indexer.apply(whole)
        assert await world.fetch("select * from market_corrections") == []
        await settled(world)
        await assert_true_to_the_chain(world, database_url)


async def as_logged(world: World, raw: dict[str, Any]) -> ChainTransaction:
    """A transaction with the events that the program said, whether or not the logs have them."""
    parse = partial(parse_transaction, program_id=PROGRAM_ID, codec=Codec(world.idl))
    transaction = parse(raw)
    if transaction.calls is None or transaction.block_time is None:
        return transaction
    known = await History(world.database, world.own.rpc, world.program.pdas).before(transaction)
    inference = infer_events(transaction.calls, (), known, transaction.flows, transaction.block_time)
    return msgspec.structs.replace(transaction, events=inference.events, logs_truncated=False)


async def test_the_resolver_is_paid_once_although_only_some_claims_of_a_transaction_are_logged(
    tmp_path: Path, database: Database, database_url: str, redis: Redis
) -> None:
    async with a_world(tmp_path / "chain", database, redis) as world:
        market_id = await world.active()
        for holder in HOLDERS[:2]:
            await world.buy(market_id, holder, 10**8, outcome=True)
        await world.resolve(market_id)
        await world.travel(4 * 86_400)
        await finalize(world, market_id)
        claims = [
            world.program.claim_winnings(
                user=holder.pubkey(), market=world.address(market_id), resolver=CREATOR.pubkey()
            )
            for holder in HOLDERS[:2]
        ]
        memos = behind_memos(())
        signature = await act_together(world, HOLDERS[:2], [claims[0], *memos, claims[1]])
        logged = "select payload ->> 'resolver_fee' is not null from trade_events where tx_signature = $1"
        assert await world.fetch(logged, signature) == [(False,)]
        await settled(world)
        assert await world.fetch(logged + " order by event_index", signature) == [(True,), (False,)]
        await assert_true_to_the_chain(world, database_url)
        assert (await settled(world)).rolled_back == 0


async def test_accounts_that_contradict_inferred_events_are_an_alert_until_a_repair_believes_them(
    tmp_path: Path, database: Database, database_url: str, redis: Redis
) -> None:
    async with a_world(tmp_path / "chain", database, redis) as world:
        market_id = await world.active()
        market = world.address(market_id)
        await world.buy(market_id, HOLDERS[0], 10**7, outcome=True)
        await world.resolve(market_id, RESOLVER)
        await world.travel(4 * 86_400)
        await finalize(world, market_id)
        await world.give(RESOLVER, 0)
        claim = world.program.claim_winnings(
            user=HOLDERS[0].pubkey(), market=market, resolver=RESOLVER.pubkey()
        )
        # The claim cannot pay the resolver, whose wallet is empty; afterwards nobody sees that it was.
        gift = transfer(
            TransferParams(from_pubkey=HOLDERS[0].pubkey(), to_pubkey=RESOLVER.pubkey(), lamports=10**9)
        )
        await world.act(HOLDERS[0], *behind_memos([claim, gift]))
        await finalized(world)
        (bought, *_) = [
            one for one in await whole_history(world) if "Log truncated" in one["meta"]["logMessages"]
        ]
        await deliver_as_another(world, bought | {"slot": (await world.own.rpc.slot()) + MARGIN_SLOTS // 2})
        report = await reconciled(world)
        assert report.recovered == 0
        assert [one.reason for one in report.incomplete] == [
            f"the account {market} differs in accumulated_resolver_fees"
        ]
        repaired = await Repairer(world.own.rpc, world.own.fetcher, database, PROGRAM_ID).repair()
        assert (repaired.report.differences, repaired.report.incomplete) == ((), ())
        assert repaired.corrected == (str(market),)
        await assert_true_to_the_chain(world, database_url)


async def act_together(world: World, signers: Sequence[Keypair], instructions: Sequence[Instruction]) -> str:
    """Send a transaction of several wallets, and index it."""
    latest = await world.own.rpc.latest_blockhash()
    message = MessageV0.try_compile(signers[0].pubkey(), list(instructions), [], latest.blockhash)
    signature = await world.own.rpc.send(bytes(VersionedTransaction(message, list(signers))))

    async def landed() -> bool:
        return await world.own.rpc.transaction(signature) is not None

    await world.until(landed)
    await world.own.fetcher.apply_signature(signature)
    return signature


async def test_a_transaction_that_stays_unresolved_keeps_no_other_waiting(database: Database) -> None:
    insert = (
        "insert into truncated_transactions (tx_signature, slot, events_read, commitment)"
        " values ($1, $2, 0, 'finalized')"
    )
    signatures = [str(Keypair().sign_message(b"")) for _ in range(5)]
    async with database.service() as connection:
        for slot, signature in enumerate(signatures):
            await connection.execute(insert, signature, slot)
        seen: set[str] = set()
        for _ in range(3):
            due = await take_unresolved(connection, 10, 2)
            assert due == sorted(due, key=signatures.index)
            seen.update(due)
        assert seen == set(signatures)


async def test_an_operator_is_told_of_what_is_missing(database: Database) -> None:
    async with database.service() as connection:
        await require_complete(connection)
        await connection.execute(
            "insert into truncated_transactions (tx_signature, slot, events_read, reason)"
            " values ($1, 7, 0, 'the node has forgotten it')",
            signature := str(Keypair().sign_message(b"")),
        )
        with pytest.raises(IndexIncomplete) as raised:
            await require_complete(connection)
    assert raised.value.message == (
        f"events are missing of 1 transactions, the first of them {signature} (the node has forgotten it): "
        "run `zmartd audit --repair`"
    )

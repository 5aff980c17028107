"""Forged deliveries and wrong answers of a node: what the index takes from them, and for how long."""

from __future__ import annotations

import asyncio
import base64
import copy
import os
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import msgspec
import pytest
from solders.instruction import Instruction
from solders.keypair import Keypair
from solders.signature import Signature
from solders.system_program import TransferParams, transfer

from tests.integration.chain.chain_nodes import Node, node_before
from tests.integration.indexer.test_reconcile import (
    active,
    assert_true_to_the_chain,
    finalized,
    purchase,
    reconciled,
    settled,
)
from tests.integration.indexer.test_rollback import facts
from tests.integration.tasks.manual_clock import ManualClock
from tests.integration.tasks.world import CREATOR, DOCUMENT_CID, HOLDERS, PROGRAM_ID, Daemon, World
from tests.unit.chain.chain_logs import OURS, data_line, event_line, frame, raw
from zmartd.chain import events
from zmartd.chain.assemble import sign
from zmartd.chain.codec import Codec
from zmartd.chain.commitment import Commitment
from zmartd.chain.events import ProgramEvent
from zmartd.chain.idl import default_idl
from zmartd.chain.pdas import Pdas
from zmartd.chain.rpc import Rpc
from zmartd.chain.transactions import parse_transaction
from zmartd.chain.transport import RpcUnavailable
from zmartd.clock import Clock, SystemClock
from zmartd.indexer.events.recording import TransactionInSlot
from zmartd.indexer.fetch import Fetcher, TransactionNotFound
from zmartd.indexer.inbox import Inbox
from zmartd.indexer.plausibility import MARGIN_SLOTS, PAST_SLOTS, Plausibility
from zmartd.indexer.reconcile.reconciler import IndexReconciler
from zmartd.indexer.repair.repair import Repairer
from zmartd.indexer.verification import MAX_ATTEMPTS, Verification
from zmartd.market import ids
from zmartd.store import checkpoints
from zmartd.store.checkpoints import Checkpoint
from zmartd.store.unverified import MOST

FAR = 2**62
CODEC = Codec(default_idl(str(PROGRAM_ID)))
PARSE = partial(parse_transaction, program_id=PROGRAM_ID, codec=CODEC)
U64_MAX = 2**64 - 1


def inbox_of(world: World, fetcher: Fetcher | None = None) -> Inbox:
    fetcher = fetcher or world.own.fetcher
    return Inbox(world.database, fetcher.indexer, PARSE, SystemClock(), fetcher.plausibility)


async def deliver(inbox: Inbox, *transactions: dict[str, Any]) -> None:
    """Deliver transactions, and apply the deliveries."""
    await inbox.accept(msgspec.json.encode(transactions))
    while await inbox.apply_batch():
        pass


async def as_delivered(world: World, signature: str) -> dict[str, Any]:
    """A transaction as the node has it, hence as an honest webhook delivers it."""
    found = await world.own.rpc.transaction(signature)
    assert found is not None
    return found


def forgery(slot: int, seconds: int, *said: ProgramEvent, signature: str = "") -> dict[str, Any]:
    """A transaction that never happened; with the signature of a true one, one that did something else."""
    forged = raw(frame(OURS, *map(event_line, said)), slot=slot, blockTime=seconds)
    forged["transaction"]["signatures"] = [signature or str(Keypair().sign_message(b"never sent"))]
    return forged


Lie = Callable[[bytes, int], ProgramEvent]
"""Makes an event of a market at a time."""

FORGED_EVENTS: dict[str, Lie] = {
    "a market is finalized": lambda market, at: events.MarketFinalized(market, False, True, at),
    "a market is cancelled": lambda market, at: events.MarketCancelled(market, CREATOR.pubkey(), at),
    "a market is resolved": lambda market, at: events.MarketResolved(
        market, HOLDERS[0].pubkey(), False, b"Q" * 46, at
    ),
    "a market is disputed": lambda market, at: events.DisputeInitiated(market, HOLDERS[0].pubkey(), True, at),
    "a market is created again": lambda market, at: events.MarketCreated(
        market, HOLDERS[1].pubkey(), 7, 0, at
    ),
    "shares are bought": lambda market, at: events.SharesBought(
        market, HOLDERS[0].pubkey(), True, U64_MAX, U64_MAX, 999_999_999, at
    ),
    "shares are sold": lambda market, at: events.SharesSold(
        market, HOLDERS[3].pubkey(), False, U64_MAX, U64_MAX, 1, at
    ),
    "liquidity is withdrawn": lambda market, at: events.LiquidityWithdrawn(
        market, CREATOR.pubkey(), U64_MAX, at
    ),
    "winnings are claimed": lambda market, at: events.WinningsClaimed(
        Pdas(PROGRAM_ID).market(market), HOLDERS[2].pubkey(), True, U64_MAX, at
    ),
    "the fees change": lambda _, at: events.ConfigUpdated(65_535, 65_535, 65_535, 1, 1, -1, -1, at),
    "the program is initialized": lambda _, at: events.GlobalConfigInitialized(
        HOLDERS[0].pubkey(), HOLDERS[0].pubkey(), 1, at
    ),
    "the program is paused": lambda _, at: events.ProtocolPauseStatusChanged(True, HOLDERS[0].pubkey(), at),
    "a proposal is voted for": lambda market, at: events.ProposalVoteSubmitted(
        market, HOLDERS[0].pubkey(), True, at
    ),
    "a dispute is voted for": lambda market, at: events.DisputeVoteSubmitted(
        market, HOLDERS[0].pubkey(), True, at
    ),
    "proposal votes are counted": lambda market, at: events.ProposalAggregated(
        market, 2**32 - 1, 0, 100, True, at
    ),
    "dispute votes are counted": lambda market, at: events.DisputeAggregated(market, 0, 9, 0, False, at),
}


def payment(payer: Keypair) -> Instruction:
    """An instruction that does not concern the program."""
    return transfer(
        TransferParams(from_pubkey=payer.pubkey(), to_pubkey=CREATOR.pubkey(), lamports=1_000_000)
    )


async def now(world: World) -> tuple[int, int]:
    """The chain's newest slot and time."""
    time = await world.own.rpc.chain_time()
    return time.slot, time.unix_timestamp


async def set_aside(world: World) -> list[Any]:
    return await world.fetch("select tx_signature, attempts, reason from unverified_transactions order by id")


async def sent(daemon: Daemon, signer: Keypair, instruction: Instruction) -> str:
    """The signature of a transaction on the chain that is not indexed."""
    latest = await daemon.rpc.latest_blockhash()
    wire = sign([instruction], signer, latest.blockhash, latest.last_valid_block_height, "test")
    await daemon.sender.send(wire)
    return wire.signature


async def bought(world: World, market_id: str) -> str:
    """Buy shares, through a daemon without blockhashes of the time before the last leap."""
    async with world.daemon() as fresh:
        return await sent(fresh, HOLDERS[1], purchase(world, market_id, HOLDERS[1]))


async def goes_on(world: World, inbox: Inbox, market_id: str) -> None:
    """Check that true events are applied: a purchase moves the market."""
    ((version, volume),) = await world.fetch(
        "select version, total_volume from markets where id = $1", market_id
    )
    true = await as_delivered(world, await bought(world, market_id))
    await world.own.fetcher.plausibility.refresh()
    await deliver(inbox, true)
    ((later, more),) = await world.fetch("select version, total_volume from markets where id = $1", market_id)
    assert later > version
    assert more > volume


async def test_what_comes_from_the_future_changes_nothing_and_is_given_up(
    world: World, database_url: str
) -> None:
    market_id, inbox = await active(world), inbox_of(world)
    _, seconds = await now(world)
    for name, forge in FORGED_EVENTS.items():
        before = await facts(world.database)
        forged = forgery(FAR, seconds, forge(bytes.fromhex(market_id), seconds))
        await deliver(inbox, forged)
        assert await facts(world.database) == before, name
        # Nothing else of its delivery waits for it.
        true = await world.act(HOLDERS[0], purchase(world, market_id, HOLDERS[0]), indexed=False)
        delivered_together = [forged, await as_delivered(world, true)]
        await world.own.fetcher.plausibility.refresh()
        await deliver(inbox, *delivered_together)
        assert await world.fetch("select count(*) from trades where tx_signature = $1", true) == [(1,)]
        await goes_on(world, inbox, market_id)
    for attempts in range(MAX_ATTEMPTS):
        assert {waiting[1:] for waiting in await set_aside(world)} == {(attempts, None)}
        await reconciled(world)
    given_up = await set_aside(world)
    assert len(given_up) == len(FORGED_EVENTS)
    assert all("no RPC node gave it" in reason for *_, reason in given_up)
    await settled(world)
    await assert_true_to_the_chain(world, database_url)


@pytest.mark.parametrize("signed", ["by nobody", "as another transaction of the chain"])
async def test_what_is_forged_in_a_plausible_slot_is_rolled_back_whatever_its_signature(
    world: World, database_url: str, signed: str
) -> None:
    market_id, inbox = await active(world), inbox_of(world)
    await world.act(HOLDERS[0], purchase(world, market_id, HOLDERS[0]))
    for name, forge in FORGED_EVENTS.items():
        await settled(world)
        before = await facts(world.database)
        slot, seconds = await now(world)
        event = forge(bytes.fromhex(market_id), seconds)
        if signed == "by nobody":
            forged = forgery(slot + MARGIN_SLOTS - 1, seconds, event)
        else:
            async with world.daemon() as fresh:
                foreign = await sent(fresh, HOLDERS[2], payment(HOLDERS[2]))
            forged = forgery((await as_delivered(world, foreign))["slot"], seconds, event, signature=foreign)
        await world.own.fetcher.plausibility.refresh()
        await deliver(inbox, forged)
        assert await facts(world.database) != before, name
        await world.cheat("zmartd_advanceSlots", {"slots": MARGIN_SLOTS})
        assert (await settled(world)).rolled_back == 1, name
        assert await facts(world.database) == before, name
        await goes_on(world, inbox, market_id)
    assert await set_aside(world) == []
    await settled(world)
    await assert_true_to_the_chain(world, database_url)


def logged_otherwise(true: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """A transaction with other values for these fields in those of its events that have them."""
    forged = copy.deepcopy(true)
    forged["meta"]["logMessages"] = [_otherwise(line, fields) for line in true["meta"]["logMessages"]]
    assert forged != true
    return forged


def _otherwise(line: str, fields: dict[str, Any]) -> str:
    head, data, payload = line.partition("Program data: ")
    if not data:
        return line
    event = CODEC.decode_event(base64.b64decode(payload))
    known = {name: value for name, value in fields.items() if hasattr(event, name)}
    return head + event_line(msgspec.structs.replace(event, **known))


def with_logs(true: dict[str, Any], change: Callable[[list[str]], list[str]]) -> dict[str, Any]:
    forged = copy.deepcopy(true)
    forged["meta"]["logMessages"] = change(forged["meta"]["logMessages"])
    return forged


def after_data(logs: list[str], *lines: str) -> list[str]:
    place = next(at for at, line in enumerate(logs) if line.startswith("Program data: "))
    return [*logs[: place + 1], *lines, *logs[place + 1 :]]


FORGED_FIELDS: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "a later slot": lambda true: true | {"slot": true["slot"] + 1},
    "an earlier slot": lambda true: true | {"slot": true["slot"] - 1},
    "a slot at the margin": lambda true: true | {"slot": true["slot"] + MARGIN_SLOTS - 1},
    "another place in the block": lambda true: true | {"indexWithinBlock": 2**31 - 1},
    "a later block": lambda true: true | {"blockTime": true["blockTime"] + 30},
    "an earlier block": lambda true: true | {"blockTime": true["blockTime"] - 3_600},
    "no time": lambda true: true | {"blockTime": None},
    "a time in the future": lambda true: true | {"blockTime": true["blockTime"] + 10**9},
    "an event's time in the future": lambda true: logged_otherwise(true, timestamp=2**62),
    "an event's time long past": lambda true: logged_otherwise(true, timestamp=1),
    "an event's time before": lambda true: logged_otherwise(true, timestamp=true["blockTime"] - 60),
    "another buyer": lambda true: logged_otherwise(true, user=HOLDERS[3].pubkey()),
    "another market": lambda true: logged_otherwise(true, market_id=b"\7" * 32),
    "other shares": lambda true: logged_otherwise(true, shares=5),
    "all the shares there are": lambda true: logged_otherwise(true, shares=U64_MAX, cost=U64_MAX),
    "another outcome": lambda true: logged_otherwise(true, outcome=False),
    "another price": lambda true: logged_otherwise(true, new_price_yes=U64_MAX),
    "one event more": lambda true: with_logs(
        true,
        lambda logs: after_data(
            logs, event_line(events.ProtocolPauseStatusChanged(True, HOLDERS[0].pubkey(), true["blockTime"]))
        ),
    ),
    "no event": lambda true: with_logs(true, lambda logs: [x for x in logs if "Program data" not in x]),
    "a line that nobody can read": lambda true: with_logs(
        true, lambda logs: after_data(logs, data_line(b"\1" * 9))
    ),
    "logs that are cut off": lambda true: with_logs(true, lambda logs: [*logs[:2], "Log truncated"]),
    "no logs": lambda true: true | {"meta": true["meta"] | {"logMessages": None}},
    "a failure": lambda true: true | {"meta": true["meta"] | {"err": {"InstructionError": [0, "Custom"]}}},
}


@pytest.mark.parametrize("forge", FORGED_FIELDS)
async def test_a_forged_field_of_a_true_transaction_lasts_until_it_is_final(
    world: World, database_url: str, forge: str
) -> None:
    market_id, inbox = await active(world), inbox_of(world)
    signature = await world.act(HOLDERS[0], purchase(world, market_id, HOLDERS[0]), indexed=False)
    true = await as_delivered(world, signature)
    await world.own.fetcher.plausibility.refresh()
    await deliver(inbox, FORGED_FIELDS[forge](true))
    await goes_on(world, inbox, market_id)
    await deliver(inbox, true)
    await world.cheat("zmartd_advanceSlots", {"slots": MARGIN_SLOTS})
    await settled(world)
    await reconciled(world)
    await assert_true_to_the_chain(world, database_url)
    assert await set_aside(world) == []
    await goes_on(world, inbox, market_id)
    await settled(world)
    await assert_true_to_the_chain(world, database_url)
    assert await world.fetch("select distinct commitment from trades") == [("finalized",)]


async def test_forged_arguments_of_a_creation_last_until_it_is_final(world: World, database_url: str) -> None:
    market_id, inbox = await world.proposal(indexed=False), inbox_of(world)
    [newest, *_] = await world.own.rpc.signatures_for_address(PROGRAM_ID)
    forged = copy.deepcopy(await as_delivered(world, newest.signature))
    for instruction in forged["transaction"]["message"]["instructions"]:
        data = ids.base58_decode(instruction["data"])
        instruction["data"] = ids.base58_encode(data[:-46] + b"Qm" + b"z" * 44)
    await deliver(inbox, forged)
    hash_of = f"select ipfs_question_hash from markets where id = '{market_id}'"
    assert await world.fetch(hash_of) == [("Qm" + "z" * 44,)]
    await settled(world)
    assert await world.fetch(hash_of) == [(DOCUMENT_CID,)]
    await assert_true_to_the_chain(world, database_url)


async def test_forged_amounts_of_any_size_leave_room_for_true_events(world: World, database_url: str) -> None:
    market_id, inbox = await active(world), inbox_of(world)
    market, wallet = bytes.fromhex(market_id), HOLDERS[0].pubkey()
    slot, seconds = await now(world)
    free = events.ConfigUpdated(0, 0, 0, 1, 1, 1, 1, seconds)
    bought = events.SharesBought(market, wallet, True, U64_MAX, U64_MAX, 5, seconds)
    sold = events.SharesSold(market, wallet, False, U64_MAX, U64_MAX, 5, seconds)
    withdrawn = events.LiquidityWithdrawn(market, wallet, U64_MAX, seconds)
    claimed = events.WinningsClaimed(Pdas(PROGRAM_ID).market(market), wallet, True, U64_MAX, seconds)
    cheap = forgery(slot - 1, seconds, free)
    [free_of_charge] = cheap["transaction"]["signatures"]
    await deliver(inbox, cheap)
    for _ in range(12):
        await deliver(inbox, forgery(slot, seconds, bought, withdrawn, claimed))
        await deliver(inbox, forgery(slot + 1, seconds, sold))
    assert await world.fetch("select count(*) from trades") == [(24,)]
    await goes_on(world, inbox, market_id)
    # The sums can hold what the forged events add, however these are divided among batches.
    forged = await world.fetch("select slot, tx_signature from trade_events where slot <= $1", slot)
    await world.own.fetcher.indexer.roll_back([TransactionInSlot(slot - 1, free_of_charge)])
    await world.own.fetcher.indexer.roll_back([TransactionInSlot(*one) for one in forged])
    await settled(world)
    await reconciled(world)
    await assert_true_to_the_chain(world, database_url)


async def test_a_transaction_that_came_with_a_wrong_slot_is_applied_as_the_node_has_it(
    world: World, database_url: str
) -> None:
    market_id, inbox = await active(world), inbox_of(world)
    signature = await world.act(HOLDERS[0], purchase(world, market_id, HOLDERS[0]), indexed=False)
    true = await as_delivered(world, signature)
    await deliver(inbox, true | {"slot": FAR, "blockTime": 1})
    assert [one for one, *_ in await set_aside(world)] == [signature]
    verified = await Verification(world.own.rpc, world.own.fetcher, world.database).run()
    assert verified.settled == 1
    assert await set_aside(world) == []
    assert await world.fetch("select tx_signature, slot from trades") == [(signature, true["slot"])]
    await settled(world)
    await assert_true_to_the_chain(world, database_url)


async def test_a_delivery_that_is_long_past_is_asked_for(world: World) -> None:
    await world.leap(PAST_SLOTS)
    market_id, inbox = await active(world), inbox_of(world)
    _, seconds = await now(world)
    before = await facts(world.database)
    forged = forgery(1, seconds, FORGED_EVENTS["a market is finalized"](bytes.fromhex(market_id), seconds))
    await deliver(inbox, forged)
    assert await facts(world.database) == before
    assert len(await set_aside(world)) == 1


@asynccontextmanager
async def daemon_before_a_node(
    world: World, clock: Clock | None = None
) -> AsyncIterator[tuple[Node, Fetcher, IndexReconciler]]:
    async with (
        node_before(world.rpc_url) as node,
        Rpc(node.address, clock=SystemClock(), timeout_seconds=3.0) as rpc,
    ):
        plausibility = Plausibility(rpc.chain_time, clock or SystemClock())
        fetcher = Fetcher(rpc, world.own.fetcher.indexer, PARSE, plausibility)
        yield node, fetcher, IndexReconciler(rpc, fetcher, world.database, PROGRAM_ID)


async def test_ten_thousand_forged_deliveries_cost_few_requests_and_few_rows(world: World) -> None:
    market_id, clock = await active(world), ManualClock()
    before = await facts(world.database)
    _, seconds = await now(world)
    forge = FORGED_EVENTS["a market is finalized"](bytes.fromhex(market_id), seconds)
    template = msgspec.json.encode(forgery(FAR, seconds, forge, signature="SIGNATURE"))
    forged = [template.replace(b"SIGNATURE", str(Signature(os.urandom(64))).encode()) for _ in range(10_000)]
    async with daemon_before_a_node(world, clock) as (node, fetcher, reconciler):
        inbox = inbox_of(world, fetcher)
        await asyncio.gather(*(inbox.accept(body) for body in forged))
        while await inbox.apply_batch():
            clock.advance(0.1)
        assert node.requests == {"getMultipleAccounts": 1}
        ((rows,),) = await world.fetch("select count(*) from unverified_transactions")
        assert rows == MOST
        await fetcher.plausibility.refresh()
        await reconciler.run()
        assert node.requests["getSignatureStatuses"] <= 2, "one of them for true transactions"
        fetched = node.requests["getTransaction"]
        for _ in range(3):
            await reconciler.run()
        assert node.requests["getTransaction"] == fetched, "nothing that the chain does not have"
    assert await facts(world.database) == before


async def test_without_a_node_what_is_plausible_counts_and_the_rest_waits(
    world: World, database_url: str
) -> None:
    market_id = await active(world)
    signature = await world.act(HOLDERS[0], purchase(world, market_id, HOLDERS[0]), indexed=False)
    true = await as_delivered(world, signature)
    later = await world.act(HOLDERS[1], purchase(world, market_id, HOLDERS[1]), indexed=False)
    also_true = await as_delivered(world, later)
    async with daemon_before_a_node(world) as (node, fetcher, reconciler):
        inbox = inbox_of(world, fetcher)
        await fetcher.plausibility.refresh()
        node.down = 503
        await deliver(inbox, true | {"slot": FAR}, also_true)
        assert await world.fetch("select tx_signature from trades") == [(later,)]
        with pytest.raises(RpcUnavailable):
            await reconciler.run()
        assert await set_aside(world) == [(signature, 0, None)]
        node.down = None
        await reconciler.run()
    assert await set_aside(world) == []
    await settled(world)
    await assert_true_to_the_chain(world, database_url)


def clock_account(slot: int, seconds: int) -> dict[str, Any]:
    """The answer to getMultipleAccounts of a node whose clock shows this slot and time."""
    data = base64.b64encode(struct.pack("<QqQQq", slot, 0, 0, 0, seconds)).decode()
    owner = "Sysvar1111111111111111111111111111111111111"
    account = {"lamports": 1, "owner": owner, "data": [data, "base64"], "executable": False}
    return {"context": {"slot": slot}, "value": [account]}


async def test_a_node_that_once_answered_with_a_future_slot_delays_nothing(
    world: World, database_url: str
) -> None:
    market_id = await active(world)
    async with daemon_before_a_node(world) as (node, fetcher, reconciler):
        inbox = inbox_of(world, fetcher)
        node.instead("getMultipleAccounts", clock_account(FAR, 2**40))
        await fetcher.plausibility.refresh()
        true = await bought(world, market_id)
        await deliver(inbox, await as_delivered(world, true))
        await reconciler.run()
        assert await world.fetch("select tx_signature from trades") == [(true,)]
        node.instead("getMultipleAccounts", clock_account(FAR, 2**40))
        await fetcher.plausibility.refresh()
        forged = forgery(FAR, 2**40, FORGED_EVENTS["a market is finalized"](bytes.fromhex(market_id), 2**40))
        await deliver(inbox, forged)
        assert await world.fetch("select state from markets") == [("FINALIZED",)]
        await reconciler.run()
        assert await world.fetch("select state from markets") == [("ACTIVE",)]
    await goes_on(world, inbox_of(world), market_id)
    await settled(world)
    await assert_true_to_the_chain(world, database_url)


async def test_a_transaction_that_the_node_puts_into_the_future_is_not_there_yet(
    world: World, database_url: str
) -> None:
    market_id = await active(world)
    stood = (await settled(world)).slot
    signature = await world.act(HOLDERS[0], purchase(world, market_id, HOLDERS[0]), indexed=False)
    await finalized(world)
    forged = await as_delivered(world, signature) | {"slot": FAR}
    async with daemon_before_a_node(world) as (node, fetcher, reconciler):
        node.instead("getTransaction", forged)
        with pytest.raises(TransactionNotFound):
            await fetcher.apply_signature(signature)
        node.instead("getTransaction", forged)
        found = await reconciler.run()
        assert (found.missing, found.slot) == (0, stood)
        assert await world.fetch("select from trades") == []
        [entry] = await world.own.rpc.signatures_for_address(PROGRAM_ID, limit=1)
        node.instead(
            "getSignaturesForAddress",
            [{"signature": entry.signature, "slot": FAR, "err": None, "confirmationStatus": "finalized"}],
        )
        assert (await reconciler.run()).slot == stood
        assert (await reconciler.run()).slot != stood
    await assert_true_to_the_chain(world, database_url)


@pytest.mark.parametrize("commitment", ["confirmed", "finalized"])
async def test_a_repair_removes_what_an_earlier_version_took_from_the_future(
    world: World, database_url: str, commitment: Commitment
) -> None:
    market_id = await active(world)
    repairer = Repairer(world.own.rpc, world.own.fetcher, world.database, PROGRAM_ID)
    for name, forge in FORGED_EVENTS.items():
        expected = await facts(world.database)
        _, seconds = await now(world)
        forged = forgery(FAR, seconds, forge(bytes.fromhex(market_id), seconds))
        await world.own.fetcher.indexer.apply([PARSE(forged)], commitment)
        assert await facts(world.database) != expected, name
        repaired = await repairer.repair_everything()
        assert (repaired.ok, repaired.done.removed) == (True, 1), name
        assert await facts(world.database) == expected, name
        await goes_on(world, inbox_of(world), market_id)
    await settled(world)
    await assert_true_to_the_chain(world, database_url)


async def test_a_repair_finds_a_market_that_was_frozen_in_the_future(world: World, database_url: str) -> None:
    market_id = await active(world)
    expected = await facts(world.database)
    _, seconds = await now(world)
    forged = forgery(FAR, seconds, FORGED_EVENTS["a market is finalized"](bytes.fromhex(market_id), seconds))
    await world.own.fetcher.indexer.apply([PARSE(forged)], "finalized")
    repaired = await Repairer(world.own.rpc, world.own.fetcher, world.database, PROGRAM_ID).repair()
    assert (repaired.ok, repaired.done.removed) == (True, 1)
    assert await facts(world.database) == expected
    await assert_true_to_the_chain(world, database_url)


async def test_the_reconciler_removes_what_an_earlier_version_took_from_the_future(
    world: World, database_url: str
) -> None:
    market_id = await active(world)
    expected = await facts(world.database)
    _, seconds = await now(world)
    for forge in FORGED_EVENTS.values():
        forged = forgery(FAR, seconds, forge(bytes.fromhex(market_id), seconds))
        await world.own.fetcher.indexer.apply([PARSE(forged)])
    async with world.database.service() as connection:
        await checkpoints.advance(connection, str(PROGRAM_ID), Checkpoint(str(Signature.default()), FAR))
    found = await reconciled(world)
    assert found.rolled_back == len(FORGED_EVENTS)
    assert await facts(world.database) == expected
    found = await settled(world)
    assert found.slot is not None
    assert found.slot < FAR
    await assert_true_to_the_chain(world, database_url)


async def test_a_signature_that_is_none_stops_nobody(world: World, database_url: str) -> None:
    market_id, inbox = await active(world), inbox_of(world)
    slot, seconds = await now(world)
    bad = "2" * 64
    event = FORGED_EVENTS["a market is finalized"](bytes.fromhex(market_id), seconds)
    await deliver(inbox, forgery(slot, seconds, event, signature=bad))
    assert await world.fetch("select status from webhook_inbox") == [("parked",)]
    # An earlier version took it.
    contradiction = msgspec.structs.replace(PARSE(forgery(slot, seconds, event)), signature=bad)
    await world.own.fetcher.indexer.apply([contradiction])
    assert (await settled(world)).rolled_back == 1
    await assert_true_to_the_chain(world, database_url)

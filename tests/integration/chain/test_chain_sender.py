from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import aiohttp
import pytest
from chain_nodes import LOST, Node, unauthorized
from solders.keypair import Keypair
from solders.pubkey import Pubkey
from solders.system_program import TransferParams, transfer

from zmartd.chain.assemble import sign
from zmartd.chain.idl import default_idl
from zmartd.chain.rpc import Rpc
from zmartd.chain.sender import (
    Fate,
    Sender,
    SenderUnavailable,
    SignedTransaction,
    TransactionExpired,
    TransactionFailed,
)
from zmartd.clock import SystemClock
from zmartd.embedded.localnet import Endpoints
from zmartd.errors import ZmartdError
from zmartd.store.outbox import DatabaseOutbox
from zmartd.store.pool import Database

NOBODY = Pubkey([77] * 32)
AMOUNT = 5_000_000
DEADLINE_SECONDS = 10


@pytest.fixture(autouse=True)
async def deadline() -> AsyncIterator[None]:
    async with asyncio.timeout(DEADLINE_SECONDS):
        yield


@pytest.fixture
def outbox(database: Database) -> DatabaseOutbox:
    return DatabaseOutbox(database)


def new_sender(rpc: Rpc, outbox: DatabaseOutbox) -> Sender:
    return Sender(rpc, outbox, SystemClock(), default_idl(), poll_seconds=0.02, rebroadcast_seconds=0.05)


@pytest.fixture
async def sender(rpc: Rpc, outbox: DatabaseOutbox) -> AsyncIterator[Sender]:
    async with new_sender(rpc, outbox) as sender:
        yield sender


Pay = Callable[..., Awaitable[SignedTransaction]]


@pytest.fixture
async def pay(rpc: Rpc, rich: Keypair) -> Pay:
    async def signed(lamports: int = AMOUNT, last_valid: int | None = None) -> SignedTransaction:
        latest = await rpc.latest_blockhash()
        instruction = transfer(TransferParams(from_pubkey=rich.pubkey(), to_pubkey=NOBODY, lamports=lamports))
        height = latest.last_valid_block_height if last_valid is None else last_valid
        return sign([instruction], rich, latest.blockhash, height, "payment")

    return signed


@pytest.fixture
async def advance(localnet: Endpoints) -> AsyncIterator[Callable[[int], Awaitable[None]]]:
    """Completes slots of the chain, past any misbehaving node."""
    async with aiohttp.ClientSession() as session:

        async def advance_slots(slots: int) -> None:
            body = {
                "jsonrpc": "2.0", "id": 1, "method": "zmartd_advanceSlots", "params": [{"slots": slots}],
            }  # fmt: skip
            async with session.post(localnet.rpc_url, json=body) as response:
                assert "error" not in await response.json()

        yield advance_slots


async def received(rpc: Rpc) -> int:
    account = await rpc.account(NOBODY)
    return 0 if account is None else account.lamports


async def eventually(condition: Callable[[], Awaitable[object]]) -> None:
    while not await condition():  # noqa: ASYNC110 - the outbox and the node tell nobody
        await asyncio.sleep(0.01)


async def test_a_transaction_lands_and_its_outbox_says_so(
    sender: Sender, outbox: DatabaseOutbox, pay: Pay, rpc: Rpc
) -> None:
    payment = await pay()
    landed = await sender.send(payment)
    assert landed.signature == payment.signature
    assert await received(rpc) == AMOUNT
    raw = await rpc.transaction(payment.signature)
    assert raw is not None
    assert raw["slot"] == landed.slot
    sent = await outbox.find(payment.signature)
    assert sent is not None
    assert (sent.fate, sent.slot, sent.transaction) == (Fate.LANDED, landed.slot, payment)
    assert sender.pending == 0


async def test_the_same_transaction_sent_by_many_runs_once_and_all_get_the_same_answer(
    sender: Sender, pay: Pay, rpc: Rpc, node: Node
) -> None:
    payment = await pay()
    answers = await asyncio.gather(*(sender.send(payment) for _ in range(10)))
    assert len(set(answers)) == 1
    assert await sender.send(payment) == answers[0]
    assert await received(rpc) == AMOUNT
    assert node.requests["sendTransaction"] == 2


async def test_many_transactions_share_one_poll(sender: Sender, pay: Pay, rpc: Rpc, node: Node) -> None:
    payments = [await pay(AMOUNT + number) for number in range(50)]
    landed = await asyncio.gather(*(sender.send(payment) for payment in payments))
    assert len({answer.signature for answer in landed}) == 50
    assert await received(rpc) == sum(AMOUNT + number for number in range(50))
    assert node.requests["getSignatureStatuses"] < 50


async def test_a_transaction_that_a_node_lost_is_sent_again(
    sender: Sender, pay: Pay, rpc: Rpc, node: Node
) -> None:
    node.instead("sendTransaction", LOST, LOST)
    await sender.send(await pay())
    assert await received(rpc) == AMOUNT
    assert node.requests["sendTransaction"] >= 3


class AbsentOutbox(DatabaseOutbox):
    """Postgres is away when something is to be recorded."""

    async def record(self, transaction: SignedTransaction) -> None:
        raise ZmartdError("the database is away")


async def test_nothing_is_sent_before_it_is_recorded(
    database: Database, rpc: Rpc, node: Node, pay: Pay
) -> None:
    payment = await pay()
    async with new_sender(rpc, AbsentOutbox(database)) as sender:
        with pytest.raises(ZmartdError, match="the database is away"):
            await sender.send(payment)
        assert sender.pending == 0
    assert node.requests["sendTransaction"] == 0


async def test_an_outage_of_the_node_only_takes_time(
    sender: Sender, outbox: DatabaseOutbox, pay: Pay, rpc: Rpc, node: Node
) -> None:
    payment = await pay()
    node.down = 401
    waiting = asyncio.create_task(sender.send(payment))
    await eventually(lambda: _asked(node, "getSignatureStatuses", 3))
    assert [item.signature for item in await outbox.unsettled()] == [payment.signature]
    node.down = None
    assert (await waiting).signature == payment.signature
    assert await received(rpc) == AMOUNT


async def test_a_failed_simulation_is_told_at_once_and_costs_nothing(
    sender: Sender, outbox: DatabaseOutbox, pay: Pay, rpc: Rpc, rich: Keypair
) -> None:
    payment = await pay(2 * 10**15)
    with pytest.raises(TransactionFailed) as caught:
        await sender.send(payment)
    assert caught.value.failure.name == "ResultWithNegativeLamports"
    assert caught.value.slot is None
    account = await rpc.account(rich.pubkey())
    assert account is not None
    assert account.lamports == 10**15
    sent = await outbox.find(payment.signature)
    assert sent is not None
    assert (sent.fate, sent.error) == (Fate.FAILED, "ResultWithNegativeLamports")


async def test_a_failure_on_the_chain_is_told_with_its_slot(
    sender: Sender, outbox: DatabaseOutbox, pay: Pay, node: Node
) -> None:
    node.instead("sendTransaction", LOST)
    payment = await pay(2 * 10**15)
    with pytest.raises(TransactionFailed, match="fewer lamports than this needs") as caught:
        await sender.send(payment)
    assert caught.value.failure.name == "ResultWithNegativeLamports"
    sent = await outbox.find(payment.signature)
    assert sent is not None
    assert (sent.fate, sent.slot) == (Fate.FAILED, caught.value.slot)
    assert sent.slot is not None


async def test_a_node_s_refusal_is_a_failure(sender: Sender, pay: Pay, rich: Keypair) -> None:
    payment = await pay()
    forged = payment.wire[:1] + bytes(rich.sign_message(b"something else")) + payment.wire[65:]
    signature = str(rich.sign_message(b"something else"))
    with pytest.raises(TransactionFailed, match=r"[Ss]ignature"):
        await sender.send(SignedTransaction(signature, forged, payment.last_valid_block_height, "forged"))


@pytest.mark.parametrize("answer", [
    pytest.param(LOST, id="taken and lost"),
    pytest.param(unauthorized, id="never taken"),
])  # fmt: skip
async def test_a_transaction_that_no_block_took_in_time_is_proven_expired(
    answer: object,
    sender: Sender,
    outbox: DatabaseOutbox,
    pay: Pay,
    rpc: Rpc,
    node: Node,
    advance: Callable[[int], Awaitable[None]],
) -> None:
    payment = await pay()
    node.instead("sendTransaction", *[answer] * 10_000)
    waiting = asyncio.create_task(sender.send(payment))
    await eventually(lambda: _asked(node, "sendTransaction", 3))
    assert not waiting.done()
    await advance(200)
    with pytest.raises(TransactionExpired):
        await waiting
    sent = await outbox.find(payment.signature)
    assert sent is not None
    assert (sent.fate, sent.slot) == (Fate.EXPIRED, None)
    assert await received(rpc) == 0


async def test_a_node_that_is_behind_proves_no_expiry(
    sender: Sender, pay: Pay, node: Node, advance: Callable[[int], Awaitable[None]]
) -> None:
    await advance(60)
    behind = {"context": {"slot": 1}, "value": [None]}
    node.instead("getSignatureStatuses", *[behind] * 12)
    landed = await sender.send(await pay(last_valid=1))
    assert landed.slot > 1
    assert node.requests["getSignatureStatuses"] > 12


async def test_what_a_killed_process_left_behind_is_finished_by_the_next(
    rpc: Rpc, outbox: DatabaseOutbox, pay: Pay, node: Node
) -> None:
    payment = await pay()
    node.instead("sendTransaction", *[unauthorized] * 10_000)
    async with new_sender(rpc, outbox) as killed:
        waiting = asyncio.create_task(killed.send(payment))
        await eventually(lambda: _asked(node, "sendTransaction", 1))
    with pytest.raises(SenderUnavailable):
        await waiting
    node.behave()
    async with new_sender(rpc, outbox) as next_one:
        assert await next_one.resume() == 1
        await eventually(lambda: _settled(outbox, payment.signature))
        assert await next_one.resume() == 0
    assert await received(rpc) == AMOUNT


async def test_what_had_landed_unseen_before_a_restart_is_settled_without_running_again(
    rpc: Rpc, outbox: DatabaseOutbox, pay: Pay
) -> None:
    payment = await pay()
    await outbox.record(payment)
    await rpc.send(payment.wire)
    async with new_sender(rpc, outbox) as sender:
        assert await sender.resume() == 1
        await eventually(lambda: _settled(outbox, payment.signature))
    sent = await outbox.find(payment.signature)
    assert sent is not None
    assert sent.fate is Fate.LANDED
    assert await received(rpc) == AMOUNT


async def test_a_caller_that_gives_up_stops_nothing(
    sender: Sender, outbox: DatabaseOutbox, pay: Pay, rpc: Rpc, node: Node
) -> None:
    payment = await pay()
    node.instead("sendTransaction", LOST)
    waiting = asyncio.create_task(sender.send(payment))
    await eventually(lambda: _asked(node, "sendTransaction", 1))
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    await eventually(lambda: _settled(outbox, payment.signature))
    assert await received(rpc) == AMOUNT


class StumblingOutbox(DatabaseOutbox):
    """Postgres is away the first two times that something is settled."""

    stumbles = 2

    async def settle(self, signature: str, fate: Fate, slot: int | None, error: str | None) -> None:
        if self.stumbles:
            self.stumbles -= 1
            raise ZmartdError("the database is away")
        await super().settle(signature, fate, slot, error)


async def test_an_end_is_told_only_once_it_is_kept(database: Database, rpc: Rpc, pay: Pay) -> None:
    outbox = StumblingOutbox(database)
    payment = await pay()
    async with new_sender(rpc, outbox) as sender:
        await sender.send(payment)
    assert outbox.stumbles == 0
    sent = await outbox.find(payment.signature)
    assert sent is not None
    assert sent.fate is Fate.LANDED


async def test_a_sender_that_does_not_run_takes_nothing(rpc: Rpc, outbox: DatabaseOutbox, pay: Pay) -> None:
    with pytest.raises(SenderUnavailable):
        await new_sender(rpc, outbox).send(await pay())
    assert await outbox.unsettled() == []


async def _asked(node: Node, method: str, times: int) -> bool:
    return node.requests[method] >= times


async def _settled(outbox: DatabaseOutbox, signature: str) -> bool:
    sent = await outbox.find(signature)
    return sent is not None and sent.fate is not None

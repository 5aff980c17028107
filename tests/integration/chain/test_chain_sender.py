from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from itertools import pairwise

import aiohttp
import msgspec
import pytest
from solders.keypair import Keypair
from solders.pubkey import Pubkey
from solders.system_program import TransferParams, transfer
from structlog.testing import capture_logs

from tests.integration.chain.chain_nodes import LOST, Node, refused_by_simulation, unauthorized
from tests.integration.chain.conftest import EXPIRY_SLOTS
from tests.integration.tasks.manual_clock import ManualClock
from zmartd.chain.assemble import sign
from zmartd.chain.idl import default_idl
from zmartd.chain.rpc import Rpc
from zmartd.chain.sender import JITTER, POLL_SECONDS, Sender, SenderUnavailable
from zmartd.chain.signed_transactions import Fate, SignedTransaction, TransactionExpired, TransactionFailed
from zmartd.chain.terms import OWN, RELAYED, Rebroadcasts, Terms
from zmartd.clock import SystemClock
from zmartd.config import TransactionSettings
from zmartd.embedded.localnet import Endpoints
from zmartd.errors import ZmartdError
from zmartd.faults import Point, watching
from zmartd.log import CURRENT_REQUEST_ID
from zmartd.store.intents import Intent, claim
from zmartd.store.postgres.database import Database
from zmartd.store.postgres.errors import DatabaseUnavailable
from zmartd.transactions.outbox import DatabaseOutbox

NOBODY = Pubkey([77] * 32)
MARKET = "ab" * 32
AMOUNT = 5_000_000


@pytest.fixture
def outbox(database: Database) -> DatabaseOutbox:
    return DatabaseOutbox(database, TransactionSettings())


EAGER = Terms(places=1_000, rebroadcasts=Rebroadcasts(0.05, 0.05, times=1_000))


def new_sender(rpc: Rpc, outbox: DatabaseOutbox, own: Terms = EAGER, relayed: Terms = RELAYED) -> Sender:
    return Sender(rpc, outbox, SystemClock(), default_idl(), poll_seconds=0.02, own=own, relayed=relayed)


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


async def test_the_line_about_the_end_has_the_id_of_the_request_that_it_was_sent_for(
    rpc: Rpc, outbox: DatabaseOutbox, pay: Pay
) -> None:
    async def for_request(sender: Sender, request_id: str, amount: int) -> str:
        CURRENT_REQUEST_ID.set(request_id)
        return (await sender.send(await pay(amount))).signature

    with capture_logs() as lines:
        async with new_sender(rpc, outbox) as sender:
            first, second = await asyncio.gather(
                *(
                    asyncio.create_task(for_request(sender, f"request-{number}", AMOUNT + number))
                    for number in range(2)
                )
            )
            nobody = (await sender.send(await pay(AMOUNT - 1))).signature
    settled = [line for line in lines if line["event"] == "sender.settled"]
    assert {line["signature"]: line.get("request_id") for line in settled} == {
        first: "request-0",
        second: "request-1",
        nobody: None,
    }


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
    async with new_sender(rpc, AbsentOutbox(database, TransactionSettings())) as sender:
        with pytest.raises(ZmartdError, match="the database is away"):
            await sender.send(payment)
        assert sender.pending == 0
    assert node.requests["sendTransaction"] == 0


class CutOffOutbox(DatabaseOutbox):
    """The connection is lost while something is recorded: the first time before the commit, then after it."""

    attempts = 0

    async def record(self, transaction: SignedTransaction) -> None:
        self.attempts += 1
        if self.attempts > 1:
            await super().record(transaction)
        raise DatabaseUnavailable


async def test_what_was_recorded_though_its_answer_was_lost_is_sent_after_all(
    database: Database, rpc: Rpc, pay: Pay
) -> None:
    outbox = CutOffOutbox(database, TransactionSettings())
    lost, recorded = await pay(), await pay(AMOUNT + 1)
    async with new_sender(rpc, outbox) as sender:
        for payment in (lost, recorded):
            with pytest.raises(DatabaseUnavailable):
                await sender.begin(payment)
        await eventually(lambda: _settled(outbox, recorded.signature))
        assert await outbox.find(lost.signature) is None
        assert await received(rpc) == AMOUNT + 1
        assert sender.pending == 0


async def test_what_is_claimed_again_while_its_failure_is_recorded_is_sent_again(
    sender: Sender, outbox: DatabaseOutbox, database: Database, pay: Pay, rpc: Rpc, node: Node
) -> None:
    payment = await pay()
    failures = 0

    async def claim_again(point: Point) -> None:
        nonlocal failures
        if point is Point.SENDER_SETTLED and not failures:
            failures += 1
            async with database.service() as connection:
                assert await claim(connection, [Intent(MARKET, "pay", "", bytes(32), 0)], payment) == {}
            await sender.begin_recorded(payment)

    node.instead("sendTransaction", refused_by_simulation)
    with watching(claim_again), pytest.raises(TransactionFailed):
        await sender.send(payment)
    assert failures == 1
    await eventually(lambda: _settled(outbox, payment.signature))
    assert await received(rpc) == AMOUNT


async def test_what_is_recorded_already_is_sent_without_being_recorded_again(
    database: Database, outbox: DatabaseOutbox, rpc: Rpc, pay: Pay
) -> None:
    payment = await pay()
    await outbox.record(payment)
    async with new_sender(rpc, AbsentOutbox(database, TransactionSettings())) as sender:
        at_once = [await sender.begin_recorded(payment) for _ in range(2)]
        assert at_once[0] is at_once[1]
        landed = await at_once[0].landed()
    assert await received(rpc) == AMOUNT
    sent = await outbox.find(payment.signature)
    assert sent is not None
    assert (sent.fate, sent.slot) == (Fate.LANDED, landed.slot)


async def test_a_node_that_refuses_what_somebody_may_have_sent_before_does_not_end_it(
    sender: Sender, outbox: DatabaseOutbox, pay: Pay, rpc: Rpc, node: Node
) -> None:
    payment = await pay()
    await outbox.record(payment)
    node.instead("sendTransaction", refused_by_simulation, refused_by_simulation)
    sending = await sender.begin_recorded(payment)
    assert (await sending.landed()).slot > 0
    assert node.requests["sendTransaction"] >= 3
    assert await received(rpc) == AMOUNT


class WatchedOutbox(DatabaseOutbox):
    """Counts how often somebody has looked for what is pending."""

    looks = 0

    async def pending(self, older_than_seconds: float = 0.0) -> Sequence[SignedTransaction]:
        found = await super().pending(older_than_seconds)
        self.looks += 1
        return found


async def test_what_a_daemon_leaves_that_never_comes_back_is_adopted_by_another_one(
    database: Database, pay: Pay, rpc: Rpc
) -> None:
    watched = WatchedOutbox(database, TransactionSettings())

    async def has_looked() -> bool:
        return watched.looks > 0

    async with new_sender(rpc, watched) as sender:
        adopting = asyncio.create_task(sender.adopt())
        await eventually(has_looked)
        payment = await pay()
        await watched.record(payment)
        await eventually(lambda: _settled(watched, payment.signature))
        adopting.cancel()
        await asyncio.gather(adopting, return_exceptions=True)
    assert await received(rpc) == AMOUNT


async def test_what_is_only_followed_is_not_sent_and_ends_as_expired(
    sender: Sender,
    outbox: DatabaseOutbox,
    pay: Pay,
    rpc: Rpc,
    node: Node,
    advance: Callable[[int], Awaitable[None]],
) -> None:
    payment = await pay()
    await outbox.record(payment)
    sender.follow(payment)
    await advance(EXPIRY_SLOTS)
    await eventually(lambda: _settled(outbox, payment.signature))
    found = await outbox.find(payment.signature)
    assert found is not None
    assert found.fate is Fate.EXPIRED
    assert node.requests["sendTransaction"] == 0
    assert await received(rpc) == 0


async def test_an_outage_of_the_node_only_takes_time(
    sender: Sender, outbox: DatabaseOutbox, pay: Pay, rpc: Rpc, node: Node
) -> None:
    payment = await pay()
    node.down = 401
    waiting = asyncio.create_task(sender.send(payment))
    await eventually(lambda: _asked(node, "getSignatureStatuses", 3))
    assert [item.signature for item in await outbox.pending()] == [payment.signature]
    node.down = None
    assert (await waiting).signature == payment.signature
    assert await received(rpc) == AMOUNT


async def test_a_failed_simulation_is_told_at_once_and_costs_nothing(
    sender: Sender, outbox: DatabaseOutbox, pay: Pay, rpc: Rpc, rich: Keypair
) -> None:
    payment = await pay(2 * 10**15)
    with pytest.raises(TransactionFailed) as caught:
        await sender.send(payment)
    assert caught.value.failure.name == "InsufficientFunds"
    assert caught.value.slot is None
    account = await rpc.account(rich.pubkey())
    assert account is not None
    assert account.lamports == 10**15
    sent = await outbox.find(payment.signature)
    assert sent is not None
    assert (sent.fate, sent.error) == (Fate.FAILED, "InsufficientFunds")


async def test_a_failure_on_the_chain_is_told_with_its_slot(
    sender: Sender, outbox: DatabaseOutbox, pay: Pay, node: Node
) -> None:
    node.instead("sendTransaction", LOST)
    payment = await pay(2 * 10**15)
    with pytest.raises(TransactionFailed, match="fewer lamports than this needs") as caught:
        await sender.send(payment)
    assert caught.value.failure.name == "InsufficientFunds"
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
    await advance(EXPIRY_SLOTS)
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

    async def record_fate(self, signature: str, fate: Fate, slot: int | None, error: str | None) -> None:
        if self.stumbles:
            self.stumbles -= 1
            raise ZmartdError("the database is away")
        await super().record_fate(signature, fate, slot, error)


async def test_an_end_is_told_only_once_it_is_kept(database: Database, rpc: Rpc, pay: Pay) -> None:
    outbox = StumblingOutbox(database, TransactionSettings())
    payment = await pay()
    async with new_sender(rpc, outbox) as sender:
        await sender.send(payment)
    assert outbox.stumbles == 0
    sent = await outbox.find(payment.signature)
    assert sent is not None
    assert sent.fate is Fate.LANDED


def relayed(payment: SignedTransaction, wallet: Keypair) -> SignedTransaction:
    """The same bytes, passed on for the wallet that signed them."""
    return msgspec.structs.replace(payment, relayed_for=str(wallet.pubkey()))


async def test_relayed_transactions_never_take_the_places_of_the_daemon_s_own(
    rpc: Rpc, outbox: DatabaseOutbox, pay: Pay, rich: Keypair, node: Node
) -> None:
    one = Terms(places=1, rebroadcasts=OWN.rebroadcasts)
    two = Terms(places=2, rebroadcasts=RELAYED.rebroadcasts)
    node.instead("sendTransaction", LOST, LOST)
    async with new_sender(rpc, outbox, own=one, relayed=two) as sender:
        for number in range(2):
            await sender.begin(relayed(await pay(AMOUNT + number), rich))
        turned_away = relayed(await pay(AMOUNT + 2), rich)
        for begin in (sender.begin, sender.begin_recorded):
            with pytest.raises(SenderUnavailable):
                await begin(turned_away)
        assert await outbox.find(turned_away.signature) is None
        assert (await sender.send(await pay(AMOUNT + 3))).slot > 0


async def test_what_has_no_place_among_the_daemon_s_own_takes_none_of_the_relayed(
    rpc: Rpc, outbox: DatabaseOutbox, pay: Pay, rich: Keypair, node: Node
) -> None:
    async with new_sender(rpc, outbox, own=Terms(places=0, rebroadcasts=OWN.rebroadcasts)) as sender:
        with pytest.raises(SenderUnavailable):
            await sender.begin(await pay())
        await (await sender.begin(relayed(await pay(), rich))).landed()


async def test_a_relayed_transaction_is_not_simulated_again_when_it_is_sent(
    sender: Sender, outbox: DatabaseOutbox, pay: Pay, rich: Keypair
) -> None:
    """One that fails gets onto the chain, which a simulation by the node would prevent."""
    payment = relayed(await pay(2 * 10**15), rich)
    with pytest.raises(TransactionFailed) as caught:
        await sender.send(payment)
    assert caught.value.slot is not None


class Calls:
    """What a transaction that never lands costs: RPC calls by method, while a clock moved by hand goes on."""

    def __init__(self, node: Node, clock: ManualClock) -> None:
        self._node = node
        self._clock = clock
        self._started = clock.monotonic()
        self.sent_at: list[float] = []
        self.moments: Counter[str] = Counter()

    async def go_on(self, seconds: float) -> None:
        for _ in range(round(seconds / POLL_SECONDS)):
            await self._round_is_over()
            before = self._node.requests.copy()
            self._clock.advance(POLL_SECONDS)
            await self._round_is_over()
            made = self._node.requests - before
            self.sent_at += [self._clock.monotonic() - self._started] * made["sendTransaction"]
            self.moments += made

    async def _round_is_over(self) -> None:
        await eventually(self._is_asleep)

    async def _is_asleep(self) -> bool:
        return self._clock.sleeping == 1


async def never_landing(
    rpc: Rpc, outbox: DatabaseOutbox, node: Node, *transactions: SignedTransaction
) -> Calls:
    """What 90 seconds of following cost, beyond the first sending of each."""
    node.instead("sendTransaction", *[LOST] * 10_000)
    clock = ManualClock()
    async with Sender(rpc, outbox, clock, default_idl(), rng=random.Random(7)) as sender:
        for transaction in transactions:
            await sender.begin(transaction)
        await eventually(lambda: _asked(node, "sendTransaction", len(transactions)))
        calls = Calls(node, clock)
        await calls.go_on(90.0)
    return calls


async def test_a_relayed_transaction_that_never_lands_is_sent_ever_more_rarely_and_then_only_followed(
    rpc: Rpc, outbox: DatabaseOutbox, pay: Pay, rich: Keypair, node: Node
) -> None:
    calls = await never_landing(rpc, outbox, node, relayed(await pay(last_valid=2**40), rich))
    assert len(calls.sent_at) == RELAYED.rebroadcasts.times == 5
    before = 0.0
    for sent_at, pause in zip(calls.sent_at, (2.0, 4.0, 8.0, 16.0, 16.0), strict=True):
        assert pause * (1 - JITTER) <= sent_at - before <= pause * (1 + JITTER) + POLL_SECONDS
        before = sent_at
    assert calls.moments["getSignatureStatuses"] <= 40
    assert calls.moments["getEpochInfo"] <= 20


async def test_many_that_never_land_cost_no_more_looks_than_polls(
    rpc: Rpc, outbox: DatabaseOutbox, pay: Pay, rich: Keypair, node: Node
) -> None:
    wallets = [Keypair.from_seed(bytes([number] * 32)) for number in range(10)]
    payments = [
        relayed(await pay(AMOUNT + number, last_valid=2**40), wallets[number % 10]) for number in range(50)
    ]
    calls = await never_landing(rpc, outbox, node, *payments)
    assert len(calls.sent_at) == 5 * 50
    assert calls.moments["getSignatureStatuses"] <= 90 / POLL_SECONDS
    assert calls.moments["getEpochInfo"] <= 90 / 2


async def test_the_daemon_s_own_is_sent_again_for_as_long_as_its_blockhash_lives(
    rpc: Rpc, outbox: DatabaseOutbox, pay: Pay, node: Node
) -> None:
    calls = await never_landing(rpc, outbox, node, await pay(last_valid=2**40))
    assert len(calls.sent_at) == OWN.rebroadcasts.times == 30
    pauses = [after - before for before, after in pairwise(calls.sent_at)]
    assert max(pauses) <= 2.0 * (1 + JITTER) + POLL_SECONDS


async def test_what_expired_while_nobody_followed_it_is_not_sent_again(
    rpc: Rpc, outbox: DatabaseOutbox, pay: Pay, node: Node, advance: Callable[[int], Awaitable[None]]
) -> None:
    payment = await pay(last_valid=1)
    await outbox.record(payment)
    await advance(60)
    async with new_sender(rpc, outbox) as sender:
        assert await sender.resume() == 1
        await eventually(lambda: _settled(outbox, payment.signature))
    sent = await outbox.find(payment.signature)
    assert sent is not None
    assert (sent.fate, node.requests["sendTransaction"]) == (Fate.EXPIRED, 0)


async def test_a_sender_that_does_not_run_takes_nothing(rpc: Rpc, outbox: DatabaseOutbox, pay: Pay) -> None:
    with pytest.raises(SenderUnavailable):
        await new_sender(rpc, outbox).send(await pay())
    assert await outbox.pending() == []


async def _asked(node: Node, method: str, times: int) -> bool:
    return node.requests[method] >= times


async def _settled(outbox: DatabaseOutbox, signature: str) -> bool:
    sent = await outbox.find(signature)
    return sent is not None and sent.fate is not None

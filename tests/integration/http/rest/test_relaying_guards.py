"""Transactions as wallets really send them: with instructions of other programs around ours."""

from __future__ import annotations

import asyncio
import base64
import importlib.util
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
from solders.compute_budget import set_compute_unit_price
from solders.hash import Hash
from solders.instruction import AccountMeta, CompiledInstruction, Instruction
from solders.message import Message, MessageV0
from solders.pubkey import Pubkey
from solders.system_program import TransferParams, transfer
from solders.transaction import Transaction, VersionedTransaction

from tests.integration.chain.chain_nodes import node_before
from tests.integration.http.rest.lighthouse import (
    ACCOUNT_INFO,
    ASSERTION_FAILED,
    EARLIER_LIGHTHOUSE,
    LIGHTHOUSE,
    MEMORY_CLOSE,
    MEMORY_WRITE,
    SYSVAR_CLOCK,
    built_lighthouse,
    guard,
    long_guard,
    treacherous_guard,
)
from tests.integration.http.rest.rest_api import IDL, PROGRAM, Answer, running_api
from tests.integration.http.rest.rest_stage import ALICE, BOB, SOL, TREASURY, Stage, running_stage
from zmartd.config import TransactionSettings
from zmartd.store.postgres.database import Database

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("ziglang") is None, reason='needs the compiler: pip install ".[program]"'
)

MEMO = Pubkey.from_string("MemoSq4gqABAXKb96qnH8TysNcWxMyWCqXgDLGmfcHr")
EARLIER_MEMO = Pubkey.from_string("Memo1UhkJRfHyvLMcVucJwxXeuD728EqVDDwQDxFMNo")
WALLET = ALICE.pubkey()
SIGNATURE_FEE = 5_000
POSITION_RENT = 2_157_600
"""What an account of 182 bytes holds to be exempt from rent."""
PATIENT_SECONDS = 120


@pytest.fixture(scope="module")
def lighthouse(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built_lighthouse(tmp_path_factory.mktemp("lighthouse"))


@pytest.fixture
async def stage(lighthouse: Path, database: Database, redis_url: str, tmp_path: Path) -> AsyncIterator[Stage]:
    """The API with a chain that has Lighthouse at both of its addresses."""
    programs = {str(LIGHTHOUSE): lighthouse, str(EARLIER_LIGHTHOUSE): lighthouse}
    async with running_stage(
        database, redis_url, tmp_path, programs=programs, slot_milliseconds=200
    ) as stage:
        yield stage


def memo(program: Pubkey = MEMO) -> Instruction:
    return Instruction(program, b"for Bob", [])


def instructions_of(message: Message) -> list[Instruction]:
    """The instructions of a transaction that the API built, for a wallet to put its own around."""
    keys, header = message.account_keys, message.header

    def meta(index: int) -> AccountMeta:
        signs = index < header.num_required_signatures
        writable = index < len(keys) - header.num_readonly_unsigned_accounts
        return AccountMeta(keys[index], signs, writable)

    def instruction(compiled: CompiledInstruction) -> Instruction:
        accounts = [meta(index) for index in bytes(compiled.accounts)]
        return Instruction(keys[compiled.program_id_index], bytes(compiled.data), accounts)

    return [instruction(compiled) for compiled in message.instructions]


class Unsigned:
    """A transaction of ALICE's in a market, as the API built it."""

    def __init__(self, market_id: str, transaction: str) -> None:
        message = Transaction.from_bytes(base64.b64decode(transaction)).message
        self.unsigned = transaction
        self.market_id = market_id
        self.market = PROGRAM.pdas.market(bytes.fromhex(market_id))
        self.position = PROGRAM.pdas.position(self.market, WALLET)
        self.instructions = instructions_of(message)
        self.blockhash: Hash = message.recent_blockhash

    def between(
        self,
        before: Sequence[Instruction] = (),
        after: Sequence[Instruction] = (),
        *,
        version: int | None = 0,
    ) -> str:
        """The transaction in base64 as the wallet signed it, with its own instructions before and after."""
        instructions = [*before, *self.instructions, *after]
        if version is None:
            message = Message.new_with_blockhash(instructions, WALLET, self.blockhash)
            return encoded(VersionedTransaction(message, [ALICE]))
        return encoded(
            VersionedTransaction(MessageV0.try_compile(WALLET, instructions, [], self.blockhash), [ALICE])
        )


def encoded(transaction: VersionedTransaction) -> str:
    return base64.b64encode(bytes(transaction)).decode()


async def purchase(stage: Stage) -> Unsigned:
    market_id = await stage.active_market()
    body = {"market_id": market_id, "outcome": True, "target_cost": str(SOL)}
    answer = await stage.alice.post("/api/trades/buy", body)
    assert answer.status == 200, answer.body
    return Unsigned(market_id, answer.body["transaction"])


async def trades(stage: Stage, market_id: str) -> int:
    listed = await stage.api.anybody.get(f"/api/markets/{market_id}/trades")
    return len(listed.body["trades"])


async def assert_refused(stage: Stage, market_id: str, answer: Answer) -> None:
    """It is told, and nothing of it is kept or sent."""
    assert (answer.status, answer.body["code"]) == (400, "transaction_refused"), answer.body
    async with stage.api.database.service() as connection:
        kept = await connection.fetchval(
            "select count(*) from outbox_transactions where relayed_for = $1", str(WALLET)
        )
    assert kept == 0
    assert await trades(stage, market_id) == 0


@pytest.mark.parametrize("version", [None, 0])
async def test_a_purchase_with_guards_around_it_is_relayed_and_indexed(
    stage: Stage, version: int | None
) -> None:
    buy = await purchase(stage)
    before = [guard(WALLET), guard(buy.market, name=ACCOUNT_INFO), guard(buy.position)]
    after = [guard(WALLET), guard(name=SYSVAR_CLOCK), memo()]
    relayed = await stage.alice.relay(buy.between(before, after, version=version))
    assert relayed.status == 200, relayed.body
    assert [event["name"] for event in relayed.body["events"]] == ["SharesBought"]
    assert await trades(stage, buy.market_id) == 1
    assert (await stage.position_account(buy.market_id, ALICE)).trades_count == 1


async def test_the_compute_limit_leaves_room_for_the_guards_of_a_wallet(stage: Stage) -> None:
    market_id = await stage.proposed_market()
    answer = await stage.alice.post("/api/votes/proposal/transaction", {"market_id": market_id, "vote": True})
    vote = Unsigned(market_id, answer.body["transaction"])
    relayed = await stage.alice.relay(
        vote.between([long_guard(WALLET)] * 3, [long_guard(WALLET, vote.market)])
    )
    assert relayed.status == 200, relayed.body


@pytest.mark.parametrize("program", [LIGHTHOUSE, EARLIER_LIGHTHOUSE])
async def test_a_guard_that_does_not_hold_fails_the_purchase_by_its_own_name(
    stage: Stage, program: Pubkey
) -> None:
    buy = await purchase(stage)
    held = await stage.alice.relay(buy.between(after=[guard(WALLET, holds=False, program=program)]))
    assert (held.status, held.body["code"]) == (422, "custom_program_error")
    assert held.body["details"]["program_error"] == ASSERTION_FAILED
    assert str(program) in held.body["message"]
    assert await trades(stage, buy.market_id) == 0


async def test_an_instruction_that_is_not_listed_is_named_with_the_rule(stage: Stage) -> None:
    buy = await purchase(stage)
    payment = transfer(TransferParams(from_pubkey=WALLET, to_pubkey=BOB.pubkey(), lamports=SOL))
    unknown = Pubkey([7] * 32)
    listed = f"of its program only {LIGHTHOUSE}:02-11, {LIGHTHOUSE}:none may"
    for companion, discriminator, rule in (
        (guard(WALLET, name=MEMORY_WRITE), "0004", listed),
        (guard(WALLET, name=MEMORY_CLOSE), "0104", listed),
        (guard(WALLET, name=0x12), "1204", listed),
        (guard(WALLET, name=0xFF), "ff04", listed),
        (guard(WALLET, program=unknown), "0604", "none of its program may"),
        (payment, bytes(payment.data)[:8].hex(), "none of its program may"),
    ):
        place = len(buy.instructions) + 1
        refused = await stage.alice.relay(buy.between([guard(WALLET)], [companion]))
        await assert_refused(stage, buy.market_id, refused)
        assert refused.body["details"] == {
            "instruction_index": place,
            "program_id": str(companion.program_id),
            "discriminator": discriminator,
        }
        message = refused.body["message"]
        assert message.startswith(
            f"The instruction at index {place}, for {companion.program_id} and with data"
        )
        assert rule in message
        assert message.endswith(
            "leave the instruction out, or send this transaction to the network yourself."
        )


async def test_a_guard_may_write_to_nothing_but_what_our_instruction_asks_for(stage: Stage) -> None:
    buy = await purchase(stage)
    foreign = BOB.pubkey()
    writing = guard(foreign)
    writing.accounts = [AccountMeta(foreign, False, True)]
    buy_with_more = Unsigned(buy.market_id, buy.unsigned)
    *budget, ours = buy_with_more.instructions
    ours.accounts = [*ours.accounts, AccountMeta(foreign, False, True)]
    buy_with_more.instructions = [*budget, ours]
    for transaction in (
        buy.between(after=[writing]),
        buy_with_more.between(after=[guard(foreign)]),  # the program ignores what comes after its accounts
    ):
        refused = await stage.alice.relay(transaction)
        await assert_refused(stage, buy.market_id, refused)
        assert (
            f"can write to {foreign}, which no instruction for {IDL.program_id} asks for"
            in (refused.body["message"])
        )
    assert (await stage.alice.relay(buy.between(after=[guard(foreign)]))).status == 200


async def test_a_guard_that_takes_from_the_wallet_is_found_out_before_it_is_sent(stage: Stage) -> None:
    buy = await purchase(stage)
    before = await stage.lamports(WALLET)
    taken = 3_000_000
    stolen = buy.between(after=[treacherous_guard(WALLET, TREASURY, taken)])
    refused = await stage.alice.relay(stolen)
    await assert_refused(stage, buy.market_id, refused)
    details = refused.body["details"]
    assert details["max_taken_lamports"] == str(SOL + POSITION_RENT)
    assert int(details["taken_lamports"]) > int(details["max_taken_lamports"])
    assert f"{details['taken_lamports']} lamports from {WALLET}" in refused.body["message"]
    assert await stage.lamports(WALLET) == before


async def test_two_of_our_instructions_may_take_what_each_of_them_may(stage: Stage) -> None:
    buy = await purchase(stage)
    again = buy.instructions[-1]
    relayed = await stage.alice.relay(buy.between([guard(WALLET)], [again, guard(buy.position)]))
    assert relayed.status == 200, relayed.body
    assert [event["name"] for event in relayed.body["events"]] == ["SharesBought"] * 2
    assert await trades(stage, buy.market_id) == 2


async def test_a_fee_beyond_the_limit_is_not_passed_on(stage: Stage) -> None:
    buy = await purchase(stage)
    units = int.from_bytes(bytes(buy.instructions[0].data)[1:5], "little")
    most = TransactionSettings().max_fee_lamports - SIGNATURE_FEE
    price = most * 1_000_000 // units
    refused = await stage.alice.relay(buy.between([set_compute_unit_price(price + units)]))
    await assert_refused(stage, buy.market_id, refused)
    assert int(refused.body["details"]["fee_lamports"]) > TransactionSettings().max_fee_lamports
    assert "set a lower compute unit price" in refused.body["message"]
    assert (await stage.alice.relay(buy.between([set_compute_unit_price(price)]))).status == 200


async def test_by_way_of_a_node_that_tells_no_balances_only_our_own_instructions_are_relayed(
    stage: Stage, database: Database, redis_url: str
) -> None:
    buy = await purchase(stage)
    silent = {"context": {"slot": 1}, "value": {"err": None, "logs": [], "unitsConsumed": 1}}
    async with (
        node_before(stage.rpc_url) as node,
        running_api(database, redis_url, node.address) as api,
    ):
        node.instead("simulateTransaction", silent, silent, silent)
        refused = await api.as_wallet(ALICE).relay(buy.between([set_compute_unit_price(10**9)]))
        assert int(refused.body["details"]["fee_lamports"]) > TransactionSettings().max_fee_lamports
        refused = await api.as_wallet(ALICE).relay(buy.between([guard(WALLET)]))
        await assert_refused(stage, buy.market_id, refused)
        assert "does not tell what a transaction takes from its wallet" in refused.body["message"]
        assert (await api.as_wallet(ALICE).relay(buy.between())).status == 200


async def test_what_the_operator_takes_off_the_list_is_refused(
    stage: Stage, database: Database, redis_url: str
) -> None:
    buy = await purchase(stage)
    settings = TransactionSettings(companions=())
    async with running_api(database, redis_url, stage.rpc_url, transactions=settings) as api:
        refused = await api.as_wallet(ALICE).relay(buy.between([guard(WALLET)]))
        await assert_refused(stage, buy.market_id, refused)
        assert (await api.as_wallet(ALICE).relay(buy.between())).status == 200


async def test_what_a_wallet_sends_itself_with_guards_is_indexed_like_any_other(stage: Stage) -> None:
    buy = await purchase(stage)
    signed = buy.between([guard(WALLET), memo()], [treacherous_guard(WALLET, TREASURY, 1), guard(buy.market)])
    signature = await stage.api.rpc.send(base64.b64decode(signed))
    async with asyncio.timeout(PATIENT_SECONDS):
        while (answer := await stage.api.anybody.get(f"/api/transactions/{signature}")).status != 200:
            pass
    assert [event["name"] for event in answer.body["events"]] == ["SharesBought"]
    assert await trades(stage, buy.market_id) == 1

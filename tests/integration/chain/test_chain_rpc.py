from __future__ import annotations

import pytest
from solders.commitment_config import CommitmentLevel
from solders.hash import Hash
from solders.keypair import Keypair
from solders.pubkey import Pubkey
from solders.system_program import ID as SYSTEM_PROGRAM_ID
from solders.system_program import TransferParams, transfer

from tests.integration.chain.chain_nodes import Node, refused
from zmartd.chain.assemble import build_transaction, sign
from zmartd.chain.rpc import CLOCK_SYSVAR, Rpc
from zmartd.chain.signed_transactions import SignedTransaction
from zmartd.chain.transport import RpcRejected

NOBODY = Pubkey([77] * 32)
NOBODYS_SIGNATURE = "1" * 64


async def payment(rpc: Rpc, payer: Keypair, lamports: int) -> SignedTransaction:
    latest = await rpc.latest_blockhash()
    pay = transfer(TransferParams(from_pubkey=payer.pubkey(), to_pubkey=NOBODY, lamports=lamports))
    return sign([pay], payer, latest.blockhash, latest.last_valid_block_height, "payment")


async def test_a_node_tells_what_it_is_and_where_its_chain_stands(rpc: Rpc) -> None:
    assert await rpc.health() == "ok"
    assert (await rpc.version())[0].isdigit()
    assert len(bytes(Pubkey.from_string(await rpc.genesis_hash()))) == 32
    position = await rpc.position()
    assert await rpc.slot() >= position.slot >= position.block_height
    assert await rpc.block_height() >= position.block_height
    finalized = await rpc.position(CommitmentLevel.Finalized)
    assert finalized.slot <= await rpc.slot(CommitmentLevel.Finalized) <= await rpc.slot()


async def test_the_chain_s_time_is_that_of_its_clock_sysvar(rpc: Rpc) -> None:
    time = await rpc.chain_time()
    assert time.unix_timestamp > 1_700_000_000
    assert time.slot <= await rpc.slot(CommitmentLevel.Processed)
    block_time = await rpc.block_time(await rpc.slot())
    assert block_time is not None
    assert abs(block_time - time.unix_timestamp) < 60


async def test_accounts_come_in_the_order_asked_for_however_many_they_are(
    rpc: Rpc, rich: Keypair, node: Node
) -> None:
    addresses = [NOBODY] * 100 + [rich.pubkey(), CLOCK_SYSVAR]
    before = await rpc.slot()
    accounts = await rpc.accounts(addresses)
    assert accounts[:100] == [None] * 100
    money, clock = accounts[100:]
    assert money is not None
    assert clock is not None
    assert (money.address, money.lamports, money.owner) == (rich.pubkey(), 10**15, SYSTEM_PROGRAM_ID)
    assert (clock.address, len(clock.data)) == (CLOCK_SYSVAR, 40)
    assert before <= money.slot <= await rpc.slot(CommitmentLevel.Processed)
    assert node.requests["getMultipleAccounts"] == 2


async def test_an_account_that_does_not_exist_is_none(rpc: Rpc) -> None:
    assert await rpc.account(NOBODY) is None


async def test_transactions_of_the_newest_version_are_asked_for(rpc: Rpc, node: Node) -> None:
    assert await rpc.transaction(NOBODYS_SIGNATURE) is None
    assert node.versions == {1: 1}


async def test_a_node_that_does_not_know_the_newest_version_is_asked_for_the_one_before(
    rpc: Rpc, node: Node
) -> None:
    node.instead("getTransaction", refused(-32602, "Invalid params: maxSupportedTransactionVersion"))
    assert await rpc.transaction(NOBODYS_SIGNATURE) is None
    assert node.versions == {1: 1, 0: 1}
    node.instead("getTransaction", refused(-32602), refused(-32602))
    with pytest.raises(RpcRejected):
        await rpc.transaction(NOBODYS_SIGNATURE)


async def test_no_program_accounts_are_an_empty_list(rpc: Rpc) -> None:
    assert await rpc.program_accounts(NOBODY) == []
    assert await rpc.program_accounts(NOBODY, {0: b"12345678"}) == []


async def test_a_blockhash_is_asked_for_once_while_it_is_fresh(rpc: Rpc, node: Node) -> None:
    first = await rpc.latest_blockhash()
    assert await rpc.latest_blockhash() == first
    assert node.requests["getLatestBlockhash"] == 1
    assert first.last_valid_block_height > await rpc.block_height()


async def test_a_preflight_tries_a_transaction_as_it_is_signed_and_sends_nothing(
    rpc: Rpc, rich: Keypair
) -> None:
    latest = await rpc.latest_blockhash()
    pay = transfer(TransferParams(from_pubkey=rich.pubkey(), to_pubkey=NOBODY, lamports=5_000_000))
    signed = (await payment(rpc, rich, 5_000_000)).wire
    assert (await rpc.preflight(signed)).err is None
    assert await rpc.account(NOBODY) is None
    stale = sign([pay], rich, Hash.hash(b"a block that never was"), 1, "payment").wire
    assert (await rpc.preflight(stale)).err == "BlockhashNotFound"
    with pytest.raises(RpcRejected, match="signature"):
        await rpc.preflight(build_transaction([pay], rich.pubkey(), latest.blockhash))
    await rpc.broadcast(signed)
    assert (await rpc.preflight(signed)).err == "AlreadyProcessed"


async def test_a_simulation_needs_no_signature_and_changes_nothing(rpc: Rpc, rich: Keypair) -> None:
    latest = await rpc.latest_blockhash()
    pay = transfer(TransferParams(from_pubkey=rich.pubkey(), to_pubkey=NOBODY, lamports=5_000_000))
    result = await rpc.simulate(build_transaction([pay], rich.pubkey(), latest.blockhash))
    assert result.err is None
    assert result.units_consumed > 0
    assert result.logs == (
        "Program 11111111111111111111111111111111 invoke [1]",
        "Program 11111111111111111111111111111111 success",
    )
    assert await rpc.account(NOBODY) is None


async def test_a_simulation_tells_why_it_would_fail(rpc: Rpc, rich: Keypair) -> None:
    latest = await rpc.latest_blockhash()
    pay = transfer(TransferParams(from_pubkey=rich.pubkey(), to_pubkey=NOBODY, lamports=2 * 10**15))
    result = await rpc.simulate(build_transaction([pay], rich.pubkey(), latest.blockhash))
    assert result.err == {"InstructionError": [0, {"Custom": 1}]}


async def test_an_unknown_signature_has_no_status_and_no_transaction(rpc: Rpc, rich: Keypair) -> None:
    unsent = await payment(rpc, rich, 1_000_000)
    statuses = await rpc.signature_statuses([unsent.signature], search_history=True)
    assert statuses.by_signature == {unsent.signature: None}
    assert statuses.slot > 0
    assert await rpc.transaction(unsent.signature) is None


@pytest.mark.parametrize("count", [0, 257])
async def test_statuses_may_be_asked_for_in_any_number(
    count: int, rpc: Rpc, rich: Keypair, node: Node
) -> None:
    unsent = [str(rich.sign_message(number.to_bytes(2, "little"))) for number in range(count)]
    statuses = await rpc.signature_statuses(unsent)
    assert list(statuses.by_signature) == unsent
    assert node.requests["getSignatureStatuses"] == (2 if count else 0)

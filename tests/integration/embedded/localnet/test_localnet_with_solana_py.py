import asyncio
from typing import Any

import pytest
from solana.rpc.async_api import AsyncClient
from solana.rpc.commitment import Confirmed, Finalized, Processed
from solana.rpc.core import RPCException
from solana.rpc.types import MemcmpOpts, TxOpts
from solana.rpc.websocket_api import connect
from solders.keypair import Keypair
from solders.message import MessageV0
from solders.pubkey import Pubkey
from solders.rpc.config import RpcTransactionLogsFilterMentions
from solders.rpc.errors import SendTransactionPreflightFailureMessage
from solders.rpc.responses import SlotNotification
from solders.transaction import VersionedTransaction
from solders.transaction_status import TransactionConfirmationStatus

from tests.integration.embedded.localnet.localnet_client import SOL, pay
from tests.integration.embedded.localnet.notifications import received
from zmartd.embedded.localnet import Endpoints

DEADLINE_SECONDS = 120


async def signed_transfer(
    client: AsyncClient, wallet: Keypair, to: Pubkey, lamports: int
) -> VersionedTransaction:
    blockhash = (await client.get_latest_blockhash(Confirmed)).value.blockhash
    return VersionedTransaction(
        MessageV0.try_compile(wallet.pubkey(), [pay(wallet, to, lamports)], [], blockhash), [wallet]
    )


async def wallet_with_money(client: AsyncClient) -> Keypair:
    wallet = Keypair()
    airdrop = (await client.request_airdrop(wallet.pubkey(), 10 * SOL)).value
    await client.confirm_transaction(airdrop, Confirmed, sleep_seconds=0.02)
    return wallet


async def test_send_and_confirm_by_polling(living: Endpoints) -> None:
    async with asyncio.timeout(DEADLINE_SECONDS), AsyncClient(living.rpc_url, commitment=Confirmed) as client:
        wallet, friend = await wallet_with_money(client), Keypair().pubkey()
        latest = (await client.get_latest_blockhash()).value
        transaction = await signed_transfer(client, wallet, friend, SOL)
        signature = (await client.send_transaction(transaction)).value
        confirmed = await client.confirm_transaction(
            signature, Confirmed, sleep_seconds=0.02, last_valid_block_height=latest.last_valid_block_height
        )
        assert confirmed.value[0] is not None
        assert confirmed.value[0].confirmation_status in (
            TransactionConfirmationStatus.Confirmed,
            TransactionConfirmationStatus.Finalized,
        )
        account = (await client.get_account_info(friend)).value
        assert account is not None
        assert account.lamports == SOL
        history = (await client.get_signatures_for_address(friend)).value
        assert [one.signature for one in history] == [signature]
        found = (await client.get_transaction(signature, max_supported_transaction_version=0)).value
        assert found is not None
        assert found.transaction.meta is not None
        assert found.transaction.meta.post_balances[1] == SOL


async def test_confirm_by_websocket(living: Endpoints) -> None:
    async with (
        asyncio.timeout(DEADLINE_SECONDS),
        AsyncClient(living.rpc_url, commitment=Confirmed) as client,
        connect(living.ws_url) as socket,
    ):
        wallet, friend = await wallet_with_money(client), Keypair().pubkey()
        await socket.account_subscribe(friend, commitment=Confirmed, encoding="base64")
        await socket.logs_subscribe(RpcTransactionLogsFilterMentions(friend), commitment=Confirmed)
        answers = [(await socket.recv())[0].result, (await socket.recv())[0].result]
        transaction = await signed_transfer(client, wallet, friend, SOL)
        await socket.signature_subscribe(transaction.signatures[0], commitment=Confirmed)
        answers.append((await socket.recv())[0].result)
        assert len(set(answers)) == 3
        await client.send_transaction(transaction)
        told: dict[str, Any] = {}
        while len(told) < 3:
            for message in await socket.recv():
                told[type(message).__name__] = message.result
        assert told["SignatureNotification"].value.err is None
        assert told["LogsNotification"].value.signature == transaction.signatures[0]
        assert told["AccountNotification"].value.lamports == SOL
        assert len({result.context.slot for result in told.values()}) == 1


async def test_slots_arrive_in_order(living: Endpoints) -> None:
    async with asyncio.timeout(DEADLINE_SECONDS), connect(living.ws_url) as socket:
        await socket.slot_subscribe()
        await socket.recv()
        slots = [(await received(socket, SlotNotification)).result for _ in range(5)]
        assert [slot.slot for slot in slots] == list(range(slots[0].slot, slots[0].slot + 5))
        assert all(slot.parent == slot.slot - 1 for slot in slots)


async def test_finality_comes_by_itself(living: Endpoints) -> None:
    async with asyncio.timeout(DEADLINE_SECONDS), AsyncClient(living.rpc_url) as client:
        wallet, friend = await wallet_with_money(client), Keypair().pubkey()
        transaction = await signed_transfer(client, wallet, friend, SOL)
        sent = await client.send_transaction(transaction, TxOpts(preflight_commitment=Processed))
        assert (await client.get_balance(friend, Processed)).value == SOL
        assert (await client.get_balance(friend, Finalized)).value == 0
        await client.confirm_transaction(sent.value, Finalized, sleep_seconds=0.05)
        assert (await client.get_balance(friend, Finalized)).value == SOL


async def test_a_failed_preflight_is_understood(living: Endpoints) -> None:
    async with asyncio.timeout(DEADLINE_SECONDS), AsyncClient(living.rpc_url, commitment=Confirmed) as client:
        wallet = await wallet_with_money(client)
        transaction = await signed_transfer(client, wallet, Keypair().pubkey(), 11 * SOL)
        with pytest.raises(RPCException) as raised:
            await client.send_transaction(transaction)
        failure = raised.value.args[0]
        assert isinstance(failure, SendTransactionPreflightFailureMessage)
        assert any("insufficient lamports" in line for line in failure.data.logs or [])


async def test_every_reading_method_parses(living: Endpoints) -> None:
    """solders refuses answers whose shape is not a node's."""
    async with asyncio.timeout(DEADLINE_SECONDS), AsyncClient(living.rpc_url, commitment=Confirmed) as client:
        wallet = await wallet_with_money(client)
        transaction = await signed_transfer(client, wallet, Keypair().pubkey(), SOL)
        signature = (await client.send_transaction(transaction)).value
        await client.confirm_transaction(signature, Confirmed, sleep_seconds=0.02)
        slot = (await client.get_slot()).value
        assert await client.is_connected()
        assert (await client.get_version()).value.solana_core
        assert (await client.get_identity()).value.identity
        assert (await client.get_genesis_hash()).value
        height = (await client.get_block_height()).value
        assert slot <= height <= (await client.get_slot()).value
        assert (await client.get_block_time(slot)).value
        assert (await client.get_epoch_info()).value.slots_in_epoch == 432_000
        assert (await client.get_epoch_schedule()).value.slots_per_epoch == 432_000
        assert (await client.get_first_available_block()).value == 0
        assert (await client.get_minimum_ledger_slot()).value == 0
        assert (await client.get_blocks(0, slot)).value[0] == 0
        assert (await client.get_transaction_count()).value >= 2
        assert (await client.get_minimum_balance_for_rent_exemption(10)).value == 960_480
        assert (await client.get_fee_for_message(transaction.message)).value == 5_000
        assert (await client.get_latest_blockhash()).value.last_valid_block_height > slot
        assert (await client.get_multiple_accounts([wallet.pubkey(), Pubkey.new_unique()])).value[1] is None
        assert (await client.get_signature_statuses([signature])).value[0] is not None
        assert (await client.simulate_transaction(transaction)).value.err is not None  # processed already
        for encoding in ("json", "jsonParsed", "base64", "base58"):
            found = await client.get_transaction(signature, encoding, max_supported_transaction_version=0)
            assert found.value is not None
        genesis = (await client.get_block(0)).value
        assert genesis is not None
        assert genesis.transactions == []
        found_accounts = await client.get_program_accounts(
            Pubkey.default(), encoding="base64", filters=[0, MemcmpOpts(offset=0, bytes="")]
        )
        assert wallet.pubkey() in [one.pubkey for one in found_accounts.value]

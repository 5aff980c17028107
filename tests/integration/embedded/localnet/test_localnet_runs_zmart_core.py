"""The real program behind the RPC, driven by solana-py: Python's half of the proof that the chain is one."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from solana.rpc.async_api import AsyncClient
from solana.rpc.commitment import Confirmed
from solana.rpc.core import RPCException
from solana.rpc.types import MemcmpOpts
from solana.rpc.websocket_api import connect
from solders.instruction import Instruction
from solders.keypair import Keypair
from solders.message import MessageV0
from solders.pubkey import Pubkey
from solders.rpc.responses import AccountNotification
from solders.transaction import VersionedTransaction

import zmartd
from tests.integration.embedded.localnet.localnet_client import SOL, Chain
from tests.integration.embedded.localnet.notifications import received
from zmartd.chain.accounts import GlobalConfig, MarketAccount, VoteRecord
from zmartd.chain.idl import default_idl
from zmartd.chain.program import Program
from zmartd.embedded.localnet import Endpoints, LocalnetSettings, running
from zmartd.market.lifecycle import MarketState, VoteKind

PROGRAM_FILE = Path(zmartd.__file__).parent / "embedded/programs/zmart_core.so"
IDL = default_idl()
PROGRAM = Program(IDL, IDL.program_id)
MARKET_ID = hashlib.sha256(b"Will it rain?").digest()
MARKET = PROGRAM.pdas.market(MARKET_ID)
DEADLINE_SECONDS = 120


def settings(directory: Path) -> LocalnetSettings:
    programs = {str(PROGRAM.program_id): PROGRAM_FILE}
    return LocalnetSettings(directory / "localnet", rpc_port=0, slot_milliseconds=20, programs=programs)


class Wallet:
    """A key that signs, sends and waits for confirmation with nothing but solana-py."""

    def __init__(self, client: AsyncClient, key: Keypair) -> None:
        self.client = client
        self.key = key
        self.address = key.pubkey()

    @classmethod
    async def with_money(cls, client: AsyncClient, lamports: int = 10 * SOL) -> Wallet:
        wallet = cls(client, Keypair())
        airdrop = await client.request_airdrop(wallet.address, lamports)
        await client.confirm_transaction(airdrop.value, Confirmed, sleep_seconds=0.02)
        return wallet

    async def send(self, instruction: Instruction) -> str:
        latest = (await self.client.get_latest_blockhash()).value
        message = MessageV0.try_compile(self.address, [instruction], [], latest.blockhash)
        sent = await self.client.send_transaction(VersionedTransaction(message, [self.key]))
        await self.client.confirm_transaction(
            sent.value, Confirmed, sleep_seconds=0.02, last_valid_block_height=latest.last_valid_block_height
        )
        return str(sent.value)


@asynccontextmanager
async def configured(directory: Path) -> AsyncIterator[tuple[Endpoints, AsyncClient, Wallet]]:
    """A localnet whose program has its configuration, and the administrator."""
    async with (
        asyncio.timeout(DEADLINE_SECONDS),
        running(settings(directory)) as endpoints,
        AsyncClient(endpoints.rpc_url, commitment=Confirmed) as client,
    ):
        admin = await Wallet.with_money(client)
        await admin.send(
            PROGRAM.initialize_global_config(
                admin=admin.address,
                protocol_fee_wallet=Keypair().pubkey(),
                backend_authority=admin.address,
            )
        )
        yield endpoints, client, admin


def creation(creator: Wallet) -> Instruction:
    """Creates MARKET."""
    return PROGRAM.create_market(
        creator=creator.address,
        market_id=MARKET_ID,
        b_parameter=100 * 10**9,
        initial_liquidity=SOL,
        ipfs_question_hash="QmYwAPJzv5CZsnA625s3Xf2nemtYgPpHdWEz79ojWKPbdG",
    )


async def account_data(client: AsyncClient, address: Pubkey) -> bytes:
    account = (await client.get_account_info(address)).value
    assert account is not None
    assert account.owner == PROGRAM.program_id
    return account.data


async def test_a_market_is_created_voted_on_and_read_back(tmp_path: Path) -> None:
    async with configured(tmp_path) as (endpoints, client, admin):
        creator, voter = await Wallet.with_money(client), await Wallet.with_money(client)
        config = GlobalConfig.decode(await account_data(client, PROGRAM.pdas.global_config()))
        assert config.admin == config.backend_authority == admin.address
        async with connect(endpoints.ws_url) as socket:
            await socket.account_subscribe(MARKET, commitment=Confirmed, encoding="base64")
            await socket.recv()
            created = await creator.send(creation(creator))
            notification = (await received(socket, AccountNotification)).result
        market = MarketAccount.decode(await account_data(client, MARKET))
        assert MarketAccount.decode(notification.value.data) == market
        assert (market.market_id, market.creator, market.state) == (
            MARKET_ID,
            creator.address,
            MarketState.PROPOSED,
        )
        assert (market.b_parameter, market.initial_liquidity) == (100 * 10**9, SOL)
        assert market.shares_yes == market.shares_no == 100 * 10**6

        await voter.send(PROGRAM.submit_proposal_vote(user=voter.address, market=MARKET, vote=True))
        address = PROGRAM.pdas.vote(MARKET, voter.address, VoteKind.PROPOSAL)
        vote = VoteRecord.decode(await account_data(client, address))
        assert (vote.market, vote.user, vote.vote) == (MARKET, voter.address, True)
        found = await client.get_program_accounts(
            PROGRAM.program_id, encoding="base64", filters=[MemcmpOpts(offset=8, bytes=str(MARKET))]
        )
        assert [one.pubkey for one in found.value] == [address]

        history = (await client.get_signatures_for_address(MARKET)).value
        assert [str(one.signature) for one in history][-1] == created
        landed = (
            await client.get_transaction(history[-1].signature, max_supported_transaction_version=0)
        ).value
        assert landed is not None
        assert landed.block_time == market.created_at


async def test_a_refusal_of_the_program_arrives_with_its_code_and_logs(tmp_path: Path) -> None:
    async with configured(tmp_path) as (_, client, admin):
        creator = await Wallet.with_money(client)
        await creator.send(creation(creator))
        with pytest.raises(RPCException) as raised:
            await admin.send(PROGRAM.activate_market(authority=admin.address, market=MARKET))
        failure = json.loads(raised.value.args[0].to_json())
        code = next(error.code for error in IDL.errors if error.name == "InvalidStateTransition")
        assert failure["data"]["err"] == {"InstructionError": [0, {"Custom": code}]}
        assert any(f"Error Number: {code}" in line for line in failure["data"]["logs"])


async def test_a_market_outlives_a_restart_and_sees_travelled_time(tmp_path: Path) -> None:
    async with configured(tmp_path) as (_, client, _admin):
        creator = await Wallet.with_money(client)
        await creator.send(creation(creator))
        before = await account_data(client, MARKET)
        key = creator.key
    async with (
        asyncio.timeout(DEADLINE_SECONDS),
        running(settings(tmp_path)) as endpoints,
        AsyncClient(endpoints.rpc_url, commitment=Confirmed) as client,
        aiohttp.ClientSession() as session,
    ):
        assert await account_data(client, MARKET) == before
        chain = Chain(endpoints, session)
        created_at = MarketAccount.decode(before).created_at
        await chain.call("surfnet_timeTravel", {"absoluteTimestamp": (created_at + 10**6) * 1000})
        voter = Wallet(client, key)
        await voter.send(PROGRAM.submit_proposal_vote(user=voter.address, market=MARKET, vote=False))
        address = PROGRAM.pdas.vote(MARKET, voter.address, VoteKind.PROPOSAL)
        vote = VoteRecord.decode(await account_data(client, address))
        assert created_at + 10**6 <= vote.voted_at <= created_at + 10**6 + DEADLINE_SECONDS

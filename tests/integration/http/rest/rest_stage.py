"""The API on a chain of its own, which runs the real program, and the people of that chain."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from importlib import resources
from pathlib import Path
from typing import Any

import aiohttp
from msgspec import Struct
from solders.instruction import Instruction
from solders.keypair import Keypair
from solders.pubkey import Pubkey
from solders.system_program import TransferParams, transfer

from tests.integration.http.rest.rest_api import (
    FREE_VOTES,
    IDL,
    PROGRAM,
    Answer,
    Api,
    Caller,
    running_api,
)
from tests.patience import patient_database
from zmartd.chain.accounts import MarketAccount, UserPosition
from zmartd.chain.assemble import compute_budget, sign
from zmartd.config import VotingSettings
from zmartd.embedded.localnet import LocalnetSettings, running
from zmartd.embedded.postgres import Durability, EmbeddedPostgres
from zmartd.embedded.valkey import EmbeddedValkey
from zmartd.store.postgres.database import Database
from zmartd.store.postgres.migrations import migrate

SOL = 10**9
AUTHORITY = Keypair.from_seed(bytes([42] * 32))
CREATOR, ALICE, BOB, POOR = (Keypair.from_seed(bytes([seed] * 32)) for seed in (1, 2, 3, 4))
TREASURY = Pubkey([3] * 32)

PROPOSAL = {
    "question": "Will it rain in Zürich tomorrow?",
    "description": "By the weather station at Fluntern.",
    "category": "science",
    "tags": ["weather"],
    "initial_liquidity": "10000000000",
}


class Stage(Struct, frozen=True):
    """The API, its chain, and who is on it. Everybody but POOR holds 1,000 SOL."""

    api: Api
    rpc_url: str

    @property
    def creator(self) -> Caller:
        return self.api.as_wallet(CREATOR)

    @property
    def alice(self) -> Caller:
        return self.api.as_wallet(ALICE)

    @property
    def bob(self) -> Caller:
        return self.api.as_wallet(BOB)

    @property
    def poor(self) -> Caller:
        return self.api.as_wallet(POOR)

    async def propose(self, **changes: Any) -> Answer:
        """Register a proposal by CREATOR that ends in 30 days."""
        end_date = await self.in_days(30)
        return await self.creator.post("/api/markets", {**PROPOSAL, "end_date": end_date, **changes})

    async def in_days(self, days: float) -> str:
        from datetime import UTC, datetime, timedelta

        now = (await self.api.rpc.chain_time()).unix_timestamp
        return (datetime.fromtimestamp(now, UTC) + timedelta(days=days)).isoformat()

    async def proposed_market(self, **changes: Any) -> str:
        """The id of a market of CREATOR's that is on the chain."""
        proposed = await self.propose(**changes)
        landed = await self.creator.relay(self.creator.sign(proposed.body["transaction"]))
        assert landed.status == 200, landed.body
        return str(proposed.body["market"]["id"])

    async def active_market(self, **changes: Any) -> str:
        """The id of a market that is traded."""
        market_id = await self.proposed_market(**changes)
        await self.activate(market_id)
        return market_id

    async def activate(self, market_id: str) -> None:
        """Have a market of CREATOR's that is on the chain approved, and open it."""
        await self.approve(market_id)
        activated = await self.creator.carry_out(f"/api/markets/{market_id}/activate")
        assert activated.status == 200, activated.body

    async def approve(self, market_id: str) -> None:
        """Have a market that is on the chain approved."""
        market = PROGRAM.pdas.market(bytes.fromhex(market_id))
        await self.as_authority(
            PROGRAM.aggregate_proposal_votes(
                backend_authority=AUTHORITY.pubkey(), market=market, final_likes=7, final_dislikes=3
            ),
            PROGRAM.approve_proposal(admin=AUTHORITY.pubkey(), market=market),
        )

    async def as_authority(self, *instructions: Instruction) -> Answer:
        """Have the backend authority's transaction relayed."""
        signed = await self.signed(AUTHORITY, *compute_budget(400_000), *instructions)
        answer = await self.api.as_wallet(AUTHORITY).relay(signed)
        assert answer.status == 200, answer.body
        return answer

    async def signed(self, wallet: Keypair, *instructions: Instruction) -> str:
        """The base64 of a wallet's transaction that the API did not build."""
        import base64

        latest = await self.api.rpc.latest_blockhash()
        signed = sign(instructions, wallet, latest.blockhash, latest.last_valid_block_height, "test")
        return base64.b64encode(signed.wire).decode()

    async def as_stranger(self, wallet: Keypair, *instructions: Instruction) -> None:
        """Have a wallet's transaction land past the relay, and be indexed."""
        latest = await self.api.rpc.latest_blockhash()
        signed = sign(instructions, wallet, latest.blockhash, latest.last_valid_block_height, "test")
        await self.api.rpc.send(signed.wire)
        await self.indexed(signed.signature)

    async def indexed(self, signature: str) -> None:
        """Wait until a transaction that was sent is indexed."""
        while (await self.api.anybody.get(f"/api/transactions/{signature}")).status != 200:
            pass

    async def pay(self, wallet: Keypair, to: Pubkey, lamports: int) -> None:
        """Have a wallet's payment land, which is none of the daemon's business."""
        payment = transfer(TransferParams(from_pubkey=wallet.pubkey(), to_pubkey=to, lamports=lamports))
        before = await self.lamports(to)
        latest = await self.api.rpc.latest_blockhash()
        signed = sign([payment], wallet, latest.blockhash, latest.last_valid_block_height, "test")
        await self.api.rpc.send(signed.wire)
        while await self.lamports(to) == before:
            pass

    async def market_account(self, market_id: str) -> MarketAccount:
        account = await self.api.rpc.account(PROGRAM.pdas.market(bytes.fromhex(market_id)))
        assert account is not None
        return MarketAccount.decode(account.data)

    async def position_account(self, market_id: str, wallet: Keypair) -> UserPosition:
        market = PROGRAM.pdas.market(bytes.fromhex(market_id))
        account = await self.api.rpc.account(PROGRAM.pdas.position(market, wallet.pubkey()))
        assert account is not None
        return UserPosition.decode(account.data)

    async def lamports(self, address: Pubkey) -> int:
        account = await self.api.rpc.account(address)
        return 0 if account is None else account.lamports

    async def travel(self, seconds: int) -> None:
        """Move the chain's clock forward, and wait until the API knows it."""
        there = (await self.api.rpc.chain_time()).unix_timestamp + seconds
        await self.cheat("surfnet_timeTravel", {"absoluteTimestamp": there * 1_000})
        async with asyncio.timeout(60):
            while (await self.api.rpc.chain_time()).unix_timestamp < there:  # noqa: ASYNC110 - a node tells nobody
                await asyncio.sleep(0.05)

    async def cheat(self, method: str, *params: Any) -> Any:
        """Ask the chain, or do to it what no chain does by itself."""
        call = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        async with aiohttp.ClientSession() as session, session.post(self.rpc_url, json=call) as response:
            answer = await response.json()
        assert "result" in answer, answer
        return answer["result"]


@asynccontextmanager
async def temporary_stage(directory: Path) -> AsyncIterator[tuple[Stage, str]]:
    """A stage on servers of its own, whose program is initialized, and the URL of its Valkey."""
    async with (
        EmbeddedPostgres(directory / "postgres", Durability.EPHEMERAL) as postgres,
        EmbeddedValkey(directory / "valkey") as valkey,
    ):
        await migrate(postgres.dsn)
        database = await Database.connect(patient_database(postgres.dsn))
        async with running_stage(database, valkey.url, directory) as stage:
            yield stage, valkey.url
        await database.close()


@asynccontextmanager
async def bare_stage(
    database: Database,
    redis_url: str,
    directory: Path,
    voting: VotingSettings = FREE_VOTES,
    programs: Mapping[str, Path] = {},
    slot_milliseconds: int = 20,
) -> AsyncIterator[Stage]:
    """A stage whose program is not initialized. `programs` are on the chain beside ours, by their address."""
    program = resources.files("zmartd.embedded") / "programs" / "zmart_core.so"
    settings = LocalnetSettings(
        directory / "chain",
        rpc_port=0,
        slot_milliseconds=slot_milliseconds,
        programs={str(IDL.program_id): Path(str(program)), **programs},
        genesis_accounts={str(wallet.pubkey()): 1_000 * SOL for wallet in (AUTHORITY, CREATOR, ALICE, BOB)}
        | {str(POOR.pubkey()): SOL // 100, str(TREASURY): SOL},
    )
    async with (
        running(settings) as endpoints,
        running_api(database, redis_url, endpoints.rpc_url, voting=voting) as api,
    ):
        yield Stage(api, endpoints.rpc_url)


@asynccontextmanager
async def running_stage(
    database: Database,
    redis_url: str,
    directory: Path,
    voting: VotingSettings = FREE_VOTES,
    programs: Mapping[str, Path] = {},
    slot_milliseconds: int = 20,
) -> AsyncIterator[Stage]:
    """A stage whose program is initialized."""
    async with bare_stage(database, redis_url, directory, voting, programs, slot_milliseconds) as stage:
        await stage.as_authority(
            PROGRAM.initialize_global_config(
                admin=AUTHORITY.pubkey(),
                protocol_fee_wallet=TREASURY,
                backend_authority=AUTHORITY.pubkey(),
            )
        )
        yield stage

"""A chain with the program on it, a database and a bus: everything that a task works with, all real."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from importlib.resources import files
from itertools import count
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
from redis.asyncio import Redis
from solders.instruction import Instruction
from solders.keypair import Keypair
from solders.pubkey import Pubkey

from zmartd import config
from zmartd.alert_settings import AlertSettings
from zmartd.chain import events
from zmartd.chain.accounts import MarketAccount
from zmartd.chain.assemble import sign
from zmartd.chain.codec import Codec
from zmartd.chain.events import ProgramEvent
from zmartd.chain.idl import default_idl
from zmartd.chain.program import Program
from zmartd.chain.rpc import Rpc
from zmartd.chain.sender import Sender
from zmartd.chain.transactions import ChainTransaction, EventRecord, parse_transaction
from zmartd.clock import SystemClock
from zmartd.embedded.localnet import LocalnetSettings, running
from zmartd.embedded.localnet.chain.blocks import blockhash_blocks
from zmartd.indexer.apply import Indexer
from zmartd.indexer.events.recording import TransactionInSlot
from zmartd.indexer.fetch import Fetcher
from zmartd.indexer.plausibility import Plausibility
from zmartd.market.ids import cid_v0
from zmartd.market.lifecycle import MarketState, VoteKind
from zmartd.realtime.bus import Bus
from zmartd.realtime.publisher import StreamPublisher
from zmartd.store import dispute_requests, markets, votes
from zmartd.store.postgres.database import Database
from zmartd.store.postgres.rls import Caller
from zmartd.task_settings import MarketMonitorSettings, TaskSettings, VoteAggregatorSettings
from zmartd.tasks.base import PeriodicTask
from zmartd.tasks.context import TaskContext
from zmartd.transactions.outbox import DatabaseOutbox
from zmartd.transactions.submission import Submitter

PROGRAM_ID = Pubkey.from_string("7h3gXfBfYFueFVLYyfL5Qo1QGsf4GQUfW96FKVgnUsJS")
PROGRAM_FILE = Path(str(files("zmartd.embedded") / "programs" / "zmart_core.so"))
FORWARDER_ID = Pubkey.from_string("Forwarder1111111111111111111111111111111111")
FORWARDER_FILE = Path(__file__).parents[3] / "programs" / "forwarder" / "forwarder.so"
SLOT_MILLISECONDS = 20
EXPIRY_SLOTS = blockhash_blocks(SLOT_MILLISECONDS) + 100
"""After so many slots it is final that a blockhash has ended."""
DISPUTE_PERIOD_SECONDS = 259_200
MIN_PROPOSAL_VOTES = 3
MIN_BALANCE_LAMPORTS = 50_000_000
QUORUM_BPS = 1_000
B_PARAMETER = 500 * 10**9
INITIAL_LIQUIDITY = 10**9
DOCUMENT_CID = cid_v0(b"what the market is about")


def keypair(name: str) -> Keypair:
    """The same key for the same name."""
    return Keypair.from_seed(hashlib.sha256(name.encode()).digest())


AUTHORITY, ADMIN, CREATOR, RESOLVER = map(keypair, ("authority", "admin", "creator", "resolver"))
HOLDERS = [keypair(f"holder {number}") for number in range(6)]
TREASURY = keypair("treasury")
RICH = (AUTHORITY, ADMIN, CREATOR, RESOLVER, TREASURY, *HOLDERS)


Disguise = Callable[[Sequence[Instruction]], Sequence[Instruction]]
"""Gives what a wallet sends instead of instructions that has the same effect."""


class Daemon:
    """What one daemon opens for its tasks. Several of them share the world."""

    def __init__(self, world: World, rpc: Rpc, sender: Sender, fetcher: Fetcher) -> None:
        self._world = world
        self.rpc = rpc
        self.sender = sender
        self.fetcher = fetcher

    def context(
        self,
        authority: Keypair | None = AUTHORITY,
        *,
        next_authority: Keypair | None = None,
        **changed: Any,
    ) -> TaskContext:
        """`changed` are settings of both tasks and of voting, by name. An admin has no time for a veto."""

        def section(defaults: Any) -> Any:
            known = {field.name for field in msgspec.structs.fields(defaults)}
            return msgspec.structs.replace(
                defaults, **{name: value for name, value in changed.items() if name in known}
            )

        return TaskContext(
            settings=TaskSettings(
                vote_aggregator=section(VoteAggregatorSettings()),
                market_monitor=section(MarketMonitorSettings()),
            ),
            realtime=section(config.RealtimeSettings()),
            voting=section(config.VotingSettings(min_proposal_votes=MIN_PROPOSAL_VOTES, veto_seconds=0)),
            database=self._world.database,
            redis=self._world.redis,
            publisher=self._world.publisher,
            rpc=self.rpc,
            program=self._world.program,
            fetcher=self.fetcher,
            submitter=Submitter(self._world.database, self.sender, self.fetcher),
            clock=SystemClock(),
            authority=authority,
            next_authority=next_authority,
            network_fees=section(config.NetworkFeeSettings()),
            alerts=section(AlertSettings()),
            retention=section(config.RetentionSettings()),
        )


class World:
    """The chain and what the index knows of it, seen from outside the tasks."""

    def __init__(
        self, rpc_url: str, database: Database, redis: Redis, session: aiohttp.ClientSession
    ) -> None:
        self.database = database
        self.redis = redis
        self.bus = Bus(redis, SystemClock())
        self.publisher = StreamPublisher(self.bus)
        self._outbox = DatabaseOutbox(database, config.TransactionSettings())
        self.idl = default_idl(str(PROGRAM_ID))
        self.program = Program(self.idl, PROGRAM_ID)
        self.rpc_url = rpc_url
        self._session = session
        self._numbers = count(1)
        self._wallets = count(1)
        self.disguise: Disguise = tuple
        self.admin = AUTHORITY
        self.own: Daemon

    @asynccontextmanager
    async def daemon(self) -> AsyncIterator[Daemon]:
        """Another daemon; at the end of the block it is gone, whatever it was doing."""
        clock = SystemClock()
        async with (
            Rpc(self.rpc_url, clock=clock) as rpc,
            Sender(rpc, self._outbox, clock, self.idl, poll_seconds=0.02) as sender,
        ):
            yield Daemon(self, rpc, sender, self.fetcher(rpc))

    def fetcher(self, rpc: Rpc) -> Fetcher:
        """A fetcher that applies transactions from `rpc`."""
        parse = partial(parse_transaction, program_id=PROGRAM_ID, codec=Codec(self.idl))
        indexer = Indexer(self.database, self.publisher, self.program.pdas)
        return Fetcher(rpc, indexer, parse, Plausibility(rpc.chain_time, SystemClock()))

    async def act(self, signer: Keypair, *instructions: Instruction, indexed: bool = True) -> str:
        """What a user does on the chain; indexed unless the webhook got lost."""
        latest = await self.own.rpc.latest_blockhash()
        transaction = sign(
            self.disguise(instructions),
            signer,
            latest.blockhash,
            latest.last_valid_block_height,
            f"test {next(self._numbers)}",
        )
        await self.own.sender.send(transaction)
        if indexed:
            await self.own.fetcher.apply_signature(transaction.signature)
        return transaction.signature

    async def proposal(self, *, indexed: bool = True) -> str:
        """Propose a new market; its id."""
        market_id = hashlib.sha256(f"market {next(self._numbers)}".encode()).digest()
        create = self.program.create_market(
            creator=CREATOR.pubkey(),
            market_id=market_id,
            b_parameter=B_PARAMETER,
            initial_liquidity=INITIAL_LIQUIDITY,
            ipfs_question_hash=DOCUMENT_CID,
        )
        await self.act(CREATOR, create, indexed=indexed)
        return market_id.hex()

    async def approve(self, market_id: str, *, indexed: bool = True) -> None:
        market = self.address(market_id)
        record = self.program.aggregate_proposal_votes(
            backend_authority=AUTHORITY.pubkey(), market=market, final_likes=1, final_dislikes=0
        )
        approve = self.program.approve_proposal(admin=self.admin.pubkey(), market=market)
        if self.admin == AUTHORITY:
            await self.act(AUTHORITY, record, approve, indexed=indexed)
        else:
            await self.act(AUTHORITY, record, indexed=indexed)
            await self.act(self.admin, approve, indexed=indexed)

    async def active(self) -> str:
        """A market that is open for trading."""
        market_id = await self.proposal()
        await self.approve(market_id)
        market = self.address(market_id)
        await self.act(CREATOR, self.program.activate_market(authority=CREATOR.pubkey(), market=market))
        return market_id

    async def buy(
        self, market_id: str, holder: Keypair, lamports: int = 10**8, *, outcome: bool = False
    ) -> None:
        buy = self.program.buy_shares(
            user=holder.pubkey(),
            market=self.address(market_id),
            protocol_fee_wallet=TREASURY.pubkey(),
            outcome=outcome,
            target_cost=lamports,
        )
        await self.act(holder, buy)

    async def sell(self, market_id: str, holder: Keypair, shares: int, *, outcome: bool = False) -> None:
        sell = self.program.sell_shares(
            user=holder.pubkey(),
            market=self.address(market_id),
            protocol_fee_wallet=TREASURY.pubkey(),
            outcome=outcome,
            shares_to_sell=shares,
            min_proceeds=0,
        )
        await self.act(holder, sell)

    async def shares(self, market_id: str, holder: Keypair) -> int:
        """The NO shares of a wallet, as the index has them."""
        ((held,),) = await self.fetch(
            "select shares_no from user_positions where market_id = $1 and user_wallet = $2",
            market_id,
            str(holder.pubkey()),
        )
        return int(held)

    async def resolve(
        self,
        market_id: str,
        resolver: Keypair = CREATOR,
        *,
        outcome: bool = True,
        indexed: bool = True,
        later_seconds: int = 60,
    ) -> None:
        """Propose an outcome, that much later; True for YES."""
        await self.travel(later_seconds)
        resolve = self.program.resolve_market(
            resolver=resolver.pubkey(),
            market=self.address(market_id),
            proposed_outcome=outcome,
            ipfs_evidence_hash=DOCUMENT_CID,
        )
        await self.act(resolver, resolve, indexed=indexed)

    async def resolving(self, *stakes: int, resolver: Keypair = CREATOR) -> str:
        """A market that has just been resolved with YES. HOLDERS paid `stakes`, in lamports, for NO."""
        market_id = await self.active()
        for holder, lamports in zip(HOLDERS, stakes, strict=False):
            await self.buy(market_id, holder, lamports)
        await self.resolve(market_id, resolver)
        return market_id

    async def disputed(self, *stakes: int, resolver: Keypair = CREATOR) -> str:
        """A market resolved with YES and disputed since."""
        market_id = await self.resolving(*stakes, resolver=resolver)
        await self.travel(60)
        await self.dispute(market_id)
        return market_id

    async def dispute(self, market_id: str, *, indexed: bool = True) -> None:
        initiate = self.program.initiate_dispute(
            initiator=HOLDERS[0].pubkey(), market=self.address(market_id)
        )
        await self.act(HOLDERS[0], initiate, indexed=indexed)

    async def vote_on_proposal(
        self, market_id: str, yes: int, no: int = 0, *, lamports: int = MIN_BALANCE_LAMPORTS
    ) -> None:
        """So many fresh wallets, each with so many lamports, vote through the API."""
        for vote in [True] * yes + [False] * no:
            voter = keypair(f"voter {next(self._wallets)}")
            if lamports:
                await self.give(voter, lamports)
            await self.vote(VoteKind.PROPOSAL, market_id, voter, vote)

    async def give(self, wallet: Keypair, lamports: int) -> None:
        """Let a wallet hold so much, and return when confirmed blocks show it."""
        address = wallet.pubkey()
        await self.cheat("surfnet_setAccount", str(address), {"lamports": lamports})

        async def arrived() -> bool:
            return (await self.own.rpc.balances_at_once([address]))[address] == lamports

        await self.until(arrived)

    async def vote_on_dispute(self, market_id: str, *votes: bool) -> None:
        """HOLDERS vote through the API, one after the other."""
        for holder, vote in zip(HOLDERS, votes, strict=False):
            await self.vote(VoteKind.DISPUTE, market_id, holder, vote)

    async def vote(self, kind: VoteKind, market_id: str, voter: Keypair, vote: bool) -> None:
        """A wallet votes through the API."""
        wallet = str(voter.pubkey())
        async with self.database.caller(Caller(wallet)) as connection:
            await votes.cast(connection, kind, market_id, wallet, vote)

    async def vote_on_chain(self, market_id: str, voter: Keypair, vote: bool) -> None:
        """A wallet votes on a dispute by a transaction of its own."""
        cast = self.program.submit_dispute_vote(
            user=voter.pubkey(), market=self.address(market_id), vote=vote
        )
        await self.act(voter, cast)

    async def request_dispute(self, market_id: str, holder: Keypair) -> None:
        wallet = str(holder.pubkey())
        async with self.database.caller(Caller(wallet)) as connection:
            await dispute_requests.request(connection, market_id, wallet)

    async def forge(self, market_id: str, wallet: Keypair, what: str) -> TransactionInSlot:
        """Have the index believe an event that is not on the chain: a position, more stake, or a vote."""
        raw, user = bytes.fromhex(market_id), wallet.pubkey()
        ((slot,),) = await self.fetch(
            "select slot from market_events where market_id = $1 and event_type = 'MarketResolved'", market_id
        )
        shares, cost, price = 10**9, 10**12, 5 * 10**8
        said: tuple[ProgramEvent, ...] = {
            "a position": (events.SharesBought(raw, user, True, shares, cost, price, 1),),
            "a stake": (
                events.SharesBought(raw, user, True, shares, cost, price, 1),
                events.SharesSold(raw, user, True, shares, 1, price, 1),
            ),
            "a vote": (events.DisputeVoteSubmitted(raw, user, False, 1),),
        }[what]
        lie = ChainTransaction(
            signature=str(wallet.sign_message(what.encode())),
            slot=slot,
            block_time=1,
            index_in_block=0,
            succeeded=True,
            error=None,
            events=tuple(EventRecord(ordinal, event) for ordinal, event in enumerate(said)),
            quarantined=(),
            creations=(),
            dispute_counts=(),
            resolver_payments=(),
            logs_truncated=False,
        )
        await self.own.fetcher.indexer.apply([lie])
        return TransactionInSlot(lie.slot, lie.signature)

    async def require_agreement_of(self, threshold_bps: int) -> None:
        """The admin changes the part of a dispute's votes that has to agree for it to succeed."""
        update = self.program.update_global_config(
            admin=AUTHORITY.pubkey(),
            protocol_fee_bps=300,
            resolver_reward_bps=200,
            liquidity_provider_fee_bps=500,
            proposal_approval_threshold=7_000,
            dispute_success_threshold=threshold_bps,
        )
        await self.act(AUTHORITY, update)

    async def travel(self, seconds: int) -> None:
        """Move the chain's clock forward, and return when confirmed blocks show it."""
        until = (await self.own.rpc.chain_time()).unix_timestamp + seconds
        await self.cheat("surfnet_timeTravel", {"absoluteTimestamp": until * 1_000})

        async def arrived() -> bool:
            return (await self.own.rpc.chain_time()).unix_timestamp >= until

        await self.until(arrived)

    async def leap(self, slots: int) -> None:
        """Open the slot that is so many slots after the open one; there is no block in between."""
        opened = await self.cheat("getSlot", {"commitment": "processed"})
        await self.cheat("surfnet_timeTravel", {"absoluteSlot": opened + slots})

    async def misbehave(self, **faults: Any) -> None:
        """How the node treats the RPC requests that follow; nothing given: well."""
        await self.cheat("zmartd_setFaults", {"rpc": faults})

    async def cheat(self, method: str, *params: Any) -> Any:
        body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": list(params)}
        async with self._session.post(self.rpc_url, json=body) as response:
            answer = await response.json()
        assert "error" not in answer, answer
        return answer["result"]

    def address(self, market_id: str) -> Pubkey:
        return self.program.pdas.market(bytes.fromhex(market_id))

    async def account(self, market_id: str) -> MarketAccount:
        """The market as the chain has it."""
        found = await self.own.rpc.account(self.address(market_id))
        assert found is not None
        return MarketAccount.decode(found.data)

    async def states(self, market_id: str) -> tuple[MarketState, MarketState]:
        """The market's state on the chain and in the index."""
        async with self.database.service() as connection:
            indexed = await markets.get(connection, market_id)
        return (await self.account(market_id)).state, indexed.state

    async def fetch(self, query: str, *arguments: Any) -> list[Any]:
        async with self.database.service() as connection:
            return [tuple(row) for row in await connection.fetch(query, *arguments)]

    async def outbox(self, market_id: str) -> list[tuple[str, str]]:
        """Purpose and status of every transaction that tasks recorded for the market, oldest first."""
        return await self.fetch(
            "select intent.purpose, status from transaction_intents as intent"
            " join outbox_transactions as sent using (signature)"
            " where market_id = $1 order by sent.created_at",
            market_id,
        )

    async def closed_votes(self, market_id: str) -> list[tuple[int, int]]:
        """The counts for which a market's votes are closed."""
        return await self.fetch("select yes, no from vote_tallies where market_id = $1", market_id)

    async def has_landed(self, market_id: str) -> bool:
        return "landed" in {status for _, status in await self.outbox(market_id)}

    async def until(self, condition: Callable[[], Awaitable[object]], timeout_seconds: float = 120.0) -> None:
        """Wait until `condition` is true."""
        async with asyncio.timeout(timeout_seconds):
            while not await condition():  # noqa: ASYNC110 - conditions are of many kinds, none of them events
                await asyncio.sleep(0.005)

    async def executed(self, market_id: str) -> int:
        """How many transactions, failed ones included, the chain has executed on the market."""
        return len(await self.own.rpc.signatures_for_address(self.address(market_id)))


async def killed_once(
    world: World, task: Callable[[TaskContext], PeriodicTask], when: Callable[[], Awaitable[object]]
) -> None:
    """Run a task in a daemon of its own, which dies with all that it was doing when the condition holds."""
    async with world.daemon() as doomed:
        run = asyncio.create_task(task(doomed.context()).run())
        await world.until(when)
        assert not run.done(), "the run was over before it could be killed"
        run.cancel()
        await asyncio.gather(run, return_exceptions=True)


@asynccontextmanager
async def a_world(
    directory: Path,
    database: Database,
    redis: Redis,
    admin: Keypair = AUTHORITY,
    disguise: Disguise = tuple,
) -> AsyncIterator[World]:
    """A fresh chain whose program has `admin` for its admin and AUTHORITY for its backend authority."""
    settings = LocalnetSettings(
        directory,
        rpc_port=0,
        slot_milliseconds=SLOT_MILLISECONDS,
        programs={str(PROGRAM_ID): PROGRAM_FILE, str(FORWARDER_ID): FORWARDER_FILE},
        genesis_accounts={str(rich.pubkey()): 10**13 for rich in RICH},
    )
    async with running(settings) as endpoints, aiohttp.ClientSession() as session:
        world = World(endpoints.rpc_url, database, redis, session)
        world.disguise, world.admin = disguise, admin
        async with world.daemon() as world.own:
            initialize = world.program.initialize_global_config(
                admin=admin.pubkey(),
                protocol_fee_wallet=TREASURY.pubkey(),
                backend_authority=AUTHORITY.pubkey(),
            )
            await world.act(admin, initialize)
            yield world

"""The real program on a real runtime: built, sent, landed, and read back through this room alone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from importlib import resources
from pathlib import Path

import pytest
from msgspec import Struct
from solders.instruction import Instruction
from solders.keypair import Keypair
from solders.pubkey import Pubkey
from solders.system_program import TransferParams, transfer

from tests.integration.chain.chain_nodes import LOST, Node, node_before
from zmartd.chain import events
from zmartd.chain.accounts import GlobalConfig, MarketAccount, UserPosition, VoteRecord
from zmartd.chain.arguments import MarketCreation
from zmartd.chain.assemble import build_transaction, compute_budget, sign
from zmartd.chain.codec import Codec
from zmartd.chain.discriminators import discriminator
from zmartd.chain.failures import explain_failure
from zmartd.chain.idl import default_idl
from zmartd.chain.program import Program
from zmartd.chain.rpc import Rpc
from zmartd.chain.sender import Sender
from zmartd.chain.signed_transactions import TransactionFailed
from zmartd.chain.transactions import ChainTransaction, parse_transaction
from zmartd.clock import SystemClock
from zmartd.config import TransactionSettings
from zmartd.embedded.localnet import LocalnetSettings, running
from zmartd.market import lmsr
from zmartd.market.lifecycle import MarketState, VoteKind
from zmartd.store.postgres.database import Database
from zmartd.transactions.outbox import DatabaseOutbox

IDL = default_idl()
CODEC = Codec(IDL)
PROGRAM = Program(IDL, IDL.program_id)
AUTHORITY = Keypair.from_seed(bytes([42] * 32))
"""Admin, backend authority and the rich one of this chain."""
FEES = Pubkey([3] * 32)
MARKET_ID = bytes(range(32))
MARKET = PROGRAM.pdas.market(MARKET_ID)
CID = "QmT78zSuBmuS4z925WZfrqQ1qHaJ56DQaTfyMUF7F8ff5o"
SOL = 10**9
B = 1_000 * 10**9


class Stage(Struct, frozen=True):
    """The room's parts on one chain."""

    rpc: Rpc
    sender: Sender
    node: Node

    async def play(self, *instructions: Instruction, by: Keypair = AUTHORITY) -> ChainTransaction:
        """Sign, send, and read back what the transaction did."""
        latest = await self.rpc.latest_blockhash()
        budget = compute_budget(400_000)
        signed = sign([*budget, *instructions], by, latest.blockhash, latest.last_valid_block_height, "test")
        await self.sender.send(signed)
        raw = await self.rpc.transaction(signed.signature)
        assert raw is not None
        return parse_transaction(raw, IDL.program_id, CODEC)

    async def data(self, address: Pubkey) -> bytes:
        account = await self.rpc.account(address)
        assert account is not None
        assert account.owner == IDL.program_id
        return account.data

    async def market(self) -> MarketAccount:
        return MarketAccount.decode(await self.data(MARKET))


def emitted(transaction: ChainTransaction) -> Sequence[object]:
    assert transaction.quarantined == ()
    assert not transaction.logs_truncated
    assert [record.ordinal for record in transaction.events] == list(range(len(transaction.events)))
    return [record.event for record in transaction.events]


@pytest.fixture
async def stage(tmp_path: Path, database: Database) -> AsyncIterator[Stage]:
    with resources.as_file(resources.files("zmartd.embedded") / "programs" / "zmart_core.so") as program:
        settings = LocalnetSettings(
            tmp_path / "chain",
            rpc_port=0,
            slot_milliseconds=20,
            programs={IDL.address: program},
            genesis_accounts={str(AUTHORITY.pubkey()): 10**15},
        )
        async with (
            asyncio.timeout(120),
            running(settings) as endpoints,
            node_before(endpoints.rpc_url) as node,
            Rpc(node.address, clock=SystemClock()) as rpc,
            Sender(
                rpc, DatabaseOutbox(database, TransactionSettings()), SystemClock(), IDL, poll_seconds=0.02
            ) as sender,
        ):
            yield Stage(rpc, sender, node)


@pytest.fixture
async def wallet(stage: Stage) -> Keypair:
    """A wallet with 1000 SOL."""
    wallet = Keypair()
    await stage.play(
        transfer(
            TransferParams(from_pubkey=AUTHORITY.pubkey(), to_pubkey=wallet.pubkey(), lamports=1_000 * SOL)
        )
    )
    return wallet


def initialize() -> Instruction:
    return PROGRAM.initialize_global_config(
        admin=AUTHORITY.pubkey(), protocol_fee_wallet=FEES, backend_authority=AUTHORITY.pubkey()
    )


def create(creator: Pubkey) -> Instruction:
    return PROGRAM.create_market(
        creator=creator,
        market_id=MARKET_ID,
        b_parameter=B,
        initial_liquidity=100 * SOL,
        ipfs_question_hash=CID,
    )


def approve() -> list[Instruction]:
    authority = AUTHORITY.pubkey()
    return [
        PROGRAM.aggregate_proposal_votes(
            backend_authority=authority, market=MARKET, final_likes=9, final_dislikes=1
        ),
        PROGRAM.approve_proposal(admin=authority, market=MARKET),
    ]


def buy(user: Pubkey, lamports: int) -> Instruction:
    return PROGRAM.buy_shares(
        user=user, market=MARKET, protocol_fee_wallet=FEES, outcome=True, target_cost=lamports
    )


async def open_market(stage: Stage, creator: Keypair) -> None:
    await stage.play(initialize())
    await stage.play(create(creator.pubkey()), by=creator)
    await stage.play(*approve(), PROGRAM.activate_market(authority=AUTHORITY.pubkey(), market=MARKET))


async def test_a_market_is_created_voted_approved_traded_and_read_back_to_the_unit(
    stage: Stage, wallet: Keypair
) -> None:
    authority, user = AUTHORITY.pubkey(), wallet.pubkey()

    initialized = await stage.play(initialize())
    (event,) = emitted(initialized)
    assert isinstance(event, events.GlobalConfigInitialized)
    assert (event.admin, event.backend_authority, event.protocol_fee_bps) == (authority, authority, 300)
    config = GlobalConfig.decode(await stage.data(PROGRAM.pdas.global_config()))
    assert (config.protocol_fee_wallet, config.dispute_period, config.is_paused) == (FEES, 259_200, False)

    created = await stage.play(create(user), by=wallet)
    (event,) = emitted(created)
    assert isinstance(event, events.MarketCreated)
    assert (event.market_id, event.creator, event.b_parameter, event.state) == (MARKET_ID, user, B, 0)
    assert created.creations == (MarketCreation(MARKET_ID, MARKET, user, B, 100 * SOL, CID),)
    market = await stage.market()
    assert (market.state, market.shares_yes, market.shares_no) == (MarketState.PROPOSED, B // 1000, B // 1000)
    assert market.ipfs_evidence_hash == CID.encode()

    voted = await stage.play(PROGRAM.submit_proposal_vote(user=user, market=MARKET, vote=True), by=wallet)
    (event,) = emitted(voted)
    assert isinstance(event, events.ProposalVoteSubmitted)
    vote = VoteRecord.decode(await stage.data(PROGRAM.pdas.vote(MARKET, user, VoteKind.PROPOSAL)))
    assert (vote.market, vote.user, vote.vote_type, vote.vote) == (MARKET, user, VoteKind.PROPOSAL, True)

    approved = await stage.play(*approve())
    assert [type(event) for event in emitted(approved)] == [
        events.ProposalAggregated,
        events.ProposalApproved,
    ]
    activated = await stage.play(PROGRAM.activate_market(authority=user, market=MARKET), by=wallet)
    (event,) = emitted(activated)
    assert isinstance(event, events.MarketActivated)

    before = await stage.market()
    bought = await stage.play(buy(user, 10 * SOL), by=wallet)
    (event,) = emitted(bought)
    assert isinstance(event, events.SharesBought)
    cost, shares = lmsr.quote_buy(before.shares_yes, before.shares_no, B, True, 10 * SOL * 10_000 // 11_000)
    market = await stage.market()
    assert (event.user, event.outcome, event.shares) == (user, True, shares)
    assert cost < event.cost <= 10 * SOL
    assert event.new_price_yes == lmsr.price_yes(market.shares_yes, market.shares_no, B)
    position = UserPosition.decode(await stage.data(PROGRAM.pdas.position(MARKET, user)))
    assert (position.shares_yes, position.total_invested, position.trades_count) == (shares, event.cost, 1)

    sold = await stage.play(
        PROGRAM.sell_shares(
            user=user,
            market=MARKET,
            protocol_fee_wallet=FEES,
            outcome=True,
            shares_to_sell=shares,
            min_proceeds=1,
        ),
        by=wallet,
    )
    (event,) = emitted(sold)
    assert isinstance(event, events.SharesSold)
    assert (event.shares, event.user) == (shares, user)
    assert (await stage.market()).shares_yes == B // 1000


async def test_the_program_s_accounts_are_found_by_their_kind(stage: Stage, wallet: Keypair) -> None:
    await open_market(stage, wallet)
    every = await stage.rpc.program_accounts(IDL.program_id)
    markets = await stage.rpc.program_accounts(IDL.program_id, {0: discriminator("account", "MarketAccount")})
    assert {account.address for account in every} == {MARKET, PROGRAM.pdas.global_config()}
    assert [account.address for account in markets] == [MARKET]
    assert MarketAccount.decode(markets[0].data) == await stage.market()


async def test_a_simulated_refusal_has_the_program_s_own_name(stage: Stage, wallet: Keypair) -> None:
    await open_market(stage, wallet)
    latest = await stage.rpc.latest_blockhash()
    wire = build_transaction([buy(wallet.pubkey(), 9_999)], wallet.pubkey(), latest.blockhash)
    result = await stage.rpc.simulate(wire)
    failure = explain_failure(result.err, result.logs, IDL)
    assert (failure.code, failure.name, failure.instruction_index) == (6018, "TradeTooSmall", 0)


async def test_a_refused_transaction_is_explained_before_it_costs_anything(
    stage: Stage, wallet: Keypair
) -> None:
    await open_market(stage, wallet)
    with pytest.raises(TransactionFailed, match="less than 10000 lamports") as caught:
        await stage.play(buy(wallet.pubkey(), 9_999), by=wallet)
    assert (caught.value.failure.name, caught.value.slot) == ("TradeTooSmall", None)


async def test_a_transaction_that_failed_on_the_chain_has_a_reason_and_no_events(
    stage: Stage, wallet: Keypair
) -> None:
    await open_market(stage, wallet)
    stage.node.instead("sendTransaction", LOST)
    with pytest.raises(TransactionFailed) as caught:
        await stage.play(buy(wallet.pubkey(), 9_999), by=wallet)
    assert caught.value.failure.name == "TradeTooSmall"
    assert caught.value.slot is not None
    assert caught.value.signature is not None
    raw = await stage.rpc.transaction(caught.value.signature)
    assert raw is not None
    transaction = parse_transaction(raw, IDL.program_id, CODEC)
    assert not transaction.succeeded
    assert transaction.error == caught.value.failure
    assert transaction.events == ()


async def test_a_second_vote_is_refused_because_the_first_exists(stage: Stage, wallet: Keypair) -> None:
    await stage.play(initialize())
    await stage.play(create(wallet.pubkey()), by=wallet)
    await stage.play(PROGRAM.submit_proposal_vote(user=wallet.pubkey(), market=MARKET, vote=True), by=wallet)
    with pytest.raises(TransactionFailed) as caught:
        await stage.play(
            PROGRAM.submit_proposal_vote(user=wallet.pubkey(), market=MARKET, vote=False), by=wallet
        )
    assert caught.value.failure.name == "AccountAlreadyInUse"


async def test_a_stranger_s_approval_is_refused_by_name(stage: Stage, wallet: Keypair) -> None:
    await stage.play(initialize())
    await stage.play(create(wallet.pubkey()), by=wallet)
    with pytest.raises(TransactionFailed) as caught:
        await stage.play(PROGRAM.approve_proposal(admin=wallet.pubkey(), market=MARKET), by=wallet)
    assert caught.value.failure.name == "Unauthorized"


async def test_half_a_transaction_is_no_transaction(stage: Stage, wallet: Keypair) -> None:
    """The first instruction's event is in the logs of the failed transaction, and means nothing."""
    await open_market(stage, wallet)
    stage.node.instead("sendTransaction", LOST)
    with pytest.raises(TransactionFailed) as caught:
        await stage.play(buy(wallet.pubkey(), 5 * SOL), buy(wallet.pubkey(), 9_999), by=wallet)
    assert caught.value.signature is not None
    raw = await stage.rpc.transaction(caught.value.signature)
    assert raw is not None
    assert any(line.startswith("Program data: ") for line in raw["meta"]["logMessages"])
    transaction = parse_transaction(raw, IDL.program_id, CODEC)
    assert transaction.events == ()
    assert (await stage.market()).total_volume == 0

"""Voting on the chain: the transactions for a wallet to sign."""

from __future__ import annotations

from typing import Any

import msgspec
from solders.instruction import Instruction
from solders.pubkey import Pubkey

from zmartd.errors import AboutMarket
from zmartd.http.errors.requests import BalanceTooLow, MarketPending, WrongState
from zmartd.http.kit import keys
from zmartd.http.kit.operation import Access, Call, Operation
from zmartd.http.markets.actions import ActionBody
from zmartd.http.markets.lookup import chain_market
from zmartd.http.markets.wrong_state import explaining_state
from zmartd.http.voting.votes import VOTES, VoteRequest, require_proposal_voter
from zmartd.market.lifecycle import VoteKind
from zmartd.store import votes
from zmartd.store.markets import MarketNotFound
from zmartd.store.votes import AlreadyVoted, NotAHolder, VoteDetails
from zmartd.transactions import unsigned


async def build_proposal_vote(call: Call[VoteRequest]) -> ActionBody:
    return await _build(call, VoteKind.PROPOSAL)


async def build_dispute_vote(call: Call[VoteRequest]) -> ActionBody:
    return await _build(call, VoteKind.DISPUTE)


async def _build(call: Call[Any], kind: VoteKind) -> ActionBody:
    body = call.input
    wallet = call.session.wallet
    if kind is VoteKind.PROPOSAL:
        await require_proposal_voter(call, wallet)
    async with call.app[keys.DATABASE].reader(call.caller) as connection:
        market = await chain_market(connection, body.market_id)
        is_open = market.state is kind.open_state
        if is_open and await votes.find(connection, kind, market.id, wallet) is not None:
            raise AlreadyVoted(VoteDetails(market.id, kind))
        if kind is VoteKind.DISPUTE and not await votes.is_holder(connection, market.id, wallet):
            raise NotAHolder(AboutMarket(market.id))
    instruction = _instruction(
        call,
        kind,
        Pubkey.from_string(wallet),
        Pubkey.from_string(market.on_chain_address),
        bool(body.vote),
    )
    async with explaining_state(call, market.id, VOTES[kind]):
        unsigned = await call.app[keys.TRANSACTION_BUILDER].build(wallet, instruction)
    return ActionBody(**msgspec.structs.asdict(unsigned), market_id=market.id)


def _instruction(call: Call[Any], kind: VoteKind, user: Pubkey, market: Pubkey, vote: bool) -> Instruction:
    program = call.app[keys.PROGRAM]
    if kind is VoteKind.PROPOSAL:
        return program.submit_proposal_vote(user=user, market=market, vote=vote)
    return program.submit_dispute_vote(user=user, market=market, vote=vote)


OPERATIONS: tuple[Operation[Any], ...] = (
    Operation(
        method="POST",
        path="/api/votes/proposal/transaction",
        handler=build_proposal_vote,
        name="build_proposal_vote_transaction",
        summary="Get the transaction that votes on a proposed market on the chain",
        tag="votes",
        body=VoteRequest,
        responses={200: ActionBody},
        errors=(MarketNotFound, MarketPending, BalanceTooLow, AlreadyVoted, WrongState, *unsigned.ERRORS),
        access=Access.SESSION,
    ),
    Operation(
        method="POST",
        path="/api/votes/dispute/transaction",
        handler=build_dispute_vote,
        name="build_dispute_vote_transaction",
        summary="Get the transaction that votes on a disputed outcome on the chain",
        tag="votes",
        body=VoteRequest,
        responses={200: ActionBody},
        errors=(MarketNotFound, MarketPending, NotAHolder, AlreadyVoted, WrongState, *unsigned.ERRORS),
        access=Access.SESSION,
    ),
)

"""Moving a market along: the transactions for its creator, its holders and the admin to sign."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct
from solders.instruction import Instruction
from solders.pubkey import Pubkey

from zmartd.chain.program import Program
from zmartd.chain.program_accounts import ProtocolNotInitialized
from zmartd.http.errors.requests import MarketPending, NotTheCreator
from zmartd.http.kit import keys
from zmartd.http.kit.fields import ContentId, MarketKey
from zmartd.http.kit.operation import Access, Answer, Call, Operation
from zmartd.http.markets.lookup import chain_market
from zmartd.market.decisions import is_trusted_resolver
from zmartd.store import dispute_requests
from zmartd.store.dispute_requests import DisputeRequestRefused
from zmartd.store.markets import MarketNotFound, MarketRow
from zmartd.store.postgres.rls import Caller
from zmartd.transactions import unsigned
from zmartd.transactions.live_market import read_live_market
from zmartd.transactions.unsigned import UnsignedTransaction


class ResolveRequest(Struct, frozen=True, kw_only=True):
    outcome: Annotated[bool, Meta(description="true for YES or false for NO")]
    ipfs_evidence_hash: Annotated[
        ContentId, Meta(description="an IPFS content id of version 0: Qm and 44 base58 characters")
    ]


class ActionBody(UnsignedTransaction, frozen=True, kw_only=True):
    """A transaction that moves this market along."""

    market_id: MarketKey


class Petition(Struct, frozen=True):
    """How many of a market's holders ask for a dispute of its proposed outcome.

    Holders are wallets that held shares when the outcome was proposed; those with less than the least stake
    that a petition counts are left out.
    """

    market_id: MarketKey
    requests: int
    """Holders that have asked."""
    holders: int
    """All holders."""


async def activate(call: Call[None]) -> ActionBody:
    """For its creator or the admin."""
    return await _unsigned(
        call, lambda program, wallet, market: program.activate_market(authority=wallet, market=market)
    )


async def resolve(call: Call[ResolveRequest]) -> ActionBody:
    """For its creator or a trusted resolver."""
    body = call.input
    wallet = call.session.wallet
    market = await _market(call)
    if not is_trusted_resolver(wallet, market.creator_wallet, call.app[keys.VOTING].trusted_resolvers):
        raise NotTheCreator(market_id=market.id)
    return await _unsigned(
        call,
        lambda program, resolver, address: program.resolve_market(
            resolver=resolver,
            market=address,
            proposed_outcome=body.outcome,
            ipfs_evidence_hash=body.ipfs_evidence_hash,
        ),
    )


async def dispute(call: Call[None]) -> ActionBody:
    """For anybody."""
    return await _unsigned(
        call, lambda program, wallet, market: program.initiate_dispute(initiator=wallet, market=market)
    )


async def claim(call: Call[None]) -> ActionBody:
    """For a holder of winning shares."""
    market = await _market(call)
    live = await read_live_market(call.app[keys.RPC], call.app[keys.PROGRAM], market.on_chain_address)
    return await _unsigned(
        call,
        lambda program, wallet, address: program.claim_winnings(
            user=wallet, market=address, resolver=live.account.resolver
        ),
    )


async def withdraw(call: Call[None]) -> ActionBody:
    """For its creator."""
    return await _unsigned(
        call, lambda program, wallet, market: program.withdraw_liquidity(creator=wallet, market=market)
    )


async def cancel(call: Call[None]) -> ActionBody:
    """For the admin."""
    return await _unsigned(
        call, lambda program, wallet, market: program.cancel_market(admin=wallet, market=market)
    )


async def request_dispute(call: Call[None]) -> Answer:
    """201 for a holder's first request, 200 for the same again.

    When enough holders have asked, the backend authority opens the dispute.
    """
    wallet = call.wallet
    market = await _market(call)
    database = call.app[keys.DATABASE]
    async with database.caller(Caller(wallet)) as connection:
        is_new = await dispute_requests.request(connection, market.id, wallet)
    async with database.service() as connection:
        least_stake = call.app[keys.VOTING].min_stake_lamports
        standing = await dispute_requests.counts(connection, market.id, least_stake)
    return Answer(Petition(market.id, standing.requests, standing.holders), 201 if is_new else 200)


async def _market(call: Call[Any]) -> MarketRow:
    async with call.app[keys.DATABASE].caller(call.caller) as connection:
        return await chain_market(connection, call.path["id"])


async def _unsigned(call: Call[Any], build: Callable[[Program, Pubkey, Pubkey], Instruction]) -> ActionBody:
    wallet = call.session.wallet
    market = await _market(call)
    instruction = build(
        call.app[keys.PROGRAM],
        Pubkey.from_string(wallet),
        Pubkey.from_string(market.on_chain_address),
    )
    unsigned = await call.app[keys.TRANSACTIONS].build(wallet, instruction)
    return ActionBody(**msgspec.structs.asdict(unsigned), market_id=market.id)


OPERATIONS: tuple[Operation[Any], ...] = (
    Operation(
        method="POST",
        path="/api/markets/{id}/activate",
        handler=activate,
        summary="Open an approved market for trading",
        tag="markets",
        answers={200: ActionBody},
        errors=(MarketNotFound, MarketPending, *unsigned.ERRORS),
        access=Access.SESSION,
    ),
    Operation(
        method="POST",
        path="/api/markets/{id}/resolve",
        handler=resolve,
        summary="Propose a market's outcome",
        tag="markets",
        body=ResolveRequest,
        answers={200: ActionBody},
        errors=(MarketNotFound, MarketPending, NotTheCreator, *unsigned.ERRORS),
        access=Access.SESSION,
    ),
    Operation(
        method="POST",
        path="/api/markets/{id}/dispute",
        handler=dispute,
        summary="Dispute a proposed outcome",
        tag="markets",
        answers={200: ActionBody},
        errors=(MarketNotFound, MarketPending, *unsigned.ERRORS),
        access=Access.SESSION,
    ),
    Operation(
        method="POST",
        path="/api/markets/{id}/dispute-requests",
        handler=request_dispute,
        summary="Ask, as a holder, for a dispute",
        tag="markets",
        answers={201: Petition, 200: Petition},
        errors=(MarketNotFound, MarketPending, DisputeRequestRefused),
        access=Access.WALLET,
    ),
    Operation(
        method="POST",
        path="/api/markets/{id}/claim",
        handler=claim,
        summary="Claim what one's shares won",
        tag="markets",
        answers={200: ActionBody},
        errors=(MarketNotFound, MarketPending, ProtocolNotInitialized, *unsigned.ERRORS),
        access=Access.SESSION,
    ),
    Operation(
        method="POST",
        path="/api/markets/{id}/withdraw",
        handler=withdraw,
        summary="Take back a market's liquidity",
        tag="markets",
        answers={200: ActionBody},
        errors=(MarketNotFound, MarketPending, *unsigned.ERRORS),
        access=Access.SESSION,
    ),
    Operation(
        method="POST",
        path="/api/markets/{id}/cancel",
        handler=cancel,
        summary="Cancel a market",
        tag="markets",
        answers={200: ActionBody},
        errors=(MarketNotFound, MarketPending, *unsigned.ERRORS),
        access=Access.SESSION,
    ),
)

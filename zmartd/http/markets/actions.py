"""The transactions with which creators, holders, resolvers and the admin act on a market."""

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
from zmartd.http.kit.operation import Access, Call, Operation
from zmartd.http.markets.lookup import chain_market
from zmartd.http.markets.wrong_state import explaining_state
from zmartd.market.decisions import is_trusted_resolver
from zmartd.market.next_steps import Action
from zmartd.store.markets import MarketNotFound, MarketRow
from zmartd.transactions import unsigned
from zmartd.transactions.live_market import read_live_market
from zmartd.transactions.unsigned import UnsignedTransaction


class ResolveRequest(Struct, frozen=True, kw_only=True):
    outcome: Annotated[bool, Meta(description="true for YES or false for NO")]
    ipfs_evidence_hash: Annotated[
        ContentId, Meta(description="an IPFS content id of version 0: Qm and 44 base58 characters")
    ]


class ActionBody(UnsignedTransaction, frozen=True, kw_only=True):
    """A transaction that acts on this market."""

    market_id: MarketKey


async def activate(call: Call[None]) -> ActionBody:
    """For the market's creator or the admin."""
    return await _action(
        call,
        await _market(call),
        Action.ACTIVATE,
        lambda program, wallet, market: program.activate_market(authority=wallet, market=market),
    )


async def resolve(call: Call[ResolveRequest]) -> ActionBody:
    """For the market's creator or a trusted resolver."""
    body = call.input
    market = await _market(call)
    if not is_trusted_resolver(
        call.session.wallet, market.creator_wallet, call.app[keys.VOTING].trusted_resolvers
    ):
        raise NotTheCreator(market.id, market.creator_wallet)
    return await _action(
        call,
        market,
        Action.RESOLVE,
        lambda program, resolver, address: program.resolve_market(
            resolver=resolver,
            market=address,
            proposed_outcome=body.outcome,
            ipfs_evidence_hash=body.ipfs_evidence_hash,
        ),
    )


async def dispute(call: Call[None]) -> ActionBody:
    """For any wallet."""
    return await _action(
        call,
        await _market(call),
        Action.DISPUTE,
        lambda program, wallet, market: program.initiate_dispute(initiator=wallet, market=market),
    )


async def claim(call: Call[None]) -> ActionBody:
    """For a holder of a finalized market."""
    market = await _market(call)
    live = await read_live_market(call.app[keys.RPC], call.app[keys.PROGRAM], market.on_chain_address)
    return await _action(
        call,
        market,
        Action.CLAIM,
        lambda program, wallet, address: program.claim_winnings(
            user=wallet, market=address, resolver=live.account.resolver
        ),
    )


async def withdraw(call: Call[None]) -> ActionBody:
    """For the market's creator."""
    return await _action(
        call,
        await _market(call),
        Action.WITHDRAW,
        lambda program, wallet, market: program.withdraw_liquidity(creator=wallet, market=market),
    )


async def cancel(call: Call[None]) -> ActionBody:
    """For the admin."""
    return await _action(
        call,
        await _market(call),
        Action.CANCEL,
        lambda program, wallet, market: program.cancel_market(admin=wallet, market=market),
    )


async def _market(call: Call[Any]) -> MarketRow:
    async with call.app[keys.DATABASE].reader(call.caller) as connection:
        return await chain_market(connection, call.path["id"])


async def _action(
    call: Call[Any],
    market: MarketRow,
    action: Action,
    build: Callable[[Program, Pubkey, Pubkey], Instruction],
) -> ActionBody:
    """The transaction of the instruction that `build` gives for the program, the wallet and the market."""
    wallet = call.session.wallet
    instruction = build(
        call.app[keys.PROGRAM],
        Pubkey.from_string(wallet),
        Pubkey.from_string(market.on_chain_address),
    )
    async with explaining_state(call, market.id, action):
        unsigned = await call.app[keys.TRANSACTION_BUILDER].build(wallet, instruction)
    return ActionBody(**msgspec.structs.asdict(unsigned), market_id=market.id)


OPERATIONS: tuple[Operation[Any], ...] = (
    Operation(
        method="POST",
        path="/api/markets/{id}/activate",
        handler=activate,
        summary="Open an approved market for trading",
        tag="markets",
        responses={200: ActionBody},
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
        responses={200: ActionBody},
        errors=(MarketNotFound, MarketPending, NotTheCreator, *unsigned.ERRORS),
        access=Access.SESSION,
    ),
    Operation(
        method="POST",
        path="/api/markets/{id}/dispute",
        handler=dispute,
        summary="Dispute a proposed outcome",
        tag="markets",
        responses={200: ActionBody},
        errors=(MarketNotFound, MarketPending, *unsigned.ERRORS),
        access=Access.SESSION,
    ),
    Operation(
        method="POST",
        path="/api/markets/{id}/claim",
        handler=claim,
        summary="Claim winnings or a refund",
        tag="markets",
        responses={200: ActionBody},
        errors=(MarketNotFound, MarketPending, ProtocolNotInitialized, *unsigned.ERRORS),
        access=Access.SESSION,
    ),
    Operation(
        method="POST",
        path="/api/markets/{id}/withdraw",
        handler=withdraw,
        summary="Withdraw the creator's liquidity",
        tag="markets",
        responses={200: ActionBody},
        errors=(MarketNotFound, MarketPending, *unsigned.ERRORS),
        access=Access.SESSION,
    ),
    Operation(
        method="POST",
        path="/api/markets/{id}/cancel",
        handler=cancel,
        summary="Cancel a market",
        tag="markets",
        responses={200: ActionBody},
        errors=(MarketNotFound, MarketPending, *unsigned.ERRORS),
        access=Access.SESSION,
    ),
)

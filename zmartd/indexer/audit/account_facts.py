"""Reads from the chain's accounts the facts that the audit compares with the index."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, TypeVar

import msgspec
from solders.pubkey import Pubkey

from zmartd.chain.accounts import GlobalConfig, MarketAccount, UserPosition, VoteRecord
from zmartd.chain.answers import AtSlot, ChainAccount
from zmartd.chain.discriminators import discriminator
from zmartd.chain.pdas import Pdas
from zmartd.chain.program_accounts import decode_account, decode_market
from zmartd.chain.rpc import Rpc
from zmartd.chain.wire import UndecodableData
from zmartd.indexer.audit.comparison import PositionKey, ProgramFacts, UnreadableAccount
from zmartd.indexer.effects.facts import ConfigurationFacts, MarketFacts, PositionFacts
from zmartd.market import lmsr
from zmartd.market.errors import MarketMathError
from zmartd.market.lifecycle import VoteKind

_RETURNED = slice(0, 8)
"""Where a position's reserved bytes hold the sum of its sales' proceeds."""
_MARKET_OFFSET = 8
"""Where positions and vote records hold the market's address: right after the discriminator."""
_WALLET_OFFSET = _MARKET_OFFSET + Pubkey.LENGTH
"""Where they hold the wallet's."""

AccountType = TypeVar("AccountType", MarketAccount, UserPosition, VoteRecord)


async def read_accounts(rpc: Rpc, program_id: Pubkey) -> ProgramFacts:
    """All markets, positions and votes of the program. Each of these kinds is read at a slot of its own.

    An account that cannot be decoded is among the facts as such. Raises RpcUnavailable, RpcRejected.
    """
    unreadable: list[UnreadableAccount] = []
    markets = await _all(rpc, program_id, MarketAccount, {}, unreadable)
    positions = await _all(rpc, program_id, UserPosition, {}, unreadable)
    votes = await _all(rpc, program_id, VoteRecord, {}, unreadable)
    facts = _facts(markets.value, positions.value.values(), votes.value.values(), unreadable)
    told = await read_configuration_account(rpc, program_id)
    return msgspec.structs.replace(
        facts, configuration=told.configuration, unreadable=(*told.unreadable, *facts.unreadable)
    )


async def read_market_accounts(rpc: Rpc, program_id: Pubkey, market: Pubkey) -> ProgramFacts:
    """One market with its positions and votes, without configuration. Raises what `read_accounts` raises."""
    return await read_accounts_of(rpc, program_id, [market], bytes(market))


async def read_accounts_of(
    rpc: Rpc, program_id: Pubkey, markets: Sequence[Pubkey], prefix: bytes
) -> ProgramFacts:
    """Markets whose addresses begin with `prefix`, and all positions and votes of any such market.

    Without configuration. Raises what `read_accounts` raises.
    """
    unreadable: list[UnreadableAccount] = []
    found = await rpc.accounts_at(markets)
    decoded: dict[Pubkey, MarketAccount] = {}
    for address, account in zip(markets, found.value, strict=True):
        try:
            market = decode_market(account, program_id)
        except UndecodableData as error:
            unreadable.append(UnreadableAccount("market", str(address), str(address), None, error.message))
            continue
        if market is not None:
            decoded[address] = market.account
    of_markets = {_MARKET_OFFSET: prefix}
    positions = await _all(rpc, program_id, UserPosition, of_markets, unreadable)
    votes = await _all(rpc, program_id, VoteRecord, of_markets, unreadable)
    facts = _facts(decoded, positions.value.values(), votes.value.values(), unreadable)
    return msgspec.structs.replace(facts, slot=min(found.slot, positions.slot, votes.slot))


async def read_configuration_account(rpc: Rpc, program_id: Pubkey) -> ProgramFacts:
    """The configuration alone. Raises what `read_accounts` raises."""
    address = Pdas(program_id).global_config()
    read = await rpc.accounts_at([address])
    try:
        found = decode_account(GlobalConfig, read.value[0], program_id)
    except UndecodableData as error:
        unreadable = UnreadableAccount("configuration", str(address), None, None, error.message)
        return ProgramFacts({}, {}, ConfigurationFacts(), (unreadable,), read.slot)
    configuration = ConfigurationFacts() if found is None else _configuration(found)
    return ProgramFacts({}, {}, configuration, slot=read.slot)


def _facts(
    markets: Mapping[Pubkey, MarketAccount],
    positions: Iterable[UserPosition],
    votes: Iterable[VoteRecord],
    unreadable: Sequence[UnreadableAccount],
) -> ProgramFacts:
    """Accounts as facts. The number of a market's trades is the sum over its positions."""
    held: dict[Pubkey, list[UserPosition]] = defaultdict(list)
    for position in positions:
        held[position.market].append(position)
    cast = Counter((vote.market, vote.vote_type) for vote in votes)
    return ProgramFacts(
        {str(address): _market(address, one, held[address], cast) for address, one in markets.items()},
        {key: fact for of_market in held.values() for key, fact in map(_position, of_market)},
        ConfigurationFacts(),
        unreadable,
    )


async def _all(
    rpc: Rpc,
    program_id: Pubkey,
    kind: type[AccountType],
    content: Mapping[int, bytes],
    unreadable: list[UnreadableAccount],
) -> AtSlot[dict[Pubkey, AccountType]]:
    """The accounts of a kind that can be decoded. Adds those that cannot to `unreadable`."""
    found = await rpc.program_accounts_at(program_id, {0: discriminator("account", kind.__name__), **content})
    decoded: dict[Pubkey, AccountType] = {}
    for one in found.value:
        try:
            decoded[one.address] = kind.decode(one.data)
        except UndecodableData as error:
            unreadable.append(_unreadable(kind, one, error.message))
    return AtSlot(found.slot, decoded)


def _unreadable(kind: type[Any], account: ChainAccount, reason: str) -> UnreadableAccount:
    """What is told of an account by its address, and by its first fields if it is long enough."""
    address = str(account.address)
    if kind is MarketAccount:
        return UnreadableAccount("market", address, address, None, reason)
    name: Literal["position", "vote"] = "position" if kind is UserPosition else "vote"
    if len(account.data) < _WALLET_OFFSET + Pubkey.LENGTH:
        return UnreadableAccount(name, address, None, None, reason)
    market, wallet = (
        str(Pubkey.from_bytes(account.data[start : start + Pubkey.LENGTH]))
        for start in (_MARKET_OFFSET, _WALLET_OFFSET)
    )
    return UnreadableAccount(name, address, market, wallet, reason)


def _configuration(configuration: GlobalConfig) -> ConfigurationFacts:
    return ConfigurationFacts(
        is_paused=configuration.is_paused,
        admin=str(configuration.admin),
        backend_authority=str(configuration.backend_authority),
        protocol_fee_bps=configuration.protocol_fee_bps,
        resolver_reward_bps=configuration.resolver_reward_bps,
        liquidity_provider_fee_bps=configuration.liquidity_provider_fee_bps,
        proposal_approval_threshold=configuration.proposal_approval_threshold,
        dispute_success_threshold=configuration.dispute_success_threshold,
        min_resolution_delay=configuration.min_resolution_delay,
        dispute_period=configuration.dispute_period,
    )


def _market(
    address: Pubkey,
    account: MarketAccount,
    held: Sequence[UserPosition],
    cast: Mapping[tuple[Pubkey, VoteKind], int],
) -> MarketFacts:
    trades = sum(position.trades_count for position in held)
    return MarketFacts(
        creator=str(account.creator),
        state=account.state.name,
        b_parameter=account.b_parameter,
        initial_liquidity=account.initial_liquidity,
        current_liquidity=account.current_liquidity,
        shares_yes=account.shares_yes,
        shares_no=account.shares_no,
        price_yes=_price(account),
        total_volume=account.total_volume,
        accumulated_protocol_fees=account.accumulated_protocol_fees,
        accumulated_resolver_fees=account.accumulated_resolver_fees,
        accumulated_lp_fees=account.accumulated_lp_fees,
        proposal_likes=account.proposal_likes,
        proposal_dislikes=account.proposal_dislikes,
        dispute_agree=account.dispute_agree,
        dispute_disagree=account.dispute_disagree,
        proposal_votes=cast[address, VoteKind.PROPOSAL],
        dispute_votes=cast[address, VoteKind.DISPUTE],
        proposed_outcome=account.proposed_outcome,
        final_outcome=account.final_outcome,
        was_disputed=account.was_disputed,
        resolver=_wallet(account.resolver),
        dispute_initiator=_wallet(account.dispute_initiator),
        content_id=account.ipfs_evidence_hash.rstrip(b"\0").decode(errors="replace") or None,
        created_at=account.created_at,
        approved_at=account.approved_at,
        activated_at=account.activated_at,
        resolution_proposed_at=account.resolution_proposed_at,
        dispute_initiated_at=account.dispute_initiated_at,
        finalized_at=account.finalized_at,
        cancelled_at=account.cancelled_at or 0,
        trades_count=trades,
        trades=trades,
        trades_volume=account.total_volume,
        trades_protocol_fees=account.accumulated_protocol_fees,
    )


def _position(position: UserPosition) -> tuple[PositionKey, PositionFacts]:
    return (str(position.market), str(position.user)), PositionFacts(
        shares_yes=position.shares_yes,
        shares_no=position.shares_no,
        total_invested=position.total_invested,
        total_returned=int.from_bytes(position.reserved[_RETURNED], "little"),
        trades_count=position.trades_count,
        last_trade_at=position.last_trade_at,
        has_claimed=position.has_claimed,
        claimed_amount=position.claimed_amount,
    )


def _price(account: MarketAccount) -> int:
    try:
        return lmsr.price_yes(account.shares_yes, account.shares_no, account.b_parameter)
    except MarketMathError:
        return lmsr.SCALE // 2


def _wallet(address: Pubkey) -> str | None:
    return None if address == Pubkey.default() else str(address)

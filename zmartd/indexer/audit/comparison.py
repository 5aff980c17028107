"""The facts that the audit compares, and the comparison of the index's with those of the accounts.

Both sides come as the same types and are compared field by field, without input or output.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from msgspec import Struct


class MarketFacts(Struct, frozen=True):
    """One market. Amounts are lamports or shares with nine decimals, times unix seconds, 0 for never."""

    creator: str | None
    state: str
    b_parameter: int | None
    initial_liquidity: int | None
    current_liquidity: int
    shares_yes: int
    shares_no: int
    price_yes: int
    """1e9 is 1.0."""
    total_volume: int
    accumulated_protocol_fees: int
    accumulated_resolver_fees: int
    accumulated_lp_fees: int
    proposal_likes: int
    proposal_dislikes: int
    dispute_agree: int
    dispute_disagree: int
    proposal_votes: int
    """Votes that wallets cast on the chain itself."""
    dispute_votes: int
    proposed_outcome: bool | None
    final_outcome: bool | None
    was_disputed: bool
    resolver: str | None
    dispute_initiator: str | None
    content_id: str | None
    """The question's; after a resolution its evidence's, which the program stores in the same place."""
    created_at: int
    approved_at: int
    activated_at: int
    resolution_proposed_at: int
    dispute_initiated_at: int
    finalized_at: int
    cancelled_at: int
    trades_count: int
    trades: int
    """The number of single trades on record; the next two are sums over them."""
    trades_volume: int
    trades_protocol_fees: int


class PositionFacts(Struct, frozen=True):
    """One wallet's position in one market."""

    shares_yes: int
    shares_no: int
    total_invested: int
    total_returned: int
    trades_count: int
    last_trade_at: int
    has_claimed: bool
    claimed_amount: int


class ConfigurationFacts(Struct, frozen=True):
    """The program's configuration; a field is None if no indexed event sets it."""

    is_paused: bool | None = None
    admin: str | None = None
    backend_authority: str | None = None
    protocol_fee_bps: int | None = None
    resolver_reward_bps: int | None = None
    liquidity_provider_fee_bps: int | None = None
    proposal_approval_threshold: int | None = None
    dispute_success_threshold: int | None = None
    min_resolution_delay: int | None = None
    dispute_period: int | None = None


Value = int | str | bool | None

PositionKey = tuple[str, str]
"""The market's address and the wallet."""


class ProgramFacts(Struct, frozen=True):
    """All that is compared: markets by address, positions by market address and wallet."""

    markets: Mapping[str, MarketFacts]
    positions: Mapping[PositionKey, PositionFacts]
    configuration: ConfigurationFacts


class Difference(Struct, frozen=True):
    """One value that differs.

    `market` is the market's address, None for the program's configuration; `wallet` is set for positions.
    `field` is `exists` where only one side has the market or the position.
    """

    market: str | None
    wallet: str | None
    field: str
    indexed: Value
    on_chain: Value


def compare(indexed: ProgramFacts, on_chain: ProgramFacts) -> tuple[Difference, ...]:
    """All differences, in the order of markets, wallets and fields."""
    return (
        *_configuration(indexed.configuration, on_chain.configuration),
        *(
            difference
            for market in sorted(indexed.markets.keys() | on_chain.markets.keys())
            for difference in _facts(market, None, indexed.markets.get(market), on_chain.markets.get(market))
        ),
        *(
            difference
            for key in sorted(indexed.positions.keys() | on_chain.positions.keys())
            for difference in _facts(*key, indexed.positions.get(key), on_chain.positions.get(key))
        ),
    )


def _configuration(indexed: ConfigurationFacts, on_chain: ConfigurationFacts) -> Iterator[Difference]:
    for name in ConfigurationFacts.__struct_fields__:
        ours, theirs = getattr(indexed, name), getattr(on_chain, name)
        if ours is not None and ours != theirs:
            yield Difference(None, None, name, ours, theirs)


def _facts(
    market: str,
    wallet: str | None,
    indexed: MarketFacts | PositionFacts | None,
    on_chain: MarketFacts | PositionFacts | None,
) -> Iterator[Difference]:
    if indexed is None or on_chain is None:
        yield Difference(market, wallet, "exists", indexed is not None, on_chain is not None)
        return
    for name in indexed.__struct_fields__:
        ours, theirs = getattr(indexed, name), getattr(on_chain, name)
        if ours != theirs:
            yield Difference(market, wallet, name, ours, theirs)

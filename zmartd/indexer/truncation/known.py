"""What the program had in its accounts at one point within a transaction, as far as events tell."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import Struct
from solders.pubkey import Pubkey

from zmartd.chain.events import (
    ConfigUpdated,
    DisputeAggregated,
    DisputeInitiated,
    GlobalConfigInitialized,
    MarketActivated,
    MarketCancelled,
    MarketCreated,
    MarketFinalized,
    MarketResolved,
    ProgramEvent,
    ProposalApproved,
    ProtocolPauseStatusChanged,
    SharesBought,
    SharesSold,
)
from zmartd.indexer.effects.facts import ConfigurationFacts, MarketFacts
from zmartd.indexer.effects.lifecycle import SEED_SHARES_DIVISOR
from zmartd.market.fees import INITIAL_RATES, FeeRates, configured_rates
from zmartd.market.lifecycle import MarketState
from zmartd.market.lmsr import Curve


class KnownConfiguration(Struct, frozen=True, kw_only=True):
    """The configuration. Thresholds are basis points, times seconds; None where no event has said it."""

    rates: FeeRates | None = None
    approval_threshold: int | None = None
    dispute_threshold: int | None = None
    min_resolution_delay: int | None = None
    dispute_period: int | None = None
    is_paused: bool | None = None

    def after(self, event: ProgramEvent) -> KnownConfiguration:
        match event:
            case GlobalConfigInitialized():
                return INITIAL_CONFIGURATION
            case ConfigUpdated():
                return msgspec.structs.replace(
                    self,
                    rates=FeeRates(
                        event.protocol_fee_bps, event.resolver_reward_bps, event.liquidity_provider_fee_bps
                    ),
                    approval_threshold=event.proposal_approval_threshold,
                    dispute_threshold=event.dispute_success_threshold,
                    min_resolution_delay=event.min_resolution_delay,
                    dispute_period=event.dispute_period,
                )
            case ProtocolPauseStatusChanged():
                return msgspec.structs.replace(self, is_paused=event.is_paused)
            case _:
                return self

    def corrected(self, facts: ConfigurationFacts) -> KnownConfiguration:
        """With what a correction says."""
        known = self
        if facts.is_paused is not None:
            known = msgspec.structs.replace(known, is_paused=facts.is_paused)
        if facts.protocol_fee_bps is None:
            return known
        return msgspec.structs.replace(
            known,
            rates=configured_rates(
                facts.protocol_fee_bps, facts.resolver_reward_bps, facts.liquidity_provider_fee_bps
            ),
            approval_threshold=facts.proposal_approval_threshold,
            dispute_threshold=facts.dispute_success_threshold,
            min_resolution_delay=facts.min_resolution_delay,
            dispute_period=facts.dispute_period,
        )


INITIAL_CONFIGURATION = KnownConfiguration(
    rates=INITIAL_RATES,
    approval_threshold=7_000,
    dispute_threshold=6_000,
    min_resolution_delay=86_400,
    dispute_period=259_200,
    is_paused=False,
)
"""What initialize_global_config sets, whatever its arguments are (programs/zmart_core/src/config.c)."""


class KnownMarket(Struct, frozen=True, kw_only=True):
    """A market. Amounts are lamports."""

    id: bytes
    creator: Pubkey
    initial_liquidity: int
    curve: Curve
    liquidity: int
    state: MarketState
    resolver: Pubkey | None = None
    proposed_outcome: bool | None = None
    final_outcome: bool | None = None
    was_disputed: bool = False
    unpaid_resolver_fees: int = 0

    def after(self, event: ProgramEvent) -> KnownMarket:
        return msgspec.structs.replace(self, **_changes(self, event))


def created(event: MarketCreated, initial_liquidity: int) -> KnownMarket:
    """The market that a creation makes."""
    seed = event.b_parameter // SEED_SHARES_DIVISOR
    return KnownMarket(
        id=event.market_id,
        creator=event.creator,
        initial_liquidity=initial_liquidity,
        curve=Curve(seed, seed, event.b_parameter),
        liquidity=initial_liquidity,
        state=MarketState.PROPOSED,
    )


def corrected(market_id: str, facts: MarketFacts) -> KnownMarket:
    """The market that a correction holds."""
    assert facts.creator is not None, "an account has one"
    assert facts.b_parameter is not None, "an account has one"
    return KnownMarket(
        id=bytes.fromhex(market_id),
        creator=Pubkey.from_string(facts.creator),
        initial_liquidity=int(facts.initial_liquidity or 0),
        curve=Curve(facts.shares_yes, facts.shares_no, facts.b_parameter),
        liquidity=facts.current_liquidity,
        state=MarketState[facts.state],
        resolver=None if facts.resolver is None else Pubkey.from_string(facts.resolver),
        proposed_outcome=facts.proposed_outcome,
        final_outcome=facts.final_outcome,
        was_disputed=facts.was_disputed,
        unpaid_resolver_fees=facts.accumulated_resolver_fees,
    )


def _changes(market: KnownMarket, event: ProgramEvent) -> Mapping[str, Any]:
    match event:
        case ProposalApproved():
            return {"state": MarketState.APPROVED}
        case MarketActivated():
            return {"state": MarketState.ACTIVE}
        case SharesBought() | SharesSold():
            shares = event.shares if isinstance(event, SharesBought) else -event.shares
            curve = market.curve.moved(event.outcome, shares)
            return {"curve": curve, "liquidity": market.liquidity + curve.cost() - market.curve.cost()}
        case MarketResolved():
            return {
                "state": MarketState.RESOLVING,
                "resolver": event.resolver,
                "proposed_outcome": event.outcome,
            }
        case DisputeInitiated():
            return {"state": MarketState.DISPUTED, "was_disputed": True}
        case DisputeAggregated():
            return {"state": MarketState.RESOLVING if event.dispute_succeeded else MarketState.FINALIZED}
        case MarketFinalized():
            return {"state": MarketState.FINALIZED, "final_outcome": event.final_outcome}
        case MarketCancelled():
            return {"state": MarketState.CANCELLED}
        case _:
            return {}


class Holding(Struct, frozen=True):
    """A wallet's position in a market, after which nobody traded there any more."""

    shares_yes: int
    shares_no: int
    invested_lamports: int
    returned_lamports: int
    refundable_lamports: int
    """What all holders of the market together paid in and did not take out."""


class Known(Struct):
    """The configuration, the markets by address, and the holdings by market and wallet.

    `missing` says of markets, by address, why they are not known. `paid_by` and `paid_to` are the lamports
    that the transaction's calls paid out so far, by market and by wallet, withdrawals left out.
    """

    configuration: KnownConfiguration
    markets: dict[Pubkey, KnownMarket] = {}
    holdings: Mapping[tuple[Pubkey, Pubkey], Holding] = {}
    missing: dict[Pubkey, str] = {}
    paid_by: Counter[Pubkey] = msgspec.field(default_factory=Counter)
    paid_to: Counter[Pubkey] = msgspec.field(default_factory=Counter)

    def pay(self, market: Pubkey, wallet: Pubkey, lamports: int) -> None:
        self.paid_by[market] += lamports
        self.paid_to[wallet] += lamports

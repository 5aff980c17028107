"""What the program says happened: one frozen struct per event, with the IDL's names and field order.

Amounts are lamports, shares and prices fixed point with nine decimals (1.0 = 1_000_000_000), times unix
seconds of the chain's clock. `market_id` is the 32 bytes behind the market's hexadecimal id.
"""

from __future__ import annotations

from msgspec import Struct
from solders.pubkey import Pubkey

from zmartd.chain.wire import I64, U8, U16, U32, U64, Bytes32, Bytes46


class ConfigUpdated(Struct, frozen=True, gc=False):
    protocol_fee_bps: U16
    resolver_reward_bps: U16
    liquidity_provider_fee_bps: U16
    proposal_approval_threshold: U16
    dispute_success_threshold: U16
    min_resolution_delay: I64
    dispute_period: I64
    timestamp: I64


class DisputeAggregated(Struct, frozen=True, gc=False):
    """Succeeded: back to RESOLVING, same proposed outcome. Failed: FINALIZED without a final outcome."""

    market_id: Bytes32
    agrees: U32
    disagrees: U32
    agreement_percentage: U8
    dispute_succeeded: bool
    timestamp: I64


class DisputeInitiated(Struct, frozen=True, gc=False):
    market_id: Bytes32
    initiator: Pubkey
    disputed_outcome: bool | None
    timestamp: I64


class DisputeVoteSubmitted(Struct, frozen=True, gc=False):
    """`vote` True agrees with the dispute."""

    market_id: Bytes32
    user: Pubkey
    vote: bool
    timestamp: I64


class GlobalConfigInitialized(Struct, frozen=True, gc=False):
    admin: Pubkey
    backend_authority: Pubkey
    protocol_fee_bps: U16
    timestamp: I64


class LiquidityWithdrawn(Struct, frozen=True, gc=False):
    market_id: Bytes32
    creator: Pubkey
    amount: U64
    timestamp: I64


class MarketActivated(Struct, frozen=True, gc=False):
    market_id: Bytes32
    creator: Pubkey
    initial_liquidity: U64
    timestamp: I64


class MarketCancelled(Struct, frozen=True, gc=False):
    market_id: Bytes32
    cancelled_by: Pubkey
    cancelled_at: I64


class MarketCreated(Struct, frozen=True, gc=False):
    market_id: Bytes32
    creator: Pubkey
    b_parameter: U64
    state: U8
    timestamp: I64


class MarketFinalized(Struct, frozen=True, gc=False):
    market_id: Bytes32
    final_outcome: bool | None
    was_disputed: bool
    timestamp: I64


class MarketResolved(Struct, frozen=True, gc=False):
    market_id: Bytes32
    resolver: Pubkey
    outcome: bool
    evidence_hash: Bytes46
    timestamp: I64


class ProposalAggregated(Struct, frozen=True, gc=False):
    """`approved` says that the threshold was reached; the market's state has not changed yet."""

    market_id: Bytes32
    likes: U32
    dislikes: U32
    approval_percentage: U8
    approved: bool
    timestamp: I64


class ProposalApproved(Struct, frozen=True, gc=False):
    market_id: Bytes32
    approved_by: Pubkey
    timestamp: I64


class ProposalVoteSubmitted(Struct, frozen=True, gc=False):
    market_id: Bytes32
    user: Pubkey
    vote: bool
    timestamp: I64


class ProtocolPauseStatusChanged(Struct, frozen=True, gc=False):
    is_paused: bool
    paused_by: Pubkey
    timestamp: I64


class SharesBought(Struct, frozen=True, gc=False):
    """`cost` is what the user paid, fees included."""

    market_id: Bytes32
    user: Pubkey
    outcome: bool
    shares: U64
    cost: U64
    new_price_yes: U64
    timestamp: I64


class SharesSold(Struct, frozen=True, gc=False):
    """`proceeds` is what the user received, after fees."""

    market_id: Bytes32
    user: Pubkey
    outcome: bool
    shares: U64
    proceeds: U64
    new_price_yes: U64
    timestamp: I64


class WinningsClaimed(Struct, frozen=True, gc=False):
    """`market` is the market account's address, not its id."""

    market: Pubkey
    user: Pubkey
    outcome: bool | None
    amount: U64
    timestamp: I64


class SharesTransferred(Struct, frozen=True, gc=False):
    """Named by the architecture only: decoded when a program emits it, although its IDL may not list it."""

    market: Pubkey
    from_: Pubkey
    to: Pubkey
    outcome: bool
    shares: U64


ProgramEvent = (
    ConfigUpdated
    | DisputeAggregated
    | DisputeInitiated
    | DisputeVoteSubmitted
    | GlobalConfigInitialized
    | LiquidityWithdrawn
    | MarketActivated
    | MarketCancelled
    | MarketCreated
    | MarketFinalized
    | MarketResolved
    | ProposalAggregated
    | ProposalApproved
    | ProposalVoteSubmitted
    | ProtocolPauseStatusChanged
    | SharesBought
    | SharesSold
    | WinningsClaimed
    | SharesTransferred
)

OUTSIDE_THE_IDL = frozenset({"SharesTransferred"})
"""Events that the daemon understands even when the program's IDL does not name them."""


def event_seconds(event: ProgramEvent) -> int | None:
    """The chain's clock when the program ran, in unix seconds; None where the event does not say."""
    return getattr(event, "timestamp", None) or getattr(event, "cancelled_at", None)

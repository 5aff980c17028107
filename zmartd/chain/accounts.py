"""The program's accounts as frozen structs, with the IDL's names and field order.

Amounts are lamports, shares and `b_parameter` fixed point with nine decimals, times unix seconds of the
chain's clock with 0 for "not yet".
"""

from __future__ import annotations

from typing import Any, Self

from msgspec import Struct
from solders.pubkey import Pubkey

from zmartd.chain.discriminators import DISCRIMINATOR_BYTES, discriminator
from zmartd.chain.wire import (
    I64,
    U8,
    U16,
    U32,
    U64,
    Bytes32,
    Bytes46,
    Bytes64,
    Bytes119,
    Layout,
    UndecodableData,
    layout_of,
)
from zmartd.market.lifecycle import MarketState, VoteKind


class _Account(Struct, frozen=True):
    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Read an account's data. Accounts are allocated larger than their fields: what follows is ignored.

        Raises UndecodableData when it is another kind of account, or the data ends early or has no meaning.
        """
        prefix, layout = _FORMS[cls]
        if data[:DISCRIMINATOR_BYTES] != prefix:
            raise UndecodableData(f"this is not a {cls.__name__}: the account has another discriminator")
        account: Self
        account, _ = layout.unpack(data, DISCRIMINATOR_BYTES)
        return account

    def encode(self) -> bytes:
        """The account's data without the unused rest. Raises ValueError where a value does not fit."""
        prefix, layout = _FORMS[type(self)]
        return prefix + layout.pack(self)


class GlobalConfig(_Account, frozen=True):
    """The one account that holds the protocol's fees, thresholds (basis points) and periods (seconds)."""

    admin: Pubkey
    backend_authority: Pubkey
    protocol_fee_wallet: Pubkey
    protocol_fee_bps: U16
    resolver_reward_bps: U16
    liquidity_provider_fee_bps: U16
    proposal_approval_threshold: U16
    dispute_success_threshold: U16
    min_resolution_delay: I64
    dispute_period: I64
    min_resolver_reputation: U16
    is_paused: bool
    reserved: Bytes64
    bump: U8


class MarketAccount(_Account, frozen=True):
    """One market. `ipfs_evidence_hash` holds the question's content id until a resolution replaces it."""

    market_id: Bytes32
    creator: Pubkey
    state: MarketState
    b_parameter: U64
    initial_liquidity: U64
    current_liquidity: U64
    shares_yes: U64
    shares_no: U64
    total_volume: U64
    created_at: I64
    approved_at: I64
    activated_at: I64
    resolution_proposed_at: I64
    resolved_at: I64
    finalized_at: I64
    resolver: Pubkey
    proposed_outcome: bool | None
    final_outcome: bool | None
    ipfs_evidence_hash: Bytes46
    dispute_initiated_at: I64
    dispute_initiator: Pubkey
    accumulated_protocol_fees: U64
    accumulated_resolver_fees: U64
    accumulated_lp_fees: U64
    proposal_likes: U32
    proposal_dislikes: U32
    proposal_total_votes: U32
    resolution_agree: U32
    resolution_disagree: U32
    resolution_total_votes: U32
    dispute_agree: U32
    dispute_disagree: U32
    dispute_total_votes: U32
    was_disputed: bool
    is_cancelled: bool
    cancelled_at: I64 | None
    is_locked: bool
    reserved: Bytes119
    bump: U8


class UserPosition(_Account, frozen=True):
    """What one wallet holds in one market. `total_invested` only grows: the sum of its purchases."""

    market: Pubkey
    user: Pubkey
    shares_yes: U64
    shares_no: U64
    total_invested: U64
    trades_count: U32
    last_trade_at: I64
    has_claimed: bool
    claimed_amount: U64
    reserved: Bytes64
    bump: U8


class VoteRecord(_Account, frozen=True):
    """That one wallet voted, once, on one question about one market."""

    market: Pubkey
    user: Pubkey
    vote_type: VoteKind
    vote: bool
    voted_at: I64
    bump: U8


ACCOUNTS: tuple[type[Any], ...] = (GlobalConfig, MarketAccount, UserPosition, VoteRecord)

_FORMS: dict[type[Any], tuple[bytes, Layout[Any]]] = {
    kind: (discriminator("account", kind.__name__), layout_of(kind)) for kind in ACCOUNTS
}

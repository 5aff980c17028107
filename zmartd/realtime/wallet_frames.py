"""The `data` of frames that one wallet alone gets, under the names of the REST API."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import msgspec
from msgspec import UNSET, Struct, UnsetType

from zmartd.market.iso_time import iso_time
from zmartd.realtime.messages import (
    OwnClaim,
    OwnFill,
    OwnPosition,
    OwnPromotion,
    OwnRetraction,
    OwnTransaction,
    WalletMessage,
    WalletPosition,
)
from zmartd.realtime.trade_summary import TradeSummary, summary_of


class PositionData(Struct, frozen=True, kw_only=True):
    """Lamports and shares (nine decimals) as decimal digits."""

    shares_yes: str
    """Shares of YES."""
    shares_no: str
    """Shares of NO."""
    total_invested: str
    """Lamports paid for shares so far, with fees."""
    total_returned: str
    """Lamports got for shares so far, after fees."""
    claimed_amount: str
    """Lamports claimed."""
    has_claimed: bool
    """Whether the wallet has claimed."""
    trades_count: int
    """How many trades."""


class FillData(TradeSummary, frozen=True, kw_only=True):
    id: str
    """The id that lists have."""
    market_id: str
    """The market."""
    trade_type: str
    """`buy` or `sell`."""
    tx_signature: str
    """The transaction."""
    slot: int
    """The slot of its block."""
    created_at: str
    """The time of its block."""
    position: PositionData
    """What the wallet has after all trades of the same commit."""


class ClaimData(Struct, frozen=True, kw_only=True):
    id: str
    """Its id."""
    market_id: str
    """The market."""
    amount: str
    """Lamports."""
    tx_signature: str
    """The transaction."""
    slot: int
    """The slot of its block."""
    created_at: str
    """The time of its block."""
    position: PositionData
    """What the wallet has after it."""


class OwnPositionData(Struct, frozen=True, kw_only=True):
    market_id: str
    """The market."""
    position: PositionData
    """What the wallet has in it."""


class OwnRetractedData(Struct, frozen=True, kw_only=True):
    market_id: str
    """The market."""
    kind: str
    """`trade` or `claim`."""
    id: str
    """The id with which it was told."""
    slot: int
    """The slot in which it is not."""


class OwnCommitmentData(Struct, frozen=True, kw_only=True):
    trades: Sequence[str]
    """The ids of trades."""
    claims: Sequence[str]
    """The ids of claims."""


class TransactionData(Struct, frozen=True, kw_only=True):
    signature: str
    """The transaction."""
    status: str
    """`sent`, `confirmed`, `finalized`, `failed` or `expired`."""
    slot: int | UnsetType = UNSET
    """The slot of its block, where it is in one."""
    failure: str | UnsetType = UNSET
    """Why it failed."""


class UserStateData(Struct, frozen=True, kw_only=True):
    """The answer to a subscription to a wallet's stream."""

    wallet: str
    """The wallet."""
    message: str | UnsetType = UNSET
    """For people; only in answers."""
    subscriptions: Sequence[str] | UnsetType = UNSET
    """What the client is subscribed to; only in answers."""
    known: bool | UnsetType = UNSET
    """Whether the position is known. It comes as soon as it can be read."""
    recovered: bool | UnsetType = UNSET
    """Whether everything after the position that was asked for follows; only where one was."""


WalletData = (
    FillData
    | ClaimData
    | OwnPositionData
    | OwnRetractedData
    | OwnCommitmentData
    | TransactionData
    | UserStateData
)
WalletFrameType = Literal["fill", "claim", "position", "retracted", "commitment", "transaction"]


def wallet_data(message: WalletMessage) -> tuple[WalletFrameType, WalletData]:
    """The type and the data of a message's frame."""
    data, at = message.data, iso_time(message.occurred_at)
    match data:
        case OwnFill():
            return "fill", _fill(data, at)
        case OwnClaim():
            return "claim", ClaimData(
                id=data.claim_id,
                market_id=data.market_id,
                amount=str(data.amount_lamports),
                tx_signature=data.signature,
                slot=data.slot,
                created_at=at,
                position=_position(data.position),
            )
        case OwnPosition():
            position = _position(data.position)
            return "position", OwnPositionData(market_id=data.market_id, position=position)
        case OwnRetraction():
            return "retracted", OwnRetractedData(
                market_id=data.market_id, kind=data.kind, id=data.record_id, slot=data.slot
            )
        case OwnPromotion():
            return "commitment", OwnCommitmentData(trades=data.trades, claims=data.claims)
        case OwnTransaction():
            return "transaction", TransactionData(
                signature=data.signature,
                status=data.status,
                slot=UNSET if data.slot is None else data.slot,
                failure=UNSET if data.error is None else data.error,
            )


def _fill(fill: OwnFill, at: str) -> FillData:
    trade, summary = fill.trade, summary_of(fill.trade)
    return FillData(
        **msgspec.structs.asdict(summary),
        id=trade.trade_id,
        market_id=fill.market_id,
        trade_type=trade.trade_type,
        tx_signature=trade.signature,
        slot=trade.slot,
        created_at=at,
        position=_position(fill.position),
    )


def _position(position: WalletPosition) -> PositionData:
    return PositionData(
        shares_yes=str(max(position.shares_yes, 0)),
        shares_no=str(max(position.shares_no, 0)),
        total_invested=str(position.invested_lamports),
        total_returned=str(position.returned_lamports),
        claimed_amount=str(position.claimed_lamports),
        has_claimed=position.has_claimed,
        trades_count=position.trades_count,
    )

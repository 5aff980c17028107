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
from zmartd.realtime.trade_summary import TradeSummary, trade_summary


class PositionData(Struct, frozen=True, kw_only=True):
    """Lamports and shares (nine decimals) as decimal digits."""

    shares_yes: str
    shares_no: str
    total_invested: str
    total_returned: str
    claimed_amount: str
    has_claimed: bool
    trades_count: int


class FillData(TradeSummary, frozen=True, kw_only=True):
    id: str
    market_id: str
    trade_type: str
    tx_signature: str
    slot: int
    created_at: str
    position: PositionData


class ClaimData(Struct, frozen=True, kw_only=True):
    id: str
    market_id: str
    amount: str
    tx_signature: str
    slot: int
    created_at: str
    position: PositionData


class OwnPositionData(Struct, frozen=True, kw_only=True):
    market_id: str
    position: PositionData


class OwnRetractedData(Struct, frozen=True, kw_only=True):
    market_id: str
    kind: str
    id: str
    slot: int


class OwnCommitmentData(Struct, frozen=True, kw_only=True):
    trades: Sequence[str]
    claims: Sequence[str]


class TransactionData(Struct, frozen=True, kw_only=True):
    signature: str
    status: str
    slot: int | UnsetType = UNSET
    failure: str | UnsetType = UNSET


class UserStateData(Struct, frozen=True, kw_only=True):
    """The answer to a subscription to a wallet's stream."""

    wallet: str
    message: str | UnsetType = UNSET
    subscriptions: Sequence[str] | UnsetType = UNSET
    known: bool | UnsetType = UNSET
    recovered: bool | UnsetType = UNSET


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
    trade = fill.trade
    summary = trade_summary(
        outcome=trade.outcome,
        shares=trade.shares,
        gross_lamports=trade.amount_lamports,
        fees=trade.fees,
        net_lamports=trade.cost_lamports,
        price_yes_before=trade.price_yes_before,
        price_yes_after=trade.price_yes,
    )
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

"""The `data` of frames that one wallet alone gets, under the names of the REST API."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import msgspec
from msgspec import UNSET, Struct, UnsetType

from zmartd.market.iso_time import iso_time
from zmartd.market.json_fields import Amount, MarketKey, Time
from zmartd.realtime.messages import (
    OwnClaim,
    OwnFill,
    OwnPosition,
    OwnPromotion,
    OwnRetraction,
    OwnTransaction,
    TransactionStatus,
    WalletMessage,
    WalletPosition,
)
from zmartd.realtime.trade_summary import TradeSummary, summary_of


class PositionData(Struct, frozen=True, kw_only=True):
    """Lamports and shares (nine decimals) as decimal digits."""

    shares_yes: Amount
    """The wallet's YES shares, with nine decimals."""
    shares_no: Amount
    """The wallet's NO shares, with nine decimals."""
    total_invested: Amount
    """Lamports of all purchases, with fees."""
    total_returned: Amount
    """Lamports of all sales, after fees."""
    claimed_amount: Amount
    """Lamports that the claim paid; 0 before it."""
    has_claimed: bool
    """Whether the wallet has claimed in this market."""
    trades_count: int
    """The number of the wallet's trades in the market."""


class FillData(TradeSummary, frozen=True, kw_only=True):
    id: str
    """tx_signature and event_index, separated by a colon. The id is the same in every daemon."""
    market_id: MarketKey
    trade_type: Literal["buy", "sell"]
    """`buy` or `sell`."""
    tx_signature: str
    """The signature of the trade's transaction, base58."""
    slot: int
    """The slot of the trade's transaction."""
    created_at: Time
    """The time of the trade's block."""
    position: PositionData
    """What the wallet has after all trades of the same commit."""


class ClaimData(Struct, frozen=True, kw_only=True):
    id: str
    """Its id."""
    market_id: MarketKey
    amount: Amount
    """Lamports that the claim paid."""
    tx_signature: str
    """The signature of the claim's transaction, base58."""
    slot: int
    """The slot of the claim's transaction."""
    created_at: Time
    """The time of the claim's block."""
    position: PositionData
    """What the wallet has after it."""


class OwnPositionData(Struct, frozen=True, kw_only=True):
    market_id: MarketKey
    position: PositionData
    """What the wallet has in it."""


class OwnRetractedData(Struct, frozen=True, kw_only=True):
    market_id: MarketKey
    kind: Literal["trade", "claim"]
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
    """The transaction's signature, base58."""
    status: TransactionStatus
    """`sent` (in answers of the REST API `submitted`), `confirmed`, `finalized`, `failed` or `expired`."""
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
    """Whether the position is known. It, or what was missed, comes as soon as it can be read."""
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

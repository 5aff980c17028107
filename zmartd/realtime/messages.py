"""The messages that daemons exchange about markets, and for single wallets: a struct per kind of change.

Amounts are integers as on the chain: lamports, shares with nine decimals, prices with 1_000_000_000 = 1.0.
Wallets are not shortened; `realtime.frames` shortens them for anonymous clients.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from zmartd.chain.commitment import Commitment
from zmartd.market.fees import TradeFees
from zmartd.market.lifecycle import MarketState, VoteKind
from zmartd.store.streams import StreamPosition


class MarketUpdate(Struct, frozen=True, kw_only=True, tag="update"):
    """The present state of a market's row. Snapshots contain it as well.

    `old_state` is the state before, if this change moved the market to another one. `deleted`: the market is
    not on the chain after all. `dispute_evidence_cid` is the content id of evidence against its outcome, if
    that was handed in just now.
    """

    action: Literal["created", "updated", "deleted"] = "updated"
    old_state: MarketState | None = None
    state: MarketState
    on_chain_address: str
    price_yes: int
    shares_yes: int
    shares_no: int
    b_parameter: int
    total_volume_lamports: int
    current_liquidity_lamports: int
    proposed_outcome: bool | None = None
    final_outcome: bool | None = None
    awaiting_admin_approval: bool = False
    awaiting_decision: bool = False
    settles_at: datetime | None = None
    slot: int | None = None
    dispute_evidence_cid: str | None = None


class PriceUpdate(Struct, frozen=True, kw_only=True, tag="price"):
    """A market's price and shares after a trade."""

    price_yes: int
    shares_yes: int
    shares_no: int


class TradeExecuted(Struct, frozen=True, kw_only=True, tag="trade"):
    """One trade on the chain. `cost_lamports` is what the wallet paid with fees, or got after fees;
    `amount_lamports` is before fees. `price_yes` is the price after it.
    """

    trade_id: str
    trade_type: Literal["buy", "sell"]
    outcome: bool
    shares: int
    cost_lamports: int
    amount_lamports: int
    fees: TradeFees
    price_yes_before: int
    price_yes: int
    user_wallet: str
    signature: str
    slot: int


class VoteCast(Struct, frozen=True, kw_only=True, tag="vote"):
    """One vote, on the chain or through the API. Wallet and choice are private, so they are left out.

    Only a vote on the chain has an id: no fork removes the others.
    """

    vote_type: VoteKind
    vote_id: str | None = None


class DiscussionChange(Struct, frozen=True, kw_only=True, tag="discussion"):
    """A comment that was written, edited or deleted; then `content` is None."""

    action: Literal["created", "updated", "deleted"]
    discussion_id: str
    user_wallet: str
    content: str | None = None
    parent_id: str | None = None


class Retraction(Struct, frozen=True, kw_only=True, tag="retraction"):
    """A trade or vote that was published is not on the chain, or not in this slot, or not like that."""

    kind: Literal["trade", "vote"]
    record_id: str
    slot: int


class Promotion(Struct, frozen=True, kw_only=True, tag="promotion"):
    """Trades and votes by id that have become final; `market`: so has the market's row of that version."""

    trades: tuple[str, ...] = ()
    votes: tuple[str, ...] = ()
    market: bool = False


Change = MarketUpdate | PriceUpdate | TradeExecuted | VoteCast | DiscussionChange | Retraction | Promotion


class Channel(StrEnum):
    """The channel for a kind of change."""

    UPDATE = "update"
    PRICE = "price"
    TRADE = "trade"
    VOTE = "vote"
    DISCUSSION = "discussion"
    RETRACTION = "retraction"
    PROMOTION = "promotion"


_CHANNELS: dict[type[Change], Channel] = {
    MarketUpdate: Channel.UPDATE,
    PriceUpdate: Channel.PRICE,
    TradeExecuted: Channel.TRADE,
    VoteCast: Channel.VOTE,
    DiscussionChange: Channel.DISCUSSION,
    Retraction: Channel.RETRACTION,
    Promotion: Channel.PROMOTION,
}


class WalletPosition(Struct, frozen=True, kw_only=True):
    """A wallet's position in a market, after everything that was committed with the change."""

    shares_yes: int = 0
    shares_no: int = 0
    invested_lamports: int = 0
    returned_lamports: int = 0
    claimed_lamports: int = 0
    has_claimed: bool = False
    trades_count: int = 0


class OwnFill(Struct, frozen=True, kw_only=True, tag="fill"):
    """A trade of the wallet."""

    market_id: str
    trade: TradeExecuted
    position: WalletPosition


class OwnClaim(Struct, frozen=True, kw_only=True, tag="claim"):
    """What the wallet's claim in a finalized market paid."""

    market_id: str
    claim_id: str
    amount_lamports: int
    signature: str
    slot: int
    position: WalletPosition


class OwnPosition(Struct, frozen=True, kw_only=True, tag="position"):
    """The wallet's position has changed otherwise: shares were transferred, or something was retracted."""

    market_id: str
    position: WalletPosition


class OwnRetraction(Struct, frozen=True, kw_only=True, tag="retraction"):
    """A trade or claim of the wallet is not on the chain, or not in this slot, or not like that."""

    market_id: str
    kind: Literal["trade", "claim"]
    record_id: str
    slot: int


class OwnPromotion(Struct, frozen=True, kw_only=True, tag="promotion"):
    """The wallet's trades and claims by id that have become final."""

    trades: tuple[str, ...] = ()
    claims: tuple[str, ...] = ()


TransactionStatus = Literal["sent", "confirmed", "finalized", "failed", "expired"]


class OwnTransaction(Struct, frozen=True, kw_only=True, tag="transaction"):
    """What has become of a transaction that was relayed for the wallet.

    `sent`: recorded, and sent from now on until its fate is known. `error` is the name of what failed.
    """

    signature: str
    status: TransactionStatus
    slot: int | None = None
    error: str | None = None


WalletChange = OwnFill | OwnClaim | OwnPosition | OwnRetraction | OwnPromotion | OwnTransaction

_MARKET = "market:"
_WALLET = "user:"


class Message(Struct, frozen=True, omit_defaults=True):
    """A change of the market `market_id` (64 hex digits) at `occurred_at`.

    `commitment` is that of what the chain says; None for what only the API knows. `position` is its place in
    the market's stream: None until it is appended. `category` is that of the market at that time.
    """

    market_id: Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
    data: Change
    occurred_at: Annotated[datetime, Meta(tz=True)]
    commitment: Commitment | None = None
    position: StreamPosition | None = None
    category: str | None = None

    @property
    def channel(self) -> Channel:
        return _CHANNELS[type(self.data)]

    @property
    def stream(self) -> str:
        """The name of its stream."""
        return market_stream(self.market_id)

    @property
    def seq(self) -> int:
        """Its number in the stream. It must have been appended."""
        assert self.position is not None, "a message has a place once it is appended"
        return self.position.seq


class WalletMessage(Struct, frozen=True, omit_defaults=True):
    """A change that one wallet alone is told. The rest is as in `Message`."""

    wallet: Annotated[str, Meta(pattern="^[1-9A-HJ-NP-Za-km-z]{32,44}$")]
    data: WalletChange
    occurred_at: Annotated[datetime, Meta(tz=True)]
    commitment: Commitment | None = None
    position: StreamPosition | None = None

    @property
    def stream(self) -> str:
        """The name of its stream."""
        return wallet_stream(self.wallet)

    @property
    def seq(self) -> int:
        """Its number in the stream. It must have been appended."""
        assert self.position is not None, "a message has a place once it is appended"
        return self.position.seq


AnyMessage = Message | WalletMessage


def market_stream(market_id: str) -> str:
    """The name of a market's stream."""
    return f"{_MARKET}{market_id}"


def market_of(stream: str) -> str | None:
    """The market whose stream has this name; None for another kind of stream."""
    return stream.removeprefix(_MARKET) if stream.startswith(_MARKET) else None


def wallet_stream(wallet: str) -> str:
    """The name of a wallet's stream."""
    return f"{_WALLET}{wallet}"


def wallet_of(stream: str) -> str | None:
    """The wallet whose stream has this name; None for another kind of stream."""
    return stream.removeprefix(_WALLET) if stream.startswith(_WALLET) else None


def decode_message(stream: str, body: bytes) -> AnyMessage:
    """The message of a stream with this name. Raises msgspec.DecodeError."""
    if wallet_of(stream) is not None:
        return _wallet_messages.decode(body)
    return _messages.decode(body)


_messages = msgspec.json.Decoder(Message)
_wallet_messages = msgspec.json.Decoder(WalletMessage)


class Gap(Struct, frozen=True):
    """Messages before this point may have been lost: whatever depends on them must be read again."""


class Snapshot(Struct, frozen=True):
    """A market's row in the database, and how far its stream has come by then."""

    market_id: str
    position: StreamPosition
    data: MarketUpdate
    occurred_at: datetime
    commitment: Commitment

"""The `data` of each type of frame, under the API's names and those that the browser client reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from msgspec import UNSET, Struct, UnsetType, field

from zmartd.chain.commitment import Commitment
from zmartd.realtime.market_summary import MarketSummary
from zmartd.realtime.trade_summary import TradeSummary
from zmartd.realtime.wallet_frames import WalletData


class MarketData(MarketSummary, frozen=True, kw_only=True):
    """A market with the names and formats of the REST API."""

    market_id: str


class MarketStateData(Struct, frozen=True, kw_only=True):
    action: str | UnsetType = UNSET
    message: str | UnsetType = UNSET
    subscriptions: Sequence[str] | UnsetType = UNSET
    known: bool | UnsetType = UNSET
    recovered: bool | UnsetType = UNSET
    old_state: str | UnsetType | None = UNSET
    new_state: str | UnsetType = UNSET
    dispute_evidence_cid: str | UnsetType = UNSET
    state: str | UnsetType = UNSET
    price_yes: float | UnsetType = field(default=UNSET, name="priceYes")
    price_no: float | UnsetType = field(default=UNSET, name="priceNo")
    total_shares: str | UnsetType = field(default=UNSET, name="totalShares")
    b_parameter: str | UnsetType = field(default=UNSET, name="bParameter")
    market: MarketData | UnsetType = UNSET


class PriceData(Struct, frozen=True, kw_only=True):
    price_yes: float
    price_no: float
    shares_yes: str
    shares_no: str
    price_yes_camel: float = field(name="priceYes")
    price_no_camel: float = field(name="priceNo")
    total_shares: str = field(name="totalShares")


class TradeData(TradeSummary, frozen=True, kw_only=True):
    """A trade with the names and formats of the REST API."""

    id: str
    trade_id: str = field(name="tradeId")
    market_id: str = field(name="marketId")
    trade_type: str
    outcome_label_camel: str = field(name="outcomeLabel")
    cost: str
    payout: str | UnsetType = UNSET
    price_yes: float
    user_wallet: str
    user: str
    trader: str
    tx_signature: str
    signature: str
    slot: int
    created_at: str


class VoteData(Struct, frozen=True, kw_only=True):
    id: str | UnsetType = UNSET
    vote_type: str
    voted_at: str
    created_at: str


class Post(Struct, frozen=True, kw_only=True):
    id: str
    user_wallet: str
    content: str | None
    parent_id: str | None
    created_at: str | UnsetType = UNSET
    edited_at: str | UnsetType = UNSET
    deleted_at: str | UnsetType = UNSET


class DiscussionData(Struct, frozen=True, kw_only=True):
    action: str
    discussion: Post
    id: str
    post_id: str = field(name="postId")
    author: str
    user: str
    content: str | None
    parent_id: str | None = field(name="parentId")


class RetractedData(Struct, frozen=True, kw_only=True):
    kind: str
    id: str
    slot: int


class CommitmentData(Struct, frozen=True):
    market: bool
    trades: Sequence[str]
    votes: Sequence[str]


class ChannelData(Struct, frozen=True, kw_only=True):
    """One of the channels in an answer: from which position on it follows, and the market's state there."""

    channel: str
    known: bool
    epoch: str | UnsetType = UNSET
    seq: int | UnsetType = UNSET
    recovered: bool | UnsetType = UNSET
    commitment: Commitment | UnsetType = UNSET
    market: MarketData | UnsetType = UNSET


class SubscribedData(Struct, frozen=True, kw_only=True):
    subscriptions: Sequence[str]
    channels: Sequence[ChannelData]


class UnsubscribedData(Struct, frozen=True, kw_only=True):
    subscriptions: Sequence[str]


class WelcomeData(Struct, frozen=True, kw_only=True):
    client_id: str
    message: str


class AuthenticatedData(Struct, frozen=True, kw_only=True):
    wallet: str
    expires_at: str


class SessionEndedData(Struct, frozen=True, kw_only=True):
    wallet: str
    message: str
    code: str
    unsubscribed: Sequence[str] | UnsetType = UNSET
    """The wallet's channels, whose frames end with the session."""


class ResyncData(Struct, frozen=True, kw_only=True):
    message: str


class SkippedData(Struct, frozen=True, kw_only=True):
    """The numbers of the `price_update` frames that are left out. A later one follows."""

    seqs: Sequence[int]


class BeatData(Struct, frozen=True, kw_only=True):
    """Up to where the client has everything: up to `slot`, and up to the number of each stream."""

    slot: int | None
    time: str | None
    degraded: Sequence[str]
    streams: Mapping[str, int]


class PongData(Struct, frozen=True, kw_only=True):
    slot: int | None
    time: str


class AboutMessage(Struct, frozen=True, kw_only=True):
    """What of a client's message an error is about, where it is about one part of it."""

    field: str | UnsetType = UNSET
    """The key of the message."""
    market_id: str | UnsetType = UNSET
    """The market, as the message names it."""
    channel: str | UnsetType = UNSET
    """The channel, as the message names it."""


class ErrorData(Struct, frozen=True, kw_only=True):
    error: str
    code: str
    field: str | UnsetType = UNSET


Data = (
    MarketStateData
    | PriceData
    | TradeData
    | VoteData
    | DiscussionData
    | RetractedData
    | CommitmentData
    | SubscribedData
    | UnsubscribedData
    | WelcomeData
    | AuthenticatedData
    | SessionEndedData
    | SkippedData
    | ResyncData
    | BeatData
    | PongData
    | ErrorData
    | WalletData
)

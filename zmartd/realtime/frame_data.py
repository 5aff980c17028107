"""The `data` of each type of frame, under the API's names and those that the browser client reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from msgspec import UNSET, Struct, UnsetType, field

from zmartd.chain.commitment import Commitment
from zmartd.market.json_fields import Amount, EitherTime, Price, ServerTime, StateName, Time
from zmartd.realtime.market_summary import MarketSummary
from zmartd.realtime.trade_summary import TradeSummary
from zmartd.realtime.wallet_frames import WalletData


class MarketData(MarketSummary, frozen=True, kw_only=True):
    """A market with the names and formats of the REST API."""

    market_id: str
    """Its id, 64 hexadecimal digits."""


class MarketStateData(Struct, frozen=True, kw_only=True):
    action: Literal["snapshot", "created", "updated", "deleted"] | UnsetType = UNSET
    """`snapshot` in an answer, `created`, `updated`, or `deleted` where a fork took the market."""
    message: str | UnsetType = UNSET
    """For people; only in answers."""
    subscriptions: Sequence[str] | UnsetType = UNSET
    """What the client is subscribed to; only in answers."""
    known: bool | UnsetType = UNSET
    """Whether the state is in the answer. It, or what was missed, comes as soon as it can be read."""
    recovered: bool | UnsetType = UNSET
    """Whether everything after the position that was asked for follows; only where one was."""
    old_state: StateName | UnsetType | None = UNSET
    """The name of the state before, where this change moved the market."""
    new_state: StateName | UnsetType = UNSET
    """The name of the state since then."""
    dispute_evidence_cid: str | UnsetType = UNSET
    """The content id of evidence against the proposed outcome, which was handed in just now."""
    state: StateName | UnsetType = UNSET
    """The name of its state."""
    price_yes: float | UnsetType = field(default=UNSET, name="priceYes")
    """For earlier clients: the same as `market.price_yes`."""
    price_no: float | UnsetType = field(default=UNSET, name="priceNo")
    """For earlier clients: the same as `market.price_no`."""
    total_shares: str | UnsetType = field(default=UNSET, name="totalShares")
    """For earlier clients: the sum of `market.shares_yes` and `market.shares_no`."""
    b_parameter: str | UnsetType = field(default=UNSET, name="bParameter")
    """For earlier clients: the same as `market.b_parameter`."""
    market: MarketData | UnsetType = UNSET
    """The market as it is."""


class PriceData(Struct, frozen=True, kw_only=True):
    price_yes: Price
    """The price of a YES share in SOL, from 0 to 1."""
    price_no: Price
    """The price of a NO share in SOL, from 0 to 1: 1 - price_yes."""
    shares_yes: Amount
    """All YES shares with nine decimals, including the seed shares that nobody holds."""
    shares_no: Amount
    """All NO shares with nine decimals, including the seed shares that nobody holds."""
    price_yes_camel: float = field(name="priceYes")
    """For earlier clients: the same as `price_yes`."""
    price_no_camel: float = field(name="priceNo")
    """For earlier clients: the same as `price_no`."""
    total_shares: str = field(name="totalShares")
    """For earlier clients: the sum of `shares_yes` and `shares_no`."""


class TradeData(TradeSummary, frozen=True, kw_only=True):
    """A trade with the names and formats of the REST API."""

    id: str
    """tx_signature and event_index, separated by a colon. The id is the same in every daemon."""
    trade_id: str = field(name="tradeId")
    """For earlier clients: the same as `id`."""
    market_id: str = field(name="marketId")
    """For earlier clients: the market, as the client named it."""
    trade_type: Literal["buy", "sell"]
    """`buy` or `sell`."""
    outcome_label_camel: str = field(name="outcomeLabel")
    """For earlier clients: the same as `outcome_label`."""
    cost: str
    """For earlier clients: the same as `net`."""
    payout: str | UnsetType = UNSET
    """For earlier clients: the same as `net`, of a sale."""
    price_yes: Price
    """The price of a YES share in SOL after the trade, from 0 to 1."""
    user_wallet: str
    """The trader's address; shortened for anonymous callers."""
    user: str
    """For earlier clients: the same as `user_wallet`."""
    trader: str
    """For earlier clients: the same as `user_wallet`."""
    tx_signature: str
    """The signature of the trade's transaction, base58."""
    signature: str
    """For earlier clients: the same as `tx_signature`."""
    slot: int
    """The slot of the trade's transaction."""
    created_at: Time
    """The time of the trade's block."""


class VoteData(Struct, frozen=True, kw_only=True):
    id: str | UnsetType = UNSET
    """The id of a vote on the chain, the same in answers and frames."""
    vote_type: Literal["proposal", "dispute"]
    """`proposal` for a vote on a proposed market, `dispute` for one on the dispute of an outcome."""
    voted_at: EitherTime
    """When the vote was cast. By the chain's clock for one on the chain, else by the server's clock."""
    created_at: str
    """For earlier clients: the same as `voted_at`."""


class VoteSumsData(Struct, frozen=True, kw_only=True):
    in_favour: int
    """The number of votes for the proposed market, or for the dispute."""
    against: int
    """The number of votes against it."""
    total: int
    """in_favour + against."""


class VoteCountsData(Struct, frozen=True, kw_only=True):
    proposal_votes: VoteSumsData
    """The votes on whether to approve the market."""
    dispute_votes: VoteSumsData
    """The votes on whether the proposed outcome is wrong."""
    not_counted: int
    """The number of votes on the dispute of wallets that held no shares when the outcome was proposed."""
    stream_position: str
    """The position of the market's stream at which these are the counts, `epoch:seq`."""


class Post(Struct, frozen=True, kw_only=True):
    id: str
    """The comment's id, a UUID."""
    user_wallet: str
    """the author's address; shortened for anonymous callers"""
    content: str | None
    """null when deleted"""
    parent_id: str | None
    """The id of the comment that this is a reply to; null for a comment on the market itself."""
    created_at: ServerTime | UnsetType = UNSET
    """When the comment was written."""
    edited_at: ServerTime | UnsetType = UNSET
    """When the comment was last changed."""
    deleted_at: ServerTime | UnsetType = UNSET
    """When the comment was deleted."""


class DiscussionData(Struct, frozen=True, kw_only=True):
    action: Literal["created", "updated", "deleted"]
    """`created`, `updated` or `deleted`."""
    discussion: Post
    """The comment."""
    id: str
    """For earlier clients: the same as `discussion.id`."""
    post_id: str = field(name="postId")
    """For earlier clients: the same as `discussion.id`."""
    author: str
    """For earlier clients: the same as `discussion.user_wallet`."""
    user: str
    """For earlier clients: the same as `discussion.user_wallet`."""
    content: str | None
    """For earlier clients: the same as `discussion.content`."""
    parent_id: str | None = field(name="parentId")
    """For earlier clients: the same as `discussion.parent_id`."""


class RetractedData(Struct, frozen=True, kw_only=True):
    kind: Literal["trade", "vote"]
    """`trade` or `vote`."""
    id: str
    """The id with which it was told."""
    slot: int
    """The slot in which it is not."""


class CommitmentData(Struct, frozen=True):
    market: bool
    """Whether everything told of the market so far is final."""
    trades: Sequence[str]
    """The ids of trades."""
    votes: Sequence[str]
    """The ids of votes."""


class ChannelData(Struct, frozen=True, kw_only=True):
    """One of the channels in an answer: from which position on it follows, and the market's state there."""

    channel: str
    """The channel, as the message named it."""
    known: bool
    """Whether its state and position are known. They, or what was missed, come as soon as possible."""
    epoch: str | UnsetType = UNSET
    """The history in which `seq` means something."""
    seq: int | UnsetType = UNSET
    """Its position: what follows has the next numbers."""
    recovered: bool | UnsetType = UNSET
    """Whether everything after the position that was asked for follows; only where one was."""
    commitment: Commitment | UnsetType = UNSET
    """Whether a fork can still take what the state says."""
    market: MarketData | UnsetType = UNSET
    """The market as it is; not where everything missed follows."""


class SubscribedData(Struct, frozen=True, kw_only=True):
    subscriptions: Sequence[str]
    """What the client is subscribed to."""
    channels: Sequence[ChannelData]
    """The channels of the message, in its order."""


class UnsubscribedData(Struct, frozen=True, kw_only=True):
    subscriptions: Sequence[str]
    """What the client is still subscribed to."""


class WelcomeData(Struct, frozen=True, kw_only=True):
    client_id: str
    """What the daemon calls the connection in its log."""
    message: str
    """What to send first."""


class AuthenticatedData(Struct, frozen=True, kw_only=True):
    wallet: str
    """Who is signed in."""
    expires_at: str
    """When the session ends, unless it is renewed."""


class SessionEndedData(Struct, frozen=True, kw_only=True):
    wallet: str
    """Who is not signed in any more."""
    message: str
    """Why, for people."""
    code: str
    """Why: the code of an error."""
    unsubscribed: Sequence[str] | UnsetType = UNSET
    """The wallet's channels, whose frames end with the session."""


class ResyncData(Struct, frozen=True, kw_only=True):
    message: str
    """What to do."""


class SkippedData(Struct, frozen=True, kw_only=True):
    """The numbers of the `price_update` frames that are left out. A later one follows."""

    seqs: Sequence[int]
    """Their numbers."""


class BeatData(Struct, frozen=True, kw_only=True):
    """Up to where the client has everything: up to `slot`, and up to the number of each stream."""

    slot: int | None
    """The index lacks nothing of the program up to this slot."""
    time: str | None
    """The chain's time in that slot."""
    degraded: Sequence[str]
    """The parts that do not work: `database`, `redis`, `indexer`, `chain`."""
    streams: Mapping[str, int]
    """The number of the last message of each subscription, by its name."""


class PongData(Struct, frozen=True, kw_only=True):
    slot: int | None
    """The chain's newest slot that the daemon knows; null before it knows one."""
    time: str
    """The daemon's time."""


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
    """What is wrong and what to do, for people."""
    code: str
    """What is wrong, for programs."""
    field: str | UnsetType = UNSET
    """The key of the message that is wrong."""


Data = (
    MarketStateData
    | PriceData
    | TradeData
    | VoteData
    | VoteCountsData
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

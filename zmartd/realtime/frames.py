"""The frames that the server sends. Each is encoded once, however many clients get it.

Every frame is `{type, id?, market_id?, channel?, timestamp, epoch?, seq?, commitment?, data}`; `seq` is the
place in the stream of the market or the wallet. A frame has a commitment if and only if it tells what the
chain says.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Literal

import msgspec
from msgspec import UNSET, Struct, UnsetType

from zmartd.chain.commitment import Commitment
from zmartd.errors import DetailedError, ZmartdError
from zmartd.market.ids import masked
from zmartd.market.iso_time import iso_time, utc_from_unix
from zmartd.market.lifecycle import MarketState
from zmartd.market.lmsr import SCALE
from zmartd.market.votes import VoteCounts
from zmartd.realtime.batch import EncodedFrame
from zmartd.realtime.encodings import Audience, Encode, audience, text_frame
from zmartd.realtime.frame_data import (
    AboutMessage,
    AuthenticatedData,
    BeatData,
    CommitmentData,
    Data,
    DiscussionData,
    ErrorData,
    MarketData,
    MarketStateData,
    PongData,
    Post,
    PriceData,
    ResyncData,
    RetractedData,
    SessionEndedData,
    SkippedData,
    TradeData,
    VoteCountsData,
    VoteData,
    VoteSumsData,
    WelcomeData,
)
from zmartd.realtime.market_summary import market_summary, prices
from zmartd.realtime.messages import (
    AnyMessage,
    DiscussionChange,
    MarketUpdate,
    Message,
    PriceUpdate,
    Promotion,
    Retraction,
    Snapshot,
    TradeExecuted,
    VoteCast,
    WalletMessage,
    wallet_of,
)
from zmartd.realtime.trade_summary import summary_of
from zmartd.realtime.wallet_frames import wallet_data
from zmartd.store.pulses import Pulse
from zmartd.store.streams import StreamPosition
from zmartd.store.votes import LiveCounts

FrameType = Literal[
    "welcome",
    "authenticated",
    "session_ended",
    "market_state",
    "price_update",
    "trade",
    "vote",
    "vote_counts",
    "discussion",
    "retracted",
    "commitment",
    "skipped",
    "resync",
    "beat",
    "pong",
    "error",
    "fill",
    "claim",
    "position",
    "transaction",
    "user_state",
    "subscribed",
    "unsubscribed",
]

MAX_FILTERED_FRAMES = 16
"""Frames with a `prev_seq` that one message keeps. Clients choose it, with where they resume and a filter."""


class Envelope(Struct, frozen=True, kw_only=True):
    """What is around the data of a frame."""

    type: FrameType
    id: str | int | UnsetType = UNSET
    """The id of the client's message that this frame answers."""
    market_id: str | UnsetType = UNSET
    """The market, as the client named it in its subscription."""
    channel: str | UnsetType = UNSET
    """The wallet's channel, for frames of its stream; the market has `market_id`."""
    timestamp: str
    """When it happened, or when the answer was made."""
    epoch: str | UnsetType = UNSET
    """The history in which `seq` means something."""
    seq: int | UnsetType = UNSET
    """The place in the stream of the market or the wallet."""
    prev_seq: int | UnsetType = UNSET
    """In a subscription with a filter: none of the numbers between this one and `seq` passes it."""
    commitment: Commitment | UnsetType = UNSET
    """Whether a fork can still take it."""


class Frame(Envelope, frozen=True, kw_only=True):
    """One frame, before it is encoded."""

    data: Data

    def encode(self) -> bytes:
        """JSON text."""
        return msgspec.json.encode(self)


class Broadcast:
    """A message of a stream, with its frames, each encoded on first use.

    Anonymous clients get shortened wallets. Frames name the market as the clients did that subscribed to it.
    """

    __slots__ = ("_filtered", "_frames", "message", "seq")

    def __init__(self, message: AnyMessage) -> None:
        self.message = message
        self.seq = message.seq
        self._frames: dict[tuple[str, bool, Encode, int | None], EncodedFrame] = {}
        self._filtered: tuple[tuple[str, bool, Encode, int | None], ...] = ()
        """Those of its keys that have a `prev_seq`, the oldest first."""

    def encoded(self, name: str, audience: Audience, prev_seq: int | None = None) -> EncodedFrame:
        """The frame for clients that subscribed to the market as `name`.

        `prev_seq` is that of the message before it that passes the clients' filter, if they have one.
        """
        data = self.message.data
        whole = audience.signed_in and isinstance(data, TradeExecuted | DiscussionChange)
        key = (name, whole, audience.encode, prev_seq)
        encoded = self._frames.get(key)
        if encoded is None:
            if isinstance(self.message, WalletMessage):
                frame = wallet_frame(self.message)
            else:
                frame = message_frame(self.message, name, str if whole else masked)
            if prev_seq is not None:
                frame = msgspec.structs.replace(frame, prev_seq=prev_seq)
            price_of = name if isinstance(data, PriceUpdate) else None
            encoded = EncodedFrame(audience.encode(frame.encode()), price_of, self.seq)
            self._frames[key] = encoded
            if prev_seq is not None:
                kept = (*self._filtered, key)
                for dropped in kept[:-MAX_FILTERED_FRAMES]:
                    del self._frames[dropped]
                self._filtered = kept[-MAX_FILTERED_FRAMES:]
        return encoded

    def frame(self, name: str, *, signed_in: bool) -> bytes:
        """The frame for uncompressed WebSockets of clients that subscribed to the market as `name`."""
        return self.encoded(name, audience(text_frame, signed_in=signed_in)).data


def message_frame(message: Message, name: str, wallet: Callable[[str], str]) -> Frame:
    """The frame of a message for clients that subscribed to its market as `name`.

    `wallet` returns a wallet as the clients may see it.
    """
    data = message.data
    at = iso_time(message.occurred_at)
    kind: FrameType
    body: Data
    match data:
        case MarketUpdate():
            kind, body = "market_state", market_changed(message.market_id, data)
        case PriceUpdate():
            kind, body = "price_update", _price(data)
        case TradeExecuted():
            kind, body = "trade", _trade(data, name, wallet(data.user_wallet), at)
        case VoteCast():
            kind, body = "vote", _vote(data, at)
        case DiscussionChange():
            kind, body = "discussion", _discussion(data, wallet(data.user_wallet), at)
        case Retraction():
            kind, body = "retracted", RetractedData(kind=data.kind, id=data.record_id, slot=data.slot)
        case Promotion():
            kind, body = "commitment", CommitmentData(data.market, data.trades, data.votes)
    return Frame(
        type=kind,
        market_id=name,
        timestamp=at,
        seq=message.seq,
        commitment=message.commitment or UNSET,
        data=body,
    )


def wallet_frame(message: WalletMessage) -> Frame:
    """The frame of a message for one wallet, which alone may get it."""
    kind, data = wallet_data(message)
    return Frame(
        type=kind,
        channel=message.stream,
        timestamp=iso_time(message.occurred_at),
        seq=message.seq,
        commitment=message.commitment or UNSET,
        data=data,
    )


def snapshot_frame(snapshot: Snapshot, name: str) -> Frame:
    """The present state of a market, for clients that may have missed messages."""
    return Frame(
        type="market_state",
        market_id=name,
        timestamp=iso_time(snapshot.occurred_at),
        epoch=snapshot.position.epoch,
        seq=snapshot.position.seq,
        commitment=snapshot.commitment,
        data=market_changed(snapshot.market_id, snapshot.data),
    )


def welcome(client_id: str, now: datetime) -> Frame:
    data = WelcomeData(
        client_id=client_id,
        message='Connected to zmartd. Send {"action": "subscribe", "market_id": "<id>"}, or "*" for all.',
    )
    return Frame(type="welcome", timestamp=iso_time(now), data=data)


def authenticated(wallet: str, expires_at: datetime, now: datetime) -> Frame:
    data = AuthenticatedData(wallet=wallet, expires_at=iso_time(expires_at))
    return Frame(type="authenticated", timestamp=iso_time(now), data=data)


def session_ended(
    wallet: str, text: str, code: str, now: datetime, unsubscribed: Sequence[str] = ()
) -> Frame:
    """Tells a client that it is no longer signed in as `wallet`, why, and which channels end with that."""
    data = SessionEndedData(wallet=wallet, message=text, code=code, unsubscribed=unsubscribed or UNSET)
    return Frame(type="session_ended", timestamp=iso_time(now), data=data)


def replaced_session(wallet: str, unsubscribed: Sequence[str], now: datetime) -> Frame:
    """Tells a client that has signed in as another wallet which channels of `wallet` end with that."""
    text = "Another wallet has signed in on this connection."
    return session_ended(wallet, text, "session_replaced", now, unsubscribed)


def resync(name: str, now: datetime) -> Frame:
    """Tells a client that it may have missed frames about `name` and must read its state again."""
    data = ResyncData(message="Some updates may have been missed: read the current state over the REST API.")
    if wallet_of(name) is not None:
        return Frame(type="resync", channel=name, timestamp=iso_time(now), data=data)
    return Frame(type="resync", market_id=name, timestamp=iso_time(now), data=data)


def skipped(name: str, seqs: Sequence[int], now: datetime) -> Frame:
    """Tells a client which prices of a market are left out because a later one follows."""
    return Frame(type="skipped", market_id=name, timestamp=iso_time(now), data=SkippedData(seqs=seqs))


def vote_counts(name: str, counts: LiveCounts, position: StreamPosition, now: datetime) -> Frame:
    """Tells a client how many votes a market has."""
    data = VoteCountsData(
        proposal_votes=_sums(counts.proposal),
        dispute_votes=_sums(counts.dispute),
        not_counted=counts.not_counted,
        stream_position=str(position),
    )
    return Frame(type="vote_counts", market_id=name, timestamp=iso_time(now), data=data)


def beat(
    epoch: str | None,
    vouched: Pulse | None,
    degraded: Sequence[str],
    streams: Mapping[str, int],
    now: datetime,
) -> Frame:
    """Tells a client up to where it has everything, and why that may not be the present."""
    data = BeatData(
        slot=None if vouched is None else vouched.slot,
        time=None if vouched is None else iso_time(utc_from_unix(vouched.chain_time)),
        degraded=degraded,
        streams=streams,
    )
    return Frame(type="beat", timestamp=iso_time(now), epoch=epoch or UNSET, data=data)


def pong(slot: int | None, now: datetime) -> Frame:
    """The answer to a ping: the chain's newest slot that the daemon knows, if any, and its own time."""
    at = iso_time(now)
    return Frame(type="pong", timestamp=at, data=PongData(slot=slot, time=at))


def error(failure: ZmartdError, now: datetime, key: str | UnsetType = UNSET) -> Frame:
    """Tells a client what is wrong with its message, and about which key and market that is.

    `key`: of an error that does not say itself which it is about.
    """
    about = AboutMessage(field=key)
    if isinstance(failure, DetailedError) and isinstance(failure.details, AboutMessage):
        about = failure.details
    data = ErrorData(error=failure.message, code=failure.code, field=about.field)
    return Frame(
        type="error", market_id=about.market_id, channel=about.channel, timestamp=iso_time(now), data=data
    )


def answer(frame: Frame, message_id: str | int | UnsetType) -> bytes:
    """`frame` as the answer to the message with this id, encoded."""
    return (frame if message_id is UNSET else msgspec.structs.replace(frame, id=message_id)).encode()


def market_changed(market_id: str, update: MarketUpdate) -> MarketStateData:
    summary = market_summary(update)
    moved = update.old_state is not None and update.old_state is not update.state
    return MarketStateData(
        action=update.action,
        old_state=_name(update.old_state) if moved else UNSET,
        new_state=update.state.name if moved else UNSET,
        dispute_evidence_cid=update.dispute_evidence_cid or UNSET,
        state=summary.state,
        price_yes=summary.price_yes,
        price_no=summary.price_no,
        total_shares=str(update.shares_yes + update.shares_no),
        b_parameter=summary.b_parameter,
        market=market_data(market_id, update),
    )


def market_data(market_id: str, update: MarketUpdate) -> MarketData:
    return MarketData(market_id=market_id, **msgspec.structs.asdict(market_summary(update)))


def _price(update: PriceUpdate) -> PriceData:
    price_yes, price_no = prices(update.price_yes)
    return PriceData(
        price_yes=price_yes,
        price_no=price_no,
        shares_yes=str(update.shares_yes),
        shares_no=str(update.shares_no),
        price_yes_camel=price_yes,
        price_no_camel=price_no,
        total_shares=str(update.shares_yes + update.shares_no),
    )


def _trade(trade: TradeExecuted, market: str, wallet: str, at: str) -> TradeData:
    summary = summary_of(trade)
    return TradeData(
        **msgspec.structs.asdict(summary),
        id=trade.trade_id,
        trade_id=trade.trade_id,
        market_id=market,
        trade_type=trade.trade_type,
        outcome_label_camel=summary.outcome_label,
        cost=summary.net,
        payout=summary.net if trade.trade_type == "sell" else UNSET,
        price_yes=trade.price_yes / SCALE,
        user_wallet=wallet,
        user=wallet,
        trader=wallet,
        tx_signature=trade.signature,
        signature=trade.signature,
        slot=trade.slot,
        created_at=at,
    )


def _sums(counts: VoteCounts) -> VoteSumsData:
    return VoteSumsData(in_favour=counts.yes, against=counts.no, total=counts.total)


def _vote(vote: VoteCast, at: str) -> VoteData:
    return VoteData(id=vote.vote_id or UNSET, vote_type=vote.vote_type.value, voted_at=at, created_at=at)


_POST_TIME = {"created": "created_at", "updated": "edited_at", "deleted": "deleted_at"}


def _discussion(change: DiscussionChange, wallet: str, at: str) -> DiscussionData:
    post = Post(
        id=change.discussion_id, user_wallet=wallet, content=change.content, parent_id=change.parent_id
    )
    return DiscussionData(
        action=change.action,
        discussion=msgspec.structs.replace(post, **{_POST_TIME[change.action]: at}),
        id=change.discussion_id,
        post_id=change.discussion_id,
        author=wallet,
        user=wallet,
        content=change.content,
        parent_id=change.parent_id,
    )


def _name(state: MarketState | None) -> str | None:
    return None if state is None else state.name

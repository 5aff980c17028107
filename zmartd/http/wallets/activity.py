"""The activity of a wallet: its trades, and for itself alone its votes and trading statistics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal

from msgspec import Meta, Struct, field

from zmartd.http.kit import earlier_answers, earlier_names, keys
from zmartd.http.kit.earlier_names import DEPRECATED
from zmartd.http.kit.fields import Amount, SignedAmount, amount
from zmartd.http.kit.operation import Access, Call, Operation
from zmartd.http.kit.pagination import Limit, NextCursor, NextPage, PageLength, decode_cursor, encode_cursor
from zmartd.http.trading.schemas import TradeBody
from zmartd.http.trading.trade_lists import TradesQuery, export_of, read_trades
from zmartd.http.voting.votes import VoteBody, vote_body
from zmartd.market.lifecycle import VoteKind
from zmartd.store import trading_results, wallet_activity
from zmartd.store.postgres.reader import Reads
from zmartd.store.trades import TradeFilter
from zmartd.store.wallet_activity import OwnVote, VotePageKey

_KINDS: dict[str, tuple[VoteKind, ...]] = {
    "all": tuple(VoteKind),
    "proposal": (VoteKind.PROPOSAL,),
    "dispute": (VoteKind.DISPUTE,),
}


class OwnVotesQuery(Struct, frozen=True, kw_only=True):
    ALIASES: ClassVar[Mapping[str, str]] = earlier_names.OF_A_VOTE_FILTER

    vote_type: Annotated[
        Literal["all", "proposal", "dispute"], Meta(description="all, proposal or dispute")
    ] = "all"
    """Which votes: those on proposed markets, those on disputes, or both."""
    limit: Limit = 50
    cursor: NextCursor = None


class OwnVotes(Struct, frozen=True, kw_only=True):
    """A wallet's votes, newest first; `count` is the length of this page."""

    wallet: str
    """The wallet's address, as in the path."""
    proposal_votes: tuple[VoteBody, ...]
    """The votes of this page on proposed markets."""
    dispute_votes: tuple[VoteBody, ...]
    """The votes of this page on disputes."""
    count: PageLength
    total: int
    """The number of votes of the requested kinds, on all pages."""
    next_cursor: NextPage


class WalletTrades(Struct, frozen=True, kw_only=True):
    """A wallet's trades in all markets, newest first; `count` is the length of this page."""

    wallet: str
    """The wallet's address, as in the path."""
    trades: tuple[TradeBody, ...]
    """The trades of this page."""
    count: PageLength
    total: Annotated[
        int | None,
        Meta(description="the number of trades on all pages; null where some of them could not be read"),
    ]
    next_cursor: NextPage


class TradingStatistics(Struct, frozen=True, kw_only=True):
    """The results of all of a wallet's trading."""

    trades_count: int
    """The number of the wallet's trades in all markets."""
    total_volume: Annotated[Amount, Meta(description="lamports: purchases with fees and sales before fees")]
    win_rate: Annotated[
        float | None,
        Meta(description="profitable markets in percent of the finalized ones; null without any"),
    ]
    total_pnl: Annotated[SignedAmount, Meta(description="lamports, realized and unrealized")]
    active_positions: int
    """The number of markets, not finalized or cancelled, in which the wallet holds shares."""
    trades_count_camel: Annotated[int, DEPRECATED] = field(name="totalTrades")
    """The same as trades_count."""
    total_volume_camel: Annotated[Amount, DEPRECATED] = field(name="totalVolume")
    """The same as total_volume."""
    win_rate_camel: Annotated[float | None, DEPRECATED] = field(name="winRate")
    """The same as win_rate."""
    total_pnl_camel: Annotated[SignedAmount, DEPRECATED] = field(name="totalPnL")
    """The same as total_pnl."""
    active_positions_camel: Annotated[int, DEPRECATED] = field(name="activePositions")
    """The same as active_positions."""


async def list_votes(call: Call[OwnVotesQuery]) -> OwnVotes:
    """The caller's own votes, cast through the API or on the chain."""
    query = call.input
    wallet = call.wallet
    after = decode_cursor(query.cursor, VotePageKey)
    async with call.database.reader(call.caller) as connection:
        page = await wallet_activity.votes(connection, wallet, _KINDS[query.vote_type], query.limit, after)
    return OwnVotes(
        wallet=wallet,
        proposal_votes=_votes(wallet, VoteKind.PROPOSAL, page.rows),
        dispute_votes=_votes(wallet, VoteKind.DISPUTE, page.rows),
        count=len(page.rows),
        total=page.total,
        next_cursor=encode_cursor(page.next_key),
    )


async def list_wallet_trades(call: Call[TradesQuery]) -> WalletTrades:
    """The trades of any wallet, for callers who have signed in. Anonymous callers see trades only with
    shortened wallets. Without a limit there are 50 trades."""
    where = TradeFilter(wallet=call.path["wallet"])
    page = await read_trades(call.database, call.caller, where, call.input)
    return WalletTrades(
        wallet=call.path["wallet"],
        trades=page.trades,
        count=len(page.trades),
        total=page.total,
        next_cursor=page.next_cursor,
    )


async def _of_wallet(call: Call[Any], _connection: Reads) -> TradeFilter:
    return TradeFilter(wallet=call.path["wallet"])


async def get_statistics(call: Call[None]) -> TradingStatistics:
    """The results of all of the caller's own trading."""
    async with call.app[keys.DATABASE].service_reader() as connection:
        found = await trading_results.of_wallet(connection, call.wallet)
    results: dict[str, Any] = {
        "trades_count": found.trades,
        "total_volume": amount(found.volume),
        "win_rate": round(found.won * 100 / found.ended, 2) if found.ended else None,
        "total_pnl": amount(found.profit),
        "active_positions": found.active,
    }
    return TradingStatistics(**results, **earlier_answers.of_wallet_statistics(**results))


def _votes(wallet: str, kind: VoteKind, found: Sequence[OwnVote]) -> tuple[VoteBody, ...]:
    return tuple(vote_body(one.market_id, kind, wallet, one.vote) for one in found if one.kind is kind)


OPERATIONS: tuple[Operation[Any], ...] = (
    Operation(
        method="GET",
        path="/api/users/{wallet}/trades",
        handler=list_wallet_trades,
        summary="A wallet's trades",
        tag="users",
        query=TradesQuery,
        responses={200: WalletTrades},
        export=export_of(_of_wallet),
        access=Access.WALLET,
        from_replica=True,
    ),
    Operation(
        method="GET",
        path="/api/users/{wallet}/votes",
        handler=list_votes,
        name="list_wallet_votes",
        summary="The caller's own votes",
        tag="users",
        query=OwnVotesQuery,
        responses={200: OwnVotes},
        access=Access.OWNER,
        from_replica=True,
    ),
    Operation(
        method="GET",
        path="/api/users/{wallet}/stats",
        handler=get_statistics,
        name="get_wallet_statistics",
        summary="The caller's own trading statistics",
        tag="users",
        responses={200: TradingStatistics},
        access=Access.OWNER,
        is_shared=True,
    ),
)

"""A wallet's positions, which only the wallet itself may read."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from functools import lru_cache
from typing import Annotated, Any, Final

from msgspec import Meta, Raw, Struct

from zmartd.errors import AboutMarket
from zmartd.http.errors.requests import PositionNotFound
from zmartd.http.kit import earlier_answers, keys
from zmartd.http.kit.codec import encode_body
from zmartd.http.kit.earlier_names import DEPRECATED
from zmartd.http.kit.fields import (
    Amount,
    MarketKey,
    Price,
    ServerTime,
    SignedAmount,
    StateName,
    Time,
    amount,
    price,
)
from zmartd.http.kit.operation import (
    MAX_EXPORT_ROWS,
    Access,
    Call,
    Export,
    ExportedRows,
    JsonResponse,
    Operation,
)
from zmartd.http.kit.pagination import Limit, NextCursor, array_response, decode_cursor
from zmartd.http.markets.lookup import any_market
from zmartd.http.trading.position_memory import POSITION_MEMORY
from zmartd.http.trading.position_valuation import (
    ValuedPosition,
    read_page,
    refundable_lamports,
    value_positions,
    value_row,
)
from zmartd.market.iso_time import iso_time, iso_time_or_none
from zmartd.market.lmsr import SCALE
from zmartd.store import positions
from zmartd.store.keyset import Page
from zmartd.store.markets import MarketNotFound
from zmartd.store.positions import PositionPageKey
from zmartd.store.raw_positions import KEPT, RawPosition, position_of

_BATCH_ROWS: Final = 200
"""Positions of an export that are valued at once."""


class PositionBody(Struct, frozen=True, kw_only=True):
    """A wallet's position in one market. The portfolio has the same profit in more detail.

    The earlier frontend indexes labels by `state`: here alone it is a number.
    """

    market_id: MarketKey
    on_chain_address: str
    """The address of the market's account on the chain, base58."""
    question: str
    """The market's question, as the creator registered it."""
    state_code: int
    """The program's number of the market's state, from 0 to 6."""
    state_name: StateName
    """The market's state, by name."""
    price_yes: Price
    """The price of a YES share in SOL, from 0 to 1."""
    price_no: Price
    """The price of a NO share in SOL, from 0 to 1."""
    shares_yes: Amount
    """The wallet's YES shares, with nine decimals."""
    shares_no: Amount
    """The wallet's NO shares, with nine decimals."""
    total_invested: Amount
    """Lamports of all purchases, with fees."""
    total_returned: Amount
    """Lamports of all sales, after fees."""
    cost_basis: Amount
    """Lamports that the shares still held have cost with fees; 0 once they are claimed or worthless."""
    value: Amount
    """Lamports: the shares at the market's prices until the market is finalized, then claimable."""
    unrealized_pnl: SignedAmount
    """Lamports: value - cost_basis."""
    realized_pnl: SignedAmount
    """Lamports of profit from sales, the claim, and an outcome that makes shares worthless."""
    roi: Annotated[
        float,
        Meta(description="realized and unrealized profit in percent of total_invested; 0 where that is 0"),
    ]
    claimable: Amount
    """Lamports that a claim would pay now; 0 before the market is finalized, and after the claim."""
    has_claimed: bool
    """Whether the wallet has claimed in this market."""
    claimed_amount: Amount
    """Lamports that the claim paid; 0 before it."""
    proposed_outcome: bool | None
    """True for YES, false for NO; null before an outcome is proposed."""
    final_outcome: bool | None
    """True for YES, false for NO; null before the market is finalized, and where all holders are refunded."""
    trades_count: int
    """The number of the wallet's trades in the market."""
    first_trade_at: Time | None
    """When the wallet first traded in the market; null for shares that it only got by transfer."""
    last_trade_at: Time | None
    """When the wallet last traded in the market; null for shares that it only got by transfer."""
    claimed_at: Time | None
    """When the wallet claimed; null before that."""
    slot: int
    """The slot of the position's last indexed change."""
    state: Annotated[int, DEPRECATED]
    """The same as state_code."""
    current_value: Annotated[Amount, DEPRECATED]
    """The same as value."""


class ArrayQuery(Struct, frozen=True, kw_only=True):
    """Without a limit all positions are on one page, as the frontend expects."""

    limit: Annotated[Limit | None, Meta(description="a whole number from 0 to 100")] = None
    cursor: NextCursor = None


class PositionRow(Struct, frozen=True, kw_only=True):
    """A wallet's shares in one market."""

    id: str
    """The market's id and the wallet's address, separated by a colon."""
    market_id: MarketKey
    user: str
    """The wallet's address."""
    yes_shares: Amount
    """The wallet's YES shares, with nine decimals."""
    no_shares: Amount
    """The wallet's NO shares, with nine decimals."""
    created_at: Time | None
    """When the wallet first traded in the market; null for shares that it only got by transfer."""
    updated_at: ServerTime
    """When the index last changed the position."""


async def list_positions(call: Call[ArrayQuery]) -> JsonResponse:
    """A bare array, last traded first. Headers have the cursor of the next page."""
    query = call.input
    page = await _page(call, call.wallet, query)
    refundable = await refundable_lamports(call.app[keys.DATABASE], page.rows)
    bodies = [_encoded_body(row, refundable.get(row, 0)) for row in page.rows]
    return array_response(call.request, bodies, page.next_key)


async def get_position(call: Call[None]) -> PositionBody:
    """The caller's own position in one market."""
    wallet = call.wallet
    database = call.app[keys.DATABASE]
    async with database.reader(call.caller) as connection:
        market = await any_market(connection, call.path["id"])
        row = await positions.find(connection, wallet, market.id)
    if row is None:
        raise PositionNotFound(AboutMarket(market.id))
    (valued,) = await value_positions(database, [row])
    return _body(valued)


async def list_position_rows(call: Call[ArrayQuery]) -> JsonResponse:
    """A bare array of shares, last traded first. Headers have the cursor of the next page."""
    query = call.input
    page = await _page(call, call.wallet, query)
    return array_response(call.request, [_encoded_row(row) for row in page.rows], page.next_key)


async def _export_positions(call: Call[ArrayQuery]) -> ExportedRows:
    page = await _page(call, call.wallet, call.input, MAX_EXPORT_ROWS)
    database = call.app[keys.DATABASE]

    async def batches() -> AsyncIterator[Sequence[PositionBody]]:
        for start in range(0, len(page.rows), _BATCH_ROWS):
            valued = await value_positions(database, page.rows[start : start + _BATCH_ROWS])
            yield [_body(one) for one in valued]

    return ExportedRows(batches(), page.next_key)


async def _export_position_rows(call: Call[ArrayQuery]) -> ExportedRows:
    page = await _page(call, call.wallet, call.input, MAX_EXPORT_ROWS)

    async def batches() -> AsyncIterator[Sequence[PositionRow]]:
        for start in range(0, len(page.rows), _BATCH_ROWS):
            yield [_row(row) for row in page.rows[start : start + _BATCH_ROWS]]

    return ExportedRows(batches(), page.next_key)


async def _page(
    call: Call[Any], wallet: str, query: ArrayQuery, default: int | None = None
) -> Page[RawPosition, PositionPageKey]:
    """The page that `query` requests: without a limit `default` positions, or all of them."""
    after = decode_cursor(query.cursor, PositionPageKey)
    limit = default if query.limit is None else query.limit
    if limit is None and after is None:
        return Page((await call.app[POSITION_MEMORY].read(call.app[keys.DATABASE], wallet)).rows, None)
    return await read_page(call.app[keys.DATABASE], wallet, limit, after)


@lru_cache(KEPT)
def _encoded_row(row: RawPosition) -> Raw:
    return Raw(encode_body(_row(row)))


def _row(row: RawPosition) -> PositionRow:
    position = position_of(row)
    return PositionRow(
        id=f"{position.market.id}:{position.user_wallet}",
        market_id=position.market.id,
        user=position.user_wallet,
        yes_shares=amount(max(position.shares_yes, 0)),
        no_shares=amount(max(position.shares_no, 0)),
        created_at=iso_time_or_none(position.first_trade_at),
        updated_at=iso_time(position.updated_at),
    )


@lru_cache(KEPT)
def _encoded_body(row: RawPosition, refundable_lamports: int) -> Raw:
    return Raw(encode_body(_body(value_row(row, refundable_lamports, False))))


def _body(valued: ValuedPosition) -> PositionBody:
    position, valuation = valued.position, valued.valuation
    market = position.market
    return PositionBody(
        market_id=market.id,
        on_chain_address=market.on_chain_address,
        question=market.question,
        state_code=market.state.value,
        state_name=market.state.name,
        price_yes=price(market.price_yes),
        price_no=price(SCALE - market.price_yes),
        shares_yes=amount(max(position.shares_yes, 0)),
        shares_no=amount(max(position.shares_no, 0)),
        total_invested=amount(position.total_invested),
        total_returned=amount(position.total_returned),
        cost_basis=amount(valuation.cost_lamports),
        value=amount(valuation.value_lamports),
        unrealized_pnl=amount(valuation.unrealized_lamports),
        realized_pnl=amount(valuation.realized_lamports),
        roi=_percent(valuation.profit_lamports, position.total_invested),
        claimable=amount(valuation.claimable_lamports),
        has_claimed=position.has_claimed,
        claimed_amount=amount(position.claimed_amount),
        proposed_outcome=market.proposed_outcome,
        final_outcome=market.final_outcome,
        trades_count=position.trades_count,
        first_trade_at=iso_time_or_none(position.first_trade_at),
        last_trade_at=iso_time_or_none(position.last_trade_at),
        claimed_at=iso_time_or_none(position.claimed_at),
        slot=position.slot,
        **earlier_answers.of_a_position(market.state.value, amount(valuation.value_lamports)),
    )


def _percent(part: int, whole: int) -> float:
    return round(part * 100 / whole, 2) if whole else 0.0


OPERATIONS: tuple[Operation[Any], ...] = (
    Operation(
        method="GET",
        path="/api/users/{wallet}/positions",
        handler=list_positions,
        summary="The caller's own positions, as a bare array",
        tag="users",
        replaced_by="get_portfolio",
        query=ArrayQuery,
        responses={200: tuple[PositionBody, ...]},
        export=Export(PositionBody, _export_positions),
        access=Access.OWNER,
        is_shared=True,
    ),
    Operation(
        method="GET",
        path="/api/users/{wallet}/positions/{id}",
        handler=get_position,
        shows_market=True,
        summary="The caller's own position in one market",
        tag="users",
        responses={200: PositionBody},
        errors=(MarketNotFound, PositionNotFound),
        access=Access.OWNER,
    ),
    Operation(
        method="GET",
        path="/api/positions/{wallet}",
        handler=list_position_rows,
        summary="The caller's own shares, as a bare array",
        tag="users",
        replaced_by="get_portfolio",
        query=ArrayQuery,
        responses={200: tuple[PositionRow, ...]},
        export=Export(PositionRow, _export_position_rows),
        access=Access.OWNER,
        is_shared=True,
    ),
)

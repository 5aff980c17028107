"""A wallet's portfolio: its positions with cost basis, value and profit."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Sequence
from typing import Annotated, Any, Final, Literal

from msgspec import Meta, Struct

from zmartd.http.kit import keys
from zmartd.http.kit.fields import Amount, MarketKey, SignedAmount, StateName, Time, amount
from zmartd.http.kit.operation import MAX_EXPORT_ROWS, Access, Call, Export, ExportedRows, Operation
from zmartd.http.kit.pagination import Limit, NextCursor, NextPage, PageLength, decode_cursor, encode_cursor
from zmartd.http.trading.position_memory import POSITION_MEMORY
from zmartd.http.trading.position_valuation import (
    ValuedPosition,
    read_page,
    read_positions,
    value_positions,
)
from zmartd.market.iso_time import iso_time_or_none
from zmartd.realtime.trade_summary import average_price
from zmartd.store.positions import PositionPageKey

_DEFAULT_LENGTH: Final = 100
"""The most positions on a page in JSON without a limit."""
_BATCH_ROWS: Final = 200
"""Positions of an export that are valued at once."""

OptionalAmount = Annotated[Amount | None, Meta(description="null where it does not apply")]


class OutcomeHolding(Struct, frozen=True, kw_only=True):
    """A wallet's shares of one outcome in one market."""

    shares: Amount
    """The shares held, with nine decimals."""
    cost_basis: Annotated[
        Amount, Meta(description="lamports that these shares have cost with fees, by the average cost method")
    ]
    average_price: Annotated[
        float | None,
        Meta(description="cost_basis / shares, fees included, in SOL per share; null without shares"),
    ]
    value_at_price: OptionalAmount
    """Lamports: the shares at the market's price; null before trading, once the market is finalized or
    cancelled, and after the claim."""


class PortfolioPosition(Struct, frozen=True, kw_only=True):
    """A wallet's position in one market.

    `value_at_price` values every share at the market's price, before fees, as if selling did not move it.
    `sale_gross` is what the price curve would pay for all shares now, YES sold first, and `sale_net` is that
    after fees.
    """

    market_id: MarketKey
    on_chain_address: str
    """The address of the market's account on the chain, base58."""
    question: str
    """The market's question, as the creator registered it."""
    state: StateName
    """The market's state, by name."""
    state_code: int
    """The program's number of the state, from 0 to 6."""
    proposed_outcome: bool | None
    """True for YES, false for NO; null before an outcome is proposed."""
    final_outcome: bool | None
    """True for YES, false for NO; null before the market is finalized, and where all holders are refunded."""
    yes: OutcomeHolding
    """The wallet's YES shares."""
    no: OutcomeHolding
    """The wallet's NO shares."""
    cost_basis: Amount
    """Lamports that the shares of both outcomes have cost with fees; 0 once they are claimed or worthless."""
    value: Amount
    """Lamports: value_at_price until the market is finalized, then claimable."""
    value_at_price: OptionalAmount
    """Lamports: all shares at the market's prices; null before trading, once the market is finalized or
    cancelled, and after the claim."""
    sale_gross: OptionalAmount
    """Lamports for all shares, if they were sold now, before fees; null while they cannot be sold."""
    sale_net: OptionalAmount
    """Lamports for all shares, if they were sold now, after fees; null while they cannot be sold."""
    claimable: Amount
    """Lamports that a claim would pay now; 0 before the market is finalized, and after the claim."""
    has_claimed: bool
    """Whether the wallet has claimed in this market."""
    total_invested: Annotated[Amount, Meta(description="lamports of all purchases, with fees")]
    total_returned: Annotated[Amount, Meta(description="lamports of all sales, after fees")]
    claimed_amount: Annotated[
        Amount,
        Meta(
            description="lamports that the claim paid: winnings, or a refund without an outcome; 0 before it"
        ),
    ]
    realized_pnl: SignedAmount
    """Lamports of profit from sales, the claim, and an outcome that makes shares worthless."""
    unrealized_pnl: SignedAmount
    """Lamports: value - cost_basis."""
    total_pnl: SignedAmount
    """Lamports: realized_pnl + unrealized_pnl."""
    trades_count: int
    """The number of the wallet's trades in the market."""
    last_trade_at: Annotated[
        Time | None, Meta(description="null for shares that the wallet only got by transfer")
    ]
    slot: int
    """The slot of the position's last indexed change."""


class PortfolioTotals(Struct, frozen=True, kw_only=True):
    """Sums over all positions of the wallet, on all pages."""

    cost_basis: Amount
    """Lamports that the shares still held have cost with fees."""
    value: Amount
    """Lamports: the sum of the positions' values."""
    sale_gross: Annotated[
        Amount, Meta(description="lamports before fees, for the positions that can be sold now")
    ]
    sale_net: Amount
    """Lamports after fees, for the positions that can be sold now."""
    claimable: Amount
    """Lamports that claims would pay now."""
    total_invested: Amount
    """Lamports of all purchases, with fees."""
    total_returned: Amount
    """Lamports of all sales, after fees."""
    claimed_amount: Amount
    """Lamports that claims have paid."""
    realized_pnl: SignedAmount
    """Lamports of profit from sales, claims, and outcomes that made shares worthless."""
    unrealized_pnl: SignedAmount
    """Lamports: value - cost_basis."""
    total_pnl: SignedAmount
    """Lamports: realized_pnl + unrealized_pnl."""


class Portfolio(Struct, frozen=True, kw_only=True):
    """A wallet's positions, last traded first. All figures of an answer are of the same time.

    Further pages keep the order that the positions had when the first page was read.

    The cost basis is by the average cost method. A sale reduces it in proportion to the shares sold,
    truncated to whole lamports, and realizes the difference to its proceeds after fees. A claim, or an
    outcome that makes the shares worthless, realizes the rest. `realized_pnl` + `unrealized_pnl` is always
    `value` + `total_returned` + `claimed_amount` - `total_invested`.
    """

    wallet: str
    """The wallet's address, as in the path."""
    cost_basis_method: Literal["average"]
    """The method by which cost_basis is computed: average cost."""
    positions: tuple[PortfolioPosition, ...]
    """The positions of this page."""
    count: PageLength
    total: int
    """The number of the wallet's positions, on all pages."""
    totals: PortfolioTotals
    """Sums over all positions, on all pages."""
    next_cursor: NextPage


class PortfolioQuery(Struct, frozen=True, kw_only=True):
    limit: Annotated[Limit | None, Meta(description="a whole number from 0 to 100")] = None
    cursor: NextCursor = None


async def get_portfolio(call: Call[PortfolioQuery]) -> Portfolio:
    """Positions are private: only the wallet itself may read its own. Without a limit there are 100."""
    query = call.input
    wallet = call.wallet
    after = decode_cursor(query.cursor, PositionPageKey)
    database = call.app[keys.DATABASE]
    if after is None:
        found = await call.app[POSITION_MEMORY].read(database, wallet)
    else:
        found = await read_positions(database, wallet, after)
    valued = dict(zip(found.rows, await value_positions(database, found.rows, with_sales=True), strict=True))
    page = found.page(_DEFAULT_LENGTH if query.limit is None else query.limit, after)
    return Portfolio(
        wallet=wallet,
        cost_basis_method="average",
        positions=tuple(_position(valued[row]) for row in page.rows),
        count=len(page.rows),
        total=len(found.rows),
        totals=_totals(valued.values()),
        next_cursor=encode_cursor(page.next_key),
    )


async def _export(call: Call[PortfolioQuery]) -> ExportedRows:
    database, query = call.app[keys.DATABASE], call.input
    after = decode_cursor(query.cursor, PositionPageKey)
    limit = MAX_EXPORT_ROWS if query.limit is None else query.limit
    page = await read_page(database, call.wallet, limit, after)

    async def batches() -> AsyncIterator[Sequence[PortfolioPosition]]:
        for start in range(0, len(page.rows), _BATCH_ROWS):
            batch = page.rows[start : start + _BATCH_ROWS]
            valued = await value_positions(database, batch, with_sales=True)
            yield [_position(one) for one in valued]

    return ExportedRows(batches(), page.next_key)


def _position(valued: ValuedPosition) -> PortfolioPosition:
    position, valuation = valued.position, valued.valuation
    market, sale = position.market, valuation.sale
    at_price = None
    if valuation.at_price_yes_lamports is not None and valuation.at_price_no_lamports is not None:
        at_price = valuation.at_price_yes_lamports + valuation.at_price_no_lamports
    return PortfolioPosition(
        market_id=market.id,
        on_chain_address=market.on_chain_address,
        question=market.question,
        state=market.state.name,
        state_code=market.state.value,
        proposed_outcome=market.proposed_outcome,
        final_outcome=market.final_outcome,
        yes=_outcome(position.shares_yes, valuation.cost_yes_lamports, valuation.at_price_yes_lamports),
        no=_outcome(position.shares_no, valuation.cost_no_lamports, valuation.at_price_no_lamports),
        cost_basis=amount(valuation.cost_lamports),
        value=amount(valuation.value_lamports),
        value_at_price=_amount_or_none(at_price),
        sale_gross=_amount_or_none(None if sale is None else sale.before_fees_lamports),
        sale_net=_amount_or_none(None if sale is None else sale.after_fees_lamports),
        claimable=amount(valuation.claimable_lamports),
        has_claimed=position.has_claimed,
        total_invested=amount(position.total_invested),
        total_returned=amount(position.total_returned),
        claimed_amount=amount(position.claimed_amount),
        realized_pnl=amount(valuation.realized_lamports),
        unrealized_pnl=amount(valuation.unrealized_lamports),
        total_pnl=amount(valuation.profit_lamports),
        trades_count=position.trades_count,
        last_trade_at=iso_time_or_none(position.last_trade_at),
        slot=position.slot,
    )


def _outcome(shares: int, cost_lamports: int, at_price_lamports: int | None) -> OutcomeHolding:
    held = max(shares, 0)
    return OutcomeHolding(
        shares=amount(held),
        cost_basis=amount(cost_lamports),
        average_price=average_price(cost_lamports, held) if held else None,
        value_at_price=_amount_or_none(at_price_lamports),
    )


def _totals(valued: Collection[ValuedPosition]) -> PortfolioTotals:
    positions = [one.position for one in valued]
    valuations = [one.valuation for one in valued]
    sales = [one.sale for one in valuations if one.sale is not None]
    return PortfolioTotals(
        cost_basis=amount(sum(one.cost_lamports for one in valuations)),
        value=amount(sum(one.value_lamports for one in valuations)),
        sale_gross=amount(sum(sale.before_fees_lamports for sale in sales)),
        sale_net=amount(sum(sale.after_fees_lamports for sale in sales)),
        claimable=amount(sum(one.claimable_lamports for one in valuations)),
        total_invested=amount(sum(position.total_invested for position in positions)),
        total_returned=amount(sum(position.total_returned for position in positions)),
        claimed_amount=amount(sum(position.claimed_amount for position in positions)),
        realized_pnl=amount(sum(one.realized_lamports for one in valuations)),
        unrealized_pnl=amount(sum(one.unrealized_lamports for one in valuations)),
        total_pnl=amount(sum(one.profit_lamports for one in valuations)),
    )


def _amount_or_none(lamports: int | None) -> str | None:
    return None if lamports is None else amount(lamports)


OPERATIONS: tuple[Operation[Any], ...] = (
    Operation(
        method="GET",
        path="/api/users/{wallet}/portfolio",
        handler=get_portfolio,
        summary="The caller's own portfolio with cost basis, value and profit",
        tag="users",
        query=PortfolioQuery,
        responses={200: Portfolio},
        export=Export(PortfolioPosition, _export),
        access=Access.OWNER,
        is_shared=True,
    ),
)

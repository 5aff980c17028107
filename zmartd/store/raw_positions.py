"""A position as Postgres hands it over: one text with all that its worth depends on.

The same text is the same position in the same market, so that what follows from it is worked out once for as
long as it is kept. A wallet in a thousand markets has a thousand of them, of which few change between two
reads; to decode, value and write out each anew takes ten times as long.
"""

from __future__ import annotations

from datetime import datetime
from functools import lru_cache
from typing import Final, NewType

import msgspec
from msgspec import Struct

from zmartd.market.fees import INITIAL_RATES, FeeRates
from zmartd.market.lifecycle import MarketState

KEPT: Final = 2**12
"""Of how many positions each cache keeps what was worked out last.

All together keep some 25 MB, and 50 at most: where all questions are as long as they may be, and of emoji.
"""

RawPosition = NewType("RawPosition", bytes)
"""A position as JSON in UTF-8: an array in the order of the fields of `Position`.

As a `str` each of its characters would take four bytes where the question has an emoji.
"""


class PositionMarket(Struct, frozen=True, array_like=True):
    """What a position's value depends on. Shares, price and `b_parameter` have nine decimals."""

    id: str
    on_chain_address: str
    question: str
    state: MarketState
    b_parameter: int | None
    shares_yes: int
    shares_no: int
    current_liquidity: int
    price_yes: int
    proposed_outcome: bool | None
    final_outcome: bool | None
    protocol_bps: int
    resolver_bps: int
    lp_bps: int

    @property
    def rates(self) -> FeeRates:
        """The fees that a sale would be charged."""
        return FeeRates(self.protocol_bps, self.resolver_bps, self.lp_bps)


class Position(Struct, frozen=True, array_like=True):
    """A wallet's holding in one market, true at `slot`. Amounts are lamports, shares have nine decimals.

    Shares can be negative for as long as an earlier purchase is not indexed yet.
    """

    user_wallet: str
    shares_yes: int
    shares_no: int
    total_invested: int
    """All purchases with fees."""
    total_returned: int
    """All sales after fees."""
    cost_yes: int
    """The cost of the YES shares still held, with fees, by the average cost method."""
    cost_no: int
    trades_count: int
    has_claimed: bool
    claimed_amount: int
    claimed_at: datetime | None
    first_trade_at: datetime | None
    last_trade_at: datetime | None
    slot: int
    updated_at: datetime
    market: PositionMarket


_decoder: Final = msgspec.json.Decoder(Position)


@lru_cache(KEPT)
def position_of(row: RawPosition) -> Position:
    """The position that a row tells of."""
    return _decoder.decode(row)


def _cost(outcome: str) -> str:
    """What shares have cost is worked out as `zmartd.held_cost` does it: calls of that function would take
    ten times as long as the rest.
    """
    lot, held = outcome, f"held.shares_{outcome}"
    return f"""case when coalesce({lot}.shares, 0) <= 0 or {held} <= 0 then 0
                    when {held} >= {lot}.shares then {lot}.cost
                    else div({lot}.cost * {held}, {lot}.shares) end"""


def _plain_text(column: str) -> str:
    """Of a text in which nothing has to be escaped: an address or an id."""
    return f"""'"', {column}, '"'"""


def _or_null(column: str) -> str:
    return f"coalesce({column}::text, 'null')"


def _time_or_null(column: str) -> str:
    return f"coalesce(to_json({column}), 'null')"


_SEPARATOR: Final = ", ',', "
_STATES: Final = ", ".join(f"'{state.name}'" for state in MarketState)
_MARKET_COLUMNS: Final = (
    _plain_text("held.market_id"),
    _plain_text("market.on_chain_address"),
    "to_json(market.question)",
    f"array_position(array[{_STATES}], market.state::text) - 1",
    _or_null("market.b_parameter"),
    "market.shares_yes",
    "market.shares_no",
    "market.current_liquidity",
    "(market.current_price_yes * 1000000000)::bigint",
    _or_null("market.proposed_outcome"),
    _or_null("market.final_outcome"),
    f"coalesce(protocol.protocol_fee_bps, {INITIAL_RATES.protocol_bps})",
    f"coalesce(protocol.resolver_reward_bps, {INITIAL_RATES.resolver_bps})",
    f"coalesce(protocol.liquidity_provider_fee_bps, {INITIAL_RATES.lp_bps})",
)
_COLUMNS: Final = (
    _plain_text("held.user_wallet"),
    "held.shares_yes",
    "held.shares_no",
    "held.total_invested",
    "held.total_returned",
    _cost("yes"),
    _cost("no"),
    "held.trades_count",
    "held.has_claimed::text",
    "held.claimed_amount",
    _time_or_null("held.claimed_at"),
    _time_or_null("held.first_trade_at"),
    _time_or_null("held.last_trade_at"),
    "held.slot",
    "to_json(held.updated_at)",
    f"'[', {_SEPARATOR.join(_MARKET_COLUMNS)}, ']'",
)
POSITION_ROW: Final = f"convert_to(concat('[', {_SEPARATOR.join(_COLUMNS)}, ']'), 'UTF8')"
"""SQL: the row of a position `held` in its `market`, with the lots `yes` and `no` and the `protocol`.

Written piece by piece, because `json_build_array` takes a third longer than the rest of the statement.
"""

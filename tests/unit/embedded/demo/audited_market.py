"""A disputed market that has paid one of its two traders: its accounts, and how the API shows it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec
from solders.pubkey import Pubkey

from zmartd.chain.accounts import MarketAccount, UserPosition
from zmartd.embedded.demo.comparison import PublishedMarket
from zmartd.http.markets.schemas import market_body, market_detail
from zmartd.http.trading.schemas import trade_body
from zmartd.market import lmsr
from zmartd.market.lifecycle import MarketState
from zmartd.market.proposal import ResolutionTexts
from zmartd.market.situation import ProgramRules
from zmartd.store.markets import MarketRow
from zmartd.store.streams import StreamPosition
from zmartd.store.trades import TradeRow

MARKET_ID = bytes(range(32))
ADDRESS, CREATOR, DISPUTER, WALLET, OTHER_WALLET = (Pubkey([number] * 32) for number in range(1, 6))
B_PARAMETER = 120 * lmsr.SCALE
SHARES_YES, SHARES_NO = 3_119_873_211, 1_120_000_007
PRICE_YES = lmsr.price_yes(SHARES_YES, SHARES_NO, B_PARAMETER)
QUESTION_CID, EVIDENCE_CID = f"Qm{'q' * 44}", f"Qm{'e' * 44}"
TIMES = {
    "created_at": 1_800_000_000,
    "approved_at": 1_800_000_100,
    "activated_at": 1_800_000_200,
    "resolution_proposed_at": 1_800_000_300,
    "dispute_initiated_at": 1_800_000_400,
    "finalized_at": 1_800_300_000,
}

ACCOUNT = MarketAccount(
    market_id=MARKET_ID,
    creator=CREATOR,
    state=MarketState.FINALIZED,
    b_parameter=B_PARAMETER,
    initial_liquidity=50 * lmsr.SCALE,
    current_liquidity=50_001_700_000,
    shares_yes=SHARES_YES,
    shares_no=SHARES_NO,
    total_volume=3_000_000,
    resolved_at=0,
    resolver=CREATOR,
    proposed_outcome=False,
    final_outcome=True,
    ipfs_evidence_hash=EVIDENCE_CID.encode(),
    dispute_initiator=DISPUTER,
    accumulated_protocol_fees=81_001,
    accumulated_resolver_fees=0,
    accumulated_lp_fees=0,
    proposal_likes=8,
    proposal_dislikes=1,
    proposal_total_votes=9,
    resolution_agree=0,
    resolution_disagree=0,
    resolution_total_votes=0,
    dispute_agree=6,
    dispute_disagree=2,
    dispute_total_votes=8,
    was_disputed=True,
    is_cancelled=False,
    cancelled_at=None,
    is_locked=False,
    reserved=bytes(119),
    bump=255,
    **TIMES,
)

POSITIONS = tuple(
    UserPosition(
        market=ADDRESS,
        user=user,
        shares_yes=2_000_000_123,
        shares_no=4,
        total_invested=2_200_000,
        trades_count=1,
        last_trade_at=1_800_000_250,
        has_claimed=True,
        claimed_amount=30_000_000_001,
        reserved=(799_999).to_bytes(8, "little") + bytes(56),
        bump=254,
    )
    for user in (WALLET, OTHER_WALLET)
)


def published(**changes: Any) -> PublishedMarket:
    """The market as the API makes JSON of its row; `changes` are to the row."""
    row = msgspec.structs.replace(_ROW, **changes)
    return PublishedMarket(
        market=msgspec.to_builtins(market_detail(market_body(row, (), 1_800_300_000), ResolutionTexts())),
        trades=[
            msgspec.to_builtins(trade_body(_trade(1, "buy", cost=1_800_000, amount=1_650_000, fee=45_001))),
            msgspec.to_builtins(trade_body(_trade(2, "sell", cost=1_090_000, amount=1_200_000, fee=36_000))),
        ],
        prices=[{"price_yes": 0.5}, {"price_yes": PRICE_YES / lmsr.SCALE}],
        statistics={"trades_count": 2, "total_volume": "3000000"},
    )


def shown_positions() -> list[dict[str, Any]]:
    """GET /api/users/{WALLET}/positions, as far as the audit reads it."""
    return [
        {
            "market_id": MARKET_ID.hex(),
            "on_chain_address": str(ADDRESS),
            "state": 5,
            "price_yes": PRICE_YES / lmsr.SCALE,
            "price_no": (lmsr.SCALE - PRICE_YES) / lmsr.SCALE,
            "final_outcome": True,
            "shares_yes": "2000000123",
            "shares_no": "4",
            "total_invested": "2200000",
            "total_returned": "799999",
            "trades_count": 1,
            "has_claimed": True,
            "claimed_amount": "30000000001",
        }
    ]


def _moment(unix_seconds: int) -> datetime:
    return datetime.fromtimestamp(unix_seconds, UTC)


def _trade(number: int, trade_type: Any, *, cost: int, amount: int, fee: int) -> TradeRow:
    return TradeRow(
        id=number,
        market_id=MARKET_ID.hex(),
        trader=str(WALLET),
        trade_type=trade_type,
        outcome=True,
        shares=10**9,
        cost=cost,
        amount=amount,
        protocol_fee=fee,
        resolver_fee=0,
        lp_fee=0,
        exact=True,
        price_yes_after=PRICE_YES,
        price_yes_before=PRICE_YES,
        tx_signature=f"signature {number}",
        event_index=0,
        slot=number,
        block_time=_moment(1_800_000_250),
        commitment="confirmed",
    )


_ROW = MarketRow(
    id=MARKET_ID.hex(),
    on_chain_address=str(ADDRESS),
    slug="is-every-number-right",
    image_url=None,
    question="Is every number right?",
    description="",
    category="science",
    tags=(),
    end_date=None,
    metadata_verified=True,
    ipfs_question_hash=QUESTION_CID,
    ipfs_evidence_hash=EVIDENCE_CID,
    creator_wallet=str(CREATOR),
    resolver_wallet=str(CREATOR),
    state=MarketState.FINALIZED,
    b_parameter=B_PARAMETER,
    initial_liquidity=50 * lmsr.SCALE,
    current_liquidity=50_001_700_000,
    shares_yes=SHARES_YES,
    shares_no=SHARES_NO,
    price_yes=PRICE_YES,
    total_volume=3_000_000,
    trades_count=2,
    proposed_outcome=False,
    final_outcome=True,
    was_disputed=True,
    proposal_likes=8,
    proposal_dislikes=1,
    proposal_total_votes=9,
    dispute_agree=6,
    dispute_disagree=2,
    dispute_total_votes=8,
    cancelled_at=None,
    updated_at=_moment(1_800_300_000),
    chain_confirmed=True,
    discussion_snapshot_cid=None,
    commitment="confirmed",
    slot=9,
    version=12,
    awaiting_admin_approval=False,
    awaiting_decision=False,
    settles_at=None,
    is_withdrawn=False,
    liquidity_left=0,
    decision=None,
    rules=ProgramRules(),
    stream_position=StreamPosition("0" * 16, 0),
    **{name: _moment(seconds) for name, seconds in TIMES.items()},
)

"""What answers also say under the names and in the units of the frontend before this one.

Each function gives the values of an answer's deprecated fields, by the names that the fields have in Python.
"""

from __future__ import annotations

from typing import Any

from zmartd.market.lmsr import SCALE
from zmartd.store.feed import FeedItem

_LAMPORTS_IN_SOL = 10**9


def of_collected_fees(protocol: str, resolver: str, lp: str, total: str) -> dict[str, Any]:
    return {
        "total_collected": total,
        "protocol_collected": protocol,
        "creator_collected": lp,
        "staker_collected": resolver,
    }


def of_a_claim(has_claimed: bool, claimable: str, claimed_amount: str) -> dict[str, Any]:
    """One amount, for what was claimed or else could be."""
    return {"claimed": has_claimed, "claim_amount": claimed_amount if has_claimed else claimable}


def of_a_resolution(final_outcome_label: str | None, current_liquidity: str) -> dict[str, Any]:
    return {"winning_outcome": final_outcome_label, "total_pool": current_liquidity}


def of_proposal_votes(in_favour: int, against: int) -> dict[str, Any]:
    return {"likes": in_favour, "dislikes": against}


def of_dispute_votes(in_favour: int, against: int) -> dict[str, Any]:
    return {"agrees": in_favour, "disagrees": against}


def of_vote_statistics(in_favour: int, against: int, in_favour_bps: int) -> dict[str, Any]:
    """Votes of either kind. Basis points are hundredths of a percent."""
    rate = f"{in_favour_bps // 100}.{in_favour_bps % 100:02d}"
    return {**of_proposal_votes(in_favour, against), "approval_rate": rate}


def of_market_votes(vote_type: str) -> dict[str, Any]:
    return {"type": vote_type}


def of_a_position(state_code: int, value: str) -> dict[str, Any]:
    return {"state": state_code, "current_value": value}


def of_wallet_statistics(
    trades_count: int, total_volume: str, win_rate: float | None, total_pnl: str, active_positions: int
) -> dict[str, Any]:
    return {
        "trades_count_camel": trades_count,
        "total_volume_camel": total_volume,
        "win_rate_camel": win_rate,
        "total_pnl_camel": total_pnl,
        "active_positions_camel": active_positions,
    }


def of_a_comment(id_: str, user_wallet: str | None) -> dict[str, Any]:
    return {"discussion_id": id_, "wallet": user_wallet, "upvotes": 0}


def of_a_trade(net: str) -> dict[str, Any]:
    return {"cost": net}


def of_a_market(
    state: str, end_date: str | None, question_cid: str | None, evidence_cid: str | None
) -> dict[str, Any]:
    return {
        "status": state,
        "expires_at": end_date,
        "ipfs_question_hash": question_cid,
        "ipfs_evidence_hash": evidence_cid,
    }


def of_a_session(wallet: str, expires_in_seconds: int, expires_at: str) -> dict[str, Any]:
    return {"wallet_address": wallet, "expires_in": expires_in_seconds, "expires_at_camel": expires_at}


def of_trade_counts(trades_count: int) -> dict[str, Any]:
    return {"total_trades": trades_count}


def of_market_statistics(trades_count: int, traders_count: int) -> dict[str, Any]:
    return {**of_trade_counts(trades_count), "unique_traders": traders_count}


def of_activity_counts(trades: int, proposal_votes: int, dispute_votes: int, comments: int) -> dict[str, Any]:
    """Numbers of what a wallet did."""
    return {
        **of_trade_counts(trades),
        "total_votes": proposal_votes + dispute_votes,
        "proposal_votes": proposal_votes,
        "dispute_votes": dispute_votes,
        "discussions": comments,
    }


def of_a_single_market(
    shares_yes: str, shares_no: str, creator_wallet: str | None, end_date: str | None, b_parameter: str | None
) -> dict[str, Any]:
    """Where a market is the whole answer."""
    return {
        "yes_shares": shares_yes,
        "no_shares": shares_no,
        "total_yes_shares": shares_yes,
        "total_no_shares": shares_no,
        "creator": creator_wallet,
        "ends_at": end_date,
        "liquidity_parameter": b_parameter,
    }


def of_a_price(price_yes: int) -> dict[str, Any]:
    """A fixed-point price (`lmsr.SCALE` = 1.0) of both outcomes in percent."""
    return {"yes": price_yes * 100 / SCALE, "no": (SCALE - price_yes) * 100 / SCALE}


def of_a_trending_market(price_yes: int, price_yes_before: int, volume_lamports: int) -> dict[str, Any]:
    """The price, its change in percentage points, and the volume in SOL."""
    return {
        **of_a_related_market(price_yes),
        "change_points": (price_yes - price_yes_before) * 100 / SCALE,
        "volume_sol": volume_lamports / _LAMPORTS_IN_SOL,
    }


def of_a_related_market(price_yes: int) -> dict[str, Any]:
    return {"yes_price": price_yes / SCALE}


def of_a_category(markets: int) -> dict[str, Any]:
    return {"count": markets}


def of_an_activity(item: FeedItem, at: str) -> dict[str, Any]:
    """The entry in words, with amounts rounded for people."""
    return {
        "user": item.wallet,
        "action": _action(item),
        "market": item.question,
        "market_key": item.market_id,
        "time": at,
        "amount": None if item.trade is None else f"{_rounded(item.trade.cost)} SOL",
    }


def _action(item: FeedItem) -> str:
    if item.type == "creation":
        return "created a market"
    label = None if item.outcome is None else "YES" if item.outcome else "NO"
    if item.trade is None:
        return _resolution(item, label)
    verb = "bought" if item.trade.trade_type == "buy" else "sold"
    shares = _rounded(item.trade.shares).removesuffix(".00")
    return f"{verb} {shares} {label} shares"


def _resolution(item: FeedItem, label: str | None) -> str:
    """After a dispute the backend may have made another outcome final than `user` proposed."""
    if item.proposed_outcome in {None, item.outcome}:
        return "resolved without an outcome" if label is None else f"resolved to {label}"
    proposed = "YES" if item.proposed_outcome else "NO"
    return f"proposed {proposed}, and the backend finalized {label or 'no outcome'}"


def _rounded(units: int) -> str:
    """Lamports in SOL, or share units in shares, rounded to two decimals."""
    hundredths = (units * 100 + SCALE // 2) // SCALE
    return f"{hundredths // 100}.{hundredths % 100:02d}"

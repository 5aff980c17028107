"""Compares what the API shows with the chain's accounts, exactly. It does no input or output."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from msgspec import Struct
from solders.pubkey import Pubkey

from zmartd.chain.accounts import MarketAccount, UserPosition
from zmartd.market import lmsr
from zmartd.market.lifecycle import MarketState

_RETURNED = slice(0, 8)
"""The reserved bytes of a position in which the embedded program counts the proceeds of its sales."""


class Mismatch(Struct, frozen=True):
    """One value that differs between the API and the chain."""

    subject: str
    field: str
    shown: Any
    on_chain: Any

    def __str__(self) -> str:
        return f"{self.subject}: {self.field} is {self.shown!r} in the API and {self.on_chain!r} on the chain"


class PublishedMarket(Struct, frozen=True):
    """Everything that the API shows of one market, as JSON objects."""

    market: Mapping[str, Any]
    trades: Sequence[Mapping[str, Any]]
    prices: Sequence[Mapping[str, Any]]
    """Oldest first, in percent."""
    statistics: Mapping[str, Any]


def compare_market(
    shown: PublishedMarket, account: MarketAccount, positions: Sequence[UserPosition]
) -> list[Mismatch]:
    """Compare one market. `positions` are all positions in it on the chain."""
    subject = f"market {shown.market['id'][:8]}"
    return [
        *_differences(f"{subject}", _market(account), shown.market),
        *_differences(f"{subject} in its times", _times(account), _unix_times(shown.market)),
        *_differences(
            f"{subject} in its trades",
            {
                "trades": sum(position.trades_count for position in positions),
                "total_volume": account.total_volume,
                "protocol fees": account.accumulated_protocol_fees,
                "last price": _price(account) / lmsr.SCALE,
            },
            _sums(shown),
        ),
    ]


def compare_positions(
    wallet: str,
    shown: Sequence[Mapping[str, Any]],
    positions: Mapping[str, UserPosition],
    markets: Mapping[str, MarketAccount],
) -> list[Mismatch]:
    """Compare the positions of a wallet in the API with those on the chain, by market address."""
    in_api = {position["on_chain_address"]: position for position in shown}
    found = compare_sets(f"wallet {wallet[:8]}", in_api, positions)
    for address in sorted(in_api.keys() & positions.keys()):
        subject = f"wallet {wallet[:8]} in market {in_api[address]['market_id'][:8]}"
        found += _differences(subject, _position(positions[address], markets[address]), in_api[address])
    return found


def compare_sets(subject: str, shown: Iterable[str], on_chain: Iterable[str]) -> list[Mismatch]:
    """One mismatch for each member that only one side has."""
    in_api, there = set(shown), set(on_chain)
    return [Mismatch(subject, f"whether {one} exists", one in in_api, one in there) for one in in_api ^ there]


def _market(account: MarketAccount) -> dict[str, Any]:
    price_yes = _price(account)
    # The account has one field for both content ids: the question's, until the evidence's replaces it.
    texts = "question_cid" if account.resolution_proposed_at == 0 else "evidence_cid"
    return {
        "id": account.market_id.hex(),
        "creator_wallet": str(account.creator),
        "resolver_wallet": _wallet(account.resolver),
        "state": MarketState(account.state).name,
        "state_code": int(account.state),
        "chain_confirmed": True,
        "metadata_verified": True,
        texts: account.ipfs_evidence_hash.decode(),
        "b_parameter": str(account.b_parameter),
        "initial_liquidity": str(account.initial_liquidity),
        "current_liquidity": str(account.current_liquidity),
        "shares_yes": str(account.shares_yes),
        "shares_no": str(account.shares_no),
        "total_volume": str(account.total_volume),
        "price_yes": price_yes / lmsr.SCALE,
        "price_no": (lmsr.SCALE - price_yes) / lmsr.SCALE,
        "proposed_outcome": account.proposed_outcome,
        "final_outcome": account.final_outcome,
        "was_disputed": account.was_disputed,
        "proposal_likes": account.proposal_likes,
        "proposal_dislikes": account.proposal_dislikes,
        "proposal_total_votes": account.proposal_total_votes,
        "dispute_agree": account.dispute_agree,
        "dispute_disagree": account.dispute_disagree,
        "dispute_total_votes": account.dispute_total_votes,
    }


def _position(position: UserPosition, market: MarketAccount) -> dict[str, Any]:
    price_yes = _price(market)
    return {
        "shares_yes": str(position.shares_yes),
        "shares_no": str(position.shares_no),
        "total_invested": str(position.total_invested),
        "total_returned": str(int.from_bytes(position.reserved[_RETURNED], "little")),
        "trades_count": position.trades_count,
        "has_claimed": position.has_claimed,
        "claimed_amount": str(position.claimed_amount),
        "state": int(market.state),
        "price_yes": price_yes / lmsr.SCALE,
        "price_no": (lmsr.SCALE - price_yes) / lmsr.SCALE,
        "final_outcome": market.final_outcome,
    }


def _times(account: MarketAccount) -> dict[str, int]:
    return {
        "created_at": account.created_at,
        "approved_at": account.approved_at,
        "activated_at": account.activated_at,
        "resolution_proposed_at": account.resolution_proposed_at,
        "dispute_initiated_at": account.dispute_initiated_at,
        "finalized_at": account.finalized_at,
        "cancelled_at": account.cancelled_at or 0,
    }


def _unix_times(market: Mapping[str, Any]) -> dict[str, int | float]:
    """The times in unix seconds, as on the chain, so that a fraction of a second would differ."""
    return {
        name: 0 if text is None else datetime.fromisoformat(text).timestamp()
        for name, text in market.items()
        if name.endswith("_at")
    }


def _sums(shown: PublishedMarket) -> dict[str, Any]:
    """The sums of a market's trades. Its volume counts purchases with fees and sales before fees."""
    volume = sum(
        int(trade["net"] if trade["trade_type"] == "buy" else trade["gross"]) for trade in shown.trades
    )
    counts = {len(shown.trades), shown.statistics["trades_count"], shown.market["trades_count"]}
    volumes = {volume, int(shown.statistics["total_volume"])}
    return {
        "trades": counts.pop() if len(counts) == 1 else counts,
        "total_volume": volumes.pop() if len(volumes) == 1 else volumes,
        "protocol fees": sum(int(trade["fee"]["protocol"]) for trade in shown.trades),
        "last price": shown.prices[-1]["price_yes"],
    }


def _differences(subject: str, on_chain: Mapping[str, Any], shown: Mapping[str, Any]) -> list[Mismatch]:
    return [
        Mismatch(subject, field, shown[field], value)
        for field, value in on_chain.items()
        if shown[field] != value
    ]


def _price(account: MarketAccount) -> int:
    return lmsr.price_yes(account.shares_yes, account.shares_no, account.b_parameter)


def _wallet(address: Pubkey) -> str | None:
    return None if address == Pubkey.default() else str(address)

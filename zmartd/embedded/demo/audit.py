"""Every number that the API shows, against the accounts on the chain."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from msgspec import Struct
from solders.pubkey import Pubkey

from zmartd.chain.accounts import MarketAccount, UserPosition
from zmartd.chain.discriminators import discriminator
from zmartd.chain.rpc import Rpc
from zmartd.market import lmsr

Difference = tuple[str, str, Any, Any]
"""What, which field, the API's value, the chain's value."""


class ChainState(Struct, frozen=True):
    """All markets and positions of the program, by address."""

    markets: Mapping[str, MarketAccount]
    positions: Mapping[tuple[str, str], UserPosition]
    """By market address and wallet."""


async def read_chain(rpc: Rpc, program_id: Pubkey) -> ChainState:
    """Every account of the program that the API speaks of."""
    markets = await rpc.program_accounts(program_id, {0: discriminator("account", "MarketAccount")})
    positions = await rpc.program_accounts(program_id, {0: discriminator("account", "UserPosition")})
    held = [UserPosition.decode(account.data) for account in positions]
    return ChainState(
        markets={str(account.address): MarketAccount.decode(account.data) for account in markets},
        positions={(str(position.market), str(position.user)): position for position in held},
    )


def compare_market(shown: Mapping[str, Any], account: MarketAccount) -> list[Difference]:
    """Differences between GET /api/markets/{id} and the market's account."""
    price_yes = lmsr.price_yes(account.shares_yes, account.shares_no, account.b_parameter)
    expected: dict[str, Any] = {
        "id": account.market_id.hex(),
        "creator_wallet": str(account.creator),
        "state_code": int(account.state),
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
        "dispute_agree": account.dispute_agree,
        "dispute_disagree": account.dispute_disagree,
    }
    times = {
        "created_at": account.created_at,
        "approved_at": account.approved_at,
        "activated_at": account.activated_at,
        "resolution_proposed_at": account.resolution_proposed_at,
        "dispute_initiated_at": account.dispute_initiated_at,
        "finalized_at": account.finalized_at,
        "cancelled_at": account.cancelled_at or 0,
    }
    name = str(shown["id"])[:8]
    found = [(name, field, shown[field], value) for field, value in expected.items() if shown[field] != value]
    return found + [
        (name, field, shown[field], value) for field, value in times.items() if _unix(shown[field]) != value
    ]


def compare_positions(wallet: str, shown: Sequence[Mapping[str, Any]], chain: ChainState) -> list[Difference]:
    """Differences between GET /api/users/{wallet}/positions and the wallet's accounts, missing ones too."""
    on_chain = {market: one for (market, user), one in chain.positions.items() if user == wallet}
    in_api = {str(position["on_chain_address"]): position for position in shown}
    found: list[Difference] = [
        (wallet[:8], "position", market in in_api, market in on_chain)
        for market in on_chain.keys() ^ in_api.keys()
    ]
    for market in on_chain.keys() & in_api.keys():
        account, position = on_chain[market], in_api[market]
        expected = {
            "shares_yes": str(account.shares_yes),
            "shares_no": str(account.shares_no),
            "total_invested": str(account.total_invested),
            "trades_count": account.trades_count,
            "has_claimed": account.has_claimed,
            "claimed_amount": str(account.claimed_amount),
        }
        found += [
            (f"{wallet[:8]}/{market[:8]}", field, position[field], value)
            for field, value in expected.items()
            if position[field] != value
        ]
    return found


def _unix(text: str | None) -> int:
    return 0 if text is None else int(datetime.fromisoformat(text).timestamp())

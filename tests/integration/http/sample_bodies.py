"""A body that each path that writes takes, for tests that go through all of them."""

from __future__ import annotations

from typing import Any

from zmartd.market.ids import cid_v0

BODIES: dict[str, dict[str, Any]] = {
    "/api/discussions": {"market_id": "{market}", "content": "said by another"},
    "/api/discussions/{id}": {"content": "said by another"},
    "/api/markets/{id}/discussions": {"content": "said by another"},
    "/api/users/me": {"display_name": "another", "bio": "about another", "twitter_handle": "another"},
    "/api/votes/dispute": {"market_id": "{market}", "vote": True},
    "/api/votes/proposal": {"market_id": "{market}", "vote": True},
    "/api/markets": {
        "question": "Will a query without a WHERE change a row?",
        "category": "science",
        "description": "No.",
        "end_date": "{soon}",
        "initial_liquidity": "10000000000",
        "b_parameter": "100000000000",
    },
    "/api/markets/{id}/resolve": {"outcome": True, "ipfs_evidence_hash": cid_v0(b"seen")},
    "/api/markets/{id}/dispute/evidence": {"evidence": "it was another"},
    "/api/markets/{id}/decisions": {"decision": "keep", "because": "it is on record"},
    "/api/votes/dispute/transaction": {"market_id": "{market}", "vote": True},
    "/api/votes/proposal/transaction": {"market_id": "{market}", "vote": True},
    "/api/admin/alerts/{number}/acknowledge": {"because": "another takes care of it"},
    "/api/transactions": {"transaction": "AA=="},
    "/api/trades/buy": {"market_id": "{market}", "outcome": True, "target_cost": "1000000000"},
    "/api/trades/sell": {"market_id": "{market}", "outcome": True, "shares": "1000000000"},
}
"""What is sent to each path that writes; nothing where it asks for nothing."""

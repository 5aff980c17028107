"""Examples of the body of every operation that has one, by the operation's name and the example's title.

They are of one market, and a test sends them to a running API. What only the moment can tell is made up: ids,
signatures, transactions, and the time when the market ends.
"""

from __future__ import annotations

from typing import Any, Final

Examples = dict[str, Any]

MARKET_ID: Final = "9f2c4e6a81b35d7098c1f0e2d3a4b5c697887a6b5c4d3e2f1a0b9c8d7e6f5041"
COMMENT_ID: Final = "0b6f2a52-8a0e-4d1c-9a67-3f4d2e1c5b7a"
_SIGNATURE = "5VERv8NMvzbJMEkV8xnrLkEaWRtSz9CosKDYjCJjBRnbJLgp8uirBgmQpjKhoR4tjF3ZpRzrFmBV6UjKdiSZkQUW"
_SOURCES = ["https://www.meteoswiss.admin.ch/services-and-publications/applications/measurement-values.html"]
_RAIN = "The station Zürich Fluntern measured 4.2 mm between 0:00 and 24:00."

_COMMENT: Examples = {
    "comment": {"content": "The forecast for Friday has changed since this opened."},
    "reply": {"content": "By how much?", "parent_id": COMMENT_ID},
}

EXAMPLES: Final[dict[str, Examples]] = {
    "sign_in": {
        "text that was signed": {
            "message": "zmart.example wants you to sign in with your Solana account:\n"
            "9xQeWvG816bUx9EPjHmaT23yvVM2ZWbrrpZb9PusVFin\n\n...\nNonce: 7Xk2pQ9sLm4VtR8w",
            "signature": _SIGNATURE,
        },
    },
    "create_market": {
        "market": {
            "question": "Will it rain in Zürich on the last Friday of June?",
            "description": "Whether umbrellas are needed.",
            "resolution_rules": "YES where the station Fluntern measures at least 0.1 mm on that day, local "
            "time; NO otherwise, and where it measures nothing.",
            "resolution_sources": _SOURCES,
            "category": "science",
            "tags": ["weather", "switzerland"],
            "end_date": "2027-06-25T22:00:00Z",
            "initial_liquidity": "10000000000",
            "b_parameter": "100000000000",
        },
    },
    "vote_on_proposal": {"for": {"market_id": MARKET_ID, "vote": True}},
    "build_proposal_vote_transaction": {"against": {"market_id": MARKET_ID, "vote": False}},
    "buy_shares": {
        "for one SOL": {"market_id": MARKET_ID, "outcome": True, "target_cost": "1000000000"},
        "two shares for at most 1.5 SOL": {
            "market_id": MARKET_ID,
            "outcome": False,
            "shares": "2000000000",
            "max_cost": "1500000000",
        },
        "for half a SOL, within half a percent": {
            "market_id": MARKET_ID,
            "outcome": True,
            "target_cost": "500000000",
            "slippage_bps": 50,
        },
    },
    "sell_shares": {
        "one share": {"market_id": MARKET_ID, "outcome": True, "shares": "1000000000"},
        "one share for at least 0.4 SOL": {
            "market_id": MARKET_ID,
            "outcome": True,
            "shares": "1000000000",
            "min_proceeds": "400000000",
        },
    },
    "send_transaction": {
        "with the protection of its quote": {"transaction": "AVJkq2e0...AAA=", "protection": "k4vQ0Zy7...=="},
    },
    "post_comment": {"comment": {"market_id": MARKET_ID, "content": "Who reads the gauge on Fridays?"}},
    "post_comment_on_market": _COMMENT,
    "post_thread": {"thread": {"content": "June has been dry so far."}},
    "edit_comment": {"edit": {"content": "The forecast for Friday has changed: 80 % rain."}},
    "change_own_profile": {
        "profile": {"display_name": "Rainmaker", "bio": "I bet on clouds.", "twitter_handle": "rainmaker"},
        "another bio": {"bio": "I bet on clouds, and on sun."},
    },
    "resolve_market": {
        "at its end": {"outcome": True, "evidence": _RAIN, "sources": _SOURCES},
        "before its end": {
            "outcome": True,
            "evidence": _RAIN,
            "sources": _SOURCES,
            "early": True,
            "early_reason": "It has rained already, so the outcome is known.",
        },
    },
    "hand_in_dispute_evidence": {
        "text and links": {"evidence": "The gauge was out of order.", "sources": _SOURCES}
    },
    "vote_on_dispute": {"with the dispute": {"market_id": MARKET_ID, "vote": True}},
    "build_dispute_vote_transaction": {"against the dispute": {"market_id": MARKET_ID, "vote": False}},
    "decide_outcome": {
        "keep": {"decision": "keep", "because": "The station's log shows that the gauge worked all day."}
    },
    "acknowledge_alert": {"acknowledgement": {"because": "The disk is ordered, and comes on Friday."}},
    "receive_webhook": {
        "raw transactions": [
            {
                "blockTime": 1798754400,
                "slot": 312000000,
                "meta": {"err": None, "fee": 5000, "logMessages": []},
                "transaction": {"signatures": [_SIGNATURE], "message": {}},
                "version": "legacy",
            }
        ]
    },
}

"""Names of earlier clients: the frontend before this one, and the tests of its server.

Requests may have them. Answers have some of them beside the names of the API; the OpenAPI document calls each
of these fields deprecated.
"""

from __future__ import annotations

from msgspec import Meta

OF_A_SIGN_IN: dict[str, str] = {"publicKey": "wallet", "walletAddress": "wallet"}

OF_A_VOTE: dict[str, str] = {
    "market": "market_id",
    "proposal_id": "market_id",
    "vote_choice": "vote",
    "approve": "vote",
    "supportDispute": "vote",
}

OF_A_VOTE_FILTER: dict[str, str] = {"type": "vote_type"}

OF_A_TRADE_FILTER: dict[str, str] = {"type": "trade_type"}

OF_A_RESOLUTION: dict[str, str] = {"ipfs_evidence_hash": "evidence_cid"}

OF_A_TRADER: dict[str, str] = {"user_wallet": "wallet"}

CREDENTIALS = frozenset({"_auth", "message", "signature", "wallet", "publicKey", "user", "timestamp"})
"""Fields in which they prove who they are, in the body of every request that needs a wallet.

Here the Authorization header proves it. These fields are let through and not read, so that what they surround
is answered.
"""

DEPRECATED = Meta(extra_json_schema={"deprecated": True})
"""Of a field that answers have for earlier clients only."""

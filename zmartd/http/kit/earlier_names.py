"""Names of earlier clients, which are accepted: the frontend before this one, and the tests of its server."""

from __future__ import annotations

from collections.abc import Mapping

OF_A_SIGN_IN: Mapping[str, str] = {"publicKey": "wallet", "walletAddress": "wallet"}

OF_A_VOTE: Mapping[str, str] = {
    "market": "market_id",
    "proposal_id": "market_id",
    "vote_choice": "vote",
    "approve": "vote",
    "supportDispute": "vote",
}

OF_A_TRADER: Mapping[str, str] = {"user_wallet": "wallet"}

CREDENTIALS = frozenset({"_auth", "message", "signature", "wallet", "publicKey", "user", "timestamp"})
"""Fields in which they prove who they are, in the body of every request that needs a wallet.

Here the Authorization header proves it. These fields are let through and not read, so that what they surround
is answered.
"""

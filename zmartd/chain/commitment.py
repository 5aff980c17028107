"""How final something on the chain is, for what the index has of it."""

from __future__ import annotations

from typing import Literal

Commitment = Literal["confirmed", "finalized"]
"""`confirmed`: a supermajority of the stake has voted for its block. `finalized`: no fork can remove it."""

"""How final transactions are, as far as the index knows."""

from __future__ import annotations

from typing import Literal

from zmartd.store.postgres.reader import Reads

Commitment = Literal["confirmed", "finalized"]

_KEPT = """
from (
    select commitment, slot from market_events where tx_signature = $1
    union all select commitment, slot from trade_events where tx_signature = $1
    union all select commitment, slot from vote_events where tx_signature = $1
    union all select commitment, slot from admin_events where tx_signature = $1
    union all select commitment, slot from quarantined_events where tx_signature = $1
    union all select commitment, slot from truncated_transactions where tx_signature = $1
    union all select 'finalized', slot from eventless_transactions where tx_signature = $1
) as kept
"""
_OF_TRANSACTION = f"select bool_and(commitment = 'finalized') {_KEPT} where slot = $2"
_IS_KNOWN = f"select exists (select 1 {_KEPT})"


async def is_known(connection: Reads, signature: str) -> bool:
    """Whether the index keeps anything of a transaction. Takes a service transaction."""
    known: bool = await connection.fetchval(_IS_KNOWN, signature)
    return known


async def of_transaction(connection: Reads, signature: str, slot: int) -> Commitment | None:
    """How final a transaction is in that slot; None where the index keeps nothing of it there.

    Takes a service transaction.
    """
    is_final = await connection.fetchval(_OF_TRANSACTION, signature, slot)
    if is_final is None:
        return None
    return "finalized" if is_final else "confirmed"

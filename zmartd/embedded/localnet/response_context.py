"""What answers have in common: the slot that they are true at."""

from __future__ import annotations

from typing import Any

from zmartd.embedded.localnet.chain.bank import Bank
from zmartd.embedded.localnet.chain.commitment import Commitment
from zmartd.embedded.localnet.errors import InvalidParams, MinContextSlotNotReached

API_VERSION = "2.2.0"
"""The Agave release whose behaviour is followed."""


def require_slot(bank: Bank, commitment: Commitment, min_context_slot: int | None) -> None:
    """Raises MinContextSlotNotReached when the node's view at that commitment is older."""
    slot = bank.blocks.at(commitment).slot
    if min_context_slot is not None and slot < min_context_slot:
        raise MinContextSlotNotReached(slot)


def require_confirmed(commitment: Commitment) -> None:
    """Raises InvalidParams for what nodes tell about complete blocks only."""
    if commitment is Commitment.PROCESSED:
        raise InvalidParams("Method does not support commitment below `confirmed`")


def context(slot: int) -> dict[str, Any]:
    return {"slot": slot, "apiVersion": API_VERSION}


def with_context(bank: Bank, commitment: Commitment, value: Any) -> dict[str, Any]:
    """`value` as true at the newest slot of that commitment."""
    return {"context": context(bank.blocks.at(commitment).slot), "value": value}

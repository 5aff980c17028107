"""The `context` of RPC responses: the slot at which their values were read."""

from __future__ import annotations

from typing import Any

from zmartd.embedded.localnet.chain.bank import Bank
from zmartd.embedded.localnet.chain.commitment import Commitment
from zmartd.embedded.localnet.errors import InvalidParams, MinContextSlotNotReached

API_VERSION = "2.2.0"
"""The Agave release whose behaviour the localnet has."""


def require_slot(bank: Bank, commitment: Commitment, min_context_slot: int | None) -> None:
    """Raises MinContextSlotNotReached when the newest slot with that commitment is older."""
    slot = bank.blocks.at(commitment).slot
    if min_context_slot is not None and slot < min_context_slot:
        raise MinContextSlotNotReached(slot)


def require_confirmed(commitment: Commitment) -> None:
    """Raises InvalidParams for `processed`, at which nodes do not answer these methods."""
    if commitment is Commitment.PROCESSED:
        raise InvalidParams("Method does not support commitment below `confirmed`")


def context(slot: int) -> dict[str, Any]:
    return {"slot": slot, "apiVersion": API_VERSION}


def with_context(bank: Bank, commitment: Commitment, value: Any) -> dict[str, Any]:
    """`value` with the newest slot of that commitment."""
    return {"context": context(bank.blocks.at(commitment).slot), "value": value}

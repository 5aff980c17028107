"""One call of the program while its event is inferred."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from msgspec import Struct
from solders.pubkey import Pubkey

from zmartd.chain.calls import Call
from zmartd.chain.events import ProgramEvent
from zmartd.chain.flows import Flow
from zmartd.chain.interface import Instruction
from zmartd.indexer.truncation.known import Known, KnownMarket
from zmartd.market.lifecycle import MarketState

T = TypeVar("T")


class NotKnown(Exception):
    """What an event says cannot be told from what is known."""


class Contradiction(Exception):
    """The call cannot have succeeded on what is known, so that is wrong."""


class Step(Struct, frozen=True):
    """A call, the time of its block in unix seconds, and what is known before it.

    `calls` are all of the transaction, and `flows` its accounts' lamports by address.
    """

    call: Call
    calls: Sequence[Call]
    at: int
    known: Known
    flows: Mapping[str, Flow]

    def key(self, account: str) -> Pubkey:
        """The address of one of the call's accounts, by its name in the interface."""
        return self.call.accounts[account]

    def market(self, *states: MarketState) -> KnownMarket:
        """The market of the call. Raises NotKnown, or Contradiction unless it is in one of `states`."""
        address = self.key("market")
        market = self.known.markets.get(address)
        if market is None:
            why = self.known.missing.get(address, "its creation is not indexed")
            raise NotKnown(f"the market {address} is not known: {why}")
        if market.state not in states:
            raise Contradiction(f"the market {address} was {market.state.name}")
        return market


def required(value: T | None, what: str) -> T:
    """`value`. Raises NotKnown where it is None."""
    if value is None:
        raise NotKnown(f"{what} is not known")
    return value


Infer = Callable[[Step, Any], ProgramEvent]
"""Gives the event of a call with these arguments. Raises NotKnown, Contradiction, MarketMathError."""

Inferences = Mapping[type[Instruction], Infer]

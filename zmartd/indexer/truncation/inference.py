"""Infers the events that truncated logs lack from the instructions of their transaction.

What an instruction says is a function of its arguments, its accounts, and what the program had in its
accounts before, which the events before it tell. So a transaction is gone through call after call, each event
moving on what is known. Logged events are compared with inferred ones, which detects a wrong starting point.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec
from msgspec import Struct

from zmartd.chain.calls import Call
from zmartd.chain.events import MarketCreated, ProgramEvent, SharesSold, WinningsClaimed
from zmartd.chain.flows import Flow
from zmartd.chain.interface import CreateMarket, Instruction, WithdrawLiquidity
from zmartd.chain.payments import ResolverPayment
from zmartd.chain.transactions import EventRecord
from zmartd.indexer.truncation import configuration, outcomes, payouts, proposals, trading
from zmartd.indexer.truncation.known import Known, KnownConfiguration, created
from zmartd.indexer.truncation.step import Contradiction, Infer, NotKnown, Step
from zmartd.market.errors import MarketMathError

INFERENCES: Mapping[type[Instruction], Infer] = {
    **configuration.INFERENCES,
    **proposals.INFERENCES,
    **trading.INFERENCES,
    **outcomes.INFERENCES,
    **payouts.INFERENCES,
}
"""For each instruction of the program, how its event is inferred."""


class Inference(Struct, frozen=True):
    """All known events of a transaction, logged or inferred, and what its claims paid to resolvers.

    `reason` says why some are missing; None if none is.
    """

    events: tuple[EventRecord, ...]
    payments: tuple[ResolverPayment, ...] = ()
    reason: str | None = None


def infer_events(
    calls: Sequence[Call],
    logged: Sequence[EventRecord],
    known: Known,
    flows: Mapping[str, Flow],
    unix_timestamp: int,
) -> Inference:
    """Infer the events of `calls`. `known` is what is known before them and is moved on; `unix_timestamp` is
    the block's time.

    Where a call contradicts what is known, or was logged otherwise, nothing is inferred and only `logged` is
    returned.
    """
    said = {record.ordinal: record.event for record in logged}
    events: dict[int, ProgramEvent] = dict(said)
    payments: list[ResolverPayment] = []
    reasons: list[str] = []
    # A withdrawal takes what all others leave, and changes nothing that they depend on.
    for call in sorted(calls, key=lambda call: isinstance(call.instruction, WithdrawLiquidity)):
        step = Step(call, calls, unix_timestamp, known, flows)
        try:
            event = _event(step, said.get(call.ordinal))
            payments += _advance(step, event)
        except NotKnown as error:
            reasons.append(f"call {call.ordinal} ({call.name}): {error}")
            _forget(known, call)
        except (Contradiction, MarketMathError) as error:
            detail = error.code if isinstance(error, MarketMathError) else str(error)
            return Inference(tuple(logged), reason=f"call {call.ordinal} ({call.name}): {detail}")
        else:
            events[call.ordinal] = event
    records = tuple(EventRecord(ordinal, events[ordinal]) for ordinal in sorted(events))
    return Inference(records, tuple(payments), "; ".join(reasons) or None)


def _event(step: Step, said: ProgramEvent | None) -> ProgramEvent:
    """The event of a call; where it cannot be inferred, the one that was logged."""
    try:
        event = _infer(step)
    except NotKnown:
        if said is None:
            raise
        return said
    if said not in (None, event):
        raise Contradiction("it was logged otherwise")
    return event


def _infer(step: Step) -> ProgramEvent:
    if step.call.instruction is None:
        raise NotKnown("this version of zmartd does not know the instruction")
    return INFERENCES[type(step.call.instruction)](step, step.call.instruction)


def _forget(known: Known, call: Call) -> None:
    """After an event that is not known, its market or the configuration is not known either."""
    market = call.accounts.get("market")
    if market is None:
        known.configuration = KnownConfiguration()
    elif known.markets.pop(market, None) is not None:
        known.missing[market] = f"call {call.ordinal} is not known"


def _advance(step: Step, event: ProgramEvent) -> list[ResolverPayment]:
    """Move on what is known by an event. Returns what it paid to a resolver."""
    known, address = step.known, step.call.accounts.get("market")
    known.configuration = known.configuration.after(event)
    if isinstance(event, MarketCreated) and isinstance(step.call.instruction, CreateMarket):
        known.markets[step.key("market")] = created(event, step.call.instruction.initial_liquidity)
    if address is None or address not in known.markets:
        return []
    payment = None
    match event:
        case SharesSold():
            known.pay(address, event.user, event.proceeds)
        case WinningsClaimed():
            known.pay(address, event.user, event.amount)
            payment = payouts.resolver_payment(step)
    market = known.markets[address].after(event)
    if payment is not None:
        known.pay(address, step.key("resolver"), payment.lamports)
        market = msgspec.structs.replace(market, unpaid_resolver_fees=0)
    known.markets[address] = market
    return [] if payment is None else [payment]

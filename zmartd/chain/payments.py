"""What claims paid to resolvers, which no event says: read off the markets' balances."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from msgspec import Struct
from solders.pubkey import Pubkey

from zmartd.chain.events import LiquidityWithdrawn, ProgramEvent, WinningsClaimed
from zmartd.chain.flows import Flow
from zmartd.chain.pdas import Pdas


class ResolverPayment(Struct, frozen=True):
    """The fees that one transaction's claims brought the resolver of a market."""

    market: Pubkey
    lamports: int


def resolver_payments(
    events: Sequence[ProgramEvent], flows: Mapping[str, Flow], pdas: Pdas
) -> tuple[ResolverPayment, ...]:
    """What left each claimed market beyond its claims and withdrawals. The first claim pays the resolver,
    unless it cannot.

    `flows` are the lamports of the transaction's accounts by address: what somebody gave to a market in the
    same transaction hides no payment. Where they lack a market, no payment is known.
    """
    claimed: Counter[Pubkey] = Counter()
    for claim in events:
        if isinstance(claim, WinningsClaimed):
            claimed[claim.market] += claim.amount
    if not claimed:
        return ()
    withdrawn: Counter[Pubkey] = Counter()
    for withdrawal in events:
        if isinstance(withdrawal, LiquidityWithdrawn):
            withdrawn[pdas.market(withdrawal.market_id)] += withdrawal.amount
    payments = []
    for market, amount in claimed.items():
        flow = flows.get(str(market))
        if flow is None:
            continue
        paid = -flow.gained - amount - withdrawn[market]
        if paid > 0:
            payments.append(ResolverPayment(market, paid))
    return tuple(payments)

"""What claims paid to resolvers, which no event says: read off the markets' balances."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from msgspec import Struct
from solders.pubkey import Pubkey

from zmartd.chain.events import LiquidityWithdrawn, ProgramEvent, WinningsClaimed


class ResolverPayment(Struct, frozen=True):
    """The fees that one transaction's claims brought the resolver of a market."""

    market: Pubkey
    lamports: int


def resolver_payments(
    events: Sequence[ProgramEvent], keys: Sequence[str], before: Sequence[int], after: Sequence[int]
) -> tuple[ResolverPayment, ...]:
    """What left each claimed market beyond its claims. The first claim pays the resolver, unless it cannot.

    `before` and `after` are the balances of `keys`; where they lack a market, no payment is known. A
    withdrawal in the same transaction is taken to be from the same market; only its creator can make one.
    """
    claims = [event for event in events if type(event) is WinningsClaimed]
    if not claims:
        return ()
    claimed: Counter[Pubkey] = Counter()
    for claim in claims:
        claimed[claim.market] += claim.amount
    withdrawn = sum(event.amount for event in events if isinstance(event, LiquidityWithdrawn))
    payments = []
    for market, amount in claimed.items():
        place = keys.index(str(market)) if str(market) in keys else len(before)
        if place >= min(len(before), len(after)):
            continue
        left = before[place] - after[place]
        if left > amount + withdrawn:
            payments.append(ResolverPayment(market, left - amount - withdrawn))
    return tuple(payments)

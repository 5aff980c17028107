"""The events of what leaves a market at its end.

A claim is a function of the wallet's shares and the pool. A withdrawal is all that the market holds beyond
what it owes, gifts included: it is read off the balances of the market and of its creator, which have to
agree.
"""

from __future__ import annotations

from solders.pubkey import Pubkey

from zmartd.chain.events import LiquidityWithdrawn, WinningsClaimed
from zmartd.chain.interface import ClaimWinnings, WithdrawLiquidity
from zmartd.chain.payments import ResolverPayment
from zmartd.indexer.truncation.step import Contradiction, Inferences, NotKnown, Step, required
from zmartd.market.lifecycle import MarketState
from zmartd.market.valuation import refund, winnings

WALLET_RENT_LAMPORTS = 890_880
"""The least that an account without data holds: (128 bytes + 0) * 3,480 lamports * 2 years."""


def resolver_payment(step: Step) -> ResolverPayment | None:
    """What a claim pays to the resolver in addition: all its fees, unless they would leave it below its rent.

    Raises what `Step.market` raises.
    """
    market, resolver = step.market(MarketState.FINALIZED), step.flows.get(str(step.key("resolver")))
    if not market.unpaid_resolver_fees or resolver is None or resolver.after < WALLET_RENT_LAMPORTS:
        return None
    return ResolverPayment(step.key("market"), market.unpaid_resolver_fees)


def _claim(step: Step, _: ClaimWinnings) -> WinningsClaimed:
    market = step.market(MarketState.FINALIZED)
    address, user = step.key("market"), step.key("user")
    holding = required(step.known.holdings.get((address, user)), f"the position of {user}")
    if market.final_outcome is None:
        amount = refund(
            holding.invested_lamports,
            holding.returned_lamports,
            holding.refundable_lamports,
            market.liquidity,
        )
    elif market.final_outcome:
        amount = winnings(holding.shares_yes, market.curve.q_yes, market.liquidity)
    else:
        amount = winnings(holding.shares_no, market.curve.q_no, market.liquidity)
    if not amount:
        raise Contradiction(f"{user} had nothing to claim")
    return WinningsClaimed(address, user, market.final_outcome, amount, step.at)


def _withdraw(step: Step, _: WithdrawLiquidity) -> LiquidityWithdrawn:
    """Called after all other calls of the transaction: what they paid out is known."""
    market = step.market(MarketState.FINALIZED, MarketState.CANCELLED)
    address, creator = step.key("market"), step.key("creator")
    sources = [
        call.accounts["market"]
        for call in step.calls
        if isinstance(call.instruction, WithdrawLiquidity) and call.accounts["creator"] == creator
    ]
    if sources.count(address) > 1:
        raise NotKnown("two withdrawals of one transaction from one market cannot be told apart")
    received = required(step.flows.get(str(creator)), "the balance of the creator").gained
    withdrawn = sum(_left(step, source) for source in sources)
    if withdrawn + step.known.paid_to[creator] != received:
        raise NotKnown("the balances of the market and of its creator do not agree on what was withdrawn")
    return LiquidityWithdrawn(market.id, market.creator, _left(step, address), step.at)


def _left(step: Step, market: Pubkey) -> int:
    """What left a market beside claims and their fees, in lamports."""
    flow = required(step.flows.get(str(market)), f"the balance of the market {market}")
    return -flow.gained - step.known.paid_by[market]


INFERENCES: Inferences = {ClaimWinnings: _claim, WithdrawLiquidity: _withdraw}

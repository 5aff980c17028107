"""An admin's decision about a disputed market, as an instruction of the program."""

from __future__ import annotations

from asyncpg import Connection
from solders.instruction import Instruction
from solders.pubkey import Pubkey

from zmartd.chain.program import Program
from zmartd.errors import ZmartdError
from zmartd.market.decisions import Decision
from zmartd.market.lifecycle import MarketState
from zmartd.store import decisions
from zmartd.store.decisions import MarketDecision


class DecisionChanged(ZmartdError):
    """An admin has decided in the meantime; the next run carries that decision out."""

    code = "decision_changed"


def decision_instruction(
    program: Program, authority: Pubkey, market: Pubkey, decision: Decision
) -> Instruction:
    """The instruction that finalizes a disputed market as decided.

    The program decides by vote counts: `finalize_market` gets one vote, for the dispute or against it. A
    refund is `aggregate_dispute_votes` without votes: it finalizes the market without an outcome, and each
    holder claims back what it paid.
    """
    if decision is Decision.REFUND:
        return program.aggregate_dispute_votes(
            backend_authority=authority, market=market, final_agrees=0, final_disagrees=0
        )
    overturns = decision is Decision.OVERTURN
    return program.finalize_market(
        backend_authority=authority,
        market=market,
        dispute_agree=int(overturns),
        dispute_disagree=int(not overturns),
    )


async def require_decision(
    connection: Connection, market_id: str, state: MarketState, expected: MarketDecision | None
) -> None:
    """Raises DecisionChanged unless the decision about the market is `expected`; None: there is none."""
    found = await decisions.of_markets(connection, [market_id], state)
    if found.get(market_id) != expected:
        raise DecisionChanged

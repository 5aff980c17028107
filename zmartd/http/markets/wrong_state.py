"""Errors about a market that is not in the state, or at the time, for what was asked of it.

They say what the state is, which ones are expected, and what can happen next, as the market's own JSON does.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

from msgspec.structs import asdict, replace
from solders.pubkey import Pubkey

from zmartd.chain.failures import ProgramRefused
from zmartd.chain.program_accounts import ProtocolNotInitialized, read_config_and_market
from zmartd.chain.transport import RpcRejected, RpcUnavailable
from zmartd.http.errors.requests import EndDetails, TooEarly, WrongState
from zmartd.http.kit import keys
from zmartd.http.kit.operation import Call
from zmartd.http.markets.situations import (
    indexed_situation,
    live_situation,
    program_rules,
    rules_for,
)
from zmartd.market.iso_time import iso_time_or_none
from zmartd.market.next_bodies import StepDetails, next_step
from zmartd.market.next_steps import EXPECTED, Action, next_steps, why_not
from zmartd.market.situation import Rules, Situation
from zmartd.store import markets
from zmartd.store.markets import MarketRow

WRONG_STATE: Final = frozenset(
    {
        *("InvalidStateTransition", "InvalidMarketState", "InvalidStateForVoting", "InvalidTimestamp"),
        *("CannotCancelMarket", "MarketAlreadyCancelled", "AlreadyResolved", "AlreadyDisputed"),
        *("DisputePeriodEnded", "DisputePeriodNotEnded", "ResolutionPeriodNotEnded"),
    }
)
"""The program's errors about a market's state, or about the time that it has been in it."""


@asynccontextmanager
async def explaining_state(call: Call[Any], market_id: str, action: Action) -> AsyncIterator[None]:
    """What the program refuses in the block because of the market's state is refused with an explanation."""
    try:
        yield
    except ProgramRefused as error:
        if error.failure.name not in WRONG_STATE:
            raise
        raise await explained(call, market_id, action, error) from error


async def explained(
    call: Call[Any], reference: str, action: Action, error: ProgramRefused
) -> WrongState | ProgramRefused:
    """What `error`, which is one of WRONG_STATE, means for the market: its state and what can happen next.

    `error` itself where the market is not indexed.
    """
    async with call.app[keys.DATABASE].reader(call.caller) as connection:
        market = await markets.find(connection, reference)
    if market is None:
        return error
    situation, rules = await _on_chain(call, market)
    step = _details(market.id, action, situation, rules)
    details = replace(step, program_error_name=error.name, signature=error.details.signature)
    return WrongState(details, why_not(action, situation, rules))


async def explanation(call: Call[Any], market: MarketRow, action: Action) -> tuple[str, StepDetails]:
    """The message and the details of an error about `action`, by what is indexed."""
    situation, rules = await _indexed(call, market)
    return why_not(action, situation, rules), _details(market.id, action, situation, rules)


async def too_early(call: Call[Any], market: MarketRow, message: str | None = None) -> TooEarly:
    """The error about an outcome that is proposed before the market's expected end."""
    _, step = await explanation(call, market, Action.RESOLVE)
    return TooEarly(EndDetails(**asdict(step), end_date=iso_time_or_none(market.end_date)), message)


async def require_open(call: Call[Any], market: MarketRow, action: Action) -> None:
    """Raises WrongState unless `action` is possible now, by what is indexed."""
    situation, rules = await _indexed(call, market)
    if not any(step.action is action and step.is_open for step in next_steps(situation, rules)):
        raise WrongState(_details(market.id, action, situation, rules), why_not(action, situation, rules))


def _details(market_id: str, action: Action, situation: Situation, rules: Rules) -> StepDetails:
    return StepDetails(
        market_id=market_id,
        state=situation.state.name,
        expected_states=tuple(state.name for state in EXPECTED[action]),
        next=tuple(next_step(step) for step in next_steps(situation, rules)),
    )


async def _indexed(call: Call[Any], market: MarketRow) -> tuple[Situation, Rules]:
    return await indexed_situation(call.app, market), rules_for(call.app, market.rules)


async def _on_chain(call: Call[Any], market: MarketRow) -> tuple[Situation, Rules]:
    """By the market's account. By the index where the chain cannot be read, and for anonymous callers: their
    requests cost no call of the node.
    """
    situation, rules = await _indexed(call, market)
    if call.caller.wallet is None:
        return situation, rules
    rpc, program = call.app[keys.RPC], call.app[keys.PROGRAM]
    try:
        address = Pubkey.from_string(market.on_chain_address)
        config, live = await read_config_and_market(rpc, program.program_id, address)
        now = (await rpc.chain_time()).unix_timestamp
    except (RpcUnavailable, RpcRejected, ProtocolNotInitialized):
        return situation, rules
    if live is None:
        return situation, rules
    return live_situation(situation, live.account, now), rules_for(call.app, program_rules(config))

"""Markets as the API shows them, with what can happen next."""

from __future__ import annotations

from collections.abc import Sequence

from aiohttp import web

from zmartd.http.kit import keys
from zmartd.http.markets.schemas import MarketBody, market_body, pending_market_body
from zmartd.http.markets.situations import (
    indexed_situations,
    pending_situation,
    rules_for,
    situation_of,
)
from zmartd.market.next_bodies import NextStep, next_step
from zmartd.market.next_steps import next_steps
from zmartd.market.situation import ProgramRules, Situation
from zmartd.store.market_details import MarketDetails
from zmartd.store.markets import MarketRow
from zmartd.store.metadata import Registration
from zmartd.store.postgres.sources import Source


async def market_bodies(
    app: web.Application, markets: Sequence[MarketRow], source: Source | None = None
) -> tuple[MarketBody, ...]:
    """The JSON of markets on the chain. `source`: where they were read, if that was not the primary."""
    found = await indexed_situations(app, markets, source)
    return tuple(
        market_body(market, _steps(app, found[market.id], market.rules), found[market.id].now)
        for market in markets
    )


async def body_with_details(app: web.Application, details: MarketDetails) -> MarketBody:
    """The JSON of a market on the chain, of which all is known."""
    market, now = details.market, await app[keys.CHAIN_TIME]()
    situation = situation_of(market, details.votes, details.has_claims, now)
    return market_body(market, _steps(app, situation, market.rules), now)


async def body_of(app: web.Application, market: MarketRow | Registration) -> MarketBody:
    """The JSON of a market, on the chain or pending."""
    if isinstance(market, MarketRow):
        (body,) = await market_bodies(app, [market])
        return body
    rules, now = ProgramRules(is_paused=market.is_paused), await app[keys.CHAIN_TIME]()
    return pending_market_body(market, _steps(app, pending_situation(market, now), rules), now)


def _steps(app: web.Application, situation: Situation, program: ProgramRules) -> tuple[NextStep, ...]:
    return tuple(next_step(step) for step in next_steps(situation, rules_for(app, program)))

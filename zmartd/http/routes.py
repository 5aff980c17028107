"""The table of contents of the API: every route, literal paths before those with variables."""

from __future__ import annotations

from aiohttp import web

from zmartd.http import (
    discussions,
    health,
    helius,
    keys,
    market_actions,
    market_creation,
    markets,
    portfolio,
    trades,
    transactions,
    users,
    vote_transactions,
    votes,
)
from zmartd.http.auth import routes as auth
from zmartd.http.middleware import cors

API = [
    web.get("/api/markets", markets.list_markets),
    web.post("/api/markets", market_creation.create_market),
    web.get("/api/markets/{id}", markets.get_market),
    web.get("/api/markets/{id}/trades", markets.list_trades),
    web.get("/api/markets/{id}/price-history", markets.price_history),
    web.get("/api/markets/{id}/votes", votes.market_votes),
    web.get("/api/markets/{id}/stats", markets.statistics),
    web.get("/api/markets/{id}/events", markets.list_events),
    web.post("/api/markets/{id}/activate", market_actions.activate),
    web.post("/api/markets/{id}/resolve", market_actions.resolve),
    web.post("/api/markets/{id}/dispute", market_actions.dispute),
    web.post("/api/markets/{id}/dispute-requests", market_actions.request_dispute),
    web.post("/api/markets/{id}/claim", market_actions.claim),
    web.post("/api/markets/{id}/withdraw", market_actions.withdraw),
    web.post("/api/markets/{id}/cancel", market_actions.cancel),
    web.post("/api/trades/buy", trades.buy),
    web.post("/api/trades/sell", trades.sell),
    web.post("/api/transactions", transactions.relay),
    web.get("/api/transactions/{signature}", transactions.get_transaction),
    web.post("/api/votes/proposal", votes.cast_proposal_vote),
    web.post("/api/votes/proposal/transaction", vote_transactions.proposal_vote),
    web.post("/api/votes/dispute", votes.cast_dispute_vote),
    web.post("/api/votes/dispute/transaction", vote_transactions.dispute_vote),
    web.get("/api/votes/{id}", votes.vote_overview),
    *(operation.route() for module in (users, portfolio, discussions) for operation in module.OPERATIONS),
]
"""What browsers call, too."""

MACHINES = [
    web.get("/health", health.health),
    web.get("/metrics", health.metrics),
    web.post("/helius/webhook", helius.webhook),
]
"""What is for load balancers, Prometheus and Helius alone."""


def setup_routes(app: web.Application) -> None:
    """Add every route. Needs the keys SERVER and WEBSOCKET."""
    browsers = app.add_routes([*auth.routes(), *API])
    app.add_routes(MACHINES)
    app.add_routes(app[keys.WEBSOCKET].routes())
    cors.install(app, browsers, app[keys.SERVER].cors_origins)

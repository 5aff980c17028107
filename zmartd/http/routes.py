"""Every operation of the API, and the routes for them."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from zmartd.http.asyncapi import routes as asyncapi
from zmartd.http.auth import routes as auth
from zmartd.http.auth.sign_in import SIGN_IN
from zmartd.http.discussions import comments, snapshots
from zmartd.http.guide import routes as guide
from zmartd.http.kit import keys
from zmartd.http.kit.development_chain import DEVELOPMENT_CHAIN
from zmartd.http.kit.dispatch import add_operation
from zmartd.http.kit.operation import Operation, by_path
from zmartd.http.machines import alerts, health, webhook
from zmartd.http.markets import (
    actions,
    activity_feed,
    audit,
    candles,
    creation,
    discovery,
    evidence,
    history,
    holders,
    listing,
    lookup,
    protocol,
    statistics,
)
from zmartd.http.middleware import cors, unmatched
from zmartd.http.middleware.chain import Pipeline
from zmartd.http.openapi import routes as openapi
from zmartd.http.openapi.routes import DOCS, OPENAPI, PageFacts
from zmartd.http.pages import routes as pages
from zmartd.http.sse import routes as sse
from zmartd.http.trading import estimate, payouts, trade_lists, trade_transactions, transactions
from zmartd.http.voting import admin_matters, disputes, vote_transactions, votes
from zmartd.http.wallets import activity, leaderboard, portfolio, positions, profiles
from zmartd.http.ws import routes as websocket

CORS_OPERATIONS: tuple[Operation[Any], ...] = by_path(
    auth.OPERATIONS
    + listing.OPERATIONS
    + lookup.OPERATIONS
    + history.OPERATIONS
    + discovery.OPERATIONS
    + activity_feed.OPERATIONS
    + candles.OPERATIONS
    + holders.OPERATIONS
    + payouts.OPERATIONS
    + disputes.OPERATIONS
    + statistics.OPERATIONS
    + creation.OPERATIONS
    + actions.OPERATIONS
    + evidence.OPERATIONS
    + protocol.OPERATIONS
    + audit.OPERATIONS
    + trade_transactions.OPERATIONS
    + trade_lists.OPERATIONS
    + estimate.OPERATIONS
    + transactions.OPERATIONS
    + votes.OPERATIONS
    + admin_matters.OPERATIONS
    + vote_transactions.OPERATIONS
    + profiles.OPERATIONS
    + positions.OPERATIONS
    + activity.OPERATIONS
    + portfolio.OPERATIONS
    + leaderboard.OPERATIONS
    + comments.OPERATIONS
    + snapshots.OPERATIONS
    + openapi.OPERATIONS
    + asyncapi.OPERATIONS
    + sse.OPERATIONS
    + alerts.OPERATIONS
)
"""What pages of other origins call. `unmatched` answers the preflights of all other requests."""

OPERATIONS: tuple[Operation[Any], ...] = (
    CORS_OPERATIONS
    + health.OPERATIONS
    + webhook.OPERATIONS
    + websocket.OPERATIONS
    + pages.OPERATIONS
    + openapi.DOCS_OPERATIONS
    + asyncapi.DOCS_OPERATIONS
    + guide.OPERATIONS
)


def setup_routes(app: web.Application, pipeline: Pipeline) -> None:
    """Add the routes of all operations to `app`, and what refuses all other requests.

    The keys SERVER, IDL and SIGN_IN have to be set.
    """
    app[OPENAPI] = openapi.openapi_response(OPERATIONS, app[keys.IDL])
    asyncapi.setup(app)
    guide.setup(app)
    facts = PageFacts(
        app[keys.SERVER].environment,
        app[SIGN_IN].cluster,
        str(app[keys.IDL].program_id),
        app.get(DEVELOPMENT_CHAIN),
    )
    app[DOCS] = openapi.read_files((*openapi.FILES, *pages.FILES, *guide.FILES), facts)
    added = [(operation, add_operation(app, operation, pipeline.wrap)) for operation in OPERATIONS]
    cors_routes = [route for _, routes in added[: len(CORS_OPERATIONS)] for route in routes]
    server = app[keys.SERVER]
    origins = cors.AllowedOrigins(server.cors_origins, every_loopback=server.is_development)
    preflight = cors.install(app, cors_routes, origins, pipeline.wrap)
    unmatched.install(app, pipeline.wrap, preflight)

"""The table of contents of the API: every module of handlers, and the routes that they make together."""

from __future__ import annotations

from aiohttp import web

from zmartd.http.auth import routes as auth
from zmartd.http.discussions import comments
from zmartd.http.kit import keys
from zmartd.http.kit.bodiless import bodies_refused
from zmartd.http.kit.operation import Operation, by_path
from zmartd.http.machines import health, webhook
from zmartd.http.markets import (
    actions,
    candles,
    creation,
    discovery,
    feed,
    holders,
    platform,
    prices,
    reading,
)
from zmartd.http.middleware import cors
from zmartd.http.middleware.cors import BrowserHeaders
from zmartd.http.middleware.idempotency import answered_once
from zmartd.http.openapi import docs
from zmartd.http.openapi import endpoint as openapi
from zmartd.http.openapi.endpoint import Published
from zmartd.http.response_cache.operations import kept_in_memory
from zmartd.http.trading import estimate, history, settlement, trades, transactions
from zmartd.http.voting import decisions, votes
from zmartd.http.voting import transactions as vote_transactions
from zmartd.http.wallets import activity, leaderboard, portfolio, profiles, users
from zmartd.http.ws import operations as websocket

_HANDLED: tuple[Operation, ...] = (
    auth.OPERATIONS
    + reading.OPERATIONS
    + prices.OPERATIONS
    + discovery.OPERATIONS
    + feed.OPERATIONS
    + candles.OPERATIONS
    + holders.OPERATIONS
    + settlement.OPERATIONS
    + decisions.OPERATIONS
    + platform.OPERATIONS
    + creation.OPERATIONS
    + actions.OPERATIONS
    + trades.OPERATIONS
    + history.OPERATIONS
    + estimate.OPERATIONS
    + transactions.OPERATIONS
    + votes.OPERATIONS
    + vote_transactions.OPERATIONS
    + profiles.OPERATIONS
    + users.OPERATIONS
    + activity.OPERATIONS
    + portfolio.OPERATIONS
    + leaderboard.OPERATIONS
    + comments.OPERATIONS
    + openapi.OPERATIONS
)

API: tuple[Operation, ...] = answered_once(bodies_refused(kept_in_memory(by_path(_HANDLED))))
"""What browsers call, too."""

MACHINES: tuple[Operation, ...] = health.OPERATIONS + webhook.OPERATIONS
"""What is for load balancers and Helius alone."""

OPERATIONS: tuple[Operation, ...] = API + MACHINES + websocket.OPERATIONS + docs.OPERATIONS
"""Everything there is."""


def setup_routes(app: web.Application) -> BrowserHeaders:
    """Add every route. Needs the keys SERVER and IDL. Gives what `cors.install` gives."""
    app[keys.OPENAPI] = Published(OPERATIONS, app[keys.IDL])
    app[keys.DOCS] = docs.read_files()
    browsers = app.add_routes([operation.route() for operation in API])
    app.add_routes([operation.route() for operation in OPERATIONS[len(API) :]])
    return cors.install(app, browsers, app[keys.SERVER].cors_origins)

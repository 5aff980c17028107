"""What `bench.scale` asks is what the API has."""

from __future__ import annotations

import re
from typing import Final

from bench.scale_reads import READS
from zmartd.http.routes import CORS_OPERATIONS

NOT_MEASURED: Final = {
    # The history of the bench has none of what these answer with.
    "/api/admin/alerts",
    "/api/admin/pending",
    "/api/discussions/ipfs/{cid}",
    "/api/discussions/{id}",
    "/api/documents/{cid}",
    "/api/markets/by-slug/{slug}",
    "/api/markets/{id}/resolution",
    "/api/markets/{id}/settlement",
    "/api/transactions/{signature}",
    # These read no table that grows.
    "/api/asyncapi.json",
    "/api/auth/nonce",
    "/api/openapi.json",
    "/api/protocol",
    "/api/stream",
    "/api/users/me",
    # Other names of what is measured.
    "/api/markets/{id}/positions/{wallet}",
    "/api/votes/{id}",
}
ROUTES: Final = sorted({one.path for one in CORS_OPERATIONS if one.method == "GET"})


def _routes_of(path: str) -> list[str]:
    """The routes that a path can be of, those without variables first."""
    fits = [one for one in ROUTES if re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", one), path)]
    return sorted(fits, key=lambda one: one.count("{"))


MEASURED: Final = {route for one in READS for route in _routes_of(one.path.partition("?")[0])[:1]}


def test_each_read_is_of_a_route() -> None:
    assert [one.path for one in READS if not _routes_of(one.path.partition("?")[0])] == []


def test_each_route_is_measured_or_known_not_to_be() -> None:
    assert set(ROUTES) - MEASURED == NOT_MEASURED


def test_names_of_reads_are_unique() -> None:
    assert len({one.name for one in READS}) == len(READS)

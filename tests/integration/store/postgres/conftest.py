"""Tests of the connections to Postgres run on connections of both kinds: direct ones, and pooled ones."""

from __future__ import annotations

import pytest

from zmartd.embedded.postgres import DATABASE


@pytest.fixture(params=["direct", "pooled"])
def database_url(request: pytest.FixtureRequest, database_url: str) -> str:
    """The URL of a migrated database with nothing in it, directly or through a transaction pooler."""
    if request.param == "direct":
        return database_url
    url: str = request.getfixturevalue("pooler").url_of(DATABASE)
    return url

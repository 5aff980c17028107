"""Servers that are there already, on which tests run where two environment variables name them.

    TEST_POSTGRES_URL   the URL of a superuser: tests create roles and databases, and drop them
    TEST_REDIS_URL      the URL of a server that tests may empty, and do: all of its databases

Tests that stop, freeze or configure a server start one of their own all the same.
"""

from __future__ import annotations

import os
from typing import Final
from urllib.parse import quote, urlsplit, urlunsplit

import asyncpg

from tests.statements import execute
from zmartd.embedded.postgres import DATABASE, EmbeddedPostgres
from zmartd.store.postgres.rights import lacking

POSTGRES: Final = "TEST_POSTGRES_URL"
REDIS: Final = "TEST_REDIS_URL"
PASSWORD: Final = "p@ss:w/#%rd"
"""What a URL has to quote."""


LOGIN: Final = f"login password '{PASSWORD}'"
"""How a test that makes a role lets it log in, whether or not the server asks for the password."""


def url_as(url: str, login: str) -> str:
    """The URL with another login, one that was made with LOGIN."""
    parts = urlsplit(url)
    user, at, server = parts.netloc.rpartition("@")
    password = f":{quote(PASSWORD, safe='')}" if ":" in user else ""
    return urlunsplit(parts._replace(netloc=f"{login}{password}{at}{server}"))


def as_administrator(url: str) -> str:
    """The URL of the same database for a login that may do everything there."""
    outside = os.environ.get(POSTGRES)
    return urlunsplit(urlsplit(outside)._replace(path=urlsplit(url).path)) if outside else url


def second_of(url: str) -> str:
    """The URL of a second database beside one, which goes with the server, or with `OutsidePostgres`."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(path=f"{parts.path}_second"))


def are_named() -> bool:
    """Whether tests share a server with each other, so that only one process may run them."""
    return bool(os.environ.get(POSTGRES) or os.environ.get(REDIS))


class OutsidePostgres:
    """A server that is there, with a database that belongs to an ordinary role, for as long as it is started.

    The role is no superuser and has a password. It may create databases, which a replay needs; an
    administrator has given it what migrations need, and no more.
    """

    def __init__(self, url: str) -> None:
        """`url`: of a superuser, and a database that stays as it is."""
        self._url = url
        self._name = f"zmartd_tests_{os.getpid()}"

    @property
    def dsn(self) -> str:
        """The URL of the role's database, as that role."""
        return url_as(self.administrator, self._name)

    @property
    def administrator(self) -> str:
        """The URL of the role's database, as the superuser."""
        return self.dsn_of(self._name)

    def dsn_of(self, database: str) -> str:
        """The URL of any database of this server, as the superuser."""
        if database == DATABASE:
            return self.dsn
        return urlunsplit(urlsplit(self._url)._replace(path=f"/{quote(database)}"))

    async def start(self) -> None:
        """Create the role and its database."""
        await self.stop()
        await execute(
            self._url,
            f"create role {self._name} {LOGIN} createdb",
            f"create database {self._name} owner {self._name} template template0",
        )
        for _ in range(2):  # roles that are not there cannot be granted yet
            connection = await asyncpg.connect(self.dsn)
            try:
                missing = await lacking(connection)
            finally:
                await connection.close()
            await execute(self.administrator, *(one.sql for one in missing))

    async def stop(self) -> None:
        """Drop them."""
        await execute(
            self._url,
            f"drop database if exists {self._name} with (force)",
            f"drop database if exists {self._name}_second with (force)",
            f"drop role if exists {self._name}",
        )


PostgresServer = EmbeddedPostgres | OutsidePostgres
"""What tests that name no server of their own run on."""

"""What can be wrong with the database, told to whoever can put it right."""

from __future__ import annotations

from urllib.parse import parse_qs, unquote, urlsplit

import asyncpg

from zmartd.errors import ZmartdError


class DatabaseUnavailable(ZmartdError):
    """The database cannot be reached."""

    code = "database_unavailable"


class DatabaseTimeout(ZmartdError):
    """The database took too long to answer, so the query was cancelled; try again."""

    code = "database_timeout"


class DatabaseNotReady(ZmartdError):
    """The database answers, but it is not set up for zmartd."""

    code = "database_not_ready"


OUT_OF_ORDER = (
    asyncpg.PostgresConnectionError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.CannotConnectNowError,
    asyncpg.InsufficientResourcesError,
    asyncpg.PostgresSystemError,
    asyncpg.ReadOnlySQLTransactionError,
)
"""What asyncpg raises when the server, not the statement, is the problem.

It is away, going or coming; it has no connection, memory or disk left; its disk fails; or it only reads, as a
standby does, and as hosts make a server do before its disk is full.
"""


def place(dsn: str) -> str:
    """Where a connection URL leads, as host:port/database: never its user or password."""
    try:
        url = urlsplit(dsn)
        host = parse_qs(url.query).get("host", [url.hostname or "localhost"])[0]
        port = f":{url.port}" if url.port else ""
    except ValueError:
        return "an unreadable database.url"
    return f"{host}{port}/{unquote(url.path.lstrip('/')) or '(default database)'}"


def unavailable(dsn: str, error: BaseException) -> DatabaseUnavailable:
    """The error to raise when Postgres at `dsn` does not answer; says which one, and what to do."""
    reason = str(error).strip().splitlines()
    return DatabaseUnavailable(
        f"Postgres at {place(dsn)} cannot be used ({reason[0] if reason else type(error).__name__}): "
        "check that it is running and that database.url is right",
        database=place(dsn),
    )


REFUSED_LOGIN = (asyncpg.InvalidAuthorizationSpecificationError, asyncpg.InvalidCatalogNameError)
"""What asyncpg raises when Postgres answers but knows no such user, password or database."""

UNREADABLE_URL = (asyncpg.ClientConfigurationError, ValueError)
"""What asyncpg raises for a connection URL that it cannot take apart."""


def unreadable_url() -> DatabaseNotReady:
    """The error to raise for such a URL; it quotes nothing, because a password may be what broke it."""
    return DatabaseNotReady(
        "database.url is not a Postgres URL: write postgresql://user:password@host:port/database, with "
        "special characters of the password percent-encoded"
    )


def refused_login(dsn: str, error: BaseException) -> DatabaseNotReady:
    """The error to raise when Postgres at `dsn` answers but does not let us in."""
    return DatabaseNotReady(
        f"Postgres at {place(dsn)} refuses the connection ({error}): check the user, the password and the "
        "database name in database.url",
        database=place(dsn),
    )

"""The errors of a database that cannot be used; each says which database and what its operator can do."""

from __future__ import annotations

import asyncpg

from zmartd import endpoint
from zmartd.errors import OutcomeUnknown, ZmartdError


class DatabaseUnavailable(OutcomeUnknown):
    """The database cannot be reached."""

    code = "database_unavailable"


class DatabaseTimeout(OutcomeUnknown):
    """The database took too long to answer, so the query was cancelled; try again."""

    code = "database_timeout"


class DatabaseNotReady(ZmartdError):
    """The database answers, but it is not set up for zmartd."""

    code = "database_not_ready"


SERVER_ERRORS = (
    asyncpg.PostgresConnectionError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.CannotConnectNowError,
    asyncpg.InsufficientResourcesError,
    asyncpg.PostgresSystemError,
    asyncpg.ReadOnlySQLTransactionError,
)
"""What asyncpg raises when the server, not the statement, is the problem.

It is down, shutting down or starting; it has no connections, memory or disk space left; its disk fails; or it
is read-only, as a standby is, and as hosts make a server whose disk is nearly full.
"""


def location(dsn: str) -> str:
    """Where a connection URL leads, as host:port/database, without user and password."""
    try:
        url = endpoint.read(dsn, endpoint.POSTGRES)
    except endpoint.UnreadableUrl:
        return "an unreadable database.url"
    hosts = ",".join(map(str, url.addresses)) or url.query.get("host", "localhost")
    return f"{hosts}/{url.path or '(default database)'}"


def unavailable(dsn: str, error: BaseException) -> DatabaseUnavailable:
    """The error to raise when Postgres at `dsn` does not answer."""
    return DatabaseUnavailable(
        f"Postgres at {location(dsn)} cannot be used ({endpoint.reason(error)}): "
        "check that it is running and that database.url is right",
        database=location(dsn),
    )


def connection_error(dsn: str, error: BaseException) -> ZmartdError:
    """The error to raise when `error` kept a connection to `dsn` from being opened.

    It quotes neither the URL nor what Postgres or asyncpg said about it: the password may be what broke the
    URL, or may stand where the user's name belongs.
    """
    if isinstance(error, (OSError, *SERVER_ERRORS)):
        return unavailable(dsn, error)
    where = location(dsn)
    if isinstance(error, asyncpg.InvalidCatalogNameError):
        what = f"there is no such database as {where}: check the database name in database.url"
    elif isinstance(error, asyncpg.InvalidAuthorizationSpecificationError):
        what = f"Postgres at {where} refuses the user or the password in database.url: check both"
    elif isinstance(error, ValueError):
        what = (
            "database.url is not a Postgres URL that can be used: write "
            "postgresql://user:password@host:port/database, with special characters of the password "
            "percent-encoded, and options that libpq has"
        )
    else:
        what = (
            f"Postgres at {where} refuses the connection ({endpoint.reason(error)}): check the options in "
            "database.url, and Postgres' log"
        )
    return DatabaseNotReady(what, database=where)

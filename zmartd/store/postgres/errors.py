"""What can be wrong with the database, told to whoever can put it right."""

from __future__ import annotations

import asyncpg

from zmartd import endpoint
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
        url = endpoint.read(dsn, endpoint.POSTGRES)
    except endpoint.UnreadableUrl:
        return "an unreadable database.url"
    hosts = ",".join(map(str, url.addresses)) or url.query.get("host", "localhost")
    return f"{hosts}/{url.path or '(default database)'}"


def unavailable(dsn: str, error: BaseException) -> DatabaseUnavailable:
    """The error to raise when Postgres at `dsn` does not answer; says which one, and what to do."""
    return DatabaseUnavailable(
        f"Postgres at {place(dsn)} cannot be used ({endpoint.reason(error)}): "
        "check that it is running and that database.url is right",
        database=place(dsn),
    )


def refusal(dsn: str, error: BaseException) -> ZmartdError:
    """The error to raise when a connection to `dsn` could not be opened for this reason.

    It quotes neither the URL nor what Postgres or asyncpg said of it: a password may be what broke the URL,
    or stand where the user's name belongs.
    """
    if isinstance(error, (OSError, *OUT_OF_ORDER)):
        return unavailable(dsn, error)
    where = place(dsn)
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

"""The errors of a database that cannot be used; each says which database and what its operator can do."""

from __future__ import annotations

import asyncpg

from zmartd import endpoint
from zmartd.errors import OutcomeUnknown, ZmartdError
from zmartd.store.postgres import pooler


class DatabaseUnavailable(OutcomeUnknown):
    """The database cannot be reached; try again in a moment."""

    code = "database_unavailable"


class DatabaseTimeout(OutcomeUnknown):
    """The database took too long to answer, so the query was cancelled; try again."""

    code = "database_timeout"


class DatabaseNotReady(ZmartdError):
    """The database answers, but it is not set up for zmartd; the operator has to run `zmartd migrate`."""

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


def reason(error: BaseException) -> str:
    """Why Postgres could not be used, with the SQLSTATE: it reads the same whatever the server's language."""
    state = next(
        (one.sqlstate for one in endpoint.causes(error) if isinstance(one, asyncpg.PostgresError)), None
    )
    return endpoint.reason(error) if state is None else f"{endpoint.reason(error)}, SQLSTATE {state}"


def unavailable(dsn: str, error: BaseException) -> DatabaseUnavailable:
    """The error to raise when Postgres at `dsn` does not answer."""
    why = pooler.shortage(error) or (
        f"{reason(error)}): check that it is running and that database.url is right"
    )
    return DatabaseUnavailable(f"Postgres at {location(dsn)} cannot be used ({why}")


def backend_is_shared(dsn: str) -> DatabaseNotReady:
    """The error to raise when a connection does not keep its backend."""
    where = location(dsn)
    return DatabaseNotReady(
        f"{where} is behind a transaction pooler, where other programs use a connection between "
        "transactions: set database.pooled to auto or yes, or let database.url lead to Postgres itself"
    )


def connection_error(dsn: str, error: BaseException) -> ZmartdError:
    """The error to raise when `error` kept a connection to `dsn` from being opened.

    It quotes neither the URL nor what Postgres or asyncpg said about it: the password may be what broke the
    URL, or may stand where the user's name belongs.
    """
    where = location(dsn)
    if pooler.shortage(error):
        return unavailable(dsn, error)
    if mistake := pooler.mistake(error):
        return DatabaseNotReady(f"the pooler at {where} {mistake}")
    if isinstance(error, (OSError, *SERVER_ERRORS)):
        return unavailable(dsn, error)
    if isinstance(error, asyncpg.InvalidCatalogNameError):
        what = (
            f"there is no such database as {where} (SQLSTATE 3D000): check the database name in database.url"
        )
    elif isinstance(error, asyncpg.InvalidAuthorizationSpecificationError):
        what = (
            f"Postgres at {where} refuses the user or the password in database.url ({reason(error)}): check "
            "both"
        )
    elif isinstance(error, ValueError):
        what = (
            "database.url is not a Postgres URL that can be used: write "
            "postgresql://user:password@host:port/database, with special characters of the password "
            "percent-encoded, and options that libpq has"
        )
    else:
        what = (
            f"Postgres at {where} refuses the connection ({reason(error)}): check the options in "
            "database.url, and Postgres' log"
        )
    return DatabaseNotReady(what)

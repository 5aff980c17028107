from __future__ import annotations

import asyncpg
import pytest

from zmartd.store.postgres.errors import (
    DatabaseNotReady,
    DatabaseUnavailable,
    connection_error,
    location,
    unavailable,
)


@pytest.mark.parametrize(
    ("url", "named"),
    [
        ("postgresql://zmartd:hunter2@db.example:5433/zmart", "db.example:5433/zmart"),
        ("postgresql://zmartd:hunter2@db.example/zmart", "db.example/zmart"),
        ("postgresql://zmartd@/zmart?host=%2Frun%2Fzmartd", "/run/zmartd/zmart"),
        ("postgresql://localhost", "localhost/(default database)"),
        ("postgresql://zmartd:hunter2@a:5433,b/zmart", "a:5433,b/zmart"),
        ("postgresql://zmartd:hunter2@db.example:notaport/zmart", "an unreadable database.url"),
        ("postgresql://zmartd:12/34@db.example/zmart", "an unreadable database.url"),
    ],
)
def test_a_database_is_named_by_its_place_and_never_by_its_password(url: str, named: str) -> None:
    assert location(url) == named
    error = unavailable(url, ConnectionRefusedError("hunter2"))
    assert named in error.message
    assert "connection refused" in error.message
    assert "hunter2" not in error.message


@pytest.mark.parametrize(
    ("error", "kind", "said"),
    [
        (asyncpg.InvalidPasswordError("hunter2"), DatabaseNotReady, "(invalid password, SQLSTATE 28P01)"),
        (asyncpg.InvalidCatalogNameError("hunter2"), DatabaseNotReady, "no such database as db/zmart"),
        (asyncpg.ClientConfigurationError("hunter2"), DatabaseNotReady, "percent-encoded"),
        (
            asyncpg.UndefinedObjectError("hunter2"),
            DatabaseNotReady,
            "(undefined object, SQLSTATE 42704)",
        ),
        (asyncpg.InterfaceError("hunter2"), DatabaseNotReady, "(interface): check the options"),
        (
            asyncpg.CannotConnectNowError("hunter2"),
            DatabaseUnavailable,
            "(cannot connect now, SQLSTATE 57P03)",
        ),
        (TimeoutError("hunter2"), DatabaseUnavailable, "(timeout)"),
    ],
)
def test_why_a_connection_was_not_opened_is_said_without_the_library_s_words(
    error: Exception, kind: type[Exception], said: str
) -> None:
    refused = connection_error("postgresql://zmartd@db/zmart", error)
    assert type(refused) is kind
    assert said in refused.message
    assert "hunter2" not in refused.message


@pytest.mark.parametrize(
    ("error", "kind", "said"),
    [
        (
            asyncpg.ProtocolViolationError("server login has been failing, try again later"),
            DatabaseUnavailable,
            "its pooler cannot log in to Postgres): check that Postgres is running",
        ),
        (
            asyncpg.InternalServerError("(EMAXCLIENTSESSION) max clients reached in session mode - hunter2"),
            DatabaseUnavailable,
            "lower database.pool_size",
        ),
        (
            asyncpg.InternalServerError("(ECHECKOUTTIMEOUT) Pool checkout timeout. hunter2"),
            DatabaseUnavailable,
            "raise the pooler's pool size",
        ),
        (
            asyncpg.InternalServerError("(ENOTFOUND) tenant/user postgres.hunter2 not found"),
            DatabaseNotReady,
            "at Supabase the user in database.url is postgres.<project reference>",
        ),
        (
            asyncpg.ProtocolViolationError("unsupported startup parameter: hunter2"),
            DatabaseNotReady,
            "ignore_startup_parameters",
        ),
        (asyncpg.InternalServerError("cache lookup failed: hunter2"), DatabaseNotReady, "Postgres' log"),
    ],
)
def test_what_a_pooler_refuses_is_explained_in_words_of_our_own(
    error: Exception, kind: type[Exception], said: str
) -> None:
    refused = connection_error("postgresql://zmartd@db/zmart", error)
    assert type(refused) is kind
    assert said in refused.message
    assert "hunter2" not in refused.message

from __future__ import annotations

import asyncpg
import pytest

from zmartd.indexer.apply import IndexAltered
from zmartd.indexer.events.rows import UnreadableRow
from zmartd.indexer.parking import is_of_one_transaction
from zmartd.store.postgres.errors import DatabaseTimeout, DatabaseUnavailable


@pytest.mark.parametrize(
    "error",
    [
        IndexAltered(),
        UnreadableRow(),
        asyncpg.NumericValueOutOfRangeError(),
        asyncpg.CharacterNotInRepertoireError(),
        asyncpg.CheckViolationError(),
        asyncpg.ForeignKeyViolationError(),
        KeyError("market"),
        OverflowError(),
    ],
    ids=repr,
)
def test_what_one_transaction_says_can_be_the_reason(error: Exception) -> None:
    assert is_of_one_transaction(error)


@pytest.mark.parametrize(
    "error",
    [
        DatabaseUnavailable(),
        DatabaseTimeout(),
        asyncpg.InsufficientPrivilegeError(),
        asyncpg.UndefinedColumnError(),
        asyncpg.DeadlockDetectedError(),
        asyncpg.DiskFullError(),
        asyncpg.InterfaceError("the pool is closed"),
        ConnectionResetError(),
        MemoryError(),
    ],
    ids=repr,
)
def test_what_would_fail_with_every_transaction_is_no_transaction_s(error: Exception) -> None:
    assert not is_of_one_transaction(error)

"""The ledger: all persistent state, in one SQLite file.

A commit survives the end of the process, also by SIGKILL, without waiting for the disk. A power failure can
lose the last commits, as a test validator's would.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import msgspec
from solders.account import Account
from solders.hash import Hash
from solders.pubkey import Pubkey
from solders.signature import Signature
from solders.transaction import VersionedTransaction

from zmartd.embedded.localnet.chain.records import (
    Block,
    Genesis,
    LandedTransaction,
    LoadedAddresses,
    PerformanceSample,
    TransactionMeta,
)
from zmartd.errors import ZmartdError

FORMAT = 1
MAX_TRANSACTIONS_PER_SLOT = 1 << 20

_SCHEMA = """
CREATE TABLE facts (name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE blocks (
    slot INTEGER PRIMARY KEY,
    height INTEGER NOT NULL,
    unix_time INTEGER NOT NULL,
    blockhash BLOB NOT NULL
);
CREATE TABLE accounts (address BLOB PRIMARY KEY, account BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE transactions (
    position INTEGER PRIMARY KEY,  -- slot * 2^20 + index in the block
    signature BLOB NOT NULL UNIQUE,
    unix_time INTEGER NOT NULL,
    wire BLOB NOT NULL,
    loaded BLOB NOT NULL,          -- addresses from lookup tables: count of writable ones, then all of them
    meta BLOB NOT NULL,
    memo TEXT
);
CREATE TABLE mentions (
    address BLOB NOT NULL,
    position INTEGER NOT NULL,
    PRIMARY KEY (address, position)
) WITHOUT ROWID;
"""

AccountChanges = Mapping[Pubkey, Account | None]
"""The new account of each changed address; None when it was deleted."""


class LedgerError(ZmartdError):
    """The localnet's ledger cannot be used."""

    code = "localnet_ledger_unusable"


class LedgerInUse(LedgerError):
    """Another localnet uses the ledger."""


class Ledger:
    """The chain's history and present state, for one process and one thread."""

    def __init__(self, path: Path) -> None:
        """Raises LedgerInUse while another localnet uses the file, LedgerError when it is no ledger."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self._connection = sqlite3.connect(path, isolation_level=None, timeout=0.0)
        try:
            self._connection.execute("PRAGMA locking_mode = EXCLUSIVE")
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._connection.execute("PRAGMA synchronous = NORMAL")
            self._connection.execute("BEGIN EXCLUSIVE")
            version = self._connection.execute("PRAGMA user_version").fetchone()[0]
            if version == 0:
                for statement in _SCHEMA.split(";\n"):
                    self._connection.execute(statement)
                self._connection.execute(f"PRAGMA user_version = {FORMAT}")
            self._connection.execute("COMMIT")
        except sqlite3.OperationalError as error:
            self._connection.close()
            raise LedgerInUse(
                f"{path}: {error}. Is another localnet running on this data directory?"
            ) from error
        except sqlite3.DatabaseError as error:
            self._connection.close()
            raise LedgerError(f"{path} is not a ledger: {error}. Move it away to start afresh") from error
        if version not in (0, FORMAT):
            raise LedgerError(
                f"{path} has format {version}, this version reads {FORMAT}: move it away to start afresh"
            )

    def close(self) -> None:
        self._connection.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """A transaction: all writes of the block are committed, or none."""
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._connection.execute("ROLLBACK")
            raise
        self._connection.execute("COMMIT")

    # Constants and clock

    def genesis(self) -> Genesis | None:
        """The chain's constants; None in a new ledger."""
        value = self._fact("genesis")
        return None if value is None else msgspec.json.decode(value, type=Genesis)

    def put_genesis(self, genesis: Genesis) -> None:
        self._put_fact("genesis", msgspec.json.encode(genesis))

    def clock_offset_seconds(self) -> int:
        return int(self._fact("clock_offset_seconds") or b"0")

    def put_clock_offset_seconds(self, seconds: int) -> None:
        self._put_fact("clock_offset_seconds", b"%d" % seconds)

    def next_slot(self) -> int | None:
        """The next slot to open after a time travel, or None."""
        value = self._fact("next_slot")
        return None if value is None else int(value)

    def put_next_slot(self, slot: int) -> None:
        self._put_fact("next_slot", b"%d" % slot)

    # Blocks

    def put_block(self, block: Block) -> None:
        assert block.blockhash is not None, "an open slot has no place in the ledger"
        self._connection.execute(
            "INSERT INTO blocks (slot, height, unix_time, blockhash) VALUES (?, ?, ?, ?)",
            (block.slot, block.height, block.unix_time, bytes(block.blockhash)),
        )

    def latest_blocks(self, count: int) -> list[Block]:
        """Oldest first."""
        rows = self._connection.execute(
            "SELECT slot, height, unix_time, blockhash FROM blocks ORDER BY slot DESC LIMIT ?", (count,)
        ).fetchall()
        return [_block(row) for row in reversed(rows)]

    def block(self, slot: int) -> Block | None:
        row = self._connection.execute(
            "SELECT slot, height, unix_time, blockhash FROM blocks WHERE slot = ?", (slot,)
        ).fetchone()
        return None if row is None else _block(row)

    def block_before(self, slot: int) -> Block | None:
        """The newest kept block that is older than `slot`."""
        row = self._connection.execute(
            "SELECT slot, height, unix_time, blockhash FROM blocks WHERE slot < ? ORDER BY slot DESC LIMIT 1",
            (slot,),
        ).fetchone()
        return None if row is None else _block(row)

    def slots_between(self, first_slot: int, last_slot: int, limit: int = -1) -> list[int]:
        """The slots with a block, ascending, at most `limit`; -1 for no limit."""
        rows = self._connection.execute(
            "SELECT slot FROM blocks WHERE slot BETWEEN ? AND ? ORDER BY slot LIMIT ?",
            (first_slot, last_slot, limit),
        )
        return [slot for (slot,) in rows]

    def samples(self, period_seconds: int, before_unix_time: int, limit: int) -> list[PerformanceSample]:
        """What happened in each of the last `limit` periods of time before that one, newest first."""
        since = before_unix_time - limit * period_seconds
        rows = self._connection.execute(
            "SELECT max(slot), count(*), sum((SELECT count(*) FROM transactions"
            " WHERE position BETWEEN blocks.slot * ? AND (blocks.slot + 1) * ? - 1))"
            " FROM blocks WHERE unix_time >= ? AND unix_time < ?"
            " GROUP BY unix_time / ? ORDER BY 1 DESC",
            (
                MAX_TRANSACTIONS_PER_SLOT,
                MAX_TRANSACTIONS_PER_SLOT,
                since,
                before_unix_time,
                period_seconds,
            ),
        )
        return [PerformanceSample(*row) for row in rows]

    def delete_empty_blocks_below(self, height: int) -> None:
        """Delete old blocks without transactions, so that an idle chain does not fill the disk."""
        self._connection.execute(
            "DELETE FROM blocks WHERE height > 0 AND height < ? AND NOT EXISTS (SELECT 1 FROM transactions"
            " WHERE position BETWEEN blocks.slot * ? AND (blocks.slot + 1) * ? - 1)",
            (height, MAX_TRANSACTIONS_PER_SLOT, MAX_TRANSACTIONS_PER_SLOT),
        )

    # Accounts

    def accounts(self) -> Iterator[tuple[Pubkey, Account]]:
        for address, account in self._connection.execute("SELECT address, account FROM accounts"):
            yield Pubkey(address), Account.from_bytes(account)

    def put_accounts(self, changes: AccountChanges) -> None:
        for address, account in changes.items():
            if account is None:
                self._connection.execute("DELETE FROM accounts WHERE address = ?", (bytes(address),))
            else:
                self._connection.execute(
                    "INSERT INTO accounts (address, account) VALUES (?, ?)"
                    " ON CONFLICT (address) DO UPDATE SET account = excluded.account",
                    (bytes(address), bytes(account)),
                )

    # Transactions

    def put_transaction(self, landed: LandedTransaction) -> None:
        position = _position(landed.slot, landed.index_in_block)
        loaded = landed.loaded
        self._connection.execute(
            "INSERT INTO transactions (position, signature, unix_time, wire, loaded, meta, memo)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            (
                position,
                bytes(landed.signature),
                landed.unix_time,
                bytes(landed.transaction),
                bytes([len(loaded.writable)]) + b"".join(map(bytes, loaded.writable + loaded.readonly)),
                msgspec.json.encode(landed.meta),
                landed.memo,
            ),
        )
        self._connection.executemany(
            "INSERT OR IGNORE INTO mentions (address, position) VALUES (?, ?)",
            [(bytes(address), position) for address in landed.keys],
        )

    def transaction_by_signature(self, signature: Signature) -> LandedTransaction | None:
        row = self._connection.execute(
            f"SELECT {_COLUMNS} FROM transactions WHERE signature = ?",  # noqa: S608 - a constant
            (bytes(signature),),
        ).fetchone()
        return None if row is None else _landed(row)

    def has_transaction(self, signature: Signature) -> bool:
        return self._position_of(signature) is not None

    def transactions_in(self, slot: int) -> list[LandedTransaction]:
        """In the order of execution."""
        return self.transactions_between(slot, slot)

    def transactions_between(self, first_slot: int, last_slot: int) -> list[LandedTransaction]:
        """Those of both slots and of all between them, in the order of execution."""
        rows = self._connection.execute(
            f"SELECT {_COLUMNS} FROM transactions WHERE position BETWEEN ? AND ? ORDER BY position",  # noqa: S608
            (_position(first_slot, 0), _position(last_slot + 1, 0) - 1),
        )
        return [_landed(row) for row in rows]

    def transactions_mentioning(
        self,
        address: Pubkey,
        *,
        last_slot: int,
        before: Signature | None,
        until: Signature | None,
        limit: int,
    ) -> list[LandedTransaction]:
        """Newest first, none after `last_slot`; older than `before` and newer than `until`.

        When `before` is not in the ledger the list is empty; an `until` that is not in it is ignored.
        """
        newest = _position(last_slot + 1, 0)
        oldest = -1
        if before is not None:
            position = self._position_of(before)
            newest = min(newest, -1 if position is None else position)
        if until is not None:
            position = self._position_of(until)
            oldest = -1 if position is None else position
        rows = self._connection.execute(
            f"SELECT {_COLUMNS} FROM mentions JOIN transactions USING (position)"  # noqa: S608
            " WHERE address = ? AND position < ? AND position > ? ORDER BY position DESC LIMIT ?",
            (bytes(address), newest, oldest, limit),
        )
        return [_landed(row) for row in rows]

    def transaction_count(self) -> int:
        return int(self._connection.execute("SELECT count(*) FROM transactions").fetchone()[0])

    def delete_transactions_from(self, slot: int) -> None:
        """Delete the transactions of `slot` and later ones: an abandoned fork."""
        first = _position(slot, 0)
        self._connection.execute("DELETE FROM mentions WHERE position >= ?", (first,))
        self._connection.execute("DELETE FROM transactions WHERE position >= ?", (first,))

    def _position_of(self, signature: Signature) -> int | None:
        row = self._connection.execute(
            "SELECT position FROM transactions WHERE signature = ?", (bytes(signature),)
        ).fetchone()
        return None if row is None else int(row[0])

    def _fact(self, name: str) -> bytes | None:
        row = self._connection.execute("SELECT value FROM facts WHERE name = ?", (name,)).fetchone()
        return None if row is None else bytes(row[0])

    def _put_fact(self, name: str, value: bytes) -> None:
        self._connection.execute(
            "INSERT INTO facts (name, value) VALUES (?, ?)"
            " ON CONFLICT (name) DO UPDATE SET value = excluded.value",
            (name, value),
        )


_COLUMNS = "position, signature, unix_time, wire, loaded, meta, memo"
_META = msgspec.json.Decoder(TransactionMeta)


def _position(slot: int, index_in_block: int) -> int:
    assert index_in_block < MAX_TRANSACTIONS_PER_SLOT
    return slot * MAX_TRANSACTIONS_PER_SLOT + index_in_block


def _block(row: tuple[int, int, int, bytes]) -> Block:
    slot, height, unix_time, blockhash = row
    return Block(slot, height, unix_time, Hash(blockhash))


def _landed(row: tuple[int, bytes, int, bytes, bytes, bytes, str | None]) -> LandedTransaction:
    position, signature, unix_time, wire, loaded, meta, memo = row
    slot, index_in_block = divmod(position, MAX_TRANSACTIONS_PER_SLOT)
    return LandedTransaction(
        signature=Signature(signature),
        slot=slot,
        index_in_block=index_in_block,
        transaction=VersionedTransaction.from_bytes(wire),
        loaded=_loaded(loaded),
        meta=_META.decode(meta),
        unix_time=unix_time,
        memo=memo,
    )


def _loaded(value: bytes) -> LoadedAddresses:
    addresses: Iterable[bytes] = (value[start : start + 32] for start in range(1, len(value), 32))
    keys = tuple(Pubkey(address) for address in addresses)
    return LoadedAddresses(keys[: value[0]], keys[value[0] :])

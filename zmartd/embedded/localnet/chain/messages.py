"""Reads a transaction's message: its keys, nonce account and memos."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

from solders.account import Account
from solders.message import MessageV0
from solders.pubkey import Pubkey
from solders.transaction import VersionedTransaction

from zmartd.embedded.localnet.chain.records import LoadedAddresses

_SYSTEM_PROGRAM = Pubkey.default()
_LOOKUP_TABLE_HEADER_BYTES = 56
_NONCE_ACCOUNT_BYTES = 80
_NONCE_STATE, _NONCE_AUTHORITY, _NONCE = slice(4, 8), slice(8, 40), slice(40, 72)
_INITIALIZED = (1).to_bytes(4, "little")
_MEMO_PROGRAMS = frozenset(
    Pubkey.from_string(program)
    for program in (
        "MemoSq4gqABAXKb96qnH8TysNcWxMyWCqXgDLGmfcHr",
        "Memo1UhkJRfHyvLMcVucJwxXeuD728EqVDDwQDxFMNo",
    )
)


def is_writable(transaction: VersionedTransaction, index: int) -> bool:
    """Whether the message declares its key `index` (not from a lookup table) as writable."""
    header = transaction.message.header
    signers = header.num_required_signatures
    if index < signers:
        return index < signers - header.num_readonly_signed_accounts
    return index < len(transaction.message.account_keys) - header.num_readonly_unsigned_accounts


def loaded_addresses(
    transaction: VersionedTransaction, account_at: Callable[[Pubkey], Account | None]
) -> LoadedAddresses:
    """The addresses that a version 0 message loads from lookup tables.

    A table or an index that does not exist is left out; such a transaction fails before it is executed.
    """
    message = transaction.message
    if not isinstance(message, MessageV0):
        return LoadedAddresses()
    writable: list[Pubkey] = []
    readonly: list[Pubkey] = []
    for lookup in message.address_table_lookups:
        table = account_at(lookup.account_key)
        addresses = b"" if table is None else table.data[_LOOKUP_TABLE_HEADER_BYTES:]
        for indices, keys in ((lookup.writable_indexes, writable), (lookup.readonly_indexes, readonly)):
            chosen = (addresses[index * 32 : index * 32 + 32] for index in indices)
            keys.extend(Pubkey(address) for address in chosen if len(address) == 32)
    return LoadedAddresses(tuple(writable), tuple(readonly))


def nonce_account(transaction: VersionedTransaction) -> Pubkey | None:
    """The nonce account of a durable transaction, whose first instruction advances the nonce."""
    if not transaction.uses_durable_nonce():
        return None
    accounts = bytes(transaction.message.instructions[0].accounts)
    keys = transaction.message.account_keys
    if not accounts or accounts[0] >= len(keys) or not is_writable(transaction, accounts[0]):
        return None
    return keys[accounts[0]]


def lends_nonce(account: Account | None, transaction: VersionedTransaction) -> bool:
    """Whether this is a nonce account with the transaction's nonce, and its authority signs the advance."""
    if account is None or account.owner != _SYSTEM_PROGRAM or len(account.data) != _NONCE_ACCOUNT_BYTES:
        return False
    message = transaction.message
    signers = message.account_keys[: message.header.num_required_signatures]
    advancing = bytes(message.instructions[0].accounts)
    return (
        account.data[_NONCE_STATE] == _INITIALIZED
        and account.data[_NONCE] == bytes(message.recent_blockhash)
        and any(
            bytes(signer) == account.data[_NONCE_AUTHORITY]
            for index, signer in enumerate(signers)
            if index in advancing
        )
    )


def with_next_nonce(account: Account) -> Account:
    """The nonce account as the system program leaves it on LiteSVM, which makes a nonce of the one before."""
    nonce = hashlib.sha256(b"DURABLE_NONCE" + account.data[_NONCE]).digest()
    data = account.data[: _NONCE.start] + nonce + account.data[_NONCE.stop :]
    return Account(account.lamports, data, account.owner, account.executable, account.rent_epoch)


def memo(transaction: VersionedTransaction) -> str | None:
    """The transaction's memos in Solana's form: `[length] text`, joined by `; `."""
    keys = transaction.message.account_keys
    memos = [
        f"[{len(instruction.data)}] {bytes(instruction.data).decode(errors='replace')}"
        for instruction in transaction.message.instructions
        if instruction.program_id_index < len(keys) and keys[instruction.program_id_index] in _MEMO_PROGRAMS
    ]
    return "; ".join(memos) or None

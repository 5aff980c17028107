"""Accounts and transactions as JSON, in each encoding that a client may request."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from typing import Any

import based58
import msgspec
from solders.account import Account
from solders.message import MessageV0
from solders.pubkey import Pubkey
from solders.transaction import VersionedTransaction

from zmartd.embedded.localnet.chain import messages
from zmartd.embedded.localnet.chain.records import CompiledInstruction, LandedTransaction
from zmartd.embedded.localnet.errors import InvalidParams, InvalidRequest, UnsupportedTransactionVersion
from zmartd.embedded.localnet.params import AccountEncoding, DataSlice, TransactionEncoding

MAX_BASE58_BYTES = 128
"""Base58 takes quadratic time, so nodes do not encode longer data with it."""


def account_json(account: Account, encoding: AccountEncoding, data_slice: DataSlice | None) -> dict[str, Any]:
    """An account as `getAccountInfo` and the like show it.

    `jsonParsed` gives base64, as nodes do for programs without a parser. Raises InvalidRequest when the data
    is too long for base58, InvalidParams for zstd.
    """
    return {
        "lamports": account.lamports,
        "owner": str(account.owner),
        "data": _account_data(account.data, encoding, data_slice),
        "executable": account.executable,
        "rentEpoch": account.rent_epoch,
        "space": len(account.data),
    }


def _account_data(data: bytes, encoding: AccountEncoding, data_slice: DataSlice | None) -> str | list[str]:
    if encoding == "base64+zstd":
        raise InvalidParams('Invalid params: encoding: "base64+zstd" is not served, use "base64".')
    if data_slice is not None:
        data = data[data_slice.offset : data_slice.offset + data_slice.length]
    if encoding in ("base64", "jsonParsed"):
        return [base64.b64encode(data).decode(), "base64"]
    if len(data) > MAX_BASE58_BYTES:
        raise InvalidRequest(
            "Encoded binary (base 58) data should be less than 128 bytes, please use Base64 encoding."
        )
    text = based58.b58encode(data).decode()
    return text if encoding == "binary" else [text, "base58"]


def transaction_json(
    landed: LandedTransaction, encoding: TransactionEncoding, max_supported_version: int | None
) -> dict[str, Any]:
    """A transaction as `getTransaction` shows it.

    Raises UnsupportedTransactionVersion when the client does not say that it supports the transaction's
    version.
    """
    require_supported(landed.transaction, max_supported_version)
    result = {
        "slot": landed.slot,
        "transaction": _encoded(landed, encoding),
        "meta": meta_json(landed, encoding),
        "blockTime": landed.unix_time,
    }
    if max_supported_version is not None:
        result["version"] = version_json(landed.transaction)
    return result


def require_supported(transaction: VersionedTransaction, max_supported_version: int | None) -> None:
    """Raises UnsupportedTransactionVersion."""
    version = transaction.version()
    if isinstance(version, int) and (max_supported_version is None or version > max_supported_version):
        raise UnsupportedTransactionVersion(version)


def version_json(transaction: VersionedTransaction) -> int | str:
    """0 or "legacy"."""
    version = transaction.version()
    return version if isinstance(version, int) else "legacy"


def meta_json(landed: LandedTransaction, encoding: TransactionEncoding = "json") -> dict[str, Any]:
    """The result of executing the transaction. Token balances are not tracked, and always empty."""
    meta: dict[str, Any] = msgspec.to_builtins(landed.meta)
    if encoding == "jsonParsed":
        for calls, parsed in zip(landed.meta.inner_instructions, meta["innerInstructions"], strict=True):
            parsed["instructions"] = [_parsed_instruction(call, landed.keys) for call in calls.instructions]
    if meta["returnData"] is None:
        del meta["returnData"]
    meta["status"] = {"Ok": None} if landed.meta.err is None else {"Err": landed.meta.err}
    meta["rewards"] = []
    meta["preTokenBalances"] = []
    meta["postTokenBalances"] = []
    meta["loadedAddresses"] = {
        "writable": _texts(landed.loaded.writable),
        "readonly": _texts(landed.loaded.readonly),
    }
    return meta


def raw_transaction_json(transaction: VersionedTransaction) -> dict[str, Any]:
    """Encoding `json`: signatures and message, with accounts as indices."""
    message = transaction.message
    header = message.header
    result: dict[str, Any] = {
        "header": {
            "numRequiredSignatures": header.num_required_signatures,
            "numReadonlySignedAccounts": header.num_readonly_signed_accounts,
            "numReadonlyUnsignedAccounts": header.num_readonly_unsigned_accounts,
        },
        "accountKeys": _texts(message.account_keys),
        "recentBlockhash": str(message.recent_blockhash),
        "instructions": [
            {
                "programIdIndex": instruction.program_id_index,
                "accounts": list(instruction.accounts),
                "data": based58.b58encode(bytes(instruction.data)).decode(),
                "stackHeight": None,
            }
            for instruction in message.instructions
        ],
    }
    if isinstance(message, MessageV0):
        result["addressTableLookups"] = _lookups(message)
    return {"signatures": _texts(transaction.signatures), "message": result}


def account_keys_json(landed: LandedTransaction) -> list[dict[str, Any]]:
    """All addresses of a transaction, and what it may do with them."""
    transaction = landed.transaction
    own = len(transaction.message.account_keys)
    signers = transaction.message.header.num_required_signatures
    return [
        {
            "pubkey": str(key),
            "signer": index < signers,
            "writable": (
                messages.is_writable(transaction, index)
                if index < own
                else index < own + len(landed.loaded.writable)
            ),
            "source": "transaction" if index < own else "lookupTable",
        }
        for index, key in enumerate(landed.keys)
    ]


def _encoded(landed: LandedTransaction, encoding: TransactionEncoding) -> Any:
    wire = bytes(landed.transaction)
    match encoding:
        case "json":
            return raw_transaction_json(landed.transaction)
        case "jsonParsed":
            return _parsed(landed)
        case "base64":
            return [base64.b64encode(wire).decode(), "base64"]
        case "base58":
            return [based58.b58encode(wire).decode(), "base58"]


def _parsed(landed: LandedTransaction) -> dict[str, Any]:
    """Encoding `jsonParsed`: accounts as addresses, instructions partially decoded."""
    transaction = landed.transaction
    message = transaction.message
    keys = landed.keys
    result: dict[str, Any] = {
        "accountKeys": account_keys_json(landed),
        "recentBlockhash": str(message.recent_blockhash),
        "instructions": [
            _parsed_instruction(
                CompiledInstruction(
                    instruction.program_id_index,
                    list(instruction.accounts),
                    based58.b58encode(bytes(instruction.data)).decode(),
                ),
                keys,
            )
            for instruction in message.instructions
        ],
    }
    if isinstance(message, MessageV0):
        result["addressTableLookups"] = _lookups(message)
    return {"signatures": _texts(transaction.signatures), "message": result}


def _parsed_instruction(instruction: CompiledInstruction, keys: tuple[Pubkey, ...]) -> dict[str, Any]:
    return {
        "programId": str(keys[instruction.program_id_index]),
        "accounts": [str(keys[index]) for index in instruction.accounts],
        "data": instruction.data,
        "stackHeight": instruction.stack_height,
    }


def _lookups(message: MessageV0) -> list[dict[str, Any]]:
    return [
        {
            "accountKey": str(lookup.account_key),
            "writableIndexes": list(lookup.writable_indexes),
            "readonlyIndexes": list(lookup.readonly_indexes),
        }
        for lookup in message.address_table_lookups
    ]


def _texts(values: Iterable[object]) -> list[str]:
    return [str(value) for value in values]

"""Blocks as JSON, with as much of their transactions as a client requests."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, Literal

from msgspec import Meta

from zmartd.embedded.localnet.chain.ledger import Ledger
from zmartd.embedded.localnet.chain.records import Block, LandedTransaction
from zmartd.embedded.localnet.encoding import (
    account_keys_json,
    meta_json,
    require_supported,
    transaction_json,
    version_json,
)
from zmartd.embedded.localnet.params import CommitmentConfig, TransactionEncoding

_ACCOUNTS_META = (
    "err",
    "status",
    "fee",
    "preBalances",
    "postBalances",
    "preTokenBalances",
    "postTokenBalances",
)


class BlockConfig(CommitmentConfig, frozen=True, rename="camel", kw_only=True):
    encoding: TransactionEncoding = "json"
    max_supported_transaction_version: Annotated[int, Meta(ge=0, le=255)] | None = None
    transaction_details: Literal["full", "accounts", "signatures", "none"] = "full"
    rewards: bool = True
    """Whether to show rewards: an empty list, since nobody is rewarded here."""


def block_json(
    ledger: Ledger, block: Block, transactions: Iterable[LandedTransaction], config: BlockConfig
) -> dict[str, Any]:
    """A complete block as `getBlock` shows it. Raises UnsupportedTransactionVersion."""
    parent = ledger.block_before(block.slot) or block
    result: dict[str, Any] = {
        "blockhash": str(block.blockhash),
        "previousBlockhash": str(parent.blockhash),
        "parentSlot": parent.slot,
        "blockHeight": block.height,
        "blockTime": block.unix_time,
    }
    if config.rewards:
        result["rewards"] = []
    match config.transaction_details:
        case "full":
            result["transactions"] = [_full(one, config) for one in transactions]
        case "accounts":
            result["transactions"] = [_accounts(one, config) for one in transactions]
        case "signatures":
            result["signatures"] = [str(one.signature) for one in transactions]
        case "none":
            pass
    return result


def _full(landed: LandedTransaction, config: BlockConfig) -> dict[str, Any]:
    shown = transaction_json(landed, config.encoding, config.max_supported_transaction_version)
    del shown["slot"], shown["blockTime"]
    return shown


def _accounts(landed: LandedTransaction, config: BlockConfig) -> dict[str, Any]:
    require_supported(landed.transaction, config.max_supported_transaction_version)
    meta = meta_json(landed)
    shown: dict[str, Any] = {
        "transaction": {
            "signatures": [str(signature) for signature in landed.transaction.signatures],
            "accountKeys": account_keys_json(landed),
        },
        "meta": {name: meta[name] for name in _ACCOUNTS_META},
    }
    if config.max_supported_transaction_version is not None:
        shown["version"] = version_json(landed.transaction)
    return shown

"""RPC methods about slots, blocks, blockhashes and fees."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal

from msgspec import Meta
from solders.hash import Hash
from solders.message import Message, MessageV0, from_bytes_versioned
from solders.pubkey import Pubkey

from zmartd.embedded.localnet.chain.bank import Bank
from zmartd.embedded.localnet.chain.blocks import MAX_BLOCKHASH_AGE
from zmartd.embedded.localnet.chain.fees import fee_lamports
from zmartd.embedded.localnet.encoding import MAX_TRANSACTION_BYTES, transaction_json
from zmartd.embedded.localnet.errors import BlockNotAvailable, InvalidParams, SlotSkipped
from zmartd.embedded.localnet.params import CommitmentConfig, Slot, TransactionConfig, decode_bytes
from zmartd.embedded.localnet.response_context import require_confirmed, require_slot, with_context

MAX_BLOCK_RANGE = 500_000


class BlockConfig(TransactionConfig, frozen=True, rename="camel", kw_only=True):
    transaction_details: Literal["full", "signatures", "none"] = "full"
    rewards: bool = False
    """Accepted; there are no rewards."""


class BlockMethods:
    def __init__(self, bank: Bank) -> None:
        self._bank = bank

    def table(self) -> Mapping[str, Callable[..., Any]]:
        return {
            "getSlot": self.slot,
            "getBlockHeight": self.block_height,
            "getBlock": self.block,
            "getBlockTime": self.block_time,
            "getBlocks": self.block_slots,
            "getFirstAvailableBlock": self.first_available_block,
            "minimumLedgerSlot": self.first_available_block,
            "getLatestBlockhash": self.latest_blockhash,
            "isBlockhashValid": self.is_blockhash_valid,
            "getFeeForMessage": self.fee_for_message,
            "getRecentPrioritizationFees": self.recent_prioritization_fees,
        }

    def slot(self, config: CommitmentConfig) -> Any:
        require_slot(self._bank, config.level, config.min_context_slot)
        return self._bank.blocks.at(config.level).slot

    def block_height(self, config: CommitmentConfig) -> Any:
        require_slot(self._bank, config.level, config.min_context_slot)
        return self._bank.blocks.at(config.level).height

    def block(self, slot: Slot, config: BlockConfig) -> Any:
        require_confirmed(config.level)
        if slot > self._bank.blocks.at(config.level).slot:
            raise BlockNotAvailable(f"Block not available for slot {slot}")
        block = self._bank.ledger.block(slot)
        if block is None:
            raise SlotSkipped.of(slot)
        parent = self._bank.ledger.block_before(slot) or block
        result = {
            "blockhash": str(block.blockhash),
            "previousBlockhash": str(parent.blockhash),
            "parentSlot": parent.slot,
            "blockHeight": block.height,
            "blockTime": block.unix_time,
            "rewards": [],
        }
        if config.transaction_details == "none":
            return result
        landed = self._bank.ledger.transactions_in(slot)
        if config.transaction_details == "signatures":
            return result | {"signatures": [str(one.signature) for one in landed]}
        shown = [
            transaction_json(one, config.encoding, config.max_supported_transaction_version) for one in landed
        ]
        for one in shown:
            del one["slot"], one["blockTime"]
        return result | {"transactions": shown}

    def block_time(self, slot: Slot) -> Any:
        opened = self._bank.blocks.opened
        if slot > opened.slot:
            raise BlockNotAvailable(f"Block not available for slot {slot}")
        block = opened if slot == opened.slot else self._bank.ledger.block(slot)
        if block is None:
            raise SlotSkipped.of(slot)
        return block.unix_time

    def block_slots(
        self,
        first_slot: Slot,
        last: Slot | CommitmentConfig | None = None,
        config: CommitmentConfig | None = None,
    ) -> Any:
        chosen = last if isinstance(last, CommitmentConfig) else config or CommitmentConfig()
        require_confirmed(chosen.level)
        newest = self._bank.blocks.at(chosen.level).slot
        last_slot = min(last, newest) if isinstance(last, int) else newest
        if last_slot - first_slot > MAX_BLOCK_RANGE:
            raise InvalidParams(f"Slot range too large; max {MAX_BLOCK_RANGE}")
        return self._bank.ledger.slots_between(first_slot, last_slot)

    def first_available_block(self) -> Any:
        return 0

    def latest_blockhash(self, config: CommitmentConfig) -> Any:
        require_slot(self._bank, config.level, config.min_context_slot)
        blockhash, last_valid_block_height = self._bank.blocks.latest_blockhash(config.level)
        value = {"blockhash": str(blockhash), "lastValidBlockHeight": last_valid_block_height}
        return with_context(self._bank, config.level, value)

    def is_blockhash_valid(self, blockhash: Hash, config: CommitmentConfig) -> Any:
        require_slot(self._bank, config.level, config.min_context_slot)
        alive = self._bank.blocks.is_alive(blockhash, config.level)
        return with_context(self._bank, config.level, alive)

    def fee_for_message(self, message: str, config: CommitmentConfig) -> Any:
        """None when the message's blockhash has expired."""
        require_slot(self._bank, config.level, config.min_context_slot)
        parsed = _message(decode_bytes("message", message, "base64", MAX_TRANSACTION_BYTES))
        alive = self._bank.blocks.is_alive(parsed.recent_blockhash, config.level)
        return with_context(self._bank, config.level, fee_lamports(parsed) if alive else None)

    def recent_prioritization_fees(
        self, addresses: Annotated[list[Pubkey], Meta(max_length=128)] | None = None
    ) -> Any:
        """Always 0: these blocks have room."""
        slots = [slot for slot, _ in self._bank.blocks.slot_hashes()[:MAX_BLOCKHASH_AGE]]
        return [{"slot": slot, "prioritizationFee": 0} for slot in reversed(slots)]


def _message(data: bytes) -> Message | MessageV0:
    try:
        return from_bytes_versioned(data)
    except ValueError as error:
        raise InvalidParams(f"failed to deserialize message: {error}") from None

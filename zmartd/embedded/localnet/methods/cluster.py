"""Slots, blocks, blockhashes, epochs and what the node says about itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any

from msgspec import Meta
from solders.hash import Hash
from solders.message import Message, MessageV0, from_bytes_versioned
from solders.pubkey import Pubkey

from zmartd.embedded.localnet.chain.bank import Bank
from zmartd.embedded.localnet.chain.blocks import MAX_BLOCKHASH_AGE
from zmartd.embedded.localnet.chain.commitment import Commitment
from zmartd.embedded.localnet.chain.messages import fee_lamports
from zmartd.embedded.localnet.chain.runtime import SLOTS_PER_EPOCH
from zmartd.embedded.localnet.errors import InvalidParams, SlotSkipped
from zmartd.embedded.localnet.methods.context import API_VERSION, require_slot, with_context
from zmartd.embedded.localnet.params import CommitmentConfig, Slot, decode_bytes

MAX_TRANSACTION_BYTES = 1232
MAX_BLOCK_RANGE = 500_000
FEATURE_SET = 0


class ClusterMethods:
    def __init__(self, bank: Bank) -> None:
        self._bank = bank

    def table(self) -> Mapping[str, Callable[..., Any]]:
        return {
            "getHealth": self.health,
            "getVersion": self.version,
            "getIdentity": self.identity,
            "getGenesisHash": self.genesis_hash,
            "getSlot": self.slot,
            "getBlockHeight": self.block_height,
            "getBlockTime": self.block_time,
            "getBlocks": self.block_slots,
            "getFirstAvailableBlock": self.first_available_block,
            "minimumLedgerSlot": self.first_available_block,
            "getEpochInfo": self.epoch_info,
            "getEpochSchedule": self.epoch_schedule,
            "getTransactionCount": self.transaction_count,
            "getLatestBlockhash": self.latest_blockhash,
            "isBlockhashValid": self.is_blockhash_valid,
            "getFeeForMessage": self.fee_for_message,
            "getRecentPrioritizationFees": self.recent_prioritization_fees,
        }

    def health(self) -> Any:
        return "ok"

    def version(self) -> Any:
        return {"solana-core": API_VERSION, "feature-set": FEATURE_SET}

    def identity(self) -> Any:
        return {"identity": self._bank.genesis.identity}

    def genesis_hash(self) -> Any:
        return self._bank.genesis.genesis_hash

    def slot(self, config: CommitmentConfig) -> Any:
        require_slot(self._bank, config.level, config.min_context_slot)
        return self._bank.blocks.at(config.level).slot

    def block_height(self, config: CommitmentConfig) -> Any:
        require_slot(self._bank, config.level, config.min_context_slot)
        return self._bank.blocks.at(config.level).height

    def block_time(self, slot: Slot) -> Any:
        opened = self._bank.blocks.opened
        block = opened if slot == opened.slot else self._bank.ledger.block(slot)
        if block is None:
            raise SlotSkipped(f"Slot {slot} was skipped, or missing due to ledger jump to recent snapshot")
        return block.unix_time

    def block_slots(
        self,
        first_slot: Slot,
        last: Slot | CommitmentConfig | None = None,
        config: CommitmentConfig | None = None,
    ) -> Any:
        chosen = last if isinstance(last, CommitmentConfig) else config or CommitmentConfig()
        newest = self._bank.blocks.at(max(chosen.level, Commitment.CONFIRMED)).slot
        last_slot = min(last, newest) if isinstance(last, int) else newest
        if last_slot - first_slot > MAX_BLOCK_RANGE:
            raise InvalidParams(f"Slot range too large; max {MAX_BLOCK_RANGE}")
        return self._bank.ledger.blocks_between(first_slot, last_slot, MAX_BLOCK_RANGE)

    def first_available_block(self) -> Any:
        return 0

    def epoch_info(self, config: CommitmentConfig) -> Any:
        require_slot(self._bank, config.level, config.min_context_slot)
        return epoch_info(self._bank, config.level)

    def epoch_schedule(self) -> Any:
        return {
            "slotsPerEpoch": SLOTS_PER_EPOCH,
            "leaderScheduleSlotOffset": SLOTS_PER_EPOCH,
            "warmup": False,
            "firstNormalEpoch": 0,
            "firstNormalSlot": 0,
        }

    def transaction_count(self, config: CommitmentConfig) -> Any:
        return self._bank.transaction_count

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
        require_slot(self._bank, config.level, config.min_context_slot)
        parsed = _message(decode_bytes("message", message, "base64", MAX_TRANSACTION_BYTES))
        alive = self._bank.blocks.is_alive(parsed.recent_blockhash)
        return with_context(self._bank, config.level, fee_lamports(parsed) if alive else None)

    def recent_prioritization_fees(
        self, addresses: Annotated[list[Pubkey], Meta(max_length=128)] | None = None
    ) -> Any:
        slots = [slot for slot, _ in self._bank.blocks.slot_hashes()[:MAX_BLOCKHASH_AGE]]
        return [{"slot": slot, "prioritizationFee": 0} for slot in reversed(slots)]


def epoch_info(bank: Bank, commitment: Commitment) -> dict[str, Any]:
    """Where the chain is; also what a time travel answers."""
    block = bank.blocks.at(commitment)
    return {
        "absoluteSlot": block.slot,
        "blockHeight": block.height,
        "epoch": block.slot // SLOTS_PER_EPOCH,
        "slotIndex": block.slot % SLOTS_PER_EPOCH,
        "slotsInEpoch": SLOTS_PER_EPOCH,
        "transactionCount": bank.transaction_count,
    }


def _message(data: bytes) -> Message | MessageV0:
    try:
        return from_bytes_versioned(data)
    except ValueError as error:
        raise InvalidParams(f"failed to deserialize message: {error}") from None

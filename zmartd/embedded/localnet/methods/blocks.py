"""RPC methods about slots, blocks, blockhashes and fees."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any

from msgspec import Meta
from solders.hash import Hash
from solders.pubkey import Pubkey

from zmartd.chain.network_fees import fee_lamports
from zmartd.embedded.localnet.block_encoding import BlockConfig, block_json
from zmartd.embedded.localnet.chain.bank import Bank
from zmartd.embedded.localnet.chain.prioritization import lowest_prices
from zmartd.embedded.localnet.errors import BlockNotAvailable, InvalidParams, SlotSkipped
from zmartd.embedded.localnet.faults import FaultPlan
from zmartd.embedded.localnet.params import U64, CommitmentConfig, Slot, TransactionEncoding
from zmartd.embedded.localnet.response_context import require_confirmed, require_slot, with_context
from zmartd.embedded.localnet.wire import read_message

MAX_BLOCK_RANGE = 500_000
MAX_SAMPLES = 720
PRIORITIZATION_FEE_BLOCKS = 150
SAMPLE_SECONDS = 60
_AS_JSON = BlockConfig()


class BlockMethods:
    def __init__(self, bank: Bank, faults: FaultPlan) -> None:
        self._bank = bank
        self._faults = faults

    def table(self) -> Mapping[str, Callable[..., Any]]:
        return {
            "getSlot": self.slot,
            "getBlockHeight": self.block_height,
            "getBlock": self.block,
            "getBlockTime": self.block_time,
            "getBlocks": self.block_slots,
            "getBlocksWithLimit": self.block_slots_with_limit,
            "getFirstAvailableBlock": self.first_available_block,
            "minimumLedgerSlot": self.first_available_block,
            "getLatestBlockhash": self.latest_blockhash,
            "isBlockhashValid": self.is_blockhash_valid,
            "getFeeForMessage": self.fee_for_message,
            "getRecentPerformanceSamples": self.recent_performance_samples,
            "getRecentPrioritizationFees": self.recent_prioritization_fees,
        }

    def slot(self, config: CommitmentConfig) -> Any:
        require_slot(self._bank, config.level, config.min_context_slot)
        return self._bank.blocks.at(config.level).slot

    def block_height(self, config: CommitmentConfig) -> Any:
        require_slot(self._bank, config.level, config.min_context_slot)
        return self._bank.blocks.at(config.level).height

    def block(self, slot: Slot, config: BlockConfig | TransactionEncoding = _AS_JSON) -> Any:
        if not isinstance(config, BlockConfig):
            config = BlockConfig(encoding=config)
        require_confirmed(config.level)
        if slot > self._bank.blocks.at(config.level).slot:
            raise BlockNotAvailable(f"Block not available for slot {slot}")
        block = self._bank.ledger.block(slot)
        if block is None:
            raise SlotSkipped.of(slot)
        return block_json(self._bank.ledger, block, self._bank.ledger.transactions_in(slot), config)

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

    def block_slots_with_limit(self, first_slot: Slot, limit: U64, config: CommitmentConfig) -> Any:
        require_confirmed(config.level)
        if limit > MAX_BLOCK_RANGE:
            raise InvalidParams(f"Limit too large; max {MAX_BLOCK_RANGE}")
        newest = self._bank.blocks.at(config.level).slot
        return self._bank.ledger.slots_between(first_slot, newest, limit)

    def recent_performance_samples(self, limit: U64 = MAX_SAMPLES) -> Any:
        """A sample for each full minute of chain time, newest first."""
        if limit > MAX_SAMPLES:
            raise InvalidParams(f"Invalid limit; max {MAX_SAMPLES}")
        now = self._bank.blocks.opened.unix_time
        return [
            {
                "slot": sample.last_slot,
                "numSlots": sample.blocks,
                "numTransactions": sample.transactions,
                "numNonVoteTransactions": sample.transactions,
                "samplePeriodSecs": SAMPLE_SECONDS,
            }
            for sample in self._bank.ledger.samples(SAMPLE_SECONDS, now - now % SAMPLE_SECONDS, limit)
        ]

    def first_available_block(self) -> Any:
        return self._faults.first_available_block

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
        parsed = read_message(message)
        alive = self._bank.blocks.is_alive(parsed.recent_blockhash, config.level)
        return with_context(self._bank, config.level, fee_lamports(parsed) if alive else None)

    def recent_prioritization_fees(
        self, addresses: Annotated[list[Pubkey], Meta(max_length=128)] | None = None
    ) -> Any:
        """The lowest price in each of the last 150 blocks, in micro-lamports per compute unit."""
        blocks = self._bank.blocks.slot_hashes()[:PRIORITIZATION_FEE_BLOCKS]
        if not blocks:
            return []
        slots = [slot for slot, _ in reversed(blocks)]
        landed = self._bank.ledger.transactions_between(slots[0], slots[-1])
        fees = lowest_prices(landed, addresses or ())
        return [{"slot": slot, "prioritizationFee": fees.get(slot, 0)} for slot in slots]

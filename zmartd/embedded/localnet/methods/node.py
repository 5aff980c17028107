"""RPC methods about the node and its cluster."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from zmartd.embedded.localnet.chain.bank import Bank
from zmartd.embedded.localnet.chain.commitment import Commitment
from zmartd.embedded.localnet.chain.runtime import SLOTS_PER_EPOCH
from zmartd.embedded.localnet.params import CommitmentConfig
from zmartd.embedded.localnet.response_context import API_VERSION, require_slot

FEATURE_SET = 0


class NodeMethods:
    def __init__(self, bank: Bank) -> None:
        self._bank = bank

    def table(self) -> Mapping[str, Callable[..., Any]]:
        return {
            "getHealth": self.health,
            "getVersion": self.version,
            "getIdentity": self.identity,
            "getGenesisHash": self.genesis_hash,
            "getEpochInfo": self.epoch_info,
            "getEpochSchedule": self.epoch_schedule,
            "getTransactionCount": self.transaction_count,
        }

    def health(self) -> Any:
        return "ok"

    def version(self) -> Any:
        return {"solana-core": API_VERSION, "feature-set": FEATURE_SET}

    def identity(self) -> Any:
        return {"identity": self._bank.genesis.identity}

    def genesis_hash(self) -> Any:
        return self._bank.genesis.genesis_hash

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
        require_slot(self._bank, config.level, config.min_context_slot)
        return self._bank.transaction_count


def epoch_info(bank: Bank, commitment: Commitment) -> dict[str, Any]:
    """The result of `getEpochInfo` and of a time travel."""
    block = bank.blocks.at(commitment)
    return {
        "absoluteSlot": block.slot,
        "blockHeight": block.height,
        "epoch": block.slot // SLOTS_PER_EPOCH,
        "slotIndex": block.slot % SLOTS_PER_EPOCH,
        "slotsInEpoch": SLOTS_PER_EPOCH,
        "transactionCount": bank.transaction_count,
    }

"""RPC methods about the cluster: this node is all of it and leads every slot; nobody votes or has a stake."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any

from msgspec import Meta, Struct
from solders.pubkey import Pubkey

from zmartd.embedded.localnet.chain.bank import Bank
from zmartd.embedded.localnet.chain.commitment import Commitment
from zmartd.embedded.localnet.chain.runtime import SLOTS_PER_EPOCH
from zmartd.embedded.localnet.errors import BlockNotAvailable, InvalidParams, NoSnapshot
from zmartd.embedded.localnet.methods.node import FEATURE_SET
from zmartd.embedded.localnet.params import U64, CommitmentConfig, Slot
from zmartd.embedded.localnet.response_context import API_VERSION, require_slot, with_context
from zmartd.embedded.localnet.settings import Endpoints

MAX_SLOT_LEADERS = 5_000
MAX_REWARDED_ADDRESSES = 1_024
MIN_DELEGATION_LAMPORTS = 1_000_000_000
"""What the stake program of this runtime demands, with all features active."""


class LeaderConfig(CommitmentConfig, frozen=True, rename="camel", kw_only=True):
    identity: Pubkey | None = None


class SlotRange(Struct, frozen=True, rename="camel"):
    first_slot: Slot
    last_slot: Slot | None = None


class BlockProductionConfig(LeaderConfig, frozen=True, rename="camel", kw_only=True):
    range: SlotRange | None = None


class InflationRewardConfig(CommitmentConfig, frozen=True, rename="camel", kw_only=True):
    epoch: Annotated[int, Meta(ge=0, le=2**24)] | None = None


class ClusterMethods:
    def __init__(self, bank: Bank, endpoints: Endpoints) -> None:
        self._bank = bank
        self._endpoints = endpoints

    def table(self) -> Mapping[str, Callable[..., Any]]:
        return {
            "getBlockCommitment": self.block_commitment,
            "getBlockProduction": self.block_production,
            "getClusterNodes": self.cluster_nodes,
            "getHighestSnapshotSlot": self.highest_snapshot_slot,
            "getInflationGovernor": self.inflation_governor,
            "getInflationRate": self.inflation_rate,
            "getInflationReward": self.inflation_reward,
            "getLeaderSchedule": self.leader_schedule,
            "getMaxRetransmitSlot": self.newest_slot,
            "getMaxShredInsertSlot": self.newest_slot,
            "getSlotLeader": self.slot_leader,
            "getSlotLeaders": self.slot_leaders,
            "getStakeMinimumDelegation": self.stake_minimum_delegation,
            "getVoteAccounts": self.vote_accounts,
        }

    def cluster_nodes(self) -> Any:
        host, endpoints = self._endpoints.host, self._endpoints
        shown_host = f"[{host}]" if ":" in host else host
        return [
            {
                "pubkey": self._bank.genesis.identity,
                "gossip": None,
                "tpu": None,
                "tpuQuic": None,
                "rpc": f"{shown_host}:{endpoints.rpc_port}",
                "pubsub": f"{shown_host}:{endpoints.ws_port}",
                "version": API_VERSION,
                "featureSet": FEATURE_SET,
                "shredVersion": 0,
            }
        ]

    def vote_accounts(self, config: CommitmentConfig) -> Any:
        return {"current": [], "delinquent": []}

    def slot_leader(self, config: CommitmentConfig) -> Any:
        require_slot(self._bank, config.level, config.min_context_slot)
        return self._bank.genesis.identity

    def slot_leaders(self, first_slot: Slot, limit: U64) -> Any:
        if limit > MAX_SLOT_LEADERS:
            raise InvalidParams(f"Invalid limit; max {MAX_SLOT_LEADERS}")
        epoch = (first_slot + max(limit, 1) - 1) // SLOTS_PER_EPOCH
        if epoch > self._last_scheduled_epoch():
            raise InvalidParams(f"Invalid slot range: leader schedule for epoch {epoch} is unavailable")
        return [self._bank.genesis.identity] * limit

    def leader_schedule(
        self, slot: Slot | LeaderConfig | None = None, config: LeaderConfig | None = None
    ) -> Any:
        """The slots of each leader as indices into the epoch of `slot`; None of an epoch after the next."""
        chosen = slot if isinstance(slot, LeaderConfig) else config or LeaderConfig()
        at = slot if isinstance(slot, int) else self._bank.blocks.at(chosen.level).slot
        if at // SLOTS_PER_EPOCH > self._last_scheduled_epoch():
            return None
        return {self._bank.genesis.identity: list(range(SLOTS_PER_EPOCH))} if self._leads(chosen) else {}

    def block_production(self, config: BlockProductionConfig) -> Any:
        newest = self._bank.blocks.at(config.level).slot
        chosen = config.range or SlotRange(newest - newest % SLOTS_PER_EPOCH)
        first, last = chosen.first_slot, newest if chosen.last_slot is None else chosen.last_slot
        if last > newest:
            raise InvalidParams(f"lastSlot, {last}, is too large; max {newest}")
        if last < first:
            raise InvalidParams(f"lastSlot, {last}, cannot be less than firstSlot, {first}")
        counts = [last - first + 1, self._blocks_between(first, last)]
        value = {
            "byIdentity": {self._bank.genesis.identity: counts} if self._leads(config) else {},
            "range": {"firstSlot": first, "lastSlot": last},
        }
        return with_context(self._bank, config.level, value)

    def block_commitment(self, slot: Slot) -> Any:
        """No stake has voted on any block."""
        return {"commitment": None, "totalStake": 0}

    def inflation_governor(self, config: CommitmentConfig) -> Any:
        return {"initial": 0.0, "terminal": 0.0, "taper": 0.0, "foundation": 0.0, "foundationTerm": 0.0}

    def inflation_rate(self) -> Any:
        epoch = self._bank.blocks.finalized.slot // SLOTS_PER_EPOCH
        return {"total": 0.0, "validator": 0.0, "foundation": 0.0, "epoch": epoch}

    def inflation_reward(
        self,
        addresses: Annotated[list[Pubkey], Meta(max_length=MAX_REWARDED_ADDRESSES)],
        config: InflationRewardConfig,
    ) -> Any:
        """None for each address. Rewards of an epoch come with the first block of the next."""
        newest = self._bank.blocks.at(max(config.level, Commitment.CONFIRMED)).slot
        epoch = max(newest // SLOTS_PER_EPOCH - 1, 0) if config.epoch is None else config.epoch
        paid_at = (epoch + 1) * SLOTS_PER_EPOCH
        if paid_at > newest:
            raise BlockNotAvailable(f"Block not available for slot {paid_at}")
        return [None] * len(addresses)

    def highest_snapshot_slot(self) -> Any:
        raise NoSnapshot

    def newest_slot(self) -> Any:
        return self._bank.blocks.opened.slot

    def stake_minimum_delegation(self, config: CommitmentConfig) -> Any:
        return with_context(self._bank, config.level, MIN_DELEGATION_LAMPORTS)

    def _leads(self, config: LeaderConfig) -> bool:
        """Whether the one leader is asked for."""
        return config.identity is None or str(config.identity) == self._bank.genesis.identity

    def _last_scheduled_epoch(self) -> int:
        return self._bank.blocks.opened.slot // SLOTS_PER_EPOCH + 1

    def _blocks_between(self, first: int, last: int) -> int:
        """Heights have no gaps, though slots can be skipped and old empty blocks are deleted."""
        ledger, opened = self._bank.ledger, self._bank.blocks.opened
        newest = opened if last >= opened.slot else ledger.block_before(last + 1)
        before = ledger.block_before(first)
        return 0 if newest is None else newest.height - (-1 if before is None else before.height)

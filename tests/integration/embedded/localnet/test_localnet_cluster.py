"""What explorers and client libraries ask about the cluster, of which this node is all."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from solders.keypair import Keypair
from solders.pubkey import Pubkey

from tests.integration.embedded.localnet.localnet_client import SOL, Chain

EPOCH_SLOTS = 432_000


async def identity(chain: Chain) -> str:
    return str((await chain.call("getIdentity"))["identity"])


async def test_the_node_is_the_whole_cluster(chain: Chain) -> None:
    (node,) = await chain.call("getClusterNodes")
    assert node["pubkey"] == await identity(chain)
    assert f"http://{node['rpc']}" == chain.endpoints.rpc_url
    assert f"ws://{node['pubsub']}" == chain.endpoints.ws_url
    assert (node["gossip"], node["tpu"]) == (None, None)
    assert await chain.call("getVoteAccounts") == {"current": [], "delinquent": []}


async def test_the_node_leads_every_slot(chain: Chain) -> None:
    leader = await identity(chain)
    assert await chain.call("getSlotLeader") == leader
    assert await chain.call("getSlotLeaders", 5, 3) == [leader] * 3
    schedule = await chain.call("getLeaderSchedule")
    assert list(schedule) == [leader]
    assert schedule[leader] == list(range(EPOCH_SLOTS))
    assert await chain.call("getLeaderSchedule", None, {"identity": str(Pubkey.new_unique())}) == {}
    assert list(await chain.call("getLeaderSchedule", {"identity": leader})) == [leader]
    assert list(await chain.call("getLeaderSchedule", EPOCH_SLOTS)) == [leader]
    assert await chain.call("getLeaderSchedule", 2 * EPOCH_SLOTS) is None
    assert (await chain.error("getSlotLeaders", 0, 5_001))["message"] == "Invalid limit; max 5000"
    assert (await chain.error("getSlotLeaders", 2 * EPOCH_SLOTS, 1))["code"] == -32602


async def test_skipped_slots_are_not_produced(chain: Chain) -> None:
    leader = await identity(chain)
    await chain.advance(4)
    await chain.call("surfnet_timeTravel", {"absoluteSlot": 10})
    await chain.advance(2)
    confirmed: dict[str, Any] = {"commitment": "confirmed"}
    assert await chain.call("getBlocks", 0, confirmed) == [0, 1, 2, 3, 4, 5, 10, 11]
    assert (await chain.call("getBlockProduction", confirmed))["value"] == {
        "byIdentity": {leader: [12, 8]},
        "range": {"firstSlot": 0, "lastSlot": 11},
    }
    some = confirmed | {"range": {"firstSlot": 4, "lastSlot": 10}}
    assert (await chain.call("getBlockProduction", some))["value"]["byIdentity"] == {leader: [7, 3]}
    none = confirmed | {"identity": str(Pubkey.new_unique())}
    assert (await chain.call("getBlockProduction", none))["value"]["byIdentity"] == {}
    for wrong in ({"firstSlot": 0, "lastSlot": 99}, {"firstSlot": 5, "lastSlot": 4}):
        assert (await chain.error("getBlockProduction", confirmed | {"range": wrong}))["code"] == -32602


async def test_blocks_can_be_listed_by_number(chain: Chain) -> None:
    await chain.advance(5)
    confirmed = {"commitment": "confirmed"}
    assert await chain.call("getBlocksWithLimit", 2, 3, confirmed) == [2, 3, 4]
    assert await chain.call("getBlocksWithLimit", 4, 100, confirmed) == [4, 5]
    assert await chain.call("getBlocksWithLimit", 4, 0, confirmed) == []
    error = await chain.error("getBlocksWithLimit", 0, 500_001)
    assert error["message"] == "Limit too large; max 500000"
    assert (await chain.error("getBlocksWithLimit", 0, 1, {"commitment": "processed"}))["code"] == -32602


async def test_nobody_stakes_and_nothing_is_inflated(chain: Chain) -> None:
    assert await chain.call("getBlockCommitment", 0) == {"commitment": None, "totalStake": 0}
    assert set((await chain.call("getInflationGovernor")).values()) == {0.0}
    rate = await chain.call("getInflationRate")
    assert rate == {"total": 0.0, "validator": 0.0, "foundation": 0.0, "epoch": 0}
    assert (await chain.call("getStakeMinimumDelegation"))["value"] == SOL
    addresses = [str(Pubkey.new_unique()), str(Pubkey.new_unique())]
    error = await chain.error("getInflationReward", addresses, {"commitment": "confirmed"})
    assert error == {"code": -32004, "message": f"Block not available for slot {EPOCH_SLOTS}"}
    await chain.call("surfnet_timeTravel", {"absoluteEpoch": 1})
    await chain.advance(1)
    rewards = await chain.call("getInflationReward", addresses, {"commitment": "confirmed"})
    assert rewards == [None, None]


async def test_the_newest_slot_is_where_this_node_is(chain: Chain) -> None:
    await chain.advance(3)
    assert await chain.call("getMaxRetransmitSlot") == 4
    assert await chain.call("getMaxShredInsertSlot") == 4
    assert await chain.error("getHighestSnapshotSlot") == {"code": -32008, "message": "No snapshot"}


async def test_each_full_minute_has_its_performance(chain: Chain) -> None:
    assert await chain.call("getRecentPerformanceSamples") == []
    await chain.wallet()
    opened = await chain.call("getSlot", {"commitment": "processed"})
    now = await chain.call("getBlockTime", opened)
    minute = (now // 60 + 2) * 60
    await chain.call("surfnet_timeTravel", {"absoluteTimestamp": minute * 1000})
    await chain.wallet()
    await chain.wallet()
    await chain.call("surfnet_timeTravel", {"absoluteTimestamp": (minute + 61) * 1000})
    newest, *_ = samples = await chain.call("getRecentPerformanceSamples")
    # On a slow machine a minute ends between two calls.
    assert sum(one["numTransactions"] for one in samples) == 3
    assert [one["numTransactions"] for one in samples if one["numTransactions"]][-1] == 1
    for later, earlier in pairwise(samples):
        assert later["slot"] > earlier["slot"]
        assert later["numTransactions"] == later["numNonVoteTransactions"] <= 2 * later["numSlots"]
        assert later["samplePeriodSecs"] == 60
    assert len(samples) > 1
    assert await chain.call("getRecentPerformanceSamples", 1) == [newest]
    assert (await chain.error("getRecentPerformanceSamples", 721))["message"] == "Invalid limit; max 720"


async def test_all_lamports_are_counted_and_the_richest_come_first(chain: Chain) -> None:
    before = (await chain.call("getSupply", {"commitment": "processed"}))["value"]
    assert before["total"] == before["circulating"]
    assert (before["nonCirculating"], before["nonCirculatingAccounts"]) == (0, [])
    wallet = await chain.wallet(7 * SOL)
    await chain.call("surfnet_setAccount", str(Keypair().pubkey()), {"lamports": 2 * SOL})
    await chain.send(await chain.transfer(wallet, Keypair().pubkey(), SOL))
    after = (await chain.call("getSupply", {"commitment": "processed"}))["value"]
    assert after["total"] == before["total"] + 2 * SOL - 2 * 5_000, "what was made, less the fees of two"
    assert (await chain.call("getSupply", {"commitment": "finalized"}))["value"] == before
    richest = (await chain.call("getLargestAccounts", {"commitment": "processed"}))["value"]
    assert [one["lamports"] for one in richest[1:4]] == [6 * SOL - 5_000, 2 * SOL, SOL]
    assert richest[1]["address"] == str(wallet.pubkey())
    none = await chain.call("getLargestAccounts", {"filter": "nonCirculating"})
    assert none["value"] == []


@pytest.mark.parametrize("details", ["full", "accounts", "signatures", "none"])
async def test_a_block_is_shown_with_as_much_as_is_asked_for(chain: Chain, details: str) -> None:
    wallet, friend = await chain.wallet(), Keypair().pubkey()
    signature = await chain.send(await chain.transfer(wallet, friend, SOL))
    await chain.advance()
    config: dict[str, Any] = {"commitment": "confirmed", "transactionDetails": details}
    if details in ("full", "accounts"):
        error = await chain.error("getBlock", 2, config)
        assert error["code"] == -32015
        assert '"maxSupportedTransactionVersion": 0' in error["message"]
    block = await chain.call("getBlock", 2, config | {"maxSupportedTransactionVersion": 0})
    assert block["rewards"] == []
    assert "rewards" not in await chain.call(
        "getBlock", 2, config | {"maxSupportedTransactionVersion": 0, "rewards": False}
    )
    match details:
        case "full":
            (shown,) = block["transactions"]
            assert shown["transaction"]["signatures"] == [signature]
            assert shown["version"] == 0
        case "accounts":
            (shown,) = block["transactions"]
            assert shown["transaction"]["signatures"] == [signature]
            keys = shown["transaction"]["accountKeys"]
            assert [key["pubkey"] for key in keys[:2]] == [str(wallet.pubkey()), str(friend)]
            assert keys[0] == {
                "pubkey": str(wallet.pubkey()),
                "signer": True,
                "writable": True,
                "source": "transaction",
            }
            assert (shown["meta"]["fee"], shown["meta"]["err"]) == (5_000, None)
            assert "logMessages" not in shown["meta"]
        case "signatures":
            assert block["signatures"] == [signature]
        case _:
            assert {"transactions", "signatures"}.isdisjoint(block)
    assert (await chain.call("getBlock", 0, "base64"))["transactions"] == []

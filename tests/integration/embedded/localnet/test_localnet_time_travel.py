import base64

from solders.clock import Clock
from solders.keypair import Keypair
from solders.sysvar import CLOCK

from tests.integration.embedded.localnet.localnet_client import SOL, Chain


async def clock(chain: Chain) -> Clock:
    """The Clock sysvar as programs see it."""
    found = await chain.call("getAccountInfo", str(CLOCK), {"commitment": "processed", "encoding": "base64"})
    return Clock.from_bytes(base64.b64decode(found["value"]["data"][0]))


async def test_travelling_to_a_time_moves_the_clock_that_programs_see(chain: Chain) -> None:
    before = await clock(chain)
    target = before.unix_timestamp + 72 * 3600
    info = await chain.call("surfnet_timeTravel", {"absoluteTimestamp": target * 1000})
    after = await clock(chain)
    assert after.unix_timestamp == target
    assert info["absoluteSlot"] == after.slot > before.slot
    assert await chain.call("getBlockTime", after.slot) == target


async def test_time_goes_on_from_where_it_was_moved_to(chain: Chain) -> None:
    target = (await clock(chain)).unix_timestamp + 1_000
    await chain.call("surfnet_timeTravel", {"absoluteTimestamp": target * 1000})
    await chain.advance(3)
    assert target <= (await clock(chain)).unix_timestamp <= target + 60


async def test_travelling_to_a_slot_moves_the_time_along(chain: Chain) -> None:
    before = await clock(chain)
    info = await chain.call("surfnet_timeTravel", {"absoluteSlot": before.slot + 10})
    after = await clock(chain)
    assert (info["absoluteSlot"], after.slot) == (before.slot + 10, before.slot + 10)
    assert after.unix_timestamp - before.unix_timestamp >= 10 * 3600  # a slot of this localnet is an hour


async def test_travelling_to_an_epoch_arrives_at_its_first_slot(chain: Chain) -> None:
    info = await chain.call("surfnet_timeTravel", {"absoluteEpoch": 2})
    assert (info["epoch"], info["slotIndex"], info["absoluteSlot"]) == (2, 0, 864_000)
    assert (await clock(chain)).epoch == 2


async def test_nobody_travels_into_the_past(chain: Chain) -> None:
    now = await clock(chain)
    await chain.advance(5)
    for destination in (
        {"absoluteTimestamp": (now.unix_timestamp - 1) * 1000},
        {"absoluteSlot": 3},
        {"absoluteEpoch": 0},
    ):
        error = await chain.error("surfnet_timeTravel", destination)
        assert error["code"] == -32602
    assert (await clock(chain)).slot == 6


async def test_travelling_confirms_what_was_open_and_keeps_blockhashes_alive(chain: Chain) -> None:
    wallet, friend = await chain.wallet(), Keypair().pubkey()
    transaction = await chain.transfer(wallet, friend, SOL)
    signature = await chain.send(await chain.transfer(wallet, friend, SOL + 1))
    now = await clock(chain)
    await chain.call("surfnet_timeTravel", {"absoluteTimestamp": (now.unix_timestamp + 10**7) * 1000})
    statuses = await chain.call("getSignatureStatuses", [signature])
    assert statuses["value"][0]["confirmationStatus"] == "confirmed"
    await chain.send(transaction)
    assert await chain.balance(friend) == 2 * SOL + 1


async def test_the_clock_stands_still_within_a_slot(chain: Chain) -> None:
    wallet = await chain.wallet()
    first = await chain.send(await chain.transfer(wallet, Keypair().pubkey(), SOL))
    second = await chain.send(await chain.transfer(wallet, Keypair().pubkey(), SOL))
    await chain.advance()
    found = [
        await chain.call(
            "getTransaction", signature, {"commitment": "confirmed", "maxSupportedTransactionVersion": 0}
        )
        for signature in (first, second)
    ]
    assert found[0]["blockTime"] == found[1]["blockTime"]

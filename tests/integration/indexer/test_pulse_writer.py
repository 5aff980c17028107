from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from solders.instruction import AccountMeta, Instruction
from solders.system_program import TransferParams, transfer

from tests.integration.tasks.world import CREATOR, HOLDERS, PROGRAM_ID, TREASURY, World
from zmartd.clock import SystemClock
from zmartd.indexer.pulse import PulseWriter


@asynccontextmanager
async def pulsing(world: World) -> AsyncIterator[None]:
    fetcher = world.own.fetcher
    writer = PulseWriter(
        rpc=world.own.rpc,
        program_id=PROGRAM_ID,
        database=world.database,
        indexer=fetcher.indexer,
        fetcher=fetcher,
        clock=SystemClock(),
        jitter=random.Random(1),
    )
    task = asyncio.create_task(writer.run())
    yield
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def slots(world: World) -> tuple[int, int]:
    """Up to where the index lacks nothing, and the newest."""
    rows = await world.fetch("select slot, newest_slot from pulses")
    return rows[0] if rows else (0, 0)


async def until_told(world: World, slot: int) -> None:
    """Return when a node has told a slot from this one on."""

    async def told() -> bool:
        return (await slots(world))[1] >= slot

    await world.until(told)


async def until_indexed(world: World, slot: int) -> None:
    """Return when the index lacks nothing up to this slot."""

    async def indexed() -> bool:
        return (await slots(world))[0] >= slot

    await world.until(indexed)


async def slot_of(world: World, signature: str) -> int:
    status = (await world.own.rpc.signature_statuses([signature])).by_signature[signature]
    assert status is not None
    return status.slot


async def test_what_the_index_lacks_holds_the_pulse_at_its_slot_until_it_is_indexed(world: World) -> None:
    await world.proposal()
    async with pulsing(world):
        await until_indexed(world, 1)
        create = world.program.create_market(
            creator=CREATOR.pubkey(),
            market_id=bytes(32),
            b_parameter=5 * 10**11,
            initial_liquidity=10**9,
            ipfs_question_hash="Qm" + "a" * 44,
        )
        missing = await world.act(CREATOR, create, indexed=False)
        later = await world.act(HOLDERS[0], _mention(), indexed=False)
        slot = await slot_of(world, missing)
        for ahead in (100, 400):
            await until_told(world, slot + ahead)
            assert (await slots(world))[0] == slot - 1
        await world.own.fetcher.apply_signature(missing)
        await until_indexed(world, await slot_of(world, later))


async def test_a_transaction_without_events_that_mentions_the_program_does_not_hold_the_pulse(
    world: World,
) -> None:
    await world.proposal()
    async with pulsing(world):
        await until_indexed(world, 1)
        mention = await world.act(HOLDERS[0], _mention(), indexed=False)
        await until_indexed(world, await slot_of(world, mention))


def _mention() -> Instruction:
    """A transfer that names the program, which has no part in it."""
    said = transfer(
        TransferParams(from_pubkey=HOLDERS[0].pubkey(), to_pubkey=TREASURY.pubkey(), lamports=1_000_000)
    )
    return Instruction(said.program_id, said.data, [*said.accounts, AccountMeta(PROGRAM_ID, False, False)])

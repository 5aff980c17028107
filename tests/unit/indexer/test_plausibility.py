from __future__ import annotations

import asyncio

import pytest
from solders.pubkey import Pubkey

from tests.integration.tasks.manual_clock import ManualClock
from tests.unit.chain.chain_logs import OURS, event_line, frame, parsed
from zmartd.chain.answers import ChainTime
from zmartd.chain.events import ProtocolPauseStatusChanged
from zmartd.chain.transactions import ChainTransaction
from zmartd.chain.transport import RpcUnavailable
from zmartd.indexer.plausibility import MARGIN_SECONDS, MARGIN_SLOTS, PAST_SECONDS, PAST_SLOTS, Plausibility

SLOT, TIME = 1_000_000, 1_800_000_000


class Node:
    """Answers with the chain's slot and time, and counts the requests."""

    def __init__(self) -> None:
        self.now = ChainTime(SLOT, TIME)
        self.asked = 0
        self.away = False

    async def ask(self) -> ChainTime:
        self.asked += 1
        await asyncio.sleep(0)
        if self.away:
            raise RpcUnavailable
        return self.now


def pause(slot: int = SLOT, seconds: int = TIME, block_time: int | None = TIME) -> ChainTransaction:
    event = ProtocolPauseStatusChanged(True, paused_by=Pubkey.default(), timestamp=seconds)
    return parsed(frame(OURS, event_line(event)), slot=slot, blockTime=block_time)


@pytest.fixture
def node() -> Node:
    return Node()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def plausibility(node: Node, clock: ManualClock) -> Plausibility:
    plausibility = Plausibility(node.ask, clock)
    await plausibility.refresh()
    return plausibility


@pytest.mark.parametrize(
    ("transaction", "plausible"),
    [
        (pause(), True),
        (pause(slot=SLOT + MARGIN_SLOTS), True),
        (pause(slot=SLOT + MARGIN_SLOTS + 1), False),
        (pause(slot=2**63 - 1), False),
        (pause(slot=SLOT - PAST_SLOTS), True),
        (pause(slot=SLOT - PAST_SLOTS - 1), False),
        (pause(slot=0), False),
        (pause(block_time=TIME + MARGIN_SECONDS), True),
        (pause(block_time=TIME + MARGIN_SECONDS + 1), False),
        (pause(block_time=TIME - PAST_SECONDS), True),
        (pause(block_time=TIME - PAST_SECONDS - 1), False),
        (pause(block_time=None), True),
        (pause(seconds=TIME + MARGIN_SECONDS + 1), False),
        (pause(seconds=2**63 - 1), False),
        (pause(seconds=-(2**63)), False),
        (pause(seconds=TIME - PAST_SECONDS - 1), False),
        (parsed(frame(OURS), slot=2**62), True),
        (parsed(frame(OURS), slot=2**62, err={"InstructionError": [0, "Custom"]}), True),
        (parsed(None, slot=2**62, runs=1), False),
    ],
)
async def test_only_what_changes_something_and_is_neither_future_nor_past_is_in_doubt(
    plausibility: Plausibility, transaction: ChainTransaction, plausible: bool
) -> None:
    assert (plausibility.doubt(transaction) is None) is plausible


async def test_before_the_first_answer_everything_is_the_future(node: Node, clock: ManualClock) -> None:
    plausibility = Plausibility(node.ask, clock)
    assert plausibility.doubt(pause()) is not None
    await plausibility.refresh_if_needed([pause()])
    assert plausibility.doubt(pause()) is None


async def test_true_slots_do_not_overtake_the_estimate_while_the_node_is_away(
    node: Node, clock: ManualClock, plausibility: Plausibility
) -> None:
    node.away = True
    for hour in range(1, 25):
        clock.advance(3_600)
        slot, time = SLOT + hour * 9_000, TIME + hour * 3_600
        await plausibility.refresh_if_needed([pause(slot, time, time)])
        assert plausibility.doubt(pause(slot, time, time)) is None


async def test_deliveries_cause_few_questions(
    node: Node, clock: ManualClock, plausibility: Plausibility
) -> None:
    for _ in range(1_000):
        await plausibility.refresh_if_needed([pause()])
    assert node.asked == 1
    for _ in range(1_000):
        clock.advance(0.1)
        await plausibility.refresh_if_needed([pause()])
    assert node.asked == 4, "one every 30 seconds"
    for _ in range(1_000):
        clock.advance(0.1)
        await plausibility.refresh_if_needed([pause(slot=2**62)])
    assert node.asked <= 4 + 50, "one every 2 seconds"
    before, node.away = node.asked, True
    for _ in range(1_000):
        clock.advance(0.1)
        await plausibility.refresh_if_needed([pause(slot=2**62)])
    assert node.asked <= before + 11, "one every 10 seconds"


async def test_those_who_ask_at_once_share_one_answer(node: Node, plausibility: Plausibility) -> None:
    await asyncio.gather(*(plausibility.refresh() for _ in range(100)))
    assert node.asked == 2


async def test_a_wrong_answer_is_gone_with_the_next(
    node: Node, clock: ManualClock, plausibility: Plausibility
) -> None:
    for wrong in (ChainTime(2**62, 2**62), ChainTime(1, 1)):
        node.now = wrong
        await plausibility.refresh()
        assert plausibility.doubt(pause()) is not None
        node.now = ChainTime(SLOT, TIME)
        clock.advance(2)
        await plausibility.refresh_if_needed([pause()])
        assert plausibility.doubt(pause()) is None


async def test_the_newest_slot_is_asked_for_again_when_the_last_answer_is_stale(
    plausibility: Plausibility, node: Node, clock: ManualClock
) -> None:
    node.now = ChainTime(SLOT + 7, TIME)
    assert [await plausibility.newest_slot() for _ in range(3)] == [SLOT] * 3
    assert node.asked == 1
    clock.advance(31)
    assert await asyncio.gather(*(plausibility.newest_slot() for _ in range(3))) == [SLOT + 7, SLOT, SLOT]
    assert node.asked == 2

    node.away = True
    node.now = ChainTime(SLOT + 8, TIME)
    clock.advance(31)
    assert [await plausibility.newest_slot() for _ in range(3)] == [SLOT + 7] * 3
    assert node.asked == 3


async def test_no_newest_slot_is_known_before_the_node_has_answered(node: Node, clock: ManualClock) -> None:
    node.away = True
    plausibility = Plausibility(node.ask, clock)
    assert await plausibility.newest_slot() is None


async def test_the_present_is_the_last_answer_and_what_has_passed_since(
    node: Node, clock: ManualClock, plausibility: Plausibility
) -> None:
    node.now = ChainTime(SLOT, TIME - 7)
    clock.advance(9)
    assert [await plausibility.present() for _ in range(3)] == [TIME + 9] * 3
    assert node.asked == 1
    clock.advance(30)
    assert [await plausibility.present() for _ in range(3)] == [TIME - 7] * 3
    assert node.asked == 2


async def test_where_the_clock_can_be_moved_the_present_is_asked_for_twice_a_second(
    node: Node, clock: ManualClock
) -> None:
    plausibility = Plausibility(node.ask, clock, jumps=True)
    await plausibility.present()
    node.now = ChainTime(SLOT, TIME + 86_400)
    assert [await plausibility.present() for _ in range(3)] == [TIME] * 3
    clock.advance(0.5)
    assert [await plausibility.present() for _ in range(3)] == [TIME + 86_400] * 3
    assert node.asked == 2


async def test_the_present_is_that_of_this_machine_until_a_node_has_answered(
    node: Node, clock: ManualClock
) -> None:
    node.away = True
    assert await Plausibility(node.ask, clock).present() == int(clock.time())

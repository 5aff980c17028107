from zmartd.embedded.localnet.chain.clock import ChainClock


class Machine:
    """A clock that the test sets."""

    def __init__(self, unix_time: float) -> None:
        self.unix_time = unix_time

    def time(self) -> float:
        return self.unix_time

    def monotonic(self) -> float:
        return self.unix_time

    async def sleep(self, seconds: float) -> None:
        self.unix_time += seconds


def test_it_follows_the_machine() -> None:
    machine = Machine(1_000.9)
    clock = ChainClock(machine, offset_seconds=0, not_before_unix_time=0)
    assert clock.read() == 1_000
    machine.unix_time += 5
    assert clock.read() == 1_005


def test_a_machine_that_is_set_back_does_not_set_the_chain_back() -> None:
    machine = Machine(1_000)
    clock = ChainClock(machine, offset_seconds=0, not_before_unix_time=0)
    clock.read()
    machine.unix_time = 10
    assert clock.read() == 1_000


def test_it_does_not_fall_behind_the_last_block() -> None:
    assert ChainClock(Machine(1_000), offset_seconds=0, not_before_unix_time=2_000).read() == 2_000


def test_travel_is_kept_as_an_offset_for_the_next_start() -> None:
    machine = Machine(1_000)
    clock = ChainClock(machine, offset_seconds=0, not_before_unix_time=0)
    clock.travel(500)
    assert (clock.read(), clock.offset_seconds) == (1_500, 500)
    machine.unix_time = 1_010
    assert ChainClock(machine, clock.offset_seconds, not_before_unix_time=1_500).read() == 1_510


def test_travel_counts_from_the_time_that_the_chain_has_reached() -> None:
    clock = ChainClock(Machine(1_000), offset_seconds=0, not_before_unix_time=3_000)
    clock.travel(10)
    assert clock.read() == 3_010

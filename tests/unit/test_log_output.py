from __future__ import annotations

import io
import os
import threading
from collections.abc import Iterator

import pytest

from tests.patience import SECONDS
from zmartd.log_output import BackgroundOutput, background_output

LINE = "x" * 99 + "\n"
LINES = 5_000
"""Much more than a pipe and the queue take."""
QUEUE_BYTES = 100_000


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """The reading and the writing end of a pipe, which the test closes."""
    ends = os.pipe()
    yield ends
    for end in ends:
        os.close(end)


def test_a_reader_who_stands_still_stops_nobody_and_learns_how_much_was_dropped(
    pipe: tuple[int, int],
) -> None:
    reads, writes = pipe
    dropped: list[int] = []
    told = threading.Event()

    def tell(lines: int) -> None:
        dropped.append(lines)
        told.set()

    output = BackgroundOutput(writes, QUEUE_BYTES, tell)
    for _ in range(LINES):
        output.write(LINE)
    assert not output.drain(0)
    received = bytearray()
    reader = threading.Thread(target=lambda: read_until_told(reads, received, told), daemon=True)
    reader.start()
    assert output.drain(SECONDS)
    assert told.wait(SECONDS)
    output.write("the last\n")
    reader.join(SECONDS)
    *whole, last = received.decode().splitlines(keepends=True)
    assert last == "the last\n"
    assert set(whole) == {LINE}
    assert len(whole) + sum(dropped) == LINES
    assert sum(dropped) > LINES // 2


def read_until_told(descriptor: int, received: bytearray, told: threading.Event) -> None:
    while not (told.is_set() and received.endswith(b"the last\n")):
        received += os.read(descriptor, 65_536)


def test_lines_of_several_threads_stay_whole_and_in_the_order_of_each(pipe: tuple[int, int]) -> None:
    reads, writes = pipe
    output = BackgroundOutput(writes)
    threads = [
        threading.Thread(target=lambda name=name: [output.write(f"{name} {i}\n") for i in range(200)])
        for name in "ab"
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert output.drain(SECONDS)
    lines = os.read(reads, 65_536).decode().splitlines()
    assert [line for line in lines if line.startswith("a")] == [f"a {i}" for i in range(200)]
    assert [line for line in lines if line.startswith("b")] == [f"b {i}" for i in range(200)]


def test_a_reader_who_is_gone_stops_nobody() -> None:
    reads, writes = os.pipe()
    os.close(reads)
    output = BackgroundOutput(writes)
    for _ in range(10):
        output.write(LINE)
    assert output.drain(SECONDS)
    os.close(writes)


def test_a_stream_that_is_no_file_is_used_as_it_is() -> None:
    stream = io.StringIO()
    with background_output(stream, lambda _: None) as output:
        assert output is stream

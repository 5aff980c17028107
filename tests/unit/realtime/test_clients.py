"""How clients are written to: together, the same bytes once, and what becomes of those that do not read."""

from __future__ import annotations

import asyncio
import json
import zlib
from typing import Any

import pytest

from tests.integration.realtime.listeners import RecordingWriter
from tests.signing_wallet import FixedClock
from tests.unit.realtime.market_messages import MARKET, PRICE, TRADE, message
from zmartd.realtime import outbox as outbox_module
from zmartd.realtime.client import ASKED_BYTES_PER_SECOND, BEHIND_SECONDS, Client, deliver_to_all
from zmartd.realtime.encodings import deflated_text_frame, text_frame
from zmartd.realtime.frames import Broadcast
from zmartd.realtime.outbox import Outbox

LIMIT = 10_000


class Writer(RecordingWriter):
    """Keeps what was written as it was."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[bytes] = []

    def write(self, data: bytes) -> None:
        self.writes.append(data)
        super().write(data)

    def read_all(self, client: Client) -> None:
        """Its client reads everything."""
        self.stalled, self._unread = False, 0
        client.catch_up()


@pytest.fixture
def clock() -> FixedClock:
    return FixedClock()


@pytest.fixture
async def outbox(clock: FixedClock) -> Outbox:
    return Outbox(LIMIT, clock)


def connected(outbox: Outbox) -> tuple[Client, Writer]:
    writer = Writer()
    return Client(writer, outbox, text_frame), writer


def trades(first: int, last: int) -> list[Broadcast]:
    return [Broadcast(message(TRADE, seq)) for seq in range(first, last + 1)]


def change(seq: int) -> list[Broadcast]:
    """A trade and the price after it."""
    return [Broadcast(message(TRADE, seq)), Broadcast(message(PRICE, seq + 1))]


async def turns(count: int = 3) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_clients_for_whom_the_same_waits_get_the_very_same_bytes(outbox: Outbox) -> None:
    pairs = [connected(outbox) for _ in range(3)]
    late, late_writer = connected(outbox)
    clients = [client for client, _ in pairs]
    deliver_to_all(clients, trades(1, 2), MARKET)
    deliver_to_all([*clients, late], trades(3, 3), MARKET)
    await turns()
    first, *others = [writer.writes for _, writer in pairs]
    assert len(first) == 1
    assert all(writes[0] is first[0] for writes in others)
    assert [writer.told for _, writer in pairs] == [[1, 2, 3]] * 3
    assert late_writer.told == [3]


async def test_who_is_signed_in_gets_other_bytes(outbox: Outbox) -> None:
    (anonymous, plain), (known, whole) = connected(outbox), connected(outbox)
    known.signed_in = True
    deliver_to_all([anonymous, known], trades(1, 1), MARKET)
    await turns()
    assert "…" in plain.frames[0]["data"]["trader"]
    assert "…" not in whole.frames[0]["data"]["trader"]


async def test_the_first_message_goes_out_at_once_and_those_after_it_together(
    outbox: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox_module, "PAUSE_FACTOR", 1e9)
    monkeypatch.setattr(outbox_module, "MAX_PAUSE_SECONDS", 1.0)  # the machine may be slow
    client, writer = connected(outbox)
    deliver_to_all([client], trades(1, 1), MARKET)
    await turns()
    assert writer.told == [1]
    for seq in range(2, 6):
        deliver_to_all([client], trades(seq, seq), MARKET)
        await turns()
    assert writer.told == [1]
    await writer.until(lambda out: len(out.told) == 5)
    assert len(writer.writes) == 2


async def test_an_answer_waits_for_nobody_and_overtakes_nothing(
    outbox: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox_module, "PAUSE_FACTOR", 1e9)
    client, writer = connected(outbox)
    for seq in (1, 2):
        deliver_to_all([client], trades(seq, seq), MARKET)
        await turns()
    client.send(b'{"type":"pong","data":{}}')
    await turns()
    assert [frame["type"] for frame in writer.frames] == ["trade", "trade", "pong"]


async def test_more_clients_than_one_turn_writes_to_are_all_written_to(
    outbox: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox_module, "AT_ONCE", 10)
    pairs = [connected(outbox) for _ in range(30)]
    clients = [client for client, _ in pairs]
    deliver_to_all(clients, trades(1, 1), MARKET)
    await turns(2)
    deliver_to_all(clients, trades(2, 2), MARKET)
    for _, writer in pairs:
        await writer.until(lambda out: out.told == [1, 2])


async def test_for_a_client_that_is_behind_only_the_newest_price_waits_and_a_frame_names_the_rest(
    outbox: Outbox,
) -> None:
    client, writer = connected(outbox)
    witness, quick = connected(outbox)
    writer.stalled = True
    for seq in range(1, 11, 2):
        deliver_to_all([client, witness], change(seq), MARKET)
        await quick.until(lambda out, seq=seq: seq + 1 in out.told)  # type: ignore[misc]
    assert quick.told == list(range(1, 11))
    assert writer.told == [1, 2]  # what was written before it fell behind
    writer.read_all(client)
    skipped, *rest = writer.frames[2:]
    assert (skipped["type"], skipped["market_id"], skipped["data"]["seqs"]) == ("skipped", MARKET, [4, 6, 8])
    assert [frame["seq"] for frame in rest] == [3, 5, 7, 9, 10]
    assert [frame["type"] for frame in rest] == ["trade"] * 4 + ["price_update"]


async def test_what_is_not_a_price_never_drops_silently(outbox: Outbox) -> None:
    client, writer = connected(outbox)
    writer.stalled = True
    size = len(trades(1, 1)[0].frame(MARKET, signed_in=False))
    seq = 0
    while writer.closed is None:
        seq += 1
        deliver_to_all([client], trades(seq, seq), MARKET)
        await turns()
        await asyncio.sleep(0.01)
    assert writer.closed[0] == 1013
    assert LIMIT < seq * size < LIMIT + 3 * size
    assert writer.told == [1]


async def test_a_client_that_stays_behind_is_disconnected_after_five_seconds(
    outbox: Outbox, clock: FixedClock
) -> None:
    client, writer = connected(outbox)
    writer.stalled = True
    deliver_to_all([client], trades(1, 1), MARKET)
    await turns()
    client.check(clock.now + BEHIND_SECONDS)
    was_closed = writer.closed
    client.check(clock.now + BEHIND_SECONDS + 0.1)
    assert was_closed is None
    assert writer.closed is not None
    assert writer.closed[0] == 1013


async def test_a_client_that_reads_goes_on_from_where_it_was(outbox: Outbox, clock: FixedClock) -> None:
    client, writer = connected(outbox)
    writer.stalled = True
    deliver_to_all([client], trades(1, 1), MARKET)
    await turns()
    states = [client.is_behind]
    writer.read_all(client)
    assert [*states, client.is_behind] == [True, False]
    clock.now += 60.0
    client.check(clock.now)
    deliver_to_all([client], trades(2, 2), MARKET)
    await writer.until(lambda out: out.told == [1, 2])
    assert writer.closed is None


async def test_what_a_client_asked_for_may_be_more_and_take_longer(outbox: Outbox, clock: FixedClock) -> None:
    """One that resumes from far behind is not disconnected for it: it would never catch up."""
    client, writer = connected(outbox)
    writer.stalled = True
    missed = trades(1, 100)
    for broadcast in missed:
        client.deliver(broadcast, MARKET)
    await turns()
    asked = sum(len(one.frame(MARKET, signed_in=False)) for one in missed)
    assert asked > 2 * LIMIT
    deliver_to_all([client], trades(101, 101), MARKET)
    await turns()
    await asyncio.sleep(0.05)
    client.check(clock.now + BEHIND_SECONDS + asked / ASKED_BYTES_PER_SECOND - 0.1)
    was_closed = writer.closed
    client.check(clock.now + BEHIND_SECONDS + asked / ASKED_BYTES_PER_SECOND + 0.1)
    assert was_closed is None
    assert writer.closed is not None


async def test_a_closed_client_has_got_what_was_sent_before(outbox: Outbox) -> None:
    client, writer = connected(outbox)
    deliver_to_all([client], trades(1, 1), MARKET)
    client.close(1001, "the end")
    deliver_to_all([client], trades(2, 2), MARKET)
    await turns()
    assert (writer.told, writer.closed) == ([1], (1001, "the end"))


def test_a_compressed_frame_is_inflated_by_itself() -> None:
    for text in (b"{}", json.dumps({"a": list(range(200))}).encode(), bytes(range(256)) * 300):
        wire = deflated_text_frame(text)
        if wire[0] == 0x81:
            assert wire == text_frame(text)
        else:
            assert wire[0] == 0xC1
            assert _inflated(wire) == text
    assert deflated_text_frame(b"{}")[0] == 0x81
    assert len(deflated_text_frame(b"a" * 100_000)) < 1_000


def _inflated(wire: bytes) -> Any:
    start = {126: 4, 127: 10}.get(wire[1], 2)
    return zlib.decompress(wire[start:] + b"\x00\x00\xff\xff\x03\x00", wbits=-15)


async def test_messages_are_compressed_once_for_all(outbox: Outbox) -> None:
    first, second = Writer(), Writer()
    clients = [Client(one, outbox, deflated_text_frame) for one in (first, second)]
    (broadcast,) = trades(1, 1)
    assert broadcast.encoded(MARKET, clients[0].audience) is broadcast.encoded(MARKET, clients[1].audience)
    assert len(broadcast.encoded(MARKET, clients[0].audience).data) < len(
        broadcast.frame(MARKET, signed_in=False)
    )


async def test_a_connection_that_fails_keeps_nobody_from_theirs(outbox: Outbox) -> None:
    class Broken(Writer):
        def write(self, data: bytes) -> None:
            raise RuntimeError

    broken, (witness, writer) = Client(Broken(), outbox, text_frame), connected(outbox)
    for seq in (1, 2):
        deliver_to_all([broken, witness], trades(seq, seq), MARKET)
        await writer.until(lambda out, seq=seq: out.told[-1:] == [seq])  # type: ignore[misc]

"""Sockets that wait in the queue of another: over real ones."""

from __future__ import annotations

import os
import resource
import socket
from collections.abc import Iterator
from contextlib import ExitStack, closing

import pytest

from zmartd.socket_bundle import MAX_IN_MESSAGE, Bundle, NotABundle, unpack


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def pairs(stack: ExitStack, count: int) -> list[tuple[socket.socket, socket.socket]]:
    """So many connections: both ends of each."""
    made = [socket.socketpair() for _ in range(count)]
    for pair in made:
        for end in pair:
            stack.enter_context(closing(end))
    return made


def given_away(bundle: Bundle) -> socket.socket:
    """The reader, as another process has it."""
    reader = socket.socket(fileno=os.dup(bundle.reader.fileno()))
    bundle.give_away()
    return reader


def test_sockets_arrive_in_order_and_open_with_what_they_are_for(stack: ExitStack) -> None:
    connections = pairs(stack, MAX_IN_MESSAGE + 7)
    with Bundle() as bundle:
        assert bundle.add([ours.fileno() for ours, _ in connections]) == len(connections)
        bundle.describe(b"what they are")
        reader = given_away(bundle)
    for ours, _ in connections:
        ours.close()
    with reader:
        state, sockets = unpack(reader)
    assert state == b"what they are"
    assert len(sockets) == len(connections)
    for number, (one, (_, peer)) in enumerate(zip(sockets, connections, strict=True)):
        assert not one.get_inheritable()
        with one:
            one.send(str(number).encode())
        assert peer.recv(8) == str(number).encode()
        assert peer.recv(8) == b""  # nobody else has it open


def test_a_reader_that_is_closed_everywhere_is_noticed(stack: ExitStack) -> None:
    [(ours, peer)] = pairs(stack, 1)
    with Bundle() as bundle:
        assert bundle.add([ours.fileno()]) == 1
        reader = given_away(bundle)
        assert bundle.has_reader()
        reader.close()
        assert not bundle.has_reader()
    peer.setblocking(False)
    with pytest.raises(BlockingIOError):  # it is open here still
        peer.recv(1)


def test_there_is_room_for_what_the_queue_takes_and_no_error_beyond(stack: ExitStack) -> None:
    [(ours, _)] = pairs(stack, 1)
    many = [ours.fileno()] * 4_000_000
    may_be_open, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    with Bundle() as bundle:
        count = bundle.add(many)
        assert min(16_384, may_be_open) - MAX_IN_MESSAGE <= count < len(many)
        assert bundle.add(many[:1]) == 0


def test_where_some_do_not_arrive_none_are_taken_for_others(stack: ExitStack) -> None:
    [(ours, peer)] = pairs(stack, 1)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with Bundle() as bundle:
        bundle.add([ours.fileno()] * 300)
        ours.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (peer.fileno() + 200, hard))
        stack.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        with pytest.raises(NotABundle, match="Too many open files"):
            unpack(bundle.reader)
    assert peer.recv(1) == b""  # all are closed


def test_what_is_no_bundle_is_refused() -> None:
    with Bundle() as bundle:
        unpack(bundle.reader)
        with pytest.raises(NotABundle):
            unpack(bundle.reader)
    ours, theirs = socket.socketpair()
    theirs.close()
    with ours, pytest.raises(NotABundle):
        unpack(ours)

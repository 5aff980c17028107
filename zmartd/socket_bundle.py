"""Thousands of open sockets, and a state, as one descriptor: they wait in the queue of a Unix socket.

systemd compares each descriptor that it is to keep with all that it keeps already, and names each in the
environment of the next process. A socket whose queue holds others (SCM_RIGHTS, see unix(7)) is one to it.
"""

from __future__ import annotations

import errno
import os
import select
import socket
from array import array
from collections.abc import Sequence
from typing import Final, Self

from zmartd.errors import ZmartdError

MAX_IN_MESSAGE: Final = 253
"""Linux' SCM_MAX_FD."""
QUEUE_BYTES: Final = 1 << 20
"""Asked for the queue, where each message takes about a kilobyte. The system may give less."""


class NotABundle(ZmartdError):
    """What was kept for this process is not what it can read: its sockets are closed."""

    code = "not_a_bundle"


class Bundle:
    """A bundle that is being filled: `with Bundle() as bundle:`."""

    def __init__(self) -> None:
        self.reader, self._writer = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        """`reader` is the descriptor that stands for all of them."""
        self._writer.setblocking(False)
        self._writer.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, QUEUE_BYTES)
        self._state = os.memfd_create("zmartd-state")
        socket.send_fds(self._writer, [b"."], [self._state])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._state)
        self.reader.close()
        self._writer.close()

    def add(self, descriptors: Sequence[int]) -> int:
        """Put sockets in, in order. Returns how many there was room for.

        The process may have as many on the way as it may have open.
        """
        for start in range(0, len(descriptors), MAX_IN_MESSAGE):
            try:
                socket.send_fds(self._writer, [b"."], descriptors[start : start + MAX_IN_MESSAGE])
            except OSError:  # the queue is full (EAGAIN), or too many are on their way (ETOOMANYREFS)
                return start
        return len(descriptors)

    def describe(self, state: bytes) -> None:
        """Say what the sockets are for whoever takes them."""
        with os.fdopen(self._state, "wb", closefd=False) as file:
            file.write(state)

    def give_away(self) -> None:
        """Have no reader any more: somebody else has one."""
        self.reader.close()

    def has_reader(self) -> bool:
        """Whether anybody can still take the sockets."""
        poll = select.poll()
        poll.register(self._writer, 0)
        return not poll.poll(0)


def unpack(reader: socket.socket) -> tuple[bytes, list[socket.socket]]:
    """The state and the sockets of a bundle, which is empty then. Raises NotABundle."""
    reader.setblocking(False)
    descriptors: list[int] = []
    try:
        while found := _received(reader):
            descriptors += found
        if not descriptors:
            raise NotABundle("no sockets were kept")
        with os.fdopen(descriptors.pop(0), "rb") as file:
            file.seek(0)
            state = file.read()
    except OSError as error:
        for one in descriptors:
            os.close(one)
        raise NotABundle(f"the kept sockets cannot be read: {error.strerror}") from error
    return state, [socket.socket(fileno=one) for one in descriptors]


def _received(reader: socket.socket) -> array[int]:
    """The descriptors of the next message; none after the last. Raises OSError."""
    received = array("i")
    room = socket.CMSG_SPACE(MAX_IN_MESSAGE * received.itemsize)
    try:
        _, ancillary, flags, _ = reader.recvmsg(1, room, socket.MSG_CMSG_CLOEXEC)
    except BlockingIOError:
        return received
    for _, _, data in ancillary:
        received.frombytes(data)
    if flags & socket.MSG_CTRUNC:  # some were lost, and nobody knows which
        for one in received:
            os.close(one)
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
    return received

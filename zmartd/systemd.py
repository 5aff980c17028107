"""What a service and systemd tell each other: its state, that it works, and the sockets that it listens on.

The protocols are those of sd_notify(3) and sd_listen_fds(3). Where systemd did not start the process, nothing
is told and there are no sockets.
"""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import MutableMapping
from typing import Final

from zmartd.clock import Clock
from zmartd.config_values import ConfigError
from zmartd.log import get_logger

FIRST_DESCRIPTOR: Final = 3
"""The descriptor of the first socket that systemd hands over."""
FEEDS_PER_TIMEOUT: Final = 3
"""How often the watchdog is fed within the time after which systemd ends a service that does not."""
OPERATOR: Final = "operator"
"""The FileDescriptorName of sockets for the operator's listener. All others are the API's."""
KEPT: Final = "websockets"
"""The name of what systemd keeps for the next process."""
KEEP_SECONDS: Final = 5.0
"""How long systemd may take to keep it."""
SEND_SECONDS: Final = 1.0
"""How long a change of the service's state may wait for systemd to read."""

log = get_logger(__name__)


class ServiceManager:
    """Tells systemd the state of this process."""

    def __init__(self, address: str = "", watchdog_seconds: float | None = None) -> None:
        """`address`: $NOTIFY_SOCKET. `watchdog_seconds`: systemd ends a service that is silent for longer."""
        self._address = f"\0{address[1:]}" if address.startswith("@") else address
        self.watchdog_seconds = watchdog_seconds

    @classmethod
    def of_environment(cls, environ: MutableMapping[str, str] = os.environ) -> ServiceManager:
        """Whoever started this process. The variables are taken away, since they are not for its children."""
        address = environ.pop("NOTIFY_SOCKET", "")
        microseconds = environ.pop("WATCHDOG_USEC", "")
        is_for_us = environ.pop("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        watched = is_for_us and microseconds.isdecimal() and int(microseconds) > 0
        return cls(address, int(microseconds) / 1e6 if watched else None)

    @property
    def is_there(self) -> bool:
        """Whether systemd has started this process."""
        return bool(self._address)

    def status(self, text: str) -> None:
        """What `systemctl status` shows: one line."""
        self._send({"STATUS": text}, seconds=0)

    def ready(self, text: str) -> None:
        """The service has started, or has reloaded its configuration."""
        self._send({"READY": "1", "STATUS": text})

    def reloading(self, text: str) -> None:
        """The service begins to reload its configuration; `ready` has to follow, also where that failed."""
        now = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1_000
        self._send({"RELOADING": "1", "MONOTONIC_USEC": str(now), "STATUS": text})

    def stopping(self, text: str) -> None:
        """The service begins to end."""
        self._send({"STOPPING": "1", "STATUS": text})

    async def keep(self, descriptor: int) -> bool:
        """Have systemd keep this for the next process. Whether it has heard of that.

        It closes its copy at once where the service may not store any (FileDescriptorStoreMax), and when the
        service is stopped for good.
        """
        told = self._send({"FDSTORE": "1", "FDNAME": KEPT, "FDPOLL": "0"}, descriptor=descriptor)
        if not told or not await self._has_read():
            self.let_go()  # it reads in order: what comes late is not kept either
            return False
        return True

    def let_go(self) -> None:
        """Have systemd keep nothing of what this process has been given."""
        self._send({"FDSTOREREMOVE": "1", "FDNAME": KEPT})

    async def _has_read(self) -> bool:
        """Whether systemd has read, within KEEP_SECONDS, all that it was told: then it closes a pipe."""
        end, theirs = os.pipe()
        closed = asyncio.Event()
        loop = asyncio.get_running_loop()
        loop.add_reader(end, closed.set)
        try:
            told = self._send({"BARRIER": "1"}, descriptor=theirs)
            os.close(theirs)
            async with asyncio.timeout(KEEP_SECONDS):
                await closed.wait()
        except TimeoutError:
            return False
        finally:
            loop.remove_reader(end)
            os.close(end)
        return told

    def feed_watchdog(self) -> None:
        """The service works."""
        self._send({"WATCHDOG": "1"}, seconds=0)

    async def keep_watchdog_fed(self, clock: Clock) -> None:
        """Feed the watchdog from the event loop, until cancelled: a loop that is blocked feeds nothing."""
        if self.watchdog_seconds is None:
            return
        while True:
            self.feed_watchdog()
            await clock.sleep(self.watchdog_seconds / FEEDS_PER_TIMEOUT)

    def _send(
        self,
        assignments: dict[str, str],
        seconds: float = SEND_SECONDS,
        descriptor: int | None = None,
    ) -> bool:
        """Whether systemd was told, within so many `seconds`. The service works on where it cannot be."""
        if not self._address:
            return False
        lines = (f"{name}={' '.join(value.split())}" for name, value in assignments.items())
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
                sender.settimeout(seconds)
                sender.connect(self._address)
                descriptors = [] if descriptor is None else [descriptor]
                socket.send_fds(sender, ["\n".join(lines).encode()], descriptors)
        except OSError as error:
            log.warning("systemd.not_told", told=next(iter(assignments)), error=str(error))
            return False
        return True


class Sockets:
    """The sockets that systemd listens on for this process, and keeps open while it restarts.

    `kept`: what the process before this one had it keep (`ServiceManager.keep`).
    """

    def __init__(
        self,
        api: tuple[socket.socket, ...] = (),
        operator: tuple[socket.socket, ...] = (),
        kept: tuple[socket.socket, ...] = (),
    ) -> None:
        self.api = api
        self.operator = operator
        self.kept = kept

    @classmethod
    def of_environment(
        cls, environ: MutableMapping[str, str] = os.environ, first: int = FIRST_DESCRIPTOR
    ) -> Sockets:
        """Those that are named in $LISTEN_FDS. Raises ConfigError for one that does not listen for streams.

        The variables are taken away, since they are not for children of this process.
        """
        pid, count, names = (environ.pop(f"LISTEN_{name}", "") for name in ("PID", "FDS", "FDNAMES"))
        if pid != str(os.getpid()) or not count.isdecimal():
            return cls()
        found: dict[str, list[socket.socket]] = {"": [], OPERATOR: [], KEPT: []}
        given = dict(enumerate(names.split(":") if names else ()))
        for number in range(int(count)):
            name = given.get(number, "")
            if name == KEPT:
                found[KEPT].append(_opened(first + number, name))
            else:
                found[name if name == OPERATOR else ""].append(_listening(first + number, name))
        return cls(tuple(found[""]), tuple(found[OPERATOR]), tuple(found[KEPT]))


def _listening(descriptor: int, name: str) -> socket.socket:
    """The socket with this descriptor, which is not for children. Raises ConfigError."""
    opened = _opened(descriptor, name)
    is_stream = opened.type == socket.SOCK_STREAM
    if not is_stream or opened.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) != 1:
        raise ConfigError(
            [f"LISTEN_FDS: descriptor {descriptor} ({name}) does not listen: use ListenStream= and Accept=no"]
        )
    return opened


def _opened(descriptor: int, name: str) -> socket.socket:
    """The socket with this descriptor, which is not for children. Raises ConfigError."""
    try:
        opened = socket.socket(fileno=descriptor)
    except OSError as error:
        raise ConfigError(
            [f"LISTEN_FDS: descriptor {descriptor} ({name}) is no socket: {error.strerror}"]
        ) from error
    opened.set_inheritable(False)
    opened.setblocking(False)
    return opened

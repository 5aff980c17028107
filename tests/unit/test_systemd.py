"""What the process tells systemd, and which sockets it takes from it: over real sockets."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from zmartd import systemd
from zmartd.clock import SystemClock
from zmartd.config_values import ConfigError
from zmartd.socket_bundle import Bundle
from zmartd.systemd import ServiceManager, Sockets


class Receiver:
    """The end of $NOTIFY_SOCKET that systemd has."""

    def __init__(self, address: str | bytes) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(address)
        self._socket.setblocking(False)

    def read(self) -> list[str]:
        """The next message, as lines; [] where there is none."""
        try:
            return self._socket.recv(4096).decode().split("\n")
        except BlockingIOError:
            return []

    def fileno(self) -> int:
        return self._socket.fileno()

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def receiver(tmp_path: Path) -> Iterator[Receiver]:
    made = Receiver(str(tmp_path / "notify"))
    yield made
    made.close()


@pytest.fixture
def manager(receiver: Receiver, tmp_path: Path) -> ServiceManager:
    return ServiceManager.of_environment({"NOTIFY_SOCKET": str(tmp_path / "notify")})


def test_each_state_is_told_in_a_message_of_its_own(manager: ServiceManager, receiver: Receiver) -> None:
    manager.status("opening\nPostgres")
    assert receiver.read() == ["STATUS=opening Postgres"]
    manager.ready("serving")
    assert receiver.read() == ["READY=1", "STATUS=serving"]
    manager.stopping("draining")
    assert receiver.read() == ["STOPPING=1", "STATUS=draining"]


def test_a_reload_says_since_when_by_the_clock_that_systemd_compares(
    manager: ServiceManager, receiver: Receiver
) -> None:
    before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1_000
    manager.reloading("reading the configuration")
    first, since, status = receiver.read()
    name, _, microseconds = since.partition("=")
    assert (first, name, status) == ("RELOADING=1", "MONOTONIC_USEC", "STATUS=reading the configuration")
    assert before <= int(microseconds) <= time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1_000


def test_an_address_without_a_file_is_understood() -> None:
    name = f"zmartd-test-{os.getpid()}"
    receiver = Receiver(f"\0{name}".encode())
    ServiceManager(f"@{name}").ready("serving")
    assert receiver.read() == ["READY=1", "STATUS=serving"]
    receiver.close()


def test_the_variables_are_not_left_to_children() -> None:
    environ = {
        "NOTIFY_SOCKET": "/nowhere",
        "WATCHDOG_USEC": "30000000",
        "WATCHDOG_PID": str(os.getpid()),
        "LISTEN_PID": str(os.getpid()),
        "LISTEN_FDS": "0",
        "LISTEN_FDNAMES": "",
        "PATH": "/bin",
    }
    assert ServiceManager.of_environment(environ).watchdog_seconds == 30.0
    Sockets.of_environment(environ)
    assert environ == {"PATH": "/bin"}


@pytest.mark.parametrize(
    "environ",
    [{}, {"WATCHDOG_USEC": "0"}, {"WATCHDOG_USEC": "x"}, {"WATCHDOG_USEC": "1", "WATCHDOG_PID": "1"}],
)
def test_without_a_watchdog_of_this_process_nothing_is_fed(environ: dict[str, str]) -> None:
    assert ServiceManager.of_environment(environ).watchdog_seconds is None


def test_nothing_fails_where_systemd_does_not_listen(tmp_path: Path) -> None:
    ServiceManager().ready("serving")
    ServiceManager(str(tmp_path / "nobody")).ready("serving")


def test_a_manager_that_reads_nothing_holds_up_nothing(manager: ServiceManager) -> None:
    began = time.monotonic()
    for _ in range(5_000):  # the system keeps a few hundred at most
        manager.feed_watchdog()
    assert time.monotonic() - began < 300


async def test_the_watchdog_is_fed_by_the_loop_and_not_while_that_is_blocked(tmp_path: Path) -> None:
    receiver = Receiver(str(tmp_path / "notify"))
    manager = ServiceManager(str(tmp_path / "notify"), watchdog_seconds=0.03)
    feeding = asyncio.create_task(manager.keep_watchdog_fed(SystemClock()))
    fed = 0
    while fed < 3:
        await asyncio.sleep(0.001)
        fed += receiver.read() == ["WATCHDOG=1"]
    while receiver.read():
        pass
    time.sleep(0.2)  # noqa: ASYNC251 - the loop is blocked on purpose, for longer than the watchdog waits
    assert receiver.read() == []
    await asyncio.sleep(0.02)
    assert receiver.read() == ["WATCHDOG=1"]
    feeding.cancel()
    receiver.close()


class Keeper(Receiver):
    """systemd's end where it stores descriptors, or closes them."""

    def __init__(self, address: str, stores: bool) -> None:
        super().__init__(address)
        self._stores = stores
        self.messages: list[list[str]] = []
        self.stored: list[int] = []

    def take(self) -> None:
        """Read a message as systemd does, which has been sent."""
        text, found, _, _ = socket.recv_fds(self._socket, 4096, 1)
        self.messages.append(text.decode().split("\n"))
        if self._stores and "FDSTORE=1" in self.messages[-1]:
            self.stored += found
        else:
            for one in found:
                os.close(one)


@pytest.mark.parametrize("stores", [True, False])
async def test_what_is_kept_is_with_systemd_before_this_process_goes_on(tmp_path: Path, stores: bool) -> None:
    keeper = Keeper(str(tmp_path / "notify"), stores)
    asyncio.get_running_loop().add_reader(keeper.fileno(), keeper.take)
    with Bundle() as bundle:
        assert await ServiceManager(str(tmp_path / "notify")).keep(bundle.reader.fileno())
        assert keeper.messages == [["FDSTORE=1", "FDNAME=websockets", "FDPOLL=0"], ["BARRIER=1"]]
        bundle.give_away()
        assert bundle.has_reader() is stores
    for one in keeper.stored:
        os.close(one)
    asyncio.get_running_loop().remove_reader(keeper.fileno())
    keeper.close()


async def test_what_systemd_reads_too_late_it_is_told_not_to_keep(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keeper = Keeper(str(tmp_path / "notify"), stores=True)
    monkeypatch.setattr(systemd, "KEEP_SECONDS", 0.01)
    with Bundle() as bundle:
        assert not await ServiceManager(str(tmp_path / "notify")).keep(bundle.reader.fileno())
    for _ in range(3):
        keeper.take()
    assert keeper.messages[-1] == ["FDSTOREREMOVE=1", "FDNAME=websockets"]
    for one in keeper.stored:
        os.close(one)
    keeper.close()


async def test_nothing_is_kept_where_nobody_listens(tmp_path: Path) -> None:
    with Bundle() as bundle:
        assert not await ServiceManager().keep(bundle.reader.fileno())
        assert not await ServiceManager(str(tmp_path / "nobody")).keep(bundle.reader.fileno())


def test_what_is_no_longer_kept_has_the_name_of_what_was(manager: ServiceManager, receiver: Receiver) -> None:
    manager.let_go()
    assert receiver.read() == ["FDSTOREREMOVE=1", "FDNAME=websockets"]


def test_what_was_kept_is_told_apart_from_sockets_that_listen() -> None:
    listening = socket.create_server(("127.0.0.1", 0))
    kept, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    environ = {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "2", "LISTEN_FDNAMES": "server:websockets"}
    found = Sockets.of_environment(environ, descriptors(listening, kept))
    assert (len(found.api), len(found.operator), len(found.kept)) == (1, 0, 1)
    for one in (*found.api, *found.kept, other):
        one.close()


def descriptors(*sockets: socket.socket) -> int:
    """The first of as many descriptors in a row as there are sockets, which are theirs as well."""
    first = 700
    for number, one in enumerate(sockets):
        os.dup2(one.fileno(), first + number)
        one.close()
    return first


def listener() -> socket.socket:
    opened = socket.socket()
    opened.bind(("127.0.0.1", 0))
    opened.listen()
    return opened


def handed_over(count: int, names: str | None) -> dict[str, str]:
    environ = {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": str(count)}
    return environ if names is None else environ | {"LISTEN_FDNAMES": names}


@pytest.mark.parametrize(
    ("names", "api", "operator"),
    [("server:operator", [0], [1]), ("operator:server", [1], [0]), (None, [0, 1], []), ("api", [0, 1], [])],
)
def test_sockets_are_told_apart_by_their_names(
    names: str | None, api: list[int], operator: list[int]
) -> None:
    with ExitStack() as stack:
        opened = [listener(), listener()]
        addresses = [one.getsockname() for one in opened]
        found = Sockets.of_environment(handed_over(2, names), descriptors(*opened))
        for one in (*found.api, *found.operator):
            stack.enter_context(one)
            assert not one.get_inheritable()
            assert not one.getblocking()
        assert [one.getsockname() for one in found.api] == [addresses[index] for index in api]
        assert [one.getsockname() for one in found.operator] == [addresses[index] for index in operator]


@pytest.mark.parametrize("environ", [{}, {"LISTEN_PID": "1", "LISTEN_FDS": "1"}])
def test_sockets_of_another_process_are_not_taken(environ: dict[str, str]) -> None:
    found = Sockets.of_environment(environ, first=700)
    assert (found.api, found.operator) == ((), ())


def test_what_does_not_listen_for_streams_is_refused() -> None:
    first = descriptors(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    with pytest.raises(ConfigError, match="does not listen: use ListenStream= and Accept=no"):
        Sockets.of_environment(handed_over(1, "server"), first)
    first = descriptors(socket.socket())
    with pytest.raises(ConfigError, match="does not listen"):
        Sockets.of_environment(handed_over(1, "server"), first)
    with pytest.raises(ConfigError, match="descriptor 900"):
        Sockets.of_environment(handed_over(1, "server"), first=900)

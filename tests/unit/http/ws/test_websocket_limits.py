from __future__ import annotations

from contextlib import ExitStack

import pytest

from zmartd.http.errors.websocket import TooManyConnections
from zmartd.http.kit.client_address import SITE_CLIENTS
from zmartd.http.ws.endpoint import ConnectionsPerClient


class Stopwatch:
    def __init__(self) -> None:
        self.now = 100.0

    def time(self) -> float:
        return self.now

    def monotonic(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds


def test_a_client_may_have_so_many_connections_and_no_more() -> None:
    limit = ConnectionsPerClient(2)
    with limit.connection("a"), limit.connection("a"):
        with pytest.raises(TooManyConnections), limit.connection("a"):
            pytest.fail("a third seat")
        with limit.connection("b"):
            pass
    with limit.connection("a"), limit.connection("a"):
        pass


def test_the_clients_of_an_ipv6_site_have_a_limit_together() -> None:
    limit = ConnectionsPerClient(1)
    with ExitStack() as held:
        for number in range(SITE_CLIENTS):
            held.enter_context(limit.connection(f"2001:db8:1:{number:x}::/64"))
        with pytest.raises(TooManyConnections), limit.connection("2001:db8:1:ffff::/64"):
            pytest.fail("one more of the site")
        held.enter_context(limit.connection("2001:db8:2:1::/64"))
        held.enter_context(limit.connection("203.0.113.9"))
    with limit.connection("2001:db8:1:ffff::/64"):
        pass


def test_a_connection_is_released_after_a_failure() -> None:
    limit = ConnectionsPerClient(1)
    with pytest.raises(RuntimeError), limit.connection("a"):
        raise RuntimeError
    with limit.connection("a"):
        pass

"""What `ConnectionLimits` counts, for peers that no machine has addresses of."""

from __future__ import annotations

from asyncio import Transport

from zmartd.clock import SystemClock
from zmartd.config import ServerSettings
from zmartd.http.kit.client_address import TrustedProxies
from zmartd.http.server.connection_limits import MAX_READING_REFUSALS, SITE_FRACTION, ConnectionLimits

FOR_CONNECTIONS = 100


class FromPeer(Transport):
    """A connection from an address."""

    def __init__(self, address: str) -> None:
        super().__init__({"peername": (address, 50_000)})


def limits(max_connections: int) -> ConnectionLimits:
    clock = SystemClock()
    settings = ServerSettings(max_connections=max_connections)
    descriptors = FOR_CONNECTIONS + MAX_READING_REFUSALS
    return ConnectionLimits(settings, TrustedProxies((), clock), clock, descriptors)


def test_an_ipv6_site_has_a_part_of_all_connections_however_many_clients_it_is() -> None:
    counted = limits(40)
    site = [FromPeer(f"2001:db8:1:{number:x}::1") for number in range(1 + 40 // SITE_FRACTION)]
    assert [counted.admit(one) for one in site] == [True] * (len(site) - 1) + [False]
    assert counted.admit(FromPeer("2001:db8:2::1"))
    assert all(counted.admit(FromPeer("203.0.113.9")) for _ in range(20))
    counted.release(site[0])
    assert counted.admit(site[-1])


def test_descriptors_that_are_not_for_connections_lower_their_number() -> None:
    counted = limits(10_000)
    peers = [FromPeer(f"203.0.113.{number}") for number in range(FOR_CONNECTIONS + 1)]
    assert [counted.admit(one) for one in peers] == [True] * FOR_CONNECTIONS + [False]


def test_so_many_refused_connections_stay_open_to_read_the_answer() -> None:
    counted = limits(1)
    refused = [FromPeer("203.0.113.9") for _ in range(MAX_READING_REFUSALS + 1)]
    assert [counted.let_read_refusal(one) for one in refused] == [True] * MAX_READING_REFUSALS + [False]
    counted.release(refused[0])
    assert counted.let_read_refusal(refused[-1])


def test_new_limits_hold_for_connections_that_come_and_close_none() -> None:
    counted = limits(2)
    peers = [FromPeer(f"203.0.113.{number}") for number in range(5)]
    assert [counted.admit(one) for one in peers[:3]] == [True, True, False]
    counted.limit(ServerSettings(max_connections=4))
    assert [counted.admit(one) for one in peers[2:]] == [True, True, False]
    counted.limit(ServerSettings(max_connections=1))
    counted.release(peers[0])
    assert not counted.admit(peers[0])
    counted.limit(ServerSettings(max_connections=10_000))
    assert counted.admit(peers[0])

from __future__ import annotations

import time

import pytest
from aiohttp.test_utils import make_mocked_request
from multidict import CIMultiDict
from structlog.testing import capture_logs

from tests.signing_wallet import FixedClock
from zmartd.config_file import load
from zmartd.daemon import trusted_proxies
from zmartd.http.kit.client_address import UNKNOWN, TrustedProxies, site_of
from zmartd.http.kit.forwarded_header import MAX_HOPS

NETWORKS = ["127.0.0.1", "10.0.0.0/8", "2001:db8:aaaa::/48"]
BY_X_FORWARDED_FOR = TrustedProxies(NETWORKS, FixedClock())
BY_FORWARDED = TrustedProxies(NETWORKS, FixedClock(), "Forwarded")


@pytest.mark.parametrize(
    ("peer", "forwarded_for", "client"),
    [
        ("203.0.113.9", "", "203.0.113.9"),
        ("203.0.113.9", "198.51.100.1", "203.0.113.9"),
        ("127.0.0.1", "", "127.0.0.1"),
        ("127.0.0.1", "198.51.100.1", "198.51.100.1"),
        ("127.0.0.1", "6.6.6.6, 198.51.100.1", "198.51.100.1"),
        ("127.0.0.1", "198.51.100.1, 10.1.2.3", "198.51.100.1"),
        ("127.0.0.1", "10.1.2.3,10.1.2.4", "10.1.2.3"),
        ("::ffff:127.0.0.1", " 2001:db8::1 ", "2001:db8::/64"),
        ("2001:db8:0:7:aaaa::1", "", "2001:db8:0:7::/64"),
        ("2001:db8:0:7:bbbb::2", "198.51.100.1", "2001:db8:0:7::/64"),
        ("::ffff:203.0.113.9", "", "203.0.113.9"),
        ("", "198.51.100.1", "unknown"),
        (None, "198.51.100.1", "unknown"),
        # With a port, as Azure's gateways and IIS write it.
        ("127.0.0.1", "203.0.113.7:51234", "203.0.113.7"),
        ("127.0.0.1", "[2001:db8::1]:443", "2001:db8::/64"),
        ("127.0.0.1", "[2001:db8::1]", "2001:db8::/64"),
        ("127.0.0.1", "[::ffff:203.0.113.7]:443", "203.0.113.7"),
        ("127.0.0.1", "6.6.6.6:1, 203.0.113.7:51234, 10.1.2.3:8080, [2001:db8:aaaa::1]:9", "203.0.113.7"),
        # With the zone of an interface.
        ("127.0.0.1", "fe80::1%eth0", "fe80::/64"),
        ("127.0.0.1", "[fe80::1%25eth0]:443", "fe80::/64"),
        ("fe80::1%3", "", "fe80::/64"),
        # Not an address: the client is the proxy that says so.
        ("127.0.0.1", "198.51.100.1, nonsense", "127.0.0.1"),
        ("127.0.0.1", "198.51.100.1, nonsense, 10.1.2.3", "10.1.2.3"),
        ("127.0.0.1", "198.51.100.1, unknown", "127.0.0.1"),
        ("127.0.0.1", "198.51.100.1, _hidden", "127.0.0.1"),
        ("127.0.0.1", "198.51.100.1,", "127.0.0.1"),
        ("127.0.0.1", "203.0.113.7:port", "127.0.0.1"),
        ("127.0.0.1", "203.0.113.7:123456", "127.0.0.1"),
        ("127.0.0.1", "203.0.113.007", "127.0.0.1"),
        ("127.0.0.1", "[]:443", "127.0.0.1"),
        ("127.0.0.1", "[2001:db8::1", "127.0.0.1"),
        ("127.0.0.1", "unix:", "127.0.0.1"),
        ("127.0.0.1", "for=198.51.100.1", "127.0.0.1"),
    ],
)
def test_only_trusted_proxies_are_believed(peer: str | None, forwarded_for: str, client: str) -> None:
    assert BY_X_FORWARDED_FOR.client_of(peer, forwarded_for) == client


@pytest.mark.parametrize(
    ("forwarded", "client"),
    [
        ("for=192.0.2.60;proto=http;by=203.0.113.43", "192.0.2.60"),
        ('For="[2001:db8:cafe::17]:4711"', "2001:db8:cafe::/64"),
        ('for="[2001:db8::1]:443";proto=https', "2001:db8::/64"),
        ("for=192.0.2.43, for=198.51.100.17", "198.51.100.17"),
        ('for=192.0.2.43, for="10.1.2.3:80";by=10.1.2.4', "192.0.2.43"),
        ('for="192.0.2.43:47011"', "192.0.2.43"),
        ('for="192.0.2.43:_gateway"', "192.0.2.43"),
        ("for=192.0.2.43:47011", "192.0.2.43"),
        ('proto=https ; for = "192.0.2.43" ;host="a;for=6.6.6.6,b"', "192.0.2.43"),
        # What a client left open does not reach into the word of the proxy.
        ('for=", for="[2001:db8::1]:443"', "2001:db8::/64"),
        ('for="6.6.6.6\\", for="198.51.100.17"', "198.51.100.17"),
        (';;;="", for=198.51.100.17', "198.51.100.17"),
        # Not an address: the client is the proxy that says so.
        ("for=6.6.6.6, for=unknown", "127.0.0.1"),
        ("for=6.6.6.6, for=_hidden", "127.0.0.1"),
        ('for=6.6.6.6, for="_SEVKISEK"', "127.0.0.1"),
        ("for=6.6.6.6, proto=https", "127.0.0.1"),
        ("for=198.51.100.17;for=6.6.6.6", "127.0.0.1"),
        ('for=198.51.100.17;host="a\\"b"', "127.0.0.1"),
        ('for="198.51.100.17', "127.0.0.1"),
        ("198.51.100.17", "127.0.0.1"),
        ("", "127.0.0.1"),
    ],
)
def test_forwarded_is_read_from_its_end(forwarded: str, client: str) -> None:
    assert BY_FORWARDED.client_of("127.0.0.1", forwarded) == client


def test_a_client_cannot_choose_the_header_that_counts() -> None:
    sent = {"X-Forwarded-For": "198.51.100.1", "Forwarded": "for=198.51.100.2"}
    request = make_mocked_request("GET", "/", headers=sent).clone(remote="127.0.0.1")
    for header, client in (("X-Forwarded-For", "198.51.100.1"), ("Forwarded", "198.51.100.2")):
        environ = {"ZMARTD_SERVER_TRUSTED_PROXIES": "127.0.0.1", "ZMARTD_SERVER_FORWARDED_HEADER": header}
        server = load(environ=environ).server
        assert trusted_proxies(server, FixedClock()).client_of_request(request) == client


def test_each_line_of_the_header_counts() -> None:
    sent = CIMultiDict([("X-Forwarded-For", "6.6.6.6"), ("X-Forwarded-For", "203.0.113.7:51234")])
    request = make_mocked_request("GET", "/", headers=sent).clone(remote="127.0.0.1")
    assert BY_X_FORWARDED_FOR.client_of_request(request) == "203.0.113.7"


def test_a_chain_of_proxies_is_followed_so_far() -> None:
    for hops, client in ((MAX_HOPS, "198.51.100.1"), (MAX_HOPS + 1, "10.0.0.1")):
        header = ",".join(["198.51.100.1", *["10.0.0.1"] * hops])
        assert BY_X_FORWARDED_FOR.client_of("127.0.0.1", header) == client


def test_without_trusted_proxies_nobody_is_believed() -> None:
    assert TrustedProxies([], FixedClock()).client_of("127.0.0.1", "198.51.100.1") == "127.0.0.1"


@pytest.mark.parametrize("proxies", [BY_X_FORWARDED_FOR, BY_FORWARDED])
@pytest.mark.parametrize("element", ["10.0.0.1,", "for=10.0.0.1,", ",", '",', '"', ";,", "a=b;", " "])
def test_a_header_as_long_as_a_head_may_be_costs_next_to_nothing(
    proxies: TrustedProxies, element: str
) -> None:
    header = "for=" + element * (16_000 // len(element))
    began = time.process_time()
    for _ in range(10):
        proxies.client_of("127.0.0.1", header)
    assert time.process_time() - began < 5.0  # it is 0.04; what tries every split would take half a minute


def test_what_names_no_address_is_logged_once_a_minute() -> None:
    clock = FixedClock()
    proxies = TrustedProxies(NETWORKS, clock)
    with capture_logs() as lines:
        for value in ("unknown", "unknown", "_" * 500):
            assert proxies.client_of("10.1.2.3", value) == "10.1.2.3"
        assert proxies.client_of("10.1.2.3", "") == "10.1.2.3"
        clock.now += 59
        proxies.client_of("127.0.0.1", "unknown")
        clock.now += 1
        proxies.client_of("127.0.0.1", "_" * 500)
    assert [(line["value"], line["counted_as"], line["requests"]) for line in lines] == [
        ("unknown", "10.1.2.3", 1),
        ("_" * 100, "127.0.0.1", 4),
    ]
    assert {(line["event"], line["header"]) for line in lines} == {
        ("http.client_unreadable", "X-Forwarded-For")
    }


@pytest.mark.parametrize(
    ("peer", "site"),
    [
        ("203.0.113.9", "203.0.113.9"),
        ("::ffff:203.0.113.9", "203.0.113.9"),
        ("2001:db8:7:aaaa::1", "2001:db8:7::/48"),
        ("2001:db8:7:bbbb::1", "2001:db8:7::/48"),
        ("2001:db8:7:bbbb::/64", "2001:db8:7::/48"),
        (None, UNKNOWN),
    ],
)
def test_a_site_is_an_ipv4_address_or_an_ipv6_48(peer: str | None, site: str) -> None:
    assert site_of(peer) == site


def test_other_proxies_are_believed_from_then_on() -> None:
    proxies = TrustedProxies(["10.0.0.1"], FixedClock())
    assert proxies.client_of("10.0.0.1", "198.51.100.1") == "198.51.100.1"
    proxies.believe(["10.0.0.2"], "Forwarded")
    assert proxies.client_of("10.0.0.1", "for=198.51.100.1") == "10.0.0.1"
    assert proxies.client_of("10.0.0.2", "for=198.51.100.1") == "198.51.100.1"

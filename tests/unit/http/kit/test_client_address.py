from __future__ import annotations

import pytest

from zmartd.http.kit.client_address import UNKNOWN, TrustedProxies, site_of


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
        ("127.0.0.1", "198.51.100.1, nonsense", "127.0.0.1"),
        ("::ffff:127.0.0.1", " 2001:db8::1 ", "2001:db8::/64"),
        ("2001:db8:0:7:aaaa::1", "", "2001:db8:0:7::/64"),
        ("2001:db8:0:7:bbbb::2", "198.51.100.1", "2001:db8:0:7::/64"),
        ("::ffff:203.0.113.9", "", "203.0.113.9"),
        ("", "198.51.100.1", "unknown"),
        (None, "198.51.100.1", "unknown"),
    ],
)
def test_only_trusted_proxies_are_believed(peer: str | None, forwarded_for: str, client: str) -> None:
    assert TrustedProxies(["127.0.0.1", "10.0.0.0/8"]).client_of(peer, forwarded_for) == client


def test_without_trusted_proxies_nobody_is_believed() -> None:
    assert TrustedProxies([]).client_of("127.0.0.1", "198.51.100.1") == "127.0.0.1"


@pytest.mark.parametrize(
    ("peer", "site"),
    [
        ("203.0.113.9", "203.0.113.9"),
        ("::ffff:203.0.113.9", "203.0.113.9"),
        ("2001:db8:7:aaaa::1", "2001:db8:7::/48"),
        ("2001:db8:7:bbbb::1", "2001:db8:7::/48"),
        (None, UNKNOWN),
    ],
)
def test_a_site_is_an_ipv4_address_or_an_ipv6_48(peer: str | None, site: str) -> None:
    assert site_of(peer) == site

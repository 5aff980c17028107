from __future__ import annotations

import errno
import socket

import asyncpg
import pytest

from zmartd.endpoint import (
    Address,
    Secrets,
    UnreadableUrl,
    is_loopback,
    is_loopback_domain,
    read,
    reason,
)

SCHEMES = ("postgresql", "redis", "https")


@pytest.mark.parametrize(
    ("url", "addresses", "path"),
    [
        ("postgresql://zmartd:hunter2@db.example:5433/zmart", [Address("db.example", 5433)], "zmart"),
        ("postgresql://zmartd:hunter2@a:1,b:2/zmart", [Address("a", 1), Address("b", 2)], "zmart"),
        ("postgresql://zmartd@/zmart?host=%2Frun%2Fzmartd", [], "zmart"),
        ("postgresql://%2Frun%2Fzmartd/zmart", [Address("/run/zmartd")], "zmart"),
        ("redis://:p%40ss%2Fw%23rd@[::1]:6379/0", [Address("::1", 6379)], "0"),
        ("https://node.example/v2/key?api-key=k", [Address("node.example")], "v2/key"),
        ("https://host/?key", [Address("host")], ""),
        ("https://under_score", [Address("under_score")], ""),
    ],
)
def test_a_clear_url_is_read(url: str, addresses: list[Address], path: str) -> None:
    endpoint = read(url, SCHEMES)
    assert (list(endpoint.addresses), endpoint.path) == (addresses, path)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "hunter2",
        "hunter2://host",
        "ftp://host",
        "postgresql:hunter2",
        "redis://:hunter2/1@host:6379/0",
        "redis://:hunter2?1@host:6379/0",
        "redis://:hunter2#1@host:6379/0",
        "redis://:12/34@host",
        "redis://user:hunt@er2@host",
        "redis://host:hunter2/0",
        "redis://user:hunter2",
        "redis://host:65536",
        "redis://host:123456",
        "redis://host\t:1",
        "redis://host /0",
        "redis://[::1",
        "redis://[1.2.3]:1",
        "redis://höst/0",
    ],
)
def test_a_url_that_could_be_read_otherwise_is_not_read_and_not_quoted(url: str) -> None:
    with pytest.raises(UnreadableUrl) as caught:
        read(url, SCHEMES)
    assert str(caught.value) == ""
    assert caught.value.__context__ is None


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("localhost", True),
        ("LOCALHOST.", True),
        ("app.localhost", True),
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("0.0.0.0", False),
        ("10.0.0.1", False),
        ("2130706433", False),
        ("localhost.example", False),
        ("evil-localhost", False),
        ("", False),
    ],
)
def test_loopback_is_what_cannot_be_another_machine(host: str, *, loopback: bool) -> None:
    assert is_loopback(host) is loopback


@pytest.mark.parametrize(
    ("domain", "loopback"),
    [
        ("localhost", True),
        ("localhost:5173", True),
        ("app.localhost:1", True),
        ("127.0.0.1:8080", True),
        ("[::1]:3000", True),
        ("::1", False),
        ("localhost:", False),
        ("localhost/path", False),
        ("me@localhost", False),
        ("localhost,localhost", False),
        ("localhost.example", False),
        ("10.0.0.1:3000", False),
        ("", False),
    ],
)
def test_a_domain_of_this_machine_is_a_loopback_host_and_nothing_more(domain: str, *, loopback: bool) -> None:
    assert is_loopback_domain(domain) is loopback


def caused_by(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            ConnectionRefusedError(errno.ECONNREFUSED, "Connect call failed ('h', 'hunter2')"),
            "Connection refused",
        ),
        (socket.gaierror(-2, "Name or service not known"), "Name or service not known"),
        (caused_by(RuntimeError("hunter2"), OSError(errno.ENOENT, "hunter2")), "No such file or directory"),
        (ConnectionResetError("hunter2"), "connection reset"),
        (asyncpg.CannotConnectNowError("hunter2"), "cannot connect now"),
        (asyncpg.ReadOnlySQLTransactionError("hunter2"), "read only sql transaction"),
        (TimeoutError("hunter2"), "timeout"),
    ],
)
def test_a_failure_is_explained_without_the_library_s_words(error: Exception, said: str) -> None:
    assert reason(error) == said


@pytest.mark.parametrize(
    ("url", "text", "hidden"),
    [
        ("https://node/v2/Abcd1234", "no key abCD1234 at /v2/Abcd1234", "no key *** at /***"),
        ("https://node/?key=a%2Fb+c&n=1", "a/b+c, a%2Fb+c, a%2Fb%2Bc, 1", "***, ***, ***, 1"),
        ("https://node?word", "a word", "a ***"),
        ("https://user:p%40ss@node", "user:p@ss, p%40ss", "***, ***"),
        ("https://user:word@node", "Basic dXNlcjp3b3Jk", "Basic ***"),
        ("not a url", "not a url", "not a url"),
        ("https://node", "https://node", "https://node"),
    ],
)
def test_what_may_be_a_key_is_hidden_however_it_is_spelt(url: str, text: str, hidden: str) -> None:
    assert Secrets(url).hidden(text) == hidden

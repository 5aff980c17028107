"""Whatever is wrong with a connection URL, and whoever stumbles over it, no part of its secret is shown."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import traceback
from collections.abc import Sequence

import pytest
from click.testing import CliRunner

from tests.outside_servers import url_as
from tests.ports import free_port
from zmartd.cli import main

SECRET = "Zq7XvK2jWp9b"
PIECES = [SECRET[start : start + 4] for start in range(len(SECRET) - 3)]
COMMANDS = ("check", "serve", "tick", "audit", "migrate", "config")
OF_EACH_KIND = ("check", "serve", "config")
"""For what all others read and connect to in the same way: `UNREACHABLE` URLs meet every command."""
NOBODY = "127.0.0.1:1"
"""Where nobody listens."""

MALFORMED = [
    "{secret}",
    "{secret}://host/0",
    "{scheme}:{secret}",
    "{scheme}://{user}:4837/{secret}@127.0.0.1/0",
    "{scheme}://{user}:{secret}/9@127.0.0.1/0",
    "{scheme}://{user}:{secret}?9@127.0.0.1/0",
    "{scheme}://{user}:{secret}#9@127.0.0.1/0",
    "{scheme}://{user}:9@{secret}@127.0.0.1/0",
    "{scheme}://{user}:{secret}@127.0.0.1:{secret}/0",
    "{scheme}://{user}:{secret}",
    "{scheme}://{user}:{secret}@[::1/0",
    "{scheme}://{user}:{secret}@[{secret}]/0",
    "{scheme}://{user}:{secret}@hö{secret}st/0",
    "{scheme}://{user}:{secret}@ho st/0",
    "{scheme}://{user}:{secret}@127.0.0.1:99999/0",
]
UNREACHABLE = [
    "{scheme}://{user}:{secret}@{nobody}/0",
    "{scheme}://{secret}@{nobody}/0",
    "{scheme}://{user}:%zz{secret}@{nobody}/0",
    "{scheme}://{user}:{secret}@name.invalid/0",
    "{scheme}://{nobody}/0?password={secret}",
    "{scheme}://{nobody}/0?{secret}=1",
    "{scheme}://{nobody}/0?{secret}",
]
POSTGRES_OPTIONS = [
    *("port", "sslmode", "sslrootcert", "sslkey", "sslcert", "sslnegotiation", "ssl_min_protocol_version"),
    *("target_session_attrs", "passfile", "service", "password", "user", "gsslib", "timezone", SECRET),
]
REDIS_OPTIONS = [
    *("db", "socket_timeout", "socket_keepalive", "retry_on_timeout", "max_connections", "protocol"),
    *("username", "password", "client_name", "ssl_keyfile", "health_check_interval", "encoding", SECRET),
]


def urls(scheme: str, user: str) -> list[str]:
    return [
        url.format(scheme=scheme, user=user, secret=SECRET, nobody=NOBODY) for url in MALFORMED + UNREACHABLE
    ]


@pytest.fixture
def surroundings(database_url: str, redis_url: str) -> dict[str, str | None]:
    """The environment of a daemon for which all is well but the chain."""
    ours: dict[str, str | None] = {name: None for name in os.environ if name.startswith("ZMARTD_")}
    return ours | {
        "ZMARTD_DATABASE_URL": database_url,
        "ZMARTD_REDIS_URL": redis_url,
        "ZMARTD_SOLANA_RPC_URL": f"http://{NOBODY}",
        "ZMARTD_SOLANA_TIMEOUT_SECONDS": "0.2",
        "ZMARTD_AUTH_JWT_SECRET": "0f1e2d3c4b5a69788796a5b4c3d2e1f0",
        "ZMARTD_HELIUS_AUTHORIZATION": "f0e1d2c3b4a5968778695a4b3c2d1e0f",
        "ZMARTD_LOG_LEVEL": "debug",
    }


def said(environment: dict[str, str | None], url: str = "") -> str:
    """Everything that the commands print and log with these settings. None of them may crash.

    The daemon would wait for its servers: here it ends, since its port is taken. Every command is run where
    `url` can be read.
    """
    commands = COMMANDS if NOBODY in url else OF_EACH_KIND
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        return "\n".join(_said(commands, environment, port))


def _said(commands: Sequence[str], environment: dict[str, str | None], taken_port: str) -> list[str]:
    printed = []
    for command in commands:
        port = {"ZMARTD_SERVER_PORT": taken_port} if command == "serve" else {}
        result = CliRunner(env=environment | port).invoke(main, [command])
        assert result.exception is None or isinstance(result.exception, SystemExit), (
            command,
            *traceback.format_exception(result.exception),
        )
        assert result.exit_code == 1 or command in {"migrate", "config"}, (command, result.output)
        printed.append(result.output)
    return printed


def assert_silent(text: str) -> None:
    assert [piece for piece in PIECES if piece in text] == [], text
    assert not re.search(r"(?<!\d)4837(?!\d)", text)  # the digits of a time are more


@pytest.mark.parametrize(
    ("variable", "url"),
    [
        ("ZMARTD_DATABASE_URL", f"postgresql://zmartd:{SECRET}@{NOBODY}/0"),
        ("ZMARTD_REDIS_URL", f"redis://:{SECRET}@{NOBODY}/0"),
        ("ZMARTD_SOLANA_RPC_URL", f"http://{NOBODY}/v2/{SECRET}"),
    ],
)
def test_a_daemon_that_waits_for_what_is_away_does_not_show_its_url(
    surroundings: dict[str, str | None], variable: str, url: str
) -> None:
    given = os.environ | surroundings | {"ZMARTD_SERVER_PORT": str(free_port()), variable: url}
    environment = {name: value for name, value in given.items() if value is not None}
    with subprocess.Popen(
        [sys.executable, "-m", "zmartd", "serve"], stderr=subprocess.PIPE, text=True, env=environment
    ) as daemon:
        assert daemon.stderr is not None
        lines = []
        for line in daemon.stderr:
            lines.append(line)
            if "dependency.away" in line:
                break
        daemon.terminate()
        lines += daemon.stderr
    assert daemon.returncode == 0, lines
    assert_silent("".join(lines))


@pytest.mark.parametrize("url", urls("postgresql", "zmartd"))
def test_a_database_url_is_not_shown(surroundings: dict[str, str | None], url: str) -> None:
    assert_silent(said(surroundings | {"ZMARTD_DATABASE_URL": url}, url))


@pytest.mark.parametrize("url", urls("redis", ""))
def test_a_redis_url_is_not_shown(surroundings: dict[str, str | None], url: str) -> None:
    assert_silent(said(surroundings | {"ZMARTD_REDIS_URL": url}, url))


@pytest.mark.parametrize(
    "url", [*urls("http", "user"), f"http://{NOBODY}/v2/{SECRET}", f"https://{NOBODY}/{SECRET}"]
)
def test_an_rpc_url_is_not_shown(surroundings: dict[str, str | None], url: str) -> None:
    assert_silent(said(surroundings | {"ZMARTD_SOLANA_RPC_URL": url}, url))


@pytest.mark.parametrize("option", POSTGRES_OPTIONS)
def test_an_option_that_postgres_does_not_take_is_not_shown(
    surroundings: dict[str, str | None], option: str
) -> None:
    url = f"{surroundings['ZMARTD_DATABASE_URL']}&{option}={SECRET}"
    assert_silent(said(surroundings | {"ZMARTD_DATABASE_URL": url}))


def test_a_user_that_postgres_does_not_know_is_not_shown(surroundings: dict[str, str | None]) -> None:
    url = url_as(surroundings["ZMARTD_DATABASE_URL"] or "", SECRET)
    assert_silent(said(surroundings | {"ZMARTD_DATABASE_URL": url}))


@pytest.mark.parametrize("option", REDIS_OPTIONS)
def test_an_option_that_redis_does_not_take_is_not_shown(
    surroundings: dict[str, str | None], option: str
) -> None:
    url = f"{surroundings['ZMARTD_REDIS_URL']}&{option}={SECRET}"
    assert_silent(said(surroundings | {"ZMARTD_REDIS_URL": url}))

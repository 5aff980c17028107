"""`zmartd check` on real servers: failures, warnings, and what they say to do."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from click.testing import CliRunner
from redis import Redis
from solders.keypair import Keypair

from tests.event_loop import run
from tests.statements import execute
from zmartd.cli import main
from zmartd.store import schema

Environment = dict[str, str | None]
SHARED = "0f1e2d3c4b5a69788796a5b4c3d2e1f0"


@pytest.fixture
def environment(database_url: str, redis_url: str) -> Environment:
    """The environment of a daemon for which all is well but the chain."""
    ours: Environment = {name: None for name in os.environ if name.startswith(("ZMARTD_", "PG"))}
    return ours | {
        "ZMARTD_DATABASE_URL": database_url,
        "ZMARTD_REDIS_URL": redis_url,
        "ZMARTD_SOLANA_RPC_URL": "http://127.0.0.1:1",
        "ZMARTD_SOLANA_TIMEOUT_SECONDS": "0.2",
        "ZMARTD_AUTH_JWT_SECRET": SHARED,
        "ZMARTD_HELIUS_AUTHORIZATION": SHARED[::-1],
    }


def check(environment: Environment) -> list[dict[str, Any]]:
    result = CliRunner(env=environment).invoke(main, ["check", "--json"])
    found: list[dict[str, Any]] = json.loads(result.stdout)
    assert result.exit_code == (0 if all(one["ok"] for one in found) else 1)
    assert all(one["ok"] == (one["verdict"] != "failed") for one in found)
    assert all(one["remedy"] for one in found if one["verdict"] in {"warning", "failed"})
    assert not any("check broke" in one["detail"] for one in found)
    return found


def finding(environment: Environment, name: str, verdict: str) -> str:
    """The cause, and what mends it."""
    [one] = findings(environment, name, verdict)
    return one


def findings(environment: Environment, name: str, verdict: str) -> list[str]:
    return [
        f"{one['detail']} -> {one['remedy']}".removesuffix(" -> ")
        for one in check(environment)
        if (one["check"], one["verdict"]) == (name, verdict)
    ]


@pytest.fixture
def redis(redis_url: str) -> Iterator[Redis]:
    with Redis.from_url(redis_url) as client:
        yield client
        client.config_set("maxmemory-policy", "noeviction")
        client.acl_deluser("guest")


def test_a_redis_that_keeps_what_it_is_given_is_fine(environment: Environment) -> None:
    assert finding(environment, "eviction", "ok") == "noeviction"


@pytest.mark.parametrize("policy", ["allkeys-lru", "volatile-ttl", "allkeys-random", "volatile-lfu"])
def test_a_redis_that_throws_keys_away_is_refused(
    environment: Environment, redis: Redis, policy: str
) -> None:
    redis.config_set("maxmemory-policy", policy)
    detail = finding(environment, "eviction", "failed")
    assert detail.startswith(f"maxmemory-policy is {policy}: ")
    assert "`redis-cli CONFIG SET maxmemory-policy noeviction`" in detail


@pytest.mark.parametrize("forbidden", ["-config", "-info"])
def test_one_of_two_ways_to_the_policy_is_enough(
    environment: Environment, redis: Redis, forbidden: str
) -> None:
    environment["ZMARTD_REDIS_URL"] = guest(environment, redis, forbidden)
    redis.config_set("maxmemory-policy", "allkeys-lru")
    assert "maxmemory-policy is allkeys-lru" in finding(environment, "eviction", "failed")


def test_a_policy_that_cannot_be_read_is_said_to_be_unknown(environment: Environment, redis: Redis) -> None:
    environment["ZMARTD_REDIS_URL"] = guest(environment, redis, "-config", "-info")
    assert "make sure that it is noeviction" in finding(environment, "eviction", "warning")


def guest(environment: Environment, redis: Redis, *forbidden: str, password: str = "guest") -> str:
    """The URL for a user who may not give these commands, and whose password is `guest`."""
    rights = ["on", ">guest", "~*", "&*", "+@all", *forbidden]
    redis.execute_command("ACL", "SETUSER", "guest", *rights)  # type: ignore[no-untyped-call]  # no types in redis
    written = environment["ZMARTD_REDIS_URL"] or ""
    url = urlsplit(written)
    if not url.hostname:  # a socket's URL names the login behind it
        return f"{written}&username=guest&password={password}"
    return url._replace(netloc=f"guest:{password}@{url.netloc.rpartition('@')[2]}").geturl()


def test_a_wrong_redis_password_is_said_to_be_wrong(environment: Environment, redis: Redis) -> None:
    environment["ZMARTD_REDIS_URL"] = guest(environment, redis, password="guess")
    assert "refuses the user or the password in redis.url" in finding(environment, "redis", "failed")


def test_a_search_without_trigrams_is_a_warning_that_says_what_is_lost(
    environment: Environment, empty_database_url: str
) -> None:
    assert finding(environment, "search", "ok") == "finds words with small mistakes, too"

    async def lose_trigrams() -> None:
        await schema.bring_up_to_date(empty_database_url)
        await execute(empty_database_url, "drop index markets_by_trigrams")

    run(lose_trigrams())
    environment["ZMARTD_DATABASE_URL"] = empty_database_url
    detail = finding(environment, "search", "warning")
    assert detail.startswith("finds nothing for words with a letter wrong")
    assert "CREATE EXTENSION pg_trgm" in detail


def test_plaintext_to_another_machine_is_named_and_fails_nothing(environment: Environment) -> None:
    environment["ZMARTD_DATABASE_URL"] = "postgresql://zmartd:hunter2@192.0.2.1.invalid/zmart"
    environment["ZMARTD_SOLANA_RPC_URL"] = "http://node.invalid/hunter2"
    named = findings(environment, "encryption", "warning")
    assert [one.partition(":")[0] for one in named] == ["database", "rpc"]
    printed = CliRunner(env=environment).invoke(main, ["check"]).stdout
    [line, remedy] = re.findall(r"WARN +encryption +database: (.*)\n +-> (.*)", printed)[0]
    assert line.startswith("what is sent to 192.0.2.1.invalid can be read and changed")
    assert remedy.startswith("add sslmode=verify-full to database.url")
    assert "hunter2" not in printed


@pytest.mark.parametrize("mode", [0o600, 0o400])
def test_a_key_file_of_one_s_own_is_taken(environment: Environment, tmp_path: Path, mode: int) -> None:
    environment["ZMARTD_SOLANA_AUTHORITY_KEYPAIR_PATH"] = str(key_file(tmp_path, mode))
    assert finding(environment, "configuration", "ok") == "environment production"


@pytest.mark.parametrize("command", ["check", "serve", "tick", "audit"])
@pytest.mark.parametrize("key", ["AUTHORITY", "AUTHORITY_NEXT"])
def test_a_key_file_that_others_can_read_is_refused_by_every_command(
    environment: Environment, tmp_path: Path, command: str, key: str
) -> None:
    file = key_file(tmp_path, 0o644)
    environment[f"ZMARTD_SOLANA_{key}_KEYPAIR_PATH"] = str(file)
    result = CliRunner(env=environment).invoke(main, [command])
    assert result.exit_code == 1
    assert f"`chmod 600 {file}`" in result.output


def key_file(directory: Path, mode: int) -> Path:
    file = directory / "authority.json"
    file.write_text(Keypair().to_json())
    file.chmod(mode)
    return file


def test_the_key_of_a_client_certificate_is_a_key_file_too(environment: Environment, tmp_path: Path) -> None:
    key = key_file(tmp_path, 0o640)
    environment["ZMARTD_DATABASE_URL"] = f"postgresql://127.0.0.1:1/zmart?sslkey={key}"
    environment["ZMARTD_REDIS_URL"] = f"rediss://127.0.0.1:1/0?ssl_keyfile={key}"
    see = " -> `zmartd config` shows what is in force and where it comes from"
    assert findings(environment, "configuration", "failed") == [
        f"database.url: sslkey: {key} is open to other users (mode 0640): `chmod 600 {key}`{see}",
        f"redis.url: ssl_keyfile: {key} is open to other users (mode 0640): `chmod 600 {key}`{see}",
    ]


@pytest.mark.parametrize("missing", ["ZMARTD_AUTH_JWT_SECRET", "ZMARTD_HELIUS_AUTHORIZATION"])
def test_a_secret_without_which_nothing_starts_is_missed_before_the_start(
    environment: Environment, missing: str
) -> None:
    environment[missing] = None
    setting = missing.removeprefix("ZMARTD_").lower().replace("_", ".", 1)
    assert finding(environment, "configuration", "failed").startswith(f"{setting}: ")


def test_too_little_memory_for_signed_deliveries_is_noticed_before_the_start(
    environment: Environment,
) -> None:
    environment |= {
        "ZMARTD_HELIUS_HMAC_SECRET": SHARED[1:] + "1",
        "ZMARTD_HELIUS_UNPROVEN_BYTES": "1000000",
    }
    detail = finding(environment, "configuration", "failed")
    assert detail.startswith("helius.unproven_bytes: ")
    environment["ZMARTD_HELIUS_HMAC_SECRET"] = None
    assert finding(environment, "configuration", "ok") == "environment production"


def test_a_configuration_with_secrets_that_others_can_read_is_named(
    environment: Environment, tmp_path: Path
) -> None:
    file = tmp_path / "zmartd.toml"
    file.write_text(f"[server]\nport = 4001\n[auth]\njwt_secret = '{SHARED}'\n")
    environment |= {"ZMARTD_AUTH_JWT_SECRET": None, "ZMARTD_CONFIG": str(file)}
    file.chmod(0o600)
    assert findings(environment, "secrets", "warning") == []
    file.chmod(0o644)
    detail = finding(environment, "secrets", "warning")
    assert f"`chmod 600 {file}`; it gives auth.jwt_secret" in detail
    serving = CliRunner(env=environment).invoke(main, ["serve"])
    assert "config.exposed" in serving.output
    assert SHARED not in detail + serving.output


def test_a_configuration_without_secrets_may_be_read_by_everybody(
    environment: Environment, tmp_path: Path
) -> None:
    file = tmp_path / "zmartd.toml"
    file.write_bytes((Path(__file__).parents[3] / "zmartd.toml").read_bytes())
    file.chmod(0o644)
    environment["ZMARTD_CONFIG"] = str(file)
    assert finding(environment, "secrets", "ok") == "no other user of this machine can read them"
    assert finding(environment, "configuration", "ok") == "environment production"

from __future__ import annotations

import pytest
from msgspec.structs import replace

from zmartd.alert_settings import AlertSettings, AlertSlackSettings, AlertWebhookSettings
from zmartd.config import DatabaseSettings, RedisSettings, Settings, SolanaSettings
from zmartd.config_values import PostgresUrl, RedisUrl, RpcUrl, ServiceUrl
from zmartd.plaintext import unencrypted_connections


def settings(database: str = "", redis: str = "", rpc: str = "") -> Settings:
    return Settings(
        database=DatabaseSettings(url=PostgresUrl(database or "postgresql://localhost/zmart")),
        redis=RedisSettings(url=RedisUrl(redis or "unix:///run/valkey.sock")),
        solana=SolanaSettings(rpc_url=RpcUrl(rpc or "http://127.0.0.1:8899")),
    )


@pytest.mark.parametrize(
    ("database", "environ", "named"),
    [
        ("postgresql://u:p@db.example/zmart", {}, "db.example"),
        ("postgresql://u:p@10.0.0.5:5433/zmart", {}, "10.0.0.5:5433"),
        ("postgresql://u:p@127.0.0.1,10.0.0.5/zmart", {}, "127.0.0.1, 10.0.0.5"),
        ("postgresql://u:p@/zmart?host=db.example", {}, "db.example"),
        ("postgresql://u:p@/zmart", {"PGHOST": "db.example"}, "db.example"),
        *[
            (f"postgresql://db/z?sslmode={mode}", {}, "db")
            for mode in ("disable", "allow", "prefer", "nonsense")
        ],
        ("postgresql://db/z", {"PGSSLMODE": "prefer"}, "db"),
        *[(f"postgresql://db/z?sslmode={mode}", {}, "") for mode in ("require", "verify-ca", "verify-full")],
        ("postgresql://db/z", {"PGSSLMODE": "require"}, ""),
        ("postgresql://u:p@/zmart?host=%2Frun%2Fpostgresql", {}, ""),
        ("postgresql://u:p@%2Frun%2Fpostgresql/zmart", {}, ""),
        ("postgresql://u:p@[::1]/zmart", {}, ""),
        ("postgresql:///zmart", {}, ""),
    ],
)
def test_a_database_elsewhere_has_to_be_spoken_to_in_tls(
    database: str, environ: dict[str, str], named: str
) -> None:
    found = unencrypted_connections(settings(database=database), environ)
    assert [name for name, _ in found] == (["database"] if named else [])
    for _, detail in found:
        assert f"what is sent to {named} can be read" in detail
        assert "sslmode=verify-full" in detail


@pytest.mark.parametrize(
    ("redis", "named"),
    [
        ("redis://:p@cache.example:6379/0", "cache.example:6379"),
        ("redis://0.0.0.0/0", "0.0.0.0"),
        ("redis://valkey/0", "valkey"),
        ("rediss://:p@cache.example:6379/0", ""),
        ("redis://localhost:6379/0", ""),
        ("redis://:p@127.0.0.2/0", ""),
        ("redis://", ""),
        ("unix:///run/valkey.sock", ""),
    ],
)
def test_a_redis_elsewhere_has_to_be_spoken_to_in_tls(redis: str, named: str) -> None:
    found = unencrypted_connections(settings(redis=redis), {})
    assert [name for name, _ in found] == (["redis"] if named else [])
    assert not found or (f"to {named} can" in found[0][1] and "write rediss://" in found[0][1])


@pytest.mark.parametrize(
    ("rpc", "named"),
    [
        ("http://node.example/key", "node.example"),
        ("http://192.168.1.4:8899", "192.168.1.4:8899"),
        ("https://node.example/key", ""),
        ("http://app.localhost:8899", ""),
        ("http://[::1]:8899", ""),
    ],
)
def test_a_node_elsewhere_has_to_be_spoken_to_in_tls(rpc: str, named: str) -> None:
    found = unencrypted_connections(settings(rpc=rpc), {})
    assert [name for name, _ in found] == (["rpc"] if named else [])
    assert not found or (f"to {named} can" in found[0][1] and "write https://" in found[0][1])


def test_receivers_of_alerts_elsewhere_have_to_be_spoken_to_in_tls() -> None:
    for url, named in (
        ("http://hooks.example/chat-secret", "hooks.example"),
        ("https://hooks.example/chat-secret", ""),
        ("http://127.0.0.1:8065/hooks/x", ""),
    ):
        alerts = AlertSettings(
            webhook=AlertWebhookSettings(url=ServiceUrl(url)), slack=AlertSlackSettings(url=ServiceUrl(url))
        )
        found = unencrypted_connections(replace(settings(), alerts=alerts), {})
        assert [name for name, _ in found] == (["alerts", "alerts"] if named else [])
        assert "chat-secret" not in str(found)
        assert not found or ("alerts.webhook.url" in found[0][1] and "alerts.slack.url" in found[1][1])

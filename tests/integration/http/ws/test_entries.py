"""What is kept for clients of streams, as /metrics shows it."""

from __future__ import annotations

from prometheus_client import REGISTRY

from tests.integration.http.ws.test_server_sent_events import following
from tests.integration.http.ws.websocket_daemon import Daemon, eventually
from tests.integration.realtime.listeners import MARKET, TRADER


def entries() -> dict[str, float]:
    """Of each table."""
    (metric,) = (one for one in REGISTRY.collect() if one.name == "zmartd_realtime_entries")
    return {sample.labels["table"]: sample.value for sample in metric.samples}


async def test_the_metrics_count_what_is_kept_and_nothing_is_once_all_clients_are_gone(
    daemon: Daemon,
) -> None:
    token, _ = daemon.sessions.open(TRADER)

    async def all_gone() -> bool:
        return entries() == dict.fromkeys(entries(), 0) | {"streams": 1}

    assert not any(entries().values())
    async with (
        following(daemon, f"market:{MARKET}", token=token) as events,
        daemon.client.ws_connect("/ws") as socket,
    ):
        await socket.send_json({"action": "subscribe", "market_id": "*"})
        while "Subscribed" not in str(await socket.receive_json()):
            pass
        await events.next()
        found = entries()
        assert {one: found[one] for one in ("clients", "subscriptions", "sessions", "streams")} == {
            "clients": 2,
            "subscriptions": 2,
            "sessions": 1,
            "streams": 1,
        }
        assert found["places"] > 0
    await eventually(all_gone)

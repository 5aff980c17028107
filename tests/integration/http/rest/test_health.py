from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import Iterator
from typing import Any

import prometheus_client
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from tests.integration.http.rest.database_cable import Cable
from tests.integration.http.rest.rest_api import Api, running_api
from tests.integration.http.rest.rest_stage import Stage
from zmartd import __version__
from zmartd.config import RateLimitSettings
from zmartd.http.middleware.security_headers import HEADERS
from zmartd.store.postgres.database import Database


async def settled_health(api: Api) -> tuple[int, dict[str, Any]]:
    """The operator's first report in which every dependency has been probed."""
    while True:
        answer = await api.operator.get("/health")
        if all(check["status"] != "unknown" for check in answer.body["checks"].values()):
            return answer.status, answer.body


async def test_everything_at_hand_is_healthy(stage: Stage) -> None:
    status, body = await settled_health(stage.api)
    assert status == 200
    assert body == {
        "status": "healthy",
        "timestamp": body["timestamp"],
        "uptime": body["uptime"],
        "environment": "development",
        "version": __version__,
        "checks": {"database": {"status": "ok"}, "rpc": {"status": "ok"}},
    }


async def test_without_a_chain_the_daemon_serves_what_it_can(api: Api) -> None:
    status, body = await settled_health(api)
    assert (status, body["status"]) == (200, "degraded")
    assert body["checks"]["database"] == {"status": "ok"}
    assert body["checks"]["rpc"]["status"] == "error"


async def test_without_its_database_the_daemon_is_of_no_use(severable_api: Api, cable: Cable) -> None:
    await cable.cut()
    status, body = await settled_health(severable_api)
    assert (status, body["status"]) == (503, "unhealthy")
    assert body["checks"]["database"]["status"] == "error"
    stranger = await severable_api.anybody.get("/health")
    assert (stranger.status, stranger.body) == (503, {"status": "error"})


async def test_a_stranger_learns_whether_the_daemon_serves_and_nothing_else(api: Api) -> None:
    assert (await settled_health(api))[1]["status"] == "degraded"
    stranger = await api.anybody.get("/health")
    assert (stranger.status, stranger.body) == (200, {"status": "ok"})
    for path in ("/metrics", "/health/", "/health/details"):
        answer = await api.anybody.get(path)
        assert (answer.status, answer.body["code"]) == (404, "route_not_found")


async def test_the_operator_is_answered_when_the_public_side_refuses_everybody(
    database: Database, redis_url: str
) -> None:
    async with running_api(database, redis_url, rate_limits=RateLimitSettings(ip_reads_per_minute=5)) as api:
        statuses = [(await api.anybody.get("/api/trades")).status for _ in range(7)]
        assert statuses == [200] * 5 + [429] * 2
        for _ in range(5):
            assert (await api.operator.get("/health")).status == 200
            assert (await api.operator.get("/metrics")).status == 200


async def test_the_operators_listener_has_errors_and_headers_like_the_api_and_nothing_for_browsers(
    api: Api,
) -> None:
    for method, path, status, code in (
        ("GET", "/api/markets", 404, "route_not_found"),
        ("GET", "/docs", 404, "route_not_found"),
        ("POST", "/metrics", 405, "method_not_allowed"),
    ):
        refused = await api.operators_client.request(method, path)
        body = await refused.json()
        assert (refused.status, body["code"]) == (status, code)
        assert body["request_id"] == refused.headers["X-Request-Id"]
    origin = {"Origin": "https://app.example"}
    for response in (
        await api.operators_client.get("/health", headers=origin),
        await api.operators_client.get("/metrics", headers={**origin, "Authorization": "Bearer whatever"}),
        await api.operators_client.options(
            "/metrics", headers={**origin, "Access-Control-Request-Method": "GET"}
        ),
    ):
        assert HEADERS.items() <= response.headers.items()
        assert "Access-Control-Allow-Origin" not in response.headers
        assert "RateLimit-Limit" not in response.headers


class SlowMetric(Collector):
    """A metric that takes as long as a test says. Registering it collects it once."""

    def __init__(self) -> None:
        self.may_end = threading.Event()
        self.began = threading.Semaphore(0)
        self.times = -1

    def collect(self) -> Iterator[Metric]:
        self.times += 1
        if self.times:
            self.began.release()
            assert self.may_end.wait(600)
        yield GaugeMetricFamily("slow", "of a test", value=self.times)


async def test_metrics_are_rendered_beside_requests_and_once_for_all_who_wait(api: Api) -> None:
    slow = SlowMetric()
    prometheus_client.REGISTRY.register(slow)
    try:
        scrapes = [asyncio.create_task(api.operator.get("/metrics"))]
        await asyncio.to_thread(slow.began.acquire)
        scrapes.append(asyncio.create_task(api.operator.get("/metrics")))
        assert (await api.operator.get("/health")).status == 200
        slow.may_end.set()
        assert [("slow 1.0" in (await scrape).body) for scrape in scrapes] == [True, True]
        assert "slow 2.0" in (await api.operator.get("/metrics")).body
    finally:
        slow.may_end.set()
        prometheus_client.REGISTRY.unregister(slow)


async def test_metrics_count_requests_by_route_and_never_by_path(api: Api) -> None:
    await api.anybody.get(f"/api/markets/{'ab' * 32}")
    metrics = await api.operator.get("/metrics")
    assert metrics.status == 200
    assert metrics.headers["Content-Type"].startswith("text/plain; version=")
    labels = 'method="GET",route="/api/markets/{id}",status="404"'
    assert f"zmartd_http_request_duration_seconds_count{{{labels}}}" in metrics.body
    assert "abab" not in metrics.body


async def test_metrics_count_the_tasks_of_the_moment(api: Api) -> None:
    async def counted() -> int:
        found = re.search(
            r"^zmartd_asyncio_tasks (\d+)", (await api.operator.get("/metrics")).body, re.MULTILINE
        )
        assert found is not None
        return int(found[1])

    before = await counted()
    sleeping = [asyncio.create_task(asyncio.sleep(3_600)) for _ in range(100)]
    assert await counted() > before + 50
    for task in sleeping:
        task.cancel()

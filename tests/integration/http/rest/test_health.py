from __future__ import annotations

from database_cable import Cable
from rest_api import Api
from rest_stage import Stage

from zmartd import __version__


async def settled_health(api: Api) -> tuple[int, dict[str, object]]:
    """The first health report in which every dependency has been probed."""
    while True:
        answer = await api.anybody.get("/health")
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


async def test_metrics_count_requests_by_route_and_never_by_path(api: Api) -> None:
    await api.anybody.get(f"/api/markets/{'ab' * 32}")
    metrics = await api.anybody.get("/metrics")
    assert metrics.status == 200
    assert metrics.headers["Content-Type"].startswith("text/plain; version=")
    labels = 'method="GET",route="/api/markets/{id}",status="404"'
    assert f"zmartd_http_request_duration_seconds_count{{{labels}}}" in metrics.body
    assert "abab" not in metrics.body

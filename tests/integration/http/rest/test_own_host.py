"""A page whose name was made to lead here (DNS rebinding) reads nothing from what listens on loopback."""

from __future__ import annotations

import aiohttp
import pytest

from tests.integration.http.rest.rest_api import Api

PATHS = ("/api/markets", "/health", "/docs")


@pytest.mark.parametrize("host", ["evil.example", "evil.example:4000", "localhost.evil.example", "0.0.0.0"])
async def test_another_machine_s_name_is_refused(api: Api, host: str) -> None:
    for path in PATHS:
        response = await api.client.get(path, headers={"Host": host})
        body = await response.json()
        assert (response.status, body["code"]) == (400, "invalid_http")
        assert "serves localhost" in body["message"]
        assert response.headers["X-Request-Id"] == body["request_id"]
    for path in ("/health", "/metrics"):
        assert (await api.operators_client.get(path, headers={"Host": host})).status == 400
    webhook = await api.client.post("/helius/webhook", data=b"[]", headers={"Host": host})
    assert webhook.status == 400
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        await api.client.ws_connect("/ws", headers={"Host": host})
    assert refused.value.status == 400


@pytest.mark.parametrize(
    "host", ["localhost", "localhost:4000", "app.localhost:4000", "127.0.0.1", "[::1]:1"]
)
async def test_this_machine_s_names_are_answered_to(api: Api, host: str) -> None:
    response = await api.client.get("/api/markets", headers={"Host": host})
    assert response.status == 200

"""A page whose name was made to lead here (DNS rebinding) reads nothing from what listens on loopback.

In development the pages of this machine itself may call the API and sign in, whatever their port.
"""

from __future__ import annotations

import aiohttp
import pytest

from tests.integration.http.rest.rest_api import Api
from tests.signing_wallet import SigningWallet
from zmartd.http.middleware.cors import AllowedOrigins

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


VISITOR = SigningWallet(77)


@pytest.mark.parametrize("domain", ["localhost:5173", "127.0.0.1:8080", "[::1]:3000", "app.localhost"])
async def test_every_page_of_this_machine_calls_and_signs_in_to_a_development_daemon(
    api: Api, domain: str
) -> None:
    origin = f"http://{domain}"
    asked = {"Origin": origin, "Access-Control-Request-Method": "POST"}
    preflight = await api.client.options("/api/auth/login", headers=asked)
    assert (preflight.status, preflight.headers["Access-Control-Allow-Origin"]) == (200, origin)

    query = {"wallet": VISITOR.address, "domain": domain}
    answer = await api.client.get("/api/auth/nonce", params=query, headers={"Origin": origin})
    assert answer.headers["Access-Control-Allow-Origin"] == origin
    message = (await answer.json())["message"]
    assert message.startswith(f"{domain} wants you to sign in")
    assert f"URI: {origin}" in message
    signed = {"message": message, "signature": VISITOR.sign_base58(message)}
    session = await api.client.post("/api/auth/login", json=signed)
    assert session.status == 200


@pytest.mark.parametrize("domain", ["evil.example", "localhost.evil.example", "10.0.0.1:3000"])
async def test_a_page_from_elsewhere_is_refused_in_development_too(api: Api, domain: str) -> None:
    asked = {"Origin": f"https://{domain}", "Access-Control-Request-Method": "POST"}
    preflight = await api.client.options("/api/auth/login", headers=asked)
    assert preflight.status == 403
    assert "Access-Control-Allow-Origin" not in preflight.headers
    answer = await api.client.get("/api/auth/nonce", params={"domain": domain}, headers=asked)
    assert answer.status == 400
    assert "Access-Control-Allow-Origin" not in answer.headers


def test_in_production_only_the_named_origins_may_call() -> None:
    origins = AllowedOrigins(["https://app.example"], every_loopback=False)
    assert "https://app.example" in origins
    assert "http://localhost:5173" not in origins

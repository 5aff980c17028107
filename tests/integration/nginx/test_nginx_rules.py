"""What the shipped nginx passes on, to whom, and how often: seen from the other side."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.debian_packages import NotToBeHad
from tests.integration.nginx.client import client_of
from tests.integration.nginx.upstream import NOTHING, OK, UNAVAILABLE, Upstream
from tests.nginx import NAME, Nginx

HELIUS, STRANGER = "127.0.0.10", "127.0.0.11"
TWICE = ["GET", "DELETE"]
ONCE = ["POST", "PATCH"]


class Behind:
    """nginx in front of two upstreams."""

    def __init__(self, nginx: Nginx, first: Upstream, second: Upstream) -> None:
        self.nginx = nginx
        self.upstreams = (first, second)

    @property
    def asked(self) -> list[str]:
        """The request lines that any of them got."""
        return [line for upstream in self.upstreams for line in upstream.asked]

    def answering(self, first: bytes, second: bytes) -> None:
        """From now on they answer so, and have been asked nothing."""
        for upstream, answer in zip(self.upstreams, (first, second), strict=True):
            upstream.answer = answer
            upstream.heads.clear()


@pytest.fixture
async def behind(tmp_path: Path) -> AsyncIterator[Behind]:
    async with Upstream() as first, Upstream() as second:
        try:
            nginx = Nginx(tmp_path / "nginx", [first.port, second.port], helius=HELIUS)
        except NotToBeHad as error:
            pytest.skip(str(error))
        async with nginx:
            yield Behind(nginx, first, second)


async def test_what_a_client_says_about_itself_is_replaced_or_dropped(behind: Behind) -> None:
    said = {
        "X-Forwarded-For": "203.0.113.1",
        "X_Forwarded_For": "203.0.113.1",
        "Forwarded": "for=203.0.113.1",
        "X-Real-IP": "203.0.113.1",
        "X-Forwarded-Host": "evil.example",
        "X-Forwarded-Port": "1",
        "X-Forwarded-Proto": "evil",
        "Upgrade": "h2c",
        "Connection": "Upgrade, HTTP2-Settings",
        "TE": "trailers",
        "Authorization": "Bearer of the client",
        "X-Request-Id": "of the client",
    }
    behind.answering(OK, OK)
    async with client_of(behind.nginx, STRANGER) as client, client.get("/api/markets?q=1", headers=said):
        pass
    [upstream] = [one for one in behind.upstreams if one.heads]
    headers = upstream.headers()
    assert re.fullmatch("[0-9a-f]{32}", headers.pop("x-request-id"))
    for own in ("accept", "accept-encoding", "user-agent"):
        headers.pop(own)
    assert headers == {
        "host": NAME,
        "x-forwarded-for": STRANGER,
        "authorization": "Bearer of the client",
    }
    assert upstream.asked == ["GET /api/markets?q=1 HTTP/1.1"]


async def test_the_id_of_a_request_is_the_same_on_both_sides(behind: Behind) -> None:
    given = {"X-Request-Id": "trace:0123-4567"}
    behind.answering(OK, OK)
    async with client_of(behind.nginx) as client, client.get("/api/markets", headers=given) as response:
        assert response.headers.getall("X-Request-Id") == [given["X-Request-Id"]]
    [upstream] = [one for one in behind.upstreams if one.heads]
    assert upstream.headers()["x-request-id"] == given["X-Request-Id"]


@pytest.mark.parametrize("answer", [NOTHING, UNAVAILABLE], ids=["killed", "503"])
async def test_only_what_may_be_repeated_is_sent_to_the_other_daemon(behind: Behind, answer: bytes) -> None:
    async with client_of(behind.nginx, HELIUS) as client:
        for broken, good in ((answer, OK), (OK, answer)):
            for method in TWICE:
                behind.answering(broken, good)
                statuses = [await _status(client, method, "/api/discussions/1") for _ in range(2)]
                assert (method, statuses, len(behind.asked)) == (method, [200, 200], 3)
            for method in ONCE:
                behind.answering(broken, good)
                statuses = [await _status(client, method, "/api/discussions/1") for _ in range(2)]
                expected = sorted([200, 503 if answer else 502])
                assert (method, sorted(statuses), len(behind.asked)) == (method, expected, 2)
            behind.answering(broken, good)
            statuses = [await _status(client, "POST", "/helius/webhook") for _ in range(2)]
            assert (statuses, len(behind.asked)) == ([200, 200], 3)


async def test_a_daemon_that_failed_is_asked_in_its_turn(behind: Behind) -> None:
    behind.answering(UNAVAILABLE, UNAVAILABLE)
    async with client_of(behind.nginx) as client:
        assert [await _status(client, "GET", "/api/markets") for _ in range(3)] == [503] * 3
        assert [len(one.asked) for one in behind.upstreams] == [3, 3]
        behind.answering(OK, OK)
        assert [await _status(client, "GET", "/api/markets") for _ in range(6)] == [200] * 6
    assert [len(one.asked) for one in behind.upstreams] == [3, 3]


PATHS = [
    "/helius/webhook",
    "/helius/webhook/",
    "/helius/webhook?x=1",
    "/helius",
    "//helius//webhook",
    "/./helius/webhook",
    "/api/../helius/webhook",
    "/api/..%2fhelius/webhook",
    "/%68elius/%77ebhook",
    "/helius%2fwebhook",
    "/metrics",
    "/metrics/",
    "/metrics?x=1",
    "/%6detrics",
    "//metrics",
]


async def test_no_spelling_of_the_webhook_or_of_metrics_leads_past_its_rule(behind: Behind) -> None:
    forged = {"X-Forwarded-For": HELIUS, "Forwarded": f"for={HELIUS}", "X-Real-IP": HELIUS}
    behind.answering(OK, OK)
    for path in PATHS:
        status, body = await _raw(behind.nginx, path, forged)
        expected = (404, "route_not_found") if "etrics" in path else (403, "proxy_forbidden")
        assert (path, status, body["code"]) == (path, *expected)
    assert behind.asked == []
    async with client_of(behind.nginx, HELIUS) as client:
        assert await _status(client, "POST", "/helius/webhook") == 200
        assert await _status(client, "GET", "/metrics") == 404


async def test_bodies_are_limited_before_a_daemon_gets_any_of_them(behind: Behind) -> None:
    behind.answering(OK, OK)
    async with client_of(behind.nginx, HELIUS) as client:
        for path, limit in (("/api/markets", 65_536), ("/helius/webhook", 10_485_760)):
            async with client.post(path, data=bytes(limit + 1)) as response:
                body = await response.json()
                told = (response.status, body["code"], body["request_id"])
                assert told == (413, "body_too_large", response.headers["X-Request-Id"])
            assert behind.asked == []
            async with client.post(path, data=bytes(limit)) as response:
                assert response.status == 200
            behind.answering(OK, OK)


async def test_an_address_has_so_many_requests_under_way_and_another_one_its_own(tmp_path: Path) -> None:
    async with Upstream(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n") as upstream:
        try:
            nginx = Nginx(tmp_path / "nginx", [upstream.port], max_connections_per_client=2)
        except NotToBeHad as error:
            pytest.skip(str(error))
        async with nginx, client_of(nginx, STRANGER) as client, client_of(nginx, HELIUS) as other:
            upgrade = {"Connection": "Upgrade", "Upgrade": "websocket"}
            opened = [await client.get("/ws", headers=upgrade) for _ in range(2)]
            assert [response.status for response in opened] == [101, 101]
            async with client.get("/ws", headers=upgrade) as refused:
                assert (refused.status, (await refused.json())["code"]) == (429, "too_many_connections")
            assert (await other.get("/ws", headers=upgrade)).status == 101


async def test_an_unknown_name_gets_nothing_and_plain_http_leads_to_the_configured_one(
    behind: Behind,
) -> None:
    plain = f"http://127.0.0.1:{behind.nginx.plain_port}"
    behind.answering(OK, OK)
    async with aiohttp.ClientSession() as client:
        for url in (f"http://127.0.0.1:{behind.nginx.port}/api/markets", f"{plain}/api/markets"):
            for host in ("evil.example", "127.0.0.1"):
                with pytest.raises(aiohttp.ServerDisconnectedError):
                    await client.get(url, headers={"Host": host})
        named = {"Host": f"{NAME}:80"}
        async with client.post(f"{plain}/a%20b?c=d", headers=named, allow_redirects=False) as response:
            assert response.status == 308
            assert response.headers["Location"] == f"https://{NAME}/a%20b?c=d"
    assert behind.asked == []


async def test_long_answers_are_compressed_for_those_who_take_it(behind: Behind) -> None:
    text = b'{"a":"' + b"x" * 2_000 + b'"}'
    lines = ("HTTP/1.1 200 OK", "Content-Type: application/json", 'ETag: "e"', f"Content-Length: {len(text)}")
    head = "\r\n".join([*lines, "", ""])
    behind.answering(*(head.encode() + text,) * 2)
    async with client_of(behind.nginx) as client:
        async with client.get("/api/markets", headers={"Accept-Encoding": "gzip"}) as response:
            assert response.headers["Content-Encoding"] == "gzip"
            assert (response.headers["ETag"], await response.read()) == ('W/"e"', text)
        async with client.get("/api/markets", headers={"Accept-Encoding": "identity"}) as response:
            assert "Content-Encoding" not in response.headers
            assert response.headers["ETag"] == '"e"'


async def test_a_head_as_long_as_a_daemon_s_may_be_is_passed_on(behind: Behind) -> None:
    """The Link to the next page repeats the query."""
    link = f"Link: <?{'x' * 8_000}>"
    behind.answering(*(f"HTTP/1.1 200 OK\r\n{link}\r\nContent-Length: 0\r\n\r\n".encode(),) * 2)
    async with client_of(behind.nginx) as client:
        assert await _status(client, "GET", "/api/trades") == 200


async def _status(client: aiohttp.ClientSession, method: str, path: str) -> int:
    body = None if method in TWICE else b"{}"
    async with client.request(method, path, data=body) as response:
        await response.read()
        return response.status


async def _raw(nginx: Nginx, path: str, headers: dict[str, str]) -> tuple[int, dict[str, str]]:
    """The status and JSON of the answer to a POST to exactly this path, which a client would tidy up."""
    reader, writer = await asyncio.open_connection("127.0.0.1", nginx.port, local_addr=(STRANGER, 0))
    lines = [f"POST {path} HTTP/1.1", f"Host: {NAME}", "Connection: close", "Content-Length: 0"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    writer.write("\r\n".join([*lines, "", ""]).encode())
    head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    return int(head.split()[1]), json.loads(body) if b"application/json" in head else {}


TOKEN = "eyJhbGciOiJIUzI1NiJ9.the-token-of-a-session"


async def test_no_log_has_a_token_whatever_goes_wrong(behind: Behind) -> None:
    """Each request makes nginx write a line of another level that quotes it, where it may."""
    nginx, query = behind.nginx, f"?token={TOKEN}"
    too_long = f"HTTP/1.1 200 OK\r\nX: {'x' * 20_000}\r\nContent-Length: 0\r\n\r\n".encode()
    async with client_of(nginx, HELIUS, headers={"Referer": f"https://a.example/{query}"}) as client:
        for answer, status in ((OK, 200), (NOTHING, 502), (UNAVAILABLE, 503), (too_long, 502)):
            behind.answering(answer, answer)
            assert await _status(client, "GET", f"/ws{query}") == status
        behind.answering(OK, OK)
        assert await _status(client, "GET", f"/metrics{query}") == 404
        async with client.post(f"/helius/webhook{query}", data=bytes(10_485_761)) as response:
            assert response.status == 413
        shutil.rmtree(nginx.directory / "body")
        async with client.post(f"/helius/webhook{query}", data=bytes(100_000)) as response:
            assert (response.status, (await response.json())["code"]) == (500, "proxy_failed")
        plain = f"http://127.0.0.1:{nginx.plain_port}/ws{query}"
        named = {"Host": NAME}
        async with aiohttp.ClientSession() as other:
            async with other.get(plain, headers=named, allow_redirects=False) as response:
                assert response.status == 308
            with pytest.raises(aiohttp.ServerDisconnectedError):
                await other.get(plain)
    status, _ = await _raw(nginx, f"/helius/webhook{query}", {})
    assert status == 403
    status, _ = await _raw(nginx, f"/api/{'x' * 9_000}{query}", {})
    assert status == 414
    for upstream in behind.upstreams:
        await upstream.close()
    async with client_of(nginx) as client:
        assert await _status(client, "GET", f"/ws{query}") == 502
    lines = await _lines(nginx, 13)
    assert {line["path"] for line in lines if line["status"] < 400} == {"/ws"}
    assert lines[-1]["daemon_status"] == "502, 502"
    written = {file.name: file.read_text() for file in nginx.logs.iterdir()}
    assert set(written) == {"zmartd.log", "zmartd-error.log", "error.log"}
    assert [name for name, text in written.items() if TOKEN in text] == []


async def _lines(nginx: Nginx, count: int) -> list[dict[str, Any]]:
    """The lines of the access log, once there are so many: nginx writes them after its answers."""
    while len(lines := nginx.logged()) < count:  # noqa: ASYNC110 - lines are no events
        await asyncio.sleep(0.01)
    return lines

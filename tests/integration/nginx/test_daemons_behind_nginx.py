"""Two daemons behind nginx, as a client sees them. Each test asks from addresses of its own."""

from __future__ import annotations

import asyncio
import signal
import time
from collections import Counter
from collections.abc import Callable, Mapping

import aiohttp
import pytest

from tests import patience
from tests.integration.nginx.client import client_of
from tests.integration.nginx.system import AUTHORIZATION, HELIUS, READS_PER_MINUTE, System

pytestmark = pytest.mark.asyncio(loop_scope="module")

READERS = 4
PACE_SECONDS = 0.1
"""Between two requests of a reader."""


async def test_daemons_take_turns(behind_nginx: System) -> None:
    async with client_of(behind_nginx.nginx, "127.0.1.1") as client:
        ids = [await _id_of(client, f"/api/markets/{behind_nginx.market}") for _ in range(6)]
    asked = Counter(line["daemons"] for line in await behind_nginx.log_of(*ids))
    assert asked == {f"127.0.0.1:{daemon.port}": 3 for daemon in behind_nginx.daemons}


@pytest.mark.parametrize("path", ["/ws", "/ws/", "/"])
async def test_a_websocket_gets_what_happens_on_either_daemon(behind_nginx: System, path: str) -> None:
    async with (
        client_of(behind_nginx.nginx, "127.0.1.2") as client,
        client.ws_connect(path, params={"token": behind_nginx.token}) as socket,
    ):
        await socket.send_json({"action": "subscribe", "market_id": behind_nginx.market})
        while (await socket.receive_json(timeout=patience.SECONDS))["type"] != "market_state":
            pass
        texts = [f"{path} {number}" for number in range(2)]
        assert [await behind_nginx.post_comment(text) for text in texts] == [201, 201]
        for text in texts:
            while text not in await socket.receive_str(timeout=patience.SECONDS):
                pass


async def test_events_are_passed_on_one_by_one(behind_nginx: System) -> None:
    query = {"channels": f"market:{behind_nginx.market}", "token": behind_nginx.token}
    async with (
        client_of(behind_nginx.nginx, "127.0.1.3") as client,
        client.get("/api/stream", params=query) as response,
    ):
        assert response.status == 200
        assert "Content-Encoding" not in response.headers
        for text in ("the first event", "the second event"):
            assert await behind_nginx.post_comment(text) == 201
            async with asyncio.timeout(patience.SECONDS):
                while text.encode() not in await response.content.readline():
                    pass


async def test_limits_are_those_of_the_real_client_on_all_daemons(behind_nginx: System) -> None:
    path = f"/api/markets/{behind_nginx.market}"
    from_database = {"Cache-Control": "no-cache"}
    async with client_of(behind_nginx.nginx, "127.0.1.4", headers=from_database) as client:
        said = [f"203.0.113.{number}" for number in range(2 * READS_PER_MINUTE)]
        forged = [{"X-Forwarded-For": one, "Forwarded": f"for={one}", "X-Real-IP": one} for one in said]
        statuses = Counter(await asyncio.gather(*(_status(client, path, headers) for headers in forged)))
    assert set(statuses) == {200, 429}
    assert statuses[200] <= READS_PER_MINUTE
    async with client_of(behind_nginx.nginx, "127.0.1.5") as other:
        assert await _status(other, path) == 200


async def test_the_webhook_is_for_helius_alone(behind_nginx: System) -> None:
    right = {"Authorization": AUTHORIZATION}
    forged = {"X-Forwarded-For": HELIUS, "Forwarded": f"for={HELIUS}", "X-Real-IP": HELIUS}
    told = []
    for address, headers in (
        (HELIUS, right),
        (HELIUS, {}),
        ("127.0.1.6", right),
        ("127.0.1.6", right | forged),
    ):
        async with (
            client_of(behind_nginx.nginx, address, headers=headers) as client,
            client.post("/helius/webhook", json=[]) as response,
        ):
            told.append((response.status, (await response.json()).get("code")))
    assert told == [
        (200, None),
        (401, "webhook_unauthorized"),
        (403, "proxy_forbidden"),
        (403, "proxy_forbidden"),
    ]


async def test_only_what_never_changes_is_cached_and_only_for_everybody(behind_nginx: System) -> None:
    snapshot = f"/api/discussions/ipfs/{behind_nginx.snapshot}"
    page = {"Origin": "http://localhost:3000"}
    signed_in = {"Authorization": f"Bearer {behind_nginx.token}"}
    async with client_of(behind_nginx.nginx, "127.0.1.7") as client:
        got = []
        for path, headers, status in (
            *((snapshot, {}, 200), (snapshot, {}, 200), (snapshot, page, 200), (snapshot, page, 200)),
            *((snapshot, signed_in, 200), (f"{snapshot}?x=1", {}, 400), (f"{snapshot}?0", {}, 400)),
            *((snapshot, {"If-None-Match": f'"{behind_nginx.snapshot}"'}, 304),),
            *((f"/api/markets/{behind_nginx.market}", {}, 200), ("/docs/start.js", {}, 200)),
        ):
            async with client.get(path, headers=headers) as response:
                assert (path, response.status) == (path, status)
                if path == snapshot and status == 200:
                    assert await response.read() == behind_nginx.content
                    assert response.headers.get("Access-Control-Allow-Origin") == headers.get("Origin")
                    assert [name for name in response.headers if "ratelimit" in name.lower()] == []
                [request_id] = response.headers.getall("X-Request-Id")
                got.append(request_id)
    assert len(set(got)) == len(got)
    assert [line["cache"] for line in await behind_nginx.log_of(*got)] == [
        *("MISS", "HIT", "MISS", "HIT", "BYPASS", "BYPASS", "MISS", "HIT", "", ""),
    ]
    kept = [
        file.read_bytes() for file in (behind_nginx.nginx.directory / "cache").rglob("*") if file.is_file()
    ]
    assert len(kept) == 2
    assert not any(behind_nginx.token.encode() in content for content in kept)


async def test_a_daemon_that_is_killed_and_started_again_fails_no_request_that_may_be_repeated(
    behind_nginx: System, tell_reader: Callable[[str], None]
) -> None:
    killed = behind_nginx.daemons[0]
    reading = _Reading(behind_nginx, "127.0.2")
    await reading.until(3)
    await killed.restart(signal.SIGKILL)
    statuses, slowest = await reading.end()
    assert set(statuses) == {200}
    tell_reader(
        f"a daemon was killed and started again: {statuses[200]} answers, the slowest after {slowest:.1f} s"
    )


async def test_no_log_has_the_token_of_a_session(behind_nginx: System) -> None:
    """Those above that follow streams have it in their query."""
    files = [*behind_nginx.nginx.logs.iterdir(), *(daemon.log for daemon in behind_nginx.daemons)]
    assert len(files) == 5
    assert [file.name for file in files if behind_nginx.token in file.read_text()] == []


async def test_without_its_socket_a_killed_daemon_fails_no_request_at_all(behind_nginx: System) -> None:
    killed = behind_nginx.daemons[1]
    reading = _Reading(behind_nginx, "127.0.3")
    await reading.until(3)
    killed.close_socket()
    killed.send(signal.SIGKILL)
    await killed.ended()
    assert [await behind_nginx.post_comment(f"without {number}") for number in range(4)] == [201] * 4
    statuses, _ = await reading.end()
    assert set(statuses) == {200}


class _Reading:
    """Clients that read a market through nginx, again and again."""

    def __init__(self, system: System, network: str) -> None:
        self._system = system
        self._is_over = False
        self._readers = [
            asyncio.create_task(self._read(f"{network}.{number + 1}")) for number in range(READERS)
        ]
        self._answers: Counter[int] = Counter()
        self._slowest = 0.0

    async def until(self, answers: int) -> None:
        """Return when each has got about so many."""
        while self._answers.total() < answers * READERS:  # noqa: ASYNC110 - answers are no events
            await asyncio.sleep(0.01)

    async def end(self) -> tuple[Counter[int], float]:
        """How many answers had which status, and after how many seconds the slowest came."""
        await self.until(self._answers.total() // READERS + 3)
        self._is_over = True
        await asyncio.gather(*self._readers)
        return self._answers, self._slowest

    async def _read(self, address: str) -> None:
        async with client_of(self._system.nginx, address) as client:
            while not self._is_over:
                began = time.monotonic()
                self._answers[await _status(client, f"/api/markets/{self._system.market}")] += 1
                self._slowest = max(self._slowest, time.monotonic() - began)
                await asyncio.sleep(PACE_SECONDS)


async def _status(client: aiohttp.ClientSession, path: str, headers: Mapping[str, str] | None = None) -> int:
    async with client.get(path, headers=headers) as response:
        await response.read()
        return response.status


async def _id_of(client: aiohttp.ClientSession, path: str) -> str:
    async with client.get(path) as response:
        assert response.status == 200
        return response.headers["X-Request-Id"]

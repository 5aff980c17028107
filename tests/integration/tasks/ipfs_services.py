"""A server with Pinata's API, the IPFS Pinning Service API and an IPFS node's, which misbehaves where a test
wants it.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web
from aiohttp.test_utils import TestServer

from zmartd.market.ids import cid_v0, cid_v1

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]
WRONG_CID = cid_v0(b"something else")


def status(code: int, **headers: str) -> Answer:
    """An answer with this status and nothing in it."""

    async def answer(_request: web.Request) -> web.StreamResponse:
        return web.Response(status=code, headers={name.replace("_", "-"): it for name, it in headers.items()})

    return answer


def body(content: bytes | str, **headers: str) -> Answer:
    """An answer with this body."""

    async def answer(_request: web.Request) -> web.StreamResponse:
        return web.Response(body=content, headers=headers)

    return answer


async def cut(request: web.Request) -> web.StreamResponse:
    """An answer that ends in the middle."""
    response = web.StreamResponse(headers={"Content-Length": "1000"})
    await response.prepare(request)
    await response.write(b'{"IpfsHash": "Qm')
    assert request.transport is not None
    request.transport.close()
    return response


async def endless(request: web.Request) -> web.StreamResponse:
    """An answer that goes on until the client has had enough."""
    response = web.StreamResponse()
    await response.prepare(request)
    while True:
        await response.write(b" " * 10_000)


class Services:
    """What is asked for is counted by path, and what arrived is kept."""

    def __init__(self) -> None:
        self.url = ""
        self.requests: Counter[str] = Counter()
        self.authorizations: set[str | None] = set()
        self.files: dict[str, bytes] = {}
        """What was uploaded, by content id."""
        self.pins: dict[str, dict[str, Any]] = {}
        """The requests of the Pinning Service API by id."""
        self.wanted: list[dict[str, Any]] = []
        """The bodies that asked for them."""
        self.pin_status = "pinned"
        """What becomes of new ones."""
        self.stuck = asyncio.Event()
        """Set where `hang` is waited for."""
        self._instead: dict[str, list[Answer]] = {}
        self._of_file: dict[str, Answer] = {}
        self._over = asyncio.Event()

    def instead(self, path: str, *answers: Answer) -> None:
        """Answer the next requests of `path` with these."""
        self._instead.setdefault(path, []).extend(answers)

    def always_for(self, text: str, answer: Answer) -> None:
        """Answer every upload of a file with this text in it with `answer`, until it is None."""
        self._of_file[text] = answer

    def behave(self) -> None:
        self._instead.clear()
        self._of_file.clear()

    async def hang(self, _request: web.Request) -> web.StreamResponse:
        """No answer before the test is over."""
        self.stuck.set()
        await self._over.wait()
        return web.Response(status=500)

    def end(self) -> None:
        self._over.set()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        path = request.path if not request.path.startswith("/pins/") else "/pins/{id}"
        key = f"{request.method} {path}"
        self.requests[key] += 1
        self.authorizations.add(request.headers.get("Authorization"))
        if self._instead.get(key):
            await request.read()  # or the client may see a connection that is reset, and no answer
            return await self._instead[key].pop(0)(request)
        match key:
            case "POST /pinning/pinFileToIPFS":
                return await self._pinata(request)
            case "POST /api/v0/add":
                return await self._node(request)
            case "POST /pins":
                return self._ask(await request.json())
            case "GET /pins":
                found = [pin for pin in self.pins.values() if pin["pin"]["cid"] == request.query["cid"]]
                return web.json_response({"count": len(found), "results": found})
            case "GET /pins/{id}":
                known = self.pins.get(request.path.removeprefix("/pins/"))
                return web.json_response(known) if known else web.json_response({"error": {}}, status=404)
        return web.Response(status=404)

    async def _pinata(self, request: web.Request) -> web.StreamResponse:
        form = await request.post()
        options = form["pinataOptions"]
        assert isinstance(options, str)
        assert json.loads(options) == {"cidVersion": 0}
        content = _content(form["file"])
        special = self._special(content)
        return await special(request) if special else web.json_response({"IpfsHash": self._keep(content)})

    async def _node(self, request: web.Request) -> web.StreamResponse:
        assert request.query["cid-version"] == "0"
        content = _content((await request.post())["file"])
        special = self._special(content)
        cid = self._keep(content)
        return (
            await special(request) if special else web.json_response({"Name": cid, "Hash": cid, "Size": "1"})
        )

    def _ask(self, wanted: dict[str, Any]) -> web.Response:
        self.wanted.append(wanted)
        requestid = f"request/{len(self.pins) + 1}"
        pin = {"cid": cid_v1(wanted["cid"])}  # as some services name it
        made = {
            "requestid": requestid,
            "status": self.pin_status,
            "created": "2026-01-01T00:00:00Z",
            "pin": pin,
        }
        self.pins[requestid] = made | {"delegates": []}
        return web.json_response(self.pins[requestid], status=202)

    def _special(self, content: bytes) -> Answer | None:
        return next((it for text, it in self._of_file.items() if text.encode() in content), None)

    def _keep(self, content: bytes) -> str:
        cid = cid_v0(content)
        self.files[cid] = content
        return cid


def _content(field: object) -> bytes:
    assert isinstance(field, web.FileField)
    return field.file.read()


@asynccontextmanager
async def running_services() -> AsyncIterator[Services]:
    services = Services()
    application = web.Application(client_max_size=2**26)
    application.router.add_route("*", "/{path:.*}", services.handle)
    server = TestServer(application, host="127.0.0.1")
    await server.start_server()
    services.url = str(server.make_url("")).rstrip("/")
    try:
        yield services
    finally:
        services.end()
        await server.close()

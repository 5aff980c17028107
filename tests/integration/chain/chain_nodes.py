"""RPC nodes for tests: one that misbehaves in front of a real one."""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from inspect import isawaitable
from typing import Any

import aiohttp
from aiohttp import web
from aiohttp.test_utils import TestServer
from solders.transaction import VersionedTransaction


def unauthorized() -> web.Response:
    """A node that will not talk to us."""
    return web.Response(status=401)


def refused_by_simulation() -> web.Response:
    """A node whose simulation of a transaction fails."""
    error = {
        "code": -32002,
        "message": "Transaction simulation failed",
        "data": {"err": "AccountNotFound", "logs": []},
    }
    return web.json_response({"jsonrpc": "2.0", "id": 1, "error": error})


LOST = object()
"""The node takes a transaction, answers with its signature, and loses it."""


def refused(code: int, message: str = "no") -> Callable[[], web.Response]:
    """An answer with a JSON-RPC error."""
    body = {"jsonrpc": "2.0", "id": 0, "error": {"code": code, "message": message}}
    return lambda: web.json_response(body)


class Node:
    """Passes requests on to `url`, except where a test wants something else. Counts requests by method."""

    def __init__(self, url: str, session: aiohttp.ClientSession) -> None:
        self.address = ""
        self.requests: Counter[str] = Counter()
        self.down: int | None = None
        """An HTTP status with which everything is answered."""
        self.changes: dict[str, Callable[[Any], Any]] = {}
        """What becomes of the results of these methods that are passed on."""
        self._url = url
        self._session = session
        self._instead: dict[str, list[Any]] = {}
        self._of_signature: dict[str, Any] = {}
        self.versions: Counter[int | None] = Counter()
        """How often which maxSupportedTransactionVersion was asked for."""

    def always(self, signature: str, answer: Any) -> None:
        """Answer getTransaction of that signature with this, as `instead` does, until it behaves."""
        self._of_signature[signature] = answer

    def instead(self, method: str, *answers: Any) -> None:
        """Answer the next calls of `method` with these: a result, what makes a web.Response, or LOST."""
        self._instead.setdefault(method, []).extend(answers)

    def behave(self) -> None:
        """Pass everything on from now on."""
        self._instead.clear()
        self._of_signature.clear()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        method = body["method"]
        self.requests[method] += 1
        if self.down is not None:
            return web.Response(status=self.down)
        answers = self._instead.get(method)
        if method == "getTransaction":
            self.versions[body["params"][1].get("maxSupportedTransactionVersion")] += 1
        if answers:
            answer = answers.pop(0)
        elif method == "getTransaction" and body["params"][0] in self._of_signature:
            answer = self._of_signature[body["params"][0]]
        else:
            return await self._passed_on(body)
        if callable(answer):
            made = answer()
            response: web.Response = await made if isawaitable(made) else made
            return response
        if answer is LOST:
            answer = self._signature(body)
        return web.json_response({"jsonrpc": "2.0", "id": body["id"], "result": answer})

    async def _passed_on(self, body: dict[str, Any]) -> web.Response:
        change = self.changes.get(body["method"])
        async with self._session.post(self._url, json=body) as response:
            if change is not None:
                answer = await response.json()
                return web.json_response(answer | {"result": change(answer["result"])})
            return web.Response(body=await response.read(), content_type="application/json")

    def _signature(self, body: dict[str, Any]) -> str:
        wire = base64.b64decode(body["params"][0])
        return str(VersionedTransaction.from_bytes(wire).signatures[0])


@asynccontextmanager
async def node_before(url: str) -> AsyncIterator[Node]:
    async with aiohttp.ClientSession() as session:
        node = Node(url, session)
        application = web.Application()
        application.router.add_post("/{path:.*}", node.handle)
        server = TestServer(application, host="127.0.0.1")
        await server.start_server()
        try:
            node.address = str(server.make_url("/"))
            yield node
        finally:
            await server.close()

"""A server that may open few files, for a test in another process: prints its port, then logs."""

from __future__ import annotations

import asyncio
import resource
import sys

import uvloop
from aiohttp import web

from tests.integration.http.served import served_by
from zmartd import log
from zmartd.clock import SystemClock
from zmartd.http.kit.codec import json_response
from zmartd.http.server import file_descriptors


async def answer(_: web.Request) -> web.Response:
    return json_response({"it": "is"})


async def serve(limit: int) -> None:
    app = web.Application()
    app.add_routes([web.get("/", answer)])
    runner = served_by(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    print(runner.addresses[0][1], flush=True)
    await file_descriptors.watch(SystemClock())


if __name__ == "__main__":
    log.configure("info", "json")
    # The event loop of the daemon, and the one of the standard library.
    {"uvloop": uvloop.run, "asyncio": asyncio.run}[sys.argv[1]](serve(int(sys.argv[2])))

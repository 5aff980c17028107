"""What stands between the chain and the daemon's webhook, and writes down what was acknowledged."""

from __future__ import annotations

import aiohttp
import msgspec
from aiohttp import web

FORWARD_SECONDS = 5.0


class Postbox:
    """Passes deliveries on, as they are, and remembers each that the daemon answered with 200."""

    def __init__(self, daemon: str) -> None:
        """`daemon` is the URL of its webhook."""
        self._daemon = daemon
        self.acknowledged: set[str] = set()
        """Signatures of the transactions that the daemon must never lose."""
        self.refused = 0
        """Deliveries that got another answer, or none."""
        self.url = ""

    async def open(self) -> None:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(force_close=True), timeout=aiohttp.ClientTimeout(FORWARD_SECONDS)
        )
        application = web.Application(client_max_size=2**24)
        application.router.add_post("/", self._forward)
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=1.0)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        port: int = self._runner.addresses[0][1]
        self.url = f"http://127.0.0.1:{port}/"

    async def close(self) -> None:
        await self._runner.cleanup()
        await self._session.close()

    async def _forward(self, request: web.Request) -> web.Response:
        body = await request.read()
        headers = {"Content-Type": "application/json", "Authorization": request.headers["Authorization"]}
        try:
            async with self._session.post(self._daemon, data=body, headers=headers) as answer:
                status = answer.status
        except (aiohttp.ClientError, TimeoutError):
            status = web.HTTPBadGateway.status_code
        if status == web.HTTPOk.status_code:
            self.acknowledged.update(one["transaction"]["signatures"][0] for one in msgspec.json.decode(body))
        else:
            self.refused += 1
        return web.Response(status=status)

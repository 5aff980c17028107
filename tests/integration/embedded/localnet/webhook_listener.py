"""An HTTP server that receives webhooks, with configurable answers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

DEADLINE_SECONDS = 120


class WebhookListener:
    def __init__(self) -> None:
        self.url = ""
        self.deliveries: list[list[dict[str, Any]]] = []
        self.authorizations: list[str | None] = []
        self.statuses: list[int] = []
        """What to answer to the coming requests; 200 when empty."""
        self.location = ""
        """Where answers with a status of redirection lead."""
        self._changed = asyncio.Condition()

    @property
    def signatures(self) -> list[str]:
        return [one["transaction"]["signatures"][0] for body in self.deliveries for one in body]

    async def until(self, deliveries: int) -> None:
        """Return when so many requests have come."""
        async with asyncio.timeout(DEADLINE_SECONDS), self._changed:
            await self._changed.wait_for(lambda: len(self.deliveries) >= deliveries)

    async def take(self, request: web.Request) -> web.Response:
        async with self._changed:
            self.deliveries.append(await request.json())
            self.authorizations.append(request.headers.get("Authorization"))
            self._changed.notify_all()
        headers = {"Location": self.location} if self.location else None
        return web.Response(status=self.statuses.pop(0) if self.statuses else 200, headers=headers)


@asynccontextmanager
async def webhook_listener() -> AsyncIterator[WebhookListener]:
    listener = WebhookListener()
    application = web.Application()
    application.router.add_post("/helius/webhook", listener.take)
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    assert runner.addresses
    listener.url = f"http://127.0.0.1:{runner.addresses[0][1]}/helius/webhook"
    try:
        yield listener
    finally:
        await runner.cleanup()

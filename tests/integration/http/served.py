"""Applications as the daemon runs them, for tests that talk to them over real sockets."""

from __future__ import annotations

from typing import Any

from aiohttp.test_utils import TestServer

from zmartd.http import keys
from zmartd.http.server import Runner


class Served(TestServer):
    """A server of an application that has AROUND."""

    async def _make_runner(self, **options: Any) -> Runner:
        return Runner(self.app, self.app[keys.AROUND], **options)

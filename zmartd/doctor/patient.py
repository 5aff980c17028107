"""What checks look at: the settings, and connections that one check opens and others use."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from asyncpg import Connection
from redis.asyncio import Redis

from zmartd.chain.accounts import GlobalConfig
from zmartd.chain.answers import ChainTime
from zmartd.chain.idl import Idl
from zmartd.chain.rpc import Rpc
from zmartd.clock import Clock
from zmartd.config_file import Reading
from zmartd.store.postgres.database import Database


class Patient:
    """A daemon's surroundings. A check that needs another one may use what that one has set here."""

    def __init__(self, reading: Reading, path: Path | None, clock: Clock, resources: AsyncExitStack) -> None:
        self.reading = reading
        self.settings = reading.settings
        self.path = path
        """The configuration file that the command was given, if any."""
        self.clock = clock
        self.resources = resources
        """Closed after the last check."""
        self.login: Connection | None = None
        self.database: Database | None = None
        self.redis: Redis | None = None
        self.rpc: Rpc | None = None
        self.idl: Idl | None = None
        self.chain_time: ChainTime | None = None
        self.configuration: GlobalConfig | None = None
        self._login_turn = asyncio.Lock()

    @asynccontextmanager
    async def as_login(self) -> AsyncIterator[Connection]:
        """The connection of database.url's own user, which one check has at a time."""
        assert self.login is not None, "set by the check `database`"
        async with self._login_turn:
            yield self.login

"""Where reads are done: the primary, or a replica that has replayed enough."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from typing import Protocol

from asyncpg import Connection

from zmartd.store.postgres.reader import Reads
from zmartd.store.postgres.rls import Caller


class Source(Protocol):
    """What `Database` has for reads. One that is a replica raises ReplicaUnusable besides."""

    def reader(self, caller: Caller) -> AbstractAsyncContextManager[Reads]:
        """Single reads of a caller."""
        ...

    def service_reader(self) -> AbstractAsyncContextManager[Reads]:
        """Single reads of the daemon itself."""
        ...

    def caller(self, caller: Caller) -> AbstractAsyncContextManager[Connection]:
        """A transaction of a caller, which in a replica cannot write."""
        ...

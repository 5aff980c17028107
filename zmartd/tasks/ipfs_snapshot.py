"""The task that publishes what is said about markets on IPFS, once a day for each market with news."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, date, datetime, time, timedelta
from functools import partial
from pathlib import Path
from typing import Final

from msgspec import Struct

from zmartd.config_values import ConfigError
from zmartd.ipfs.directory import Directory
from zmartd.ipfs.pinata import PINATA, Pinata
from zmartd.ipfs.pinning import Document, Pinning, Unfulfilled
from zmartd.ipfs.pinning_service import PinningService
from zmartd.ipfs.remote import FAILURES, AccessRefused, Remote
from zmartd.market import ids
from zmartd.market.discussion_snapshot import DiscussionSnapshot
from zmartd.store import discussion_snapshots
from zmartd.store.discussion_snapshots import SnapshotTooLarge, Taken
from zmartd.tasks.base import TaskAction, TaskSkipped
from zmartd.tasks.context import TaskContext
from zmartd.tasks.fan_out import fan_out

ACTION: Final = "pin_snapshot"
PURGE_BATCH: Final = 500
"""Anchors or documents of one transaction, so that none takes long."""
MAX_PURGE_BATCHES: Final = 100
"""Of one run; the next run goes on."""
FIRST_POLL_SECONDS: Final = 1.0
LONGEST_POLL_SECONDS: Final = 30.0

_NEEDED: Final = {
    "directory": ("directory",),
    "pinata": ("service_token",),
    "pinning_service": ("service_url", "service_token", "node_url"),
}


class _Waiting(Struct, frozen=True):
    """A snapshot that the service was asked to fetch, and has not fetched yet."""

    taken: Taken
    request: Unfulfilled


class IpfsSnapshot:
    """A `PeriodicTask`; see zmartd.tasks.base. It needs no key.

    A snapshot is of all days up to yesterday (UTC), so that a run that is repeated makes the same document.
    The document is kept before it is pinned, and recorded for its market in one transaction once it is.
    """

    name = "ipfs_snapshot"

    def __init__(self, context: TaskContext) -> None:
        """Raises ConfigError where it is enabled, and a setting is missing."""
        self._settings = context.settings.ipfs_snapshot
        self.enabled = self._settings.enabled
        self.schedule = self._settings.schedule
        self._database = context.database
        self._clock = context.clock
        self._failures = context.failures
        self._rng = random.Random()  # noqa: S311 - it only keeps daemons from returning together
        missing = self._missing()
        if self.enabled and missing:
            raise ConfigError([missing])

    async def run(self) -> list[TaskAction]:
        """Raises TaskSkipped where a setting is missing; DatabaseUnavailable, DatabaseTimeout."""
        missing = self._missing()
        if missing:
            raise TaskSkipped(missing)
        today = datetime.fromtimestamp(self._clock.time(), UTC).date()
        actions = await self._purge(today - timedelta(days=self._settings.keep_days))
        return actions + await self._pin_all(today)

    def _missing(self) -> str:
        """What has to be set first; empty where nothing has."""
        needed = _NEEDED[self._settings.pinning]
        empty = [name for name in needed if not getattr(self._settings, name)]
        if not empty:
            return ""
        return f"set {', '.join(f'tasks.ipfs_snapshot.{name}' for name in empty)}, or another `pinning`"

    async def _pin_all(self, today: date) -> list[TaskAction]:
        before = datetime.combine(today, time(), UTC)
        async with self._database.service_reader() as connection:
            due = await discussion_snapshots.due(connection, before, today - timedelta(days=1))
        if not due:
            return []
        async with self._pinning() as pinning:
            ends_at = self._clock.monotonic() + self._settings.run_seconds
            waiting: dict[str, _Waiting] = {}
            left = 0
            refused = False

            async def step(market_id: str) -> TaskAction | None:
                nonlocal left, refused
                if refused or self._clock.monotonic() > ends_at:
                    left += 1
                    return None
                try:
                    return await self._pin(market_id, before, pinning, waiting)
                except AccessRefused:
                    refused = True
                    raise

            actions = await fan_out(due, ACTION, step, self._failures)
            actions += await self._await_fulfilment(waiting, ends_at)
        if left:
            over = f"{self._settings.run_seconds:g} seconds are over"
            why = "the service refuses access" if refused else over
            detail = f"{left} markets are left for the next run: {why}"
            actions.append(TaskAction(None, ACTION, ok=False, detail=detail))
        return actions

    async def _pin(
        self, market_id: str, before: datetime, pinning: Pinning, waiting: dict[str, _Waiting]
    ) -> TaskAction | None:
        """Bring one market up to date; None where its document is pinned already, or is `waiting`."""
        until = self._clock.monotonic() + self._settings.market_seconds
        most_bytes = self._settings.max_document_bytes
        async with self._database.service() as connection:
            found = await discussion_snapshots.read(connection, market_id, before, most_bytes)
        if isinstance(found, SnapshotTooLarge):
            return _too_large(market_id, found)
        content, cid = await asyncio.to_thread(_document, found.snapshot)
        comments = found.snapshot.discussions_count
        if len(content) > most_bytes:
            return _too_large(market_id, SnapshotTooLarge(comments, len(content)))
        day = before.date() - timedelta(days=1)
        taken = Taken(market_id=market_id, cid=cid, day=day, read_at=found.read_at)
        async with self._database.service() as connection:
            saved = await discussion_snapshots.save(connection, market_id, cid, content, comments)
        if saved.is_pinned:
            await self._record(taken)
            return None
        document = Document(cid, content, f"discussion of market {market_id}")
        unfulfilled = await pinning.pin(document, saved.pin_request, until)
        if unfulfilled is None:
            return await self._record(taken)
        async with self._database.service() as connection:
            await discussion_snapshots.remember_request(connection, cid, unfulfilled.name)
        waiting[market_id] = _Waiting(taken, unfulfilled)
        return None

    async def _await_fulfilment(self, waiting: dict[str, _Waiting], ends_at: float) -> list[TaskAction]:
        """Ask what has become of the requests that the service has taken, all of them in turns."""
        until = min(ends_at, self._clock.monotonic() + self._settings.market_seconds)
        pause = FIRST_POLL_SECONDS
        actions: list[TaskAction] = []

        async def step(market_id: str) -> TaskAction | None:
            one = waiting.pop(market_id)
            if await one.request.is_fulfilled(until):
                return await self._record(one.taken)
            waiting[market_id] = one
            return None

        while waiting and self._clock.monotonic() + pause <= until:
            await self._clock.sleep(pause)
            pause = min(2 * pause, LONGEST_POLL_SECONDS)
            actions += await fan_out(list(waiting), ACTION, step, self._failures)
        detail = "the service has not fetched the document yet; the next run asks again"
        for market_id in waiting:
            FAILURES.labels(self._settings.pinning, "not fetched yet").inc()
            actions.append(TaskAction(market_id, ACTION, ok=False, detail=detail))
        return actions

    async def _record(self, taken: Taken) -> TaskAction | None:
        async with self._database.service() as connection:
            recorded = await discussion_snapshots.record(connection, taken)
        if not recorded:
            return None
        return TaskAction(taken.market_id, ACTION, ok=True, detail=taken.cid)

    @asynccontextmanager
    async def _pinning(self) -> AsyncIterator[Pinning]:
        settings = self._settings
        remote = partial(Remote, clock=self._clock, rng=self._rng, attempt_seconds=settings.attempt_seconds)
        async with AsyncExitStack() as stack:
            if settings.pinning == "directory":
                yield Directory(Path(settings.directory))
                return
            url, token = settings.service_url or PINATA, settings.service_token
            service = await stack.enter_async_context(remote(settings.pinning, url, token=token))
            if settings.pinning == "pinata":
                yield Pinata(service)
                return
            node = await stack.enter_async_context(remote("node", settings.node_url))
            yield PinningService(service, node, settings.node_addresses)

    async def _purge(self, before: date) -> list[TaskAction]:
        """Delete anchors from before a day, and the bytes of documents that nothing names any more."""
        anchors = await self._in_batches(partial(self._purge_anchors, before))
        moment = datetime.combine(before, time(), UTC)
        documents = await self._in_batches(partial(self._purge_content, moment))
        if not anchors and not documents:
            return []
        detail = f"{anchors} anchors, {documents} documents"
        return [TaskAction(None, "purge", ok=True, detail=detail)]

    async def _in_batches(self, purge: Callable[[], Awaitable[int]]) -> int:
        deleted = 0
        for _ in range(MAX_PURGE_BATCHES):
            batch = await purge()
            deleted += batch
            if batch < PURGE_BATCH:
                break
        return deleted

    async def _purge_anchors(self, before: date) -> int:
        async with self._database.service() as connection:
            return await discussion_snapshots.purge(connection, before, PURGE_BATCH)

    async def _purge_content(self, before: datetime) -> int:
        async with self._database.service() as connection:
            return await discussion_snapshots.purge_content(connection, before, PURGE_BATCH)


def _document(snapshot: DiscussionSnapshot) -> tuple[bytes, str]:
    content = snapshot.document()
    return content, ids.cid_v0(content)


def _too_large(market_id: str, found: SnapshotTooLarge) -> TaskAction:
    detail = (
        f"{found.comments} comments are about {found.bytes} bytes, more than "
        "tasks.ipfs_snapshot.max_document_bytes: raise it, or do without a snapshot"
    )
    return TaskAction(market_id, ACTION, ok=False, detail=detail)

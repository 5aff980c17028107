"""The task that acts on votes and decisions: proposals, disputes, petitions and resolutions by strangers."""

from __future__ import annotations

import asyncio

from zmartd.errors import ZmartdError
from zmartd.task_settings import VoteAggregatorSettings
from zmartd.tasks.announcements import Announcements
from zmartd.tasks.authority import Authority
from zmartd.tasks.base import TaskAction
from zmartd.tasks.context import TaskContext
from zmartd.tasks.dispute_petitions import DisputePetitions
from zmartd.tasks.disputes import Disputes
from zmartd.tasks.node_requests import NodeRequests
from zmartd.tasks.plan import Obstacle, Plan
from zmartd.tasks.proposals import Proposals
from zmartd.tasks.untrusted_resolutions import UntrustedResolutions
from zmartd.tasks.vote_counting import TASK


class VoteAggregator:
    """A `PeriodicTask`; see zmartd.tasks.base."""

    name = TASK

    def __init__(self, context: TaskContext) -> None:
        self._context = context
        self._settings: VoteAggregatorSettings = context.settings.vote_aggregator
        self.enabled = self._settings.enabled
        self.schedule = self._settings.schedule

    async def run(self) -> list[TaskAction]:
        """Raises NoAuthority, WrongAuthority, ProtocolNotInitialized, RpcUnavailable, DatabaseUnavailable."""
        authority = Authority(self._context)
        announcements = Announcements(self._context.database, self._context.publisher)
        protocol = await authority.protocol()
        parts = {
            "proposals": Proposals(self._context, authority, announcements, protocol, self._requests()).run(),
            "disputes": Disputes(self._context, authority, announcements, protocol, self._requests()).run(),
            "petitions": DisputePetitions(self._context, authority).run(protocol),
            "resolutions": UntrustedResolutions(self._context, authority, announcements).run(protocol),
        }
        outcomes = await asyncio.gather(*parts.values(), return_exceptions=True)
        actions: list[TaskAction] = []
        for part, outcome in zip(parts, outcomes, strict=True):
            actions += outcome if isinstance(outcome, list) else [self._failed(part, outcome)]
        return actions

    def _requests(self) -> NodeRequests:
        seconds = self._settings.time_limit_seconds / 2
        return NodeRequests(self._settings.requests_per_run, self._context.clock, seconds)

    async def plan(self) -> list[Plan]:
        """See zmartd.tasks.plan."""
        authority = Authority(self._context)
        announcements = Announcements(self._context.database, self._context.publisher)
        protocol = await authority.protocol()
        parts = {
            "proposals": Proposals(
                self._context, authority, announcements, protocol, self._requests()
            ).plan(),
            "disputes": Disputes(self._context, authority, announcements, protocol, self._requests()).plan(),
            "petitions": DisputePetitions(self._context, authority).plan(protocol),
            "resolutions": UntrustedResolutions(self._context, authority, announcements).plan(protocol),
        }
        outcomes = await asyncio.gather(*parts.values(), return_exceptions=True)
        return [
            outcome if isinstance(outcome, Plan) else self._unplanned(part, outcome)
            for part, outcome in zip(parts, outcomes, strict=True)
        ]

    def _unplanned(self, part: str, error: BaseException) -> Plan:
        """A part that failed, as an obstacle beside the plans of the other parts."""
        failed = self._failed(part, error)
        return Plan((), obstacles=(Obstacle(None, f"{part}: {failed.detail}"),))

    def _failed(self, part: str, error: BaseException) -> TaskAction:
        """A part that failed, as an action beside those of the other parts."""
        if not isinstance(error, Exception):
            raise error
        self._context.failures.raised("task.part_failed", part, error, task=TASK, part=part)
        detail = error.message if isinstance(error, ZmartdError) else type(error).__name__
        return TaskAction(None, part, ok=False, detail=detail)

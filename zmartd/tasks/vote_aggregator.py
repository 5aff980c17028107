"""The task that acts on votes and decisions: proposals, disputes, petitions, and resolutions by strangers."""

from __future__ import annotations

import asyncio

from zmartd import config
from zmartd.errors import ZmartdError
from zmartd.log import get_logger
from zmartd.tasks.announcements import Notices
from zmartd.tasks.authority import Authority
from zmartd.tasks.base import Action
from zmartd.tasks.context import TaskContext
from zmartd.tasks.dispute_petitions import Petitions
from zmartd.tasks.disputes import Disputes
from zmartd.tasks.proposals import Proposals
from zmartd.tasks.untrusted_resolutions import Resolutions
from zmartd.tasks.vote_counting import TASK

log = get_logger(__name__)


class VoteAggregator:
    """A `PeriodicTask`; see zmartd.tasks.base."""

    name = TASK

    def __init__(self, context: TaskContext) -> None:
        self._context = context
        self._settings: config.VoteAggregator = context.settings.vote_aggregator
        self.enabled = self._settings.enabled
        self.interval_seconds = self._settings.interval_seconds

    async def run(self) -> list[Action]:
        """Raises NoAuthority, WrongAuthority, ProtocolNotInitialized, RpcUnavailable, DatabaseUnavailable."""
        authority = Authority(self._context)
        notices = Notices(self._context.database, self._context.bus)
        protocol = await authority.protocol()
        parts = {
            "proposals": Proposals(self._context, authority).run(protocol),
            "disputes": Disputes(self._context, authority, notices).run(protocol),
            "petitions": Petitions(self._context, authority).run(protocol),
            "resolutions": Resolutions(self._context, authority, notices).run(protocol),
        }
        outcomes = await asyncio.gather(*parts.values(), return_exceptions=True)
        actions: list[Action] = []
        for part, outcome in zip(parts, outcomes, strict=True):
            actions += outcome if isinstance(outcome, list) else [_failed(part, outcome)]
        return actions


def _failed(part: str, error: BaseException) -> Action:
    """One part's trouble is told among what the others did."""
    if not isinstance(error, Exception):
        raise error
    log.error("task.part_failed", task=TASK, part=part, exc_info=error)
    detail = error.message if isinstance(error, ZmartdError) else type(error).__name__
    return Action(None, part, ok=False, detail=detail)

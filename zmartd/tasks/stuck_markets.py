"""Markets that are overdue for their next state, reported to operators before users complain."""

from __future__ import annotations

from typing import Final

from zmartd.alerts.market_rules import MOVED_BY_TASKS
from zmartd.clock import Clock
from zmartd.market import lifecycle
from zmartd.market.lifecycle import MarketState
from zmartd.store import due_markets
from zmartd.store.due_markets import StuckDeadlines, StuckMarkets
from zmartd.store.postgres.database import Database
from zmartd.task_settings import MarketMonitorSettings
from zmartd.tasks.authority import ProtocolState
from zmartd.tasks.base import TaskAction

GRACE_SECONDS: Final = 3_600
"""How long after its deadline a market may wait while the tasks work."""
EXAMPLES: Final = 5

_REASONS: Final = {
    MarketState.PROPOSED: "have gathered no approval for long",
    MarketState.APPROVED: "have not been activated by their creators for long",
    MarketState.ACTIVE: "ended long ago and nobody has proposed an outcome",
    MarketState.RESOLVING: "should have been finalized more than an hour ago",
    MarketState.DISPUTED: "should have had their dispute settled more than an hour ago",
}


class StuckMarketsReport:
    """Remembers since when it has seen which market overdue, by the daemon's clock.

    The clock of a development chain jumps past deadlines that no task has had a moment to meet.
    """

    def __init__(self, database: Database, settings: MarketMonitorSettings, clock: Clock) -> None:
        self._database = database
        self._settings = settings
        self._clock = clock
        self._seen_at: dict[str, float] = {}
        """Monotonic seconds, by market."""

    async def actions(self, protocol: ProtocolState) -> list[TaskAction]:
        """One action for each state that has stuck markets; it is ok where users, not the daemon, have to
        act. Markets that a task moves are reported when they have been seen overdue for long enough.
        """
        deadlines = stuck_deadlines(self._settings, protocol)
        async with self._database.service_reader() as connection:
            found = await due_markets.stuck(connection, deadlines, EXAMPLES)
        now = self._clock.monotonic()
        listed = [market_id for each in found for market_id in each.oldest]
        self._seen_at = {market_id: self._seen_at.get(market_id, now) for market_id in listed}
        return [_action(each) for each in found if each.state not in MOVED_BY_TASKS or self._lasts(each, now)]

    def _lasts(self, found: StuckMarkets, now: float) -> bool:
        patience_seconds = self._settings.overdue_for_seconds
        return any(now - self._seen_at[market_id] >= patience_seconds for market_id in found.oldest)


def stuck_deadlines(settings: MarketMonitorSettings, protocol: ProtocolState) -> StuckDeadlines:
    """The times before which a market in each state should have left it."""
    finalizable_after_seconds = lifecycle.finalizable_at(
        0,
        protocol.config.dispute_period,
        settings.finalization_delay_seconds,
        settings.safety_margin_seconds,
    )
    long_ago = protocol.before(settings.stuck_after_seconds)
    return StuckDeadlines(
        proposed=long_ago,
        ended=long_ago,
        resolving=protocol.before(finalizable_after_seconds + GRACE_SECONDS),
        disputed=protocol.before(protocol.config.dispute_period + GRACE_SECONDS),
        settlement=protocol.before(GRACE_SECONDS),
    )


def _action(found: StuckMarkets) -> TaskAction:
    listed = ", ".join(found.oldest)
    rest = found.markets - len(found.oldest)
    more = f" and {rest} more" if rest else ""
    detail = f"{found.markets} {found.state.name} {_REASONS[found.state]}: {listed}{more}"
    return TaskAction(None, "stuck", ok=found.state not in MOVED_BY_TASKS, detail=detail)

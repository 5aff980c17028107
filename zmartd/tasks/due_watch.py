"""Prompts a run of a task as soon as a market is due for it, by the chain's clock.

Postgres says when markets are due, from what all daemons have committed, and lets a moment prompt one run.
What a daemon keeps of it is a copy of the next minute. Daemons look there in turn: at once when a message
tells that a market has changed, and every few seconds for what no message tells: that the chain's clock has
jumped, that the program's configuration moves every deadline, or what a daemon committed before it died.
Before it acts, a daemon looks again and reads the chain's clock.

A daemon that had the turn may end before the run has begun that it prompted, or have an RPC node that refuses
everything. So another one looks a second after each look that was for something, and follows what it has
prompted. One whose node refuses leaves looking to others until that node tells the chain's time again.

Where Redis is away, each daemon looks by itself. A look is one statement, and two more where votes or
requests for disputes have come in. Idle, five daemons look 17 times a minute together, and 75 times without
Redis. However many messages come, a daemon looks twice a second at most.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Final

from zmartd.cancellation import is_being_cancelled
from zmartd.chain.transport import RpcRejected, RpcUnavailable
from zmartd.clock import Clock
from zmartd.config import VotingSettings
from zmartd.errors import ZmartdError
from zmartd.faults import Point, reached
from zmartd.indexer.plausibility import Plausibility
from zmartd.log import get_logger
from zmartd.market.lifecycle import MarketState, VoteKind
from zmartd.metrics import Histogram
from zmartd.realtime.messages import Gap, MarketUpdate, Message, VoteCast
from zmartd.store import due_markets, due_moments
from zmartd.store.due_moments import AGGREGATOR, MONITOR, DueMoment, MomentLook, MomentRules
from zmartd.store.postgres.database import Database
from zmartd.store.postgres.reader import Reads
from zmartd.task_settings import MarketMonitorSettings
from zmartd.tasks.scheduler import Scheduler
from zmartd.tasks.turns import Turns

log = get_logger(__name__)

PROMPT_DELAY = Histogram(
    "zmartd_task_prompt_delay_seconds",
    "How long after a market was due, by the chain's clock, it prompted a run.",
    ["kind"],
    buckets=(0.5, 1, 2, 3, 5, 7.5, 10, 30, 60, 600, 86_400),
)

LOOK_SECONDS: Final = 4.0
JUMPY_LOOK_SECONDS: Final = 1.0
"""The same where the chain's clock can be moved, as that of a development chain can."""
SOON_SECONDS: Final = 0.1
"""How long messages are gathered before a look."""
BETWEEN_SECONDS: Final = 0.5
"""The least time between two looks for which messages are the reason."""
RETRY_SECONDS: Final = 1.0
"""After another daemon had the turn, after an error, and before what has not come is tried again."""
LONGEST_RETRY_SECONDS: Final = 8.0
"""How long this daemon's node is left alone at most while it does not tell the chain's time; that doubles."""
AHEAD: Final = timedelta(seconds=60)
"""The moments that a look asks for: up to so long from now."""
HORIZON_SECONDS: Final = 300.0
"""A daemon that has not looked for longer looks at the votes of every proposal."""
MAX_MOMENTS: Final = 100
"""The most moments of a task that are known, and that prompt a run together."""
_SHORTEST_PAUSE_SECONDS: Final = 0.02
_CHECK: Final = ":check"
"""At the end of an occasion that another daemon had the turn for, a second ago."""
_AT_ONCE: Final = datetime(1970, 1, 1, tzinfo=UTC)
_TIMED: Final = frozenset({"finalization", "end_of_vote", "settlement", "automatic_dispute"})
_COUNTED: Final = frozenset({"approval", "petition"})
_CHANGING_STATES: Final = frozenset({MarketState.RESOLVING, MarketState.DISPUTED})


class DueWatch:
    """The due moments of the tasks that this daemon runs. `run` has to be running."""

    def __init__(
        self,
        tasks: Sequence[str],
        *,
        database: Database,
        scheduler: Scheduler,
        turns: Turns,
        chain: Plausibility,
        clock: Clock,
        monitor: MarketMonitorSettings,
        voting: VotingSettings,
        look_seconds: float = LOOK_SECONDS,
    ) -> None:
        """`tasks`: those of them that are enabled, none where this daemon has no authority."""
        self._tasks = [task for task in (MONITOR, AGGREGATOR) if task in tasks]
        self._database = database
        self._scheduler = scheduler
        self._turns = turns
        self._chain = chain
        self._clock = clock
        self._voting = voting
        self._look_seconds = look_seconds
        self._rules = rules_of(monitor, voting)
        self._together = {MONITOR: monitor.batch_size, AGGREGATOR: MAX_MOMENTS}
        self._ahead: list[DueMoment] = []
        """By their times."""
        self._seen = (0, clock.monotonic())
        """The chain's time, and when that was known."""
        self._heeded: tuple[str | None, int] = (None, 0)
        """Up to which horizon votes and requests have prompted what they can, with which threshold. Without a
        horizon none have.
        """
        self._shown: tuple[str | None, int] = (None, 0)
        """The same of what the last look has shown."""
        self._looked_at = float("-inf")
        """When the last look that found everything began."""
        self._tried_at = float("-inf")
        """When the last look began, or was left to another daemon."""
        self._look_at = float("-inf")
        self._occasion: str | None = "look"
        """What the next look is for, of which one daemon is to have it; None: this one is, in any case."""
        self._ask_at = float("-inf")
        self._refusals = 0
        """How often in a row this daemon's node has refused."""
        self._wake = asyncio.Event()

    def heard(self, item: Message | Gap) -> None:
        """What the bus tells of a market: an observer of it."""
        if isinstance(item, Gap):
            self._look_soon("gap")
        elif _may_be_due(item):
            self._look_soon(f"{item.market_id}:{item.position}")

    def _look_soon(self, occasion: str | None) -> None:
        if self._refusals:
            return
        at = self._clock.monotonic() + SOON_SECONDS
        if occasion is not None:
            at = max(at, self._tried_at + BETWEEN_SECONDS)
        if self._look_at <= at and self._occasion is None:
            return
        self._occasion = occasion
        if at < self._look_at:
            self._look_at = at
            self._wake.set()

    async def run(self) -> None:
        """Prompt runs until cancelled, or return where this daemon has none to prompt."""
        if not self._tasks:
            return
        self._scheduler.watch(self._tasks, lambda: self._look_soon(None))
        works = True
        while not is_being_cancelled():
            self._wake.clear()
            try:
                await self._take_turn()
            except ZmartdError as error:
                if works:
                    log.warning("task.due_not_known", reason=error.message)
                works = False
                if isinstance(error, RpcUnavailable | RpcRejected):
                    await self._leave_to_others()
                else:
                    self._look_soon(None)  # what the look was for is still to be found, and has had its turn
                self._ask_at = self._clock.monotonic() + RETRY_SECONDS
            else:
                works = True
            with suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), self._pause_seconds())

    async def _take_turn(self) -> None:
        """Look if it is time to, and let what is due prompt runs. Raises RpcUnavailable, RpcRejected, where a
        look needs no node: only one that has refused before has to prove itself.
        """
        if self._refusals:
            if self._clock.monotonic() < self._look_at:
                return
            await self._chain.refresh()
            self._refusals = 0
        if self._clock.monotonic() >= self._look_at:
            await self._look_in_turn()
        if self._ahead and self._clock.monotonic() >= self._ask_at:
            await self._prompt()

    async def _leave_to_others(self) -> None:
        """This daemon's node refuses: let another one have the turns, and ask the node again later."""
        self._look_at = self._clock.monotonic() + min(
            RETRY_SECONDS * 2.0 ** min(self._refusals, 30), LONGEST_RETRY_SECONDS
        )
        self._refusals += 1
        self._ahead.clear()
        await self._turns.let_go("due", "look")

    async def _look_in_turn(self) -> None:
        occasion, self._occasion = self._occasion, "look"
        self._look_at = self._clock.monotonic() + RETRY_SECONDS
        self._tried_at = self._clock.monotonic()
        held_milliseconds = int((self._look_seconds - RETRY_SECONDS / 2) * 1_000)
        if occasion is not None and not await self._turns.take("due", occasion, held_milliseconds):
            self._check_on(occasion)
            return
        now = await self._look()
        if occasion == "look" and not any(one.due_at <= now for one in self._ahead):
            await self._turns.hold("due", "look", held_milliseconds)
        if self._occasion == "look":
            self._look_at = self._clock.monotonic() + self._look_seconds
        elif self._occasion is not None:  # something was told meanwhile
            self._look_at = max(self._look_at, self._tried_at + BETWEEN_SECONDS)

    def _check_on(self, occasion: str) -> None:
        """Another daemon is on it: one of the others looks after that one's turn has ended."""
        if self._occasion == "look" and occasion != "look" and not occasion.endswith(_CHECK):
            self._occasion = occasion + _CHECK
            self._look_at = min(self._look_at, self._clock.monotonic() + RETRY_SECONDS)

    async def _look(self) -> datetime:
        """Read what is due soon. Gives the chain's time by which that is."""
        began_at = self._tried_at = self._clock.monotonic()
        horizon = self._heeded[0] if began_at - self._looked_at < HORIZON_SECONDS else None
        now = await self._present()
        async with self._database.service_reader() as connection:
            found = await due_moments.look(
                connection,
                self._tasks,
                self._rules,
                now=now,
                until=now + AHEAD,
                horizon=horizon,
                limit=MAX_MOMENTS,
            )
            among = found.changed if self._continues(horizon, found) else None
            counted = await self._counted(connection, found, among, now)
        self._looked_at = began_at
        self._shown = (found.horizon if found.acts_on_counts else None), found.approval_threshold_bps
        self._ahead = sorted([*counted, *found.moments], key=lambda one: one.due_at)
        self._heed()
        self._scheduler.know_of(found.busy)
        return now

    def _heed(self) -> None:
        """Look at later votes and requests only, unless there are some that have not prompted a run yet."""
        if not any(one.kind in _COUNTED for one in self._ahead):
            self._heeded = self._shown

    def _continues(self, horizon: str | None, found: MomentLook) -> bool:
        """Whether only markets that have changed since may have enough votes now: it is the same database,
        and as many votes are needed as before.
        """
        return (
            horizon is not None
            and int(horizon) <= int(found.horizon)
            and found.approval_threshold_bps == self._heeded[1]
        )

    async def _counted(
        self, connection: Reads, found: MomentLook, among: Sequence[str] | None, now: datetime
    ) -> list[DueMoment]:
        """Proposals with enough votes and petitions with enough requests, `among` these markets if given."""
        if not found.acts_on_counts or (among is not None and not among):
            return []
        proposals = await due_markets.voted_proposals(
            connection, self._voting.min_proposal_votes, found.approval_threshold_bps, now, among
        )
        petitions = await due_markets.petitions(connection, self._voting.min_stake_lamports, among)
        opened_since = now - timedelta(seconds=found.dispute_period_seconds)
        return [
            *(DueMoment(_AT_ONCE, market_id, AGGREGATOR, "approval") for market_id in proposals),
            *(
                # The program refuses a dispute in the second of the resolution.
                DueMoment(one.resolution_proposed_at + timedelta(seconds=1), one.id, AGGREGATOR, "petition")
                for one in petitions
                if one.resolution_proposed_at > opened_since and one.passes(self._voting.dispute_petition_bps)
            ),
        ]

    async def _present(self) -> datetime:
        """The chain's time by what is known of it."""
        seconds = await self._chain.present()
        self._seen = seconds, self._clock.monotonic()
        return datetime.fromtimestamp(seconds, UTC)

    async def _prompt(self) -> None:
        """Let what is due prompt runs, once the chain's clock says so. Raises RpcUnavailable, RpcRejected."""
        now = await self._present()
        first = self._ahead[0]
        if first.due_at > now:
            return
        self._ask_at = self._clock.monotonic() + RETRY_SECONDS
        occasion = f"{first.market_id}:{first.kind}:{first.due_at.isoformat()}"
        if not await self._turns.take("due", occasion):
            self._ahead = [one for one in self._ahead if one.due_at > now]
            self._check_on(occasion)
            return
        if self._clock.monotonic() - self._looked_at > RETRY_SECONDS:
            await self._look()
        await self._chain.refresh()
        now = await self._present()
        due = [one for one in self._ahead if one.due_at <= now]
        if not due:
            return
        first_of_each = [
            one
            for task in self._tasks
            for one in [other for other in due if other.task == task][: self._together[task]]
        ]
        await self._scheduler.prompt(first_of_each)
        await reached(Point.TASK_PROMPTED)
        # The next look shows what was too much for one run.
        self._ahead = self._ahead[len(due) :]
        self._heed()
        for one in first_of_each:
            if one.kind in _TIMED:
                PROMPT_DELAY.labels(one.kind).observe((now - one.due_at).total_seconds())

    def _pause_seconds(self) -> float:
        now = self._clock.monotonic()
        pause = self._look_at - now
        if self._ahead:
            seconds, known_at = self._seen
            until = self._ahead[0].due_at.timestamp() - seconds - (now - known_at)
            pause = min(pause, max(until, self._ask_at - now))
        return max(pause, _SHORTEST_PAUSE_SECONDS)


def rules_of(monitor: MarketMonitorSettings, voting: VotingSettings) -> MomentRules:
    """What the settings say of when markets are due."""
    return MomentRules(
        finalization_delay_seconds=monitor.finalization_delay_seconds,
        safety_margin_seconds=monitor.safety_margin_seconds,
        trusted=voting.trusted_resolvers,
    )


def _may_be_due(message: Message) -> bool:
    """Whether a market may be due at another time than before."""
    match message.data:
        case MarketUpdate(state=state):
            return state in _CHANGING_STATES
        case VoteCast(vote_type=kind):
            return kind is VoteKind.PROPOSAL
    return False

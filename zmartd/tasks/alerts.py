"""The task that evaluates the rules of alerts, for all daemons."""

from __future__ import annotations

from typing import Final

from zmartd.alerts.evaluation import Told, evaluate
from zmartd.alerts.market_rules import MOVED_BY_TASKS
from zmartd.alerts.receivers import names
from zmartd.alerts.rule import ChainFacts, Facts
from zmartd.alerts.rules import RULES
from zmartd.chain.program_accounts import ProtocolNotInitialized, read_config
from zmartd.chain.transport import RpcRejected, RpcUnavailable
from zmartd.log import get_logger
from zmartd.store import alert_deliveries, alert_facts, daemons, due_markets
from zmartd.store.due_markets import StuckMarkets
from zmartd.tasks.authority import ProtocolState
from zmartd.tasks.base import TaskAction
from zmartd.tasks.context import TaskContext
from zmartd.tasks.stuck_markets import EXAMPLES, stuck_deadlines

log = get_logger(__name__)

CHAIN_SECONDS: Final = 60.0
"""How old what the chain says may be: the node need not be asked each time."""


class Alerts:
    """A `PeriodicTask`; see zmartd.tasks.base. It needs no key."""

    name = "alerts"

    def __init__(self, context: TaskContext) -> None:
        task = context.settings.alerts
        self.enabled = task.enabled
        self.schedule = task.schedule
        self._settings = context.alerts
        self._monitor = context.settings.market_monitor
        self._database = context.database
        self._rpc = context.rpc
        self._program_id = context.program.program_id
        self._clock = context.clock
        self._receivers = names(context.alerts)
        self._protocol: tuple[ProtocolState, int] | None = None
        self._asked_at = float("-inf")

    async def run(self) -> list[TaskAction]:
        """Raises DatabaseUnavailable, DatabaseTimeout."""
        facts = await self._facts()
        async with self._database.service() as connection:
            told = await evaluate(connection, facts, RULES, self._settings, self._receivers)
        async with self._database.service_reader() as reader:
            for one in await alert_deliveries.give_up(reader):
                log.error(
                    "alert.not_delivered",
                    webhook_id=one.id,
                    receiver=one.receiver,
                    attempts=one.attempts,
                    error=one.error,
                )
        return _actions(told)

    async def _facts(self) -> Facts:
        settings = self._settings
        protocol = await self._protocol_state()
        async with self._database.service_reader() as reader:
            index = await alert_facts.read(reader, settings, with_size=settings.database_max_bytes > 0)
            known = await daemons.listed(reader)
            if protocol is None:
                return Facts(index=index, chain=None, daemons=known)
            deadlines = stuck_deadlines(self._monitor, protocol[0])
            stuck = await due_markets.stuck(reader, deadlines, EXAMPLES, MOVED_BY_TASKS)
        chain = _chain_facts(protocol, index.now.timestamp(), self._clock.monotonic() - self._asked_at, stuck)
        return Facts(index=index, chain=chain, daemons=known)

    async def _protocol_state(self) -> tuple[ProtocolState, int] | None:
        """The program's configuration with the chain's time, and the authority's lamports; None where no node
        says them, or there is no configuration.
        """
        if self._clock.monotonic() - self._asked_at < CHAIN_SECONDS:
            return self._protocol
        self._protocol = None
        try:
            config = await read_config(self._rpc, self._program_id)
            account = await self._rpc.account(config.backend_authority)
            chain_time = await self._rpc.chain_time()
        except (RpcUnavailable, RpcRejected, ProtocolNotInitialized) as error:
            log.info("alerts.chain_unknown", reason=error.message)
            return None
        self._asked_at = self._clock.monotonic()
        lamports = 0 if account is None else account.lamports
        self._protocol = ProtocolState(config, chain_time.unix_timestamp), lamports
        return self._protocol


def _chain_facts(
    protocol: tuple[ProtocolState, int],
    now: float,
    age_seconds: float,
    stuck: tuple[StuckMarkets, ...],
) -> ChainFacts:
    state, lamports = protocol
    return ChainFacts(
        authority=str(state.config.backend_authority),
        authority_lamports=lamports,
        ahead_seconds=state.now + age_seconds - now,
        stuck=stuck,
    )


def _actions(told: Told) -> list[TaskAction]:
    return [
        TaskAction(None, action, ok=True, detail=f"{alert.rule} {alert.subject}".strip())
        for action, those in (
            ("open_alert", told.opened),
            ("remind", told.reminded),
            ("resolve_alert", told.resolved),
        )
        for alert in those
    ]

"""The resources that a periodic task works with."""

from __future__ import annotations

from dataclasses import dataclass, field

from redis.asyncio import Redis
from solders.keypair import Keypair

from zmartd import config
from zmartd.alert_settings import AlertSettings
from zmartd.chain.program import Program
from zmartd.chain.rpc import Rpc
from zmartd.clock import Clock
from zmartd.indexer.fetch import Fetcher
from zmartd.realtime.publisher import Publisher
from zmartd.store.postgres.database import Database
from zmartd.task_settings import TaskSettings
from zmartd.tasks.failure_log import FailureLog
from zmartd.transactions.submission import Submitter


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskContext:
    """The daemon's own resources. A task does not open or close any of them."""

    settings: TaskSettings
    realtime: config.RealtimeSettings
    voting: config.VotingSettings
    alerts: AlertSettings
    database: Database
    redis: Redis
    publisher: Publisher
    rpc: Rpc
    program: Program
    fetcher: Fetcher
    submitter: Submitter
    clock: Clock
    authority: Keypair | None
    """The backend authority's key; None when the daemon has none and can sign nothing."""
    next_authority: Keypair | None = None
    """The key that the program is about to have as its authority's; used as soon as the program names it."""
    network_fees: config.NetworkFeeSettings = field(default_factory=config.NetworkFeeSettings)
    """What its transactions pay."""
    retention: config.RetentionSettings = field(default_factory=config.RetentionSettings)
    transactions: config.TransactionSettings = field(default_factory=config.TransactionSettings)
    markets: config.MarketSettings = field(default_factory=config.MarketSettings)
    failures: FailureLog = field(default_factory=FailureLog)
    """What was told of failures that come again with each run."""

"""The settings of the built-in periodic tasks, a table `[tasks.<name>]` each."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

from zmartd.config_values import (
    Bytes,
    Count,
    Seconds,
    Secret,
    ServiceUrl,
    WholeSeconds,
    described,
    described_list,
    described_text,
    require_multiaddr,
)
from zmartd.schedule import (
    MAX_EVERY_SECONDS,
    MIN_EVERY_SECONDS,
    Cron,
    Every,
    Schedule,
    require_cron,
    require_time_zone,
)

EverySeconds = Annotated[float, Meta(ge=MIN_EVERY_SECONDS, le=MAX_EVERY_SECONDS)]


def _require_cron(text: str) -> None:
    if text:
        require_cron(text)


class PeriodicTaskSettings(Struct, frozen=True, kw_only=True):
    """What every task has."""

    enabled: Annotated[bool, described("whether this daemon runs it")] = True
    every_seconds: Annotated[EverySeconds, described("how often it runs")] = 300.0
    cron: Annotated[
        str,
        described_text("a cron expression of five fields to run by instead, like */5 * * * *", _require_cron),
    ] = ""
    time_zone: Annotated[
        str, described_text("the time zone that it is in, like Europe/Berlin", require_time_zone)
    ] = "UTC"
    time_limit_seconds: Annotated[Seconds, described("a run that takes longer is cancelled")] = 600.0

    @property
    def schedule(self) -> Schedule:
        """A sweep: the newest of the instants that were missed makes up for all of them."""
        return Schedule(
            timing=Cron(self.cron, self.time_zone) if self.cron else Every(self.every_seconds),
            time_limit_seconds=self.time_limit_seconds,
            catch_up="last",
        )


class VoteAggregatorSettings(PeriodicTaskSettings, frozen=True, kw_only=True):
    enabled: Annotated[
        bool, described("whether this daemon counts votes and approves or settles markets")
    ] = True
    every_seconds: Annotated[EverySeconds, described("how often votes are counted")] = 300.0
    requests_per_run: Annotated[
        Count,
        described(
            "how often a run asks the node about voters, 50 or 100 at a time, for proposals and as often for "
            "disputes; the next run goes on from there"
        ),
    ] = 2_000


class MarketMonitorSettings(PeriodicTaskSettings, frozen=True, kw_only=True):
    enabled: Annotated[
        bool, described("whether this daemon finalizes markets whose dispute window has passed")
    ] = True
    every_seconds: Annotated[EverySeconds, described("how often markets are finalized")] = 300.0
    batch_size: Annotated[int, Meta(ge=1, le=100), described("the most markets finalized in one run")] = 10
    finalization_delay_seconds: Annotated[
        WholeSeconds, described("the least time between a resolution and its finalization")
    ] = 172_800
    safety_margin_seconds: Annotated[
        WholeSeconds, described("added to that time, since clocks may differ")
    ] = 60
    stuck_after_seconds: Annotated[
        WholeSeconds, described("a market whose state has not changed for this long is reported")
    ] = 604_800
    overdue_for_seconds: Annotated[
        WholeSeconds,
        described(
            "how long this daemon has to have seen a market an hour overdue, by its own clock, to report it; "
            "`zmartd dev` waits a minute, because its chain's clock jumps"
        ),
    ] = 0


class ReconcilerSettings(PeriodicTaskSettings, frozen=True, kw_only=True):
    enabled: Annotated[
        bool, described("whether this daemon looks for transactions that no webhook brought")
    ] = True
    every_seconds: Annotated[
        EverySeconds, described("how often the index is compared with the chain's history")
    ] = 30.0
    time_limit_seconds: Annotated[Seconds, described("a run that takes longer is cancelled")] = 3_600.0
    max_fetched_per_run: Annotated[
        Count,
        described(
            "the most delivered transactions that one run fetches, to check that they are final and unchanged"
        ),
    ] = 3_000


class LeaderboardSettings(PeriodicTaskSettings, frozen=True, kw_only=True):
    enabled: Annotated[bool, described("whether this daemon computes the leaderboard")] = True
    every_seconds: Annotated[EverySeconds, described("how often it is computed, if anything has changed")] = (
        30.0
    )


class StreamRetentionSettings(PeriodicTaskSettings, frozen=True, kw_only=True):
    enabled: Annotated[
        bool, described("whether this daemon deletes old messages of streams, and whatever else expires")
    ] = True
    every_seconds: Annotated[EverySeconds, described("how often it looks for them")] = 60.0


class AuditorSettings(PeriodicTaskSettings, frozen=True, kw_only=True):
    enabled: Annotated[
        bool, described("whether this daemon compares the index with the chain's accounts all the time")
    ] = True
    every_seconds: Annotated[
        EverySeconds, described("how often it compares what has changed, and a part of the rest")
    ] = 60.0
    pass_seconds: Annotated[
        Seconds, described("after this time a run begins with no other market; the next run goes on")
    ] = 50.0
    everything_seconds: Annotated[
        Seconds, described("within this time every account is compared, changed or not")
    ] = 3_600.0
    accounts_per_second: Annotated[
        int, Meta(ge=1, le=100_000), described("the most accounts compared, on average")
    ] = 1_000


class AlertsTaskSettings(PeriodicTaskSettings, frozen=True, kw_only=True):
    enabled: Annotated[bool, described("whether this daemon evaluates the rules of alerts")] = True
    every_seconds: Annotated[EverySeconds, described("how often they are evaluated, for all daemons")] = 15.0
    time_limit_seconds: Annotated[Seconds, described("a run that takes longer is cancelled")] = 60.0


Pinning = Literal["directory", "pinata", "pinning_service"]


class IpfsSnapshotSettings(PeriodicTaskSettings, frozen=True, kw_only=True):
    enabled: Annotated[
        bool,
        described(
            "whether this daemon publishes what is said about markets on IPFS, where nobody can delete it"
        ),
    ] = False
    every_seconds: Annotated[
        EverySeconds,
        described("how often it looks for markets with news; each gets at most one snapshot a day"),
    ] = 86_400.0
    time_limit_seconds: Annotated[
        Seconds,
        described("a run that takes longer is cancelled; at least run_seconds and market_seconds together"),
    ] = 5_400.0
    pinning: Annotated[
        Pinning,
        described(
            "where snapshots are kept: in a directory of this machine, by Pinata, or by a service with the "
            "IPFS Pinning Service API, which fetches them from an IPFS node of yours"
        ),
    ] = "directory"
    directory: Annotated[
        str, described("for directory: the directory, with a file for each snapshot, named by its content id")
    ] = ""
    service_url: Annotated[
        ServiceUrl, described("the URL of the service; empty for pinata: https://api.pinata.cloud")
    ] = ServiceUrl()
    service_token: Annotated[Secret, described("the token that the service gave, for pinata its JWT")] = (
        Secret()
    )
    node_url: Annotated[
        ServiceUrl,
        described(
            "for pinning_service: the RPC API of that node (Kubo), to which snapshots are added first, "
            "as http://127.0.0.1:5001"
        ),
    ] = ServiceUrl()
    node_addresses: Annotated[
        tuple[str, ...],
        described_list(
            "for pinning_service: addresses at which the service reaches that node; else it searches",
            require_multiaddr,
            max_length=20,
        ),
    ] = ()
    gateway_url: Annotated[
        ServiceUrl,
        described(
            "an IPFS gateway from which snapshots are read that are kept here no more, as https://ipfs.io; "
            "empty: none"
        ),
    ] = ServiceUrl()
    attempt_seconds: Annotated[
        Seconds, described("how long a service or the gateway may take to answer a request")
    ] = 30.0
    market_seconds: Annotated[
        Seconds, described("how long one market may take, further attempts included; the next run goes on")
    ] = 300.0
    run_seconds: Annotated[
        Seconds, described("after this time a run begins with no other market; the next run goes on")
    ] = 3_600.0
    max_document_bytes: Annotated[
        Bytes, described("the largest snapshot; a market with a larger one is reported and gets none")
    ] = 16_777_216
    keep_days: Annotated[
        int,
        Meta(ge=1, le=3_650),
        described("how long it is kept which snapshot was of which day, and older snapshots themselves"),
    ] = 90


class TaskSettings(Struct, frozen=True, kw_only=True):
    vote_aggregator: VoteAggregatorSettings = VoteAggregatorSettings()
    market_monitor: MarketMonitorSettings = MarketMonitorSettings()
    reconciler: ReconcilerSettings = ReconcilerSettings()
    auditor: AuditorSettings = AuditorSettings()
    leaderboard: LeaderboardSettings = LeaderboardSettings()
    stream_retention: StreamRetentionSettings = StreamRetentionSettings()
    ipfs_snapshot: IpfsSnapshotSettings = IpfsSnapshotSettings()
    alerts: AlertsTaskSettings = AlertsTaskSettings()

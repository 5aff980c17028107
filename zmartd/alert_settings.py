"""The settings of alerts: who is told, how often, and from which values on. The table is `[alerts]`."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from zmartd.config_values import (
    BasisPoints,
    Lamports,
    Seconds,
    ServiceUrl,
    WebhookSecret,
    WholeSeconds,
    described,
)

Number = Annotated[int, Meta(ge=0, le=1_000_000)]


class AlertWebhookSettings(Struct, frozen=True, kw_only=True):
    """A receiver of signed messages, as Standard Webhooks has them."""

    url: Annotated[
        ServiceUrl, described("where alerts are posted, signed as Standard Webhooks says; empty: nowhere")
    ] = ServiceUrl()
    secret: Annotated[
        WebhookSecret, described("the key of the signatures: whsec_ and 24 to 64 random bytes in base64")
    ] = WebhookSecret()
    secret_previous: Annotated[
        WebhookSecret, described("the key before a rotation, whose signature is sent as well")
    ] = WebhookSecret()


class AlertSlackSettings(Struct, frozen=True, kw_only=True):
    url: Annotated[
        ServiceUrl,
        described("an incoming webhook of Slack, Mattermost or the like, a secret as a whole; empty: none"),
    ] = ServiceUrl()


class AlertSettings(Struct, frozen=True, kw_only=True):
    remind_seconds: Annotated[
        WholeSeconds, described("how often those are reminded of an alert that nobody has acknowledged")
    ] = 14_400
    resolve_after_seconds: Annotated[
        WholeSeconds, described("for how long a cause has to be gone before its alert counts as resolved")
    ] = 300
    window_seconds: Annotated[
        Seconds, described("the time over which daemons count requests, connections and failures")
    ] = 300.0
    attempt_seconds: Annotated[
        Annotated[float, Meta(gt=0, le=60)], described("how long a receiver may take to answer")
    ] = 10.0
    keep_days: Annotated[
        Annotated[int, Meta(ge=1, le=3_650)], described("how long resolved alerts are kept")
    ] = 90

    restarts_per_hour: Annotated[
        Number, described("restarts: alert when a daemon starts more often again within an hour")
    ] = 3
    api_errors_bps: Annotated[
        BasisPoints, described("api_errors: alert when more of the API's answers are server errors")
    ] = 500
    api_min_requests: Annotated[
        Number, described("api_errors: with fewer requests in the window nothing is said")
    ] = 100
    websocket_lost_bps: Annotated[
        BasisPoints, described("websocket_disconnects: alert when more of the connections break off")
    ] = 5_000
    websocket_min_connections: Annotated[
        Number, described("websocket_disconnects: with fewer connections in the window nothing is said")
    ] = 20
    database_failures: Annotated[
        Number, described("database_failures: alert when more uses of Postgres fail in the window")
    ] = 5
    database_seconds: Annotated[
        Seconds, described("database_*: a daemon that cannot write for so long alerts by itself")
    ] = 20.0
    database_max_bytes: Annotated[
        Annotated[int, Meta(ge=0, le=2**60)],
        described("database_full: alert when the database is larger; 0 for no limit"),
    ] = 0
    redis_seconds: Annotated[
        Seconds, described("redis_failures: alert when Redis does not answer a daemon for longer")
    ] = 30.0
    failed_transitions: Annotated[
        Number, described("failed_transitions: alert when more markets could not be moved on")
    ] = 0
    stuck_markets: Annotated[
        Number, described("stuck_markets: alert when more markets in a state should have left it")
    ] = 0
    authority_min_lamports: Annotated[
        Lamports, described("authority_balance: alert when the backend authority has less")
    ] = 50_000_000
    reconciler_lag_seconds: Annotated[
        WholeSeconds, described("reconciler_lag: alert when the last good run of the reconciler is older")
    ] = 600
    index_lag_slots: Annotated[
        Number, described("reconciler_lag: alert when the index lacks something for more slots")
    ] = 150
    parked: Annotated[
        Number, described("parked: alert when more events, transactions or deliveries are set aside")
    ] = 0
    webhook_silent_seconds: Annotated[
        WholeSeconds,
        described(
            "webhook_silent: alert when nothing was delivered for longer and the reconciler finds more"
        ),
    ] = 900
    audit_differences: Annotated[
        Number, described("audit_differences: alert when the last audit has found more")
    ] = 0
    audit_failing_seconds: Annotated[
        WholeSeconds,
        described(
            "audit_incomplete: alert when a market fails to be compared, or changes each time, for longer"
        ),
    ] = 900
    audit_overdue_seconds: Annotated[
        WholeSeconds, described("audit_incomplete: alert when a market has not been compared for longer")
    ] = 7_200
    unexplained_seconds: Annotated[
        WholeSeconds, described("unexplained_instants: alert when an instant is without a row for longer")
    ] = 120
    clock_skew_seconds: Annotated[
        Seconds, described("clock_skew: alert when a daemon's clock differs more from Postgres's")
    ] = 3.0
    chain_skew_seconds: Annotated[
        Seconds, described("chain_clock_skew: alert when the chain's clock differs more from Postgres's")
    ] = 120.0
    event_loop_lag_seconds: Annotated[
        Seconds, described("event_loop_lag: alert when a daemon's event loop stood still for longer")
    ] = 2.0
    descriptors_bps: Annotated[
        BasisPoints, described("descriptors: alert when more of a daemon's file descriptors are in use")
    ] = 8_000

    webhook: AlertWebhookSettings = AlertWebhookSettings()
    slack: AlertSlackSettings = AlertSlackSettings()

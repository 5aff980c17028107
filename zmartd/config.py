"""All settings: their names, types, bounds, defaults and descriptions.

Those of periodic tasks are in `zmartd.task_settings`, those of alerts in `zmartd.alert_settings`.
`zmartd.config_file` reads them all, and `zmartd.toml` shows them with their defaults.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from msgspec import Meta, Struct

from zmartd import endpoint, instruction_pattern
from zmartd.alert_settings import AlertSettings
from zmartd.config_values import (
    BasisPoints,
    Bytes,
    Count,
    Lamports,
    Port,
    PostgresUrl,
    Reads,
    RedisUrl,
    ReplicaUrl,
    RpcUrl,
    Seconds,
    Secret,
    ServiceUrl,
    SharedSecret,
    WholeSeconds,
    described,
    described_list,
    described_text,
    require_domain,
    require_https_url,
    require_network,
    require_origin,
    require_wallet,
)
from zmartd.task_settings import TaskSettings


class ServerSettings(Struct, frozen=True, kw_only=True):
    host: Annotated[str, described("the address to listen on; 0.0.0.0 only behind a proxy or firewall")] = (
        "127.0.0.1"
    )
    port: Annotated[Port, described("the one TCP port of the API, the WebSocket and the webhook")] = 4000
    environment: Annotated[
        Literal["production", "development"],
        described("development has the less strict checks that `zmartd dev` needs"),
    ] = "production"
    trusted_proxies: Annotated[
        tuple[str, ...],
        described_list(
            "addresses or networks of proxies that are believed about their clients", require_network
        ),
    ] = ()
    forwarded_header: Annotated[
        Literal["X-Forwarded-For", "Forwarded"],
        described("the header in which those proxies name their client; the other one is not read"),
    ] = "X-Forwarded-For"
    cors_origins: Annotated[
        tuple[str, ...],
        described_list(
            "browser origins that may call the API; in development all of this machine may, too",
            require_origin,
        ),
    ] = (
        "http://localhost:3000",
        "http://localhost:3001",
    )
    max_body_bytes: Annotated[Bytes, described("the largest request body, except the webhook's")] = 65_536
    max_connections: Annotated[Count, described("the most open connections, WebSockets included")] = 10_000
    max_connections_per_ip: Annotated[
        Count, described("the most open connections of one address, or IPv6 /64")
    ] = 200
    head_seconds: Annotated[
        Seconds,
        described("how long a request's head may take to arrive; for a new connection, from its opening"),
    ] = 15.0
    body_seconds: Annotated[
        Seconds,
        described(
            "how long a request's body may take, plus a second for each min_body_bytes_per_second of it"
        ),
    ] = 30.0
    min_body_bytes_per_second: Annotated[Bytes, described("the lowest rate of a body after body_seconds")] = (
        16_384
    )
    answer_seconds: Annotated[Seconds, described("how long a client may take to read a response")] = 60.0
    keepalive_seconds: Annotated[
        Seconds, described("how long an idle connection is kept; longer than a proxy in front keeps it")
    ] = 75.0
    drain_seconds: Annotated[
        float,
        Meta(ge=0, le=3_600),
        described(
            "how long a daemon that is to end goes on serving: /ready says 503, each answer closes its "
            "connection, and clients of streams are sent away one after the other; longer than a proxy in "
            "front keeps idle connections"
        ),
    ] = 5.0
    shutdown_seconds: Annotated[
        Seconds, described("how long running requests may take to finish after that")
    ] = 10.0

    @property
    def url(self) -> str:
        """Where this machine reaches the API."""
        return endpoint.reachable_url("http", self.host, self.port)

    @property
    def is_development(self) -> bool:
        """Whether pages that this machine serves may call the API and sign in, whatever their port."""
        return self.environment == "development"

    @property
    def is_for_this_machine(self) -> bool:
        """Whether this is a development daemon that no other machine can reach."""
        return self.is_development and endpoint.is_loopback(self.host)


class OperatorSettings(Struct, frozen=True, kw_only=True):
    host: Annotated[
        str,
        described("the address of /metrics and of /health with details, which only the operator can reach"),
    ] = "127.0.0.1"
    port: Annotated[
        int,
        Meta(ge=0, le=65_535),
        described("the TCP port there, a different one for each daemon on a machine; 0: none"),
    ] = 4001


Pooled = Literal["auto", "yes", "no"]


class DatabaseSettings(Struct, frozen=True, kw_only=True):
    url: Annotated[
        PostgresUrl, described("the URL of Postgres: postgresql://user:password@host:port/database")
    ] = PostgresUrl("postgresql://localhost:5432/zmartd")
    replica_url: Annotated[
        ReplicaUrl,
        described(
            "the URL of a streaming replica of that database, from which lists, history and candles are read "
            "as long as it keeps up; empty: none"
        ),
    ] = ReplicaUrl()
    pool_size: Annotated[
        int, Meta(ge=3, le=1_000), described("the most connections that this daemon opens; at least three")
    ] = 10
    statement_timeout_seconds: Annotated[Seconds, described("a query that takes longer is cancelled")] = 10.0
    acquire_seconds: Annotated[
        Seconds, described("how long a query waits for a connection while all are in use")
    ] = 5.0
    pooled: Annotated[
        Pooled,
        described(
            "whether other programs may use a connection between transactions, as behind Supabase's port "
            "6543 or PgBouncer in transaction mode: auto finds it out; no is faster in session mode"
        ),
    ] = "auto"
    programs: Annotated[
        str,
        described(
            "the directory of pg_dump and pg_restore, for `zmartd backup` and `zmartd restore`; empty: they "
            "are looked for"
        ),
    ] = ""


class RedisSettings(Struct, frozen=True, kw_only=True):
    url: Annotated[RedisUrl, described("the URL of Redis or Valkey: redis://host:port/0 or unix:///path")] = (
        RedisUrl("redis://localhost:6379/0")
    )
    sentinels: Annotated[
        tuple[str, ...],
        described_list(
            "the sentinels, as host or host:port, that know the primary; redis.url then says everything but "
            "where it is",
            require_domain,
            max_length=16,
        ),
    ] = ()
    sentinel_service: Annotated[str, described("the name that sentinels have for the primary")] = "mymaster"
    sentinel_password: Annotated[Secret, described("the password of the sentinels")] = Secret()


class SolanaSettings(Struct, frozen=True, kw_only=True):
    rpc_url: Annotated[RpcUrl, described("the Solana JSON-RPC endpoint; may carry an API key")] = RpcUrl(
        "http://127.0.0.1:8899"
    )
    cluster: Annotated[
        Literal["mainnet", "devnet", "testnet", "localnet"],
        described("the network that sign-in messages must name"),
    ] = "devnet"
    program_id: Annotated[str, described("the address of the deployed zmart_core program")] = (
        "7h3gXfBfYFueFVLYyfL5Qo1QGsf4GQUfW96FKVgnUsJS"
    )
    idl_path: Annotated[str, described("an Anchor IDL (spec 0.1.0) to use instead of the packaged one")] = ""
    authority_keypair_path: Annotated[
        str,
        described(
            "the backend authority's keypair file, a JSON array of 64 bytes as solana-keygen writes it"
        ),
    ] = ""
    authority_secret_key: Annotated[
        Secret, described("the backend authority's 64-byte secret key in base58, instead of a keypair file")
    ] = Secret()
    authority_next_keypair_path: Annotated[
        str,
        described(
            "while the authority's key is replaced, the keypair file of the next one, which signs as soon as "
            "the program names it"
        ),
    ] = ""
    timeout_seconds: Annotated[Seconds, described("how long one RPC call may take")] = 15.0


class HeliusSettings(Struct, frozen=True, kw_only=True):
    api_key: Annotated[
        Secret,
        described("the key of Helius' API, with which `zmartd webhook` and `zmartd check` see the webhook"),
    ] = Secret()
    api_url: Annotated[ServiceUrl, described("where Helius' API is")] = ServiceUrl("https://api.helius.xyz")
    webhook_url: Annotated[
        str,
        described_text(
            "the public URL of this daemon's webhook, as https://api.example/helius/webhook, which "
            "`zmartd webhook register` gives to Helius",
            require_https_url,
        ),
    ] = ""
    authorization: Annotated[
        SharedSecret, described("the Authorization header value that was set when the webhook was registered")
    ] = SharedSecret()
    authorization_previous: Annotated[
        SharedSecret, described("the value before a rotation, accepted as well until it is removed here")
    ] = SharedSecret()
    hmac_secret: Annotated[
        SharedSecret, described("the key of the HMAC-SHA256 in the x-helius-signature header of a relay")
    ] = SharedSecret()
    hmac_secret_previous: Annotated[
        SharedSecret, described("the HMAC key before a rotation, accepted as well until it is removed here")
    ] = SharedSecret()
    max_body_bytes: Annotated[Bytes, described("the largest webhook delivery")] = 10_485_760
    unproven_bytes: Annotated[
        Bytes,
        described(
            "memory for the parts beyond 64 kB of deliveries whose HMAC is not verified; half for one address"
        ),
    ] = 33_554_432
    unproven_seconds: Annotated[Seconds, described("how long such a delivery may take to arrive")] = 5.0


class AuthSettings(Struct, frozen=True, kw_only=True):
    jwt_secret: Annotated[SharedSecret, described("the key that signs session tokens")] = SharedSecret()
    jwt_secret_previous: Annotated[
        SharedSecret, described("the key before a rotation; its tokens stay valid until they expire")
    ] = SharedSecret()
    domains: Annotated[
        tuple[str, ...],
        described_list(
            "the domains that a sign-in message may be for; in development it may be for any of this "
            "machine, too",
            require_domain,
            min_length=1,
        ),
    ] = (
        "localhost:3000",
        "localhost:4000",
    )
    token_seconds: Annotated[WholeSeconds, described("how long a session token is valid")] = 3_600
    session_seconds: Annotated[
        WholeSeconds, described("how long after its sign-in a session may be renewed; then it ends")
    ] = 2_592_000
    nonce_seconds: Annotated[WholeSeconds, described("how long a sign-in nonce is valid")] = 300
    legacy_signature_header: Annotated[
        bool, described("accept the frontend's `Authorization: Signature` header, never for moving money")
    ] = False
    admins: Annotated[
        tuple[str, ...],
        described_list(
            "wallets that may use /api/admin, besides the program's admin", require_wallet, max_length=100
        ),
    ] = ()


class RateLimitSettings(Struct, frozen=True, kw_only=True):
    enabled: Annotated[bool, described("whether clients that send too many requests are refused")] = True
    ip_reads_per_minute: Annotated[
        Reads, described("the most anonymous reads of one address, or IPv6 /64, in a minute")
    ] = 100
    ip_reads_per_hour: Annotated[Reads, described("the same in an hour")] = 1_000
    ip_writes_per_minute: Annotated[
        Count,
        described(
            "the most sign-ins, and writes without a session, of one address, or IPv6 /64, in a minute"
        ),
    ] = 100
    ip_writes_per_hour: Annotated[Count, described("the same in an hour")] = 1_000
    wallet_reads_per_minute: Annotated[
        Reads, described("the most reads of one signed-in wallet in a minute")
    ] = 300
    wallet_reads_per_hour: Annotated[Reads, described("the same in an hour")] = 6_000
    wallet_writes_per_minute: Annotated[
        Count, described("the most writes of one signed-in wallet in a minute")
    ] = 300
    wallet_writes_per_hour: Annotated[Count, described("the same in an hour")] = 6_000
    signed_in_ip_reads_per_minute: Annotated[
        Reads,
        described("the most reads of all signed-in wallets of one address, or IPv6 /64, in a minute"),
    ] = 600
    signed_in_ip_reads_per_hour: Annotated[Reads, described("the same in an hour")] = 12_000
    signed_in_ip_writes_per_minute: Annotated[
        Count,
        described("the most writes of all signed-in wallets of one address, or IPv6 /64, in a minute"),
    ] = 600
    signed_in_ip_writes_per_hour: Annotated[Count, described("the same in an hour")] = 12_000
    comments_per_hour: Annotated[
        Count,
        described("the most comments that one wallet posts in an hour, and all of one address, or IPv6 /64"),
    ] = 60
    kept_answers_per_hour: Annotated[
        Count,
        described("the most requests with an Idempotency-Key of one address, or IPv6 /64, in an hour"),
    ] = 1_200
    refused_deliveries_per_minute: Annotated[
        Count,
        described(
            "the most webhook deliveries without valid credentials of one address, or IPv6 /48, in a minute"
        ),
    ] = 10


AMPLE_RATE_LIMITS: Final = RateLimitSettings(
    ip_reads_per_minute=1_000_000,
    ip_reads_per_hour=1_000_000,
    ip_writes_per_minute=1_000_000,
    ip_writes_per_hour=1_000_000,
    wallet_reads_per_minute=1_000_000,
    wallet_reads_per_hour=1_000_000,
    wallet_writes_per_minute=1_000_000,
    wallet_writes_per_hour=1_000_000,
    signed_in_ip_reads_per_minute=1_000_000,
    signed_in_ip_reads_per_hour=1_000_000,
    signed_in_ip_writes_per_minute=1_000_000,
    signed_in_ip_writes_per_hour=1_000_000,
    comments_per_hour=1_000_000,
    kept_answers_per_hour=1_000_000,
)
"""Limits that one machine does not reach: for development, tests and measuring."""


class RealtimeSettings(Struct, frozen=True, kw_only=True):
    max_connections_per_ip: Annotated[
        Count,
        described("the most WebSocket connections of one address, or IPv6 /64, to all daemons together"),
    ] = 10
    max_messages_per_minute: Annotated[
        Count,
        described(
            "the most messages, or fragments of one, that one address, or IPv6 /64, sends in a minute over "
            "all of its WebSockets, to all daemons together"
        ),
    ] = 100
    max_control_frames_per_minute: Annotated[
        Count, described("the most pings and pongs that it sends in a minute, besides the pongs to our pings")
    ] = 120
    max_message_bytes: Annotated[Bytes, described("the largest message a WebSocket client may send")] = 4_096
    max_subscriptions: Annotated[
        Count, described("the most markets and other channels that one WebSocket connection subscribes to")
    ] = 200
    max_buffered_bytes: Annotated[
        Bytes, described("unsent bytes after which a slow WebSocket client is disconnected")
    ] = 65_536
    heartbeat_seconds: Annotated[
        Seconds, described("how often a WebSocket client is pinged; it may take 0.4 of this to answer")
    ] = 25.0
    history_seconds: Annotated[
        WholeSeconds, described("how long messages are kept, so that clients can resume")
    ] = 604_800


class VotingSettings(Struct, frozen=True, kw_only=True):
    min_proposal_votes: Annotated[Count, described("the least number of votes that approve a proposal")] = 10
    proposal_min_balance_lamports: Annotated[
        Lamports,
        described("the least balance of a wallet that never traded for its vote on a proposal to count"),
    ] = 50_000_000
    trusted_resolvers: Annotated[
        tuple[str, ...],
        described_list(
            "wallets besides the creator whose resolutions are relayed and finalized", require_wallet
        ),
    ] = ()
    dispute_petition_bps: Annotated[
        BasisPoints,
        described("the share of a market's holders, or of their stake, that must ask for a dispute"),
    ] = 1_000
    min_stake_lamports: Annotated[
        Lamports, described("the least stake of a holder who counts in a petition's number of holders")
    ] = 10_000_000
    dispute_quorum_bps: Annotated[
        BasisPoints,
        described("the share of the stake that must have voted for the votes to settle a dispute"),
    ] = 1_000
    veto_seconds: Annotated[
        WholeSeconds,
        described("how long an admin may decide otherwise before a dispute is settled by its votes"),
    ] = 86_400


class MarketSettings(Struct, frozen=True, kw_only=True):
    max_pending_per_wallet: Annotated[
        Count,
        described("the most markets that one wallet may have registered and that are not on the chain yet"),
    ] = 20
    max_pending_bytes_per_wallet: Annotated[
        int,
        # At least one market with texts of the greatest length.
        Meta(ge=65_536, le=2**30),
        described("the most bytes that the documents of those markets may have together"),
    ] = 262_144
    keep_pending_days: Annotated[
        int,
        Meta(ge=1, le=3_650),
        described("how long a registration is kept whose market is not on the chain"),
    ] = 30


COMPANIONS = (
    "MemoSq4gqABAXKb96qnH8TysNcWxMyWCqXgDLGmfcHr",
    "Memo1UhkJRfHyvLMcVucJwxXeuD728EqVDDwQDxFMNo",
    "L2TExMFKdjpN9kozasaurPirfHy9P8sbXoAN1qA3S95:02-11",
    "L2TExMFKdjpN9kozasaurPirfHy9P8sbXoAN1qA3S95:none",
    "L1TEVtgA75k273wWz1s6XMmDhQY5i3MwcvKb4VbZzfK:02-10",
    "L1TEVtgA75k273wWz1s6XMmDhQY5i3MwcvKb4VbZzfK:none",
)
"""What wallets add, and what cannot move anything of theirs.

- Memo, of both versions, whose data is the text.
- Lighthouse, with which Phantom and Solflare guard transactions, at its present and its earlier address. One
  byte says which instruction it is. 0 and 1 write and close an account that the wallet pays for; all above
  assert, up to 17 at present and 16 earlier (`LighthouseInstruction` in github.com/Jac0xb/lighthouse). It
  refuses one without data.
"""


class TransactionSettings(Struct, frozen=True, kw_only=True):
    max_pending_per_wallet: Annotated[
        Count,
        described(
            "the most relayed transactions of one wallet that may be in progress, on all daemons together"
        ),
    ] = 8
    keep_days: Annotated[
        int, Meta(ge=1, le=3_650), described("how long a transaction that was sent is kept after its end")
    ] = 30
    companions: Annotated[
        tuple[str, ...],
        described_list(
            "instructions of other programs that may stand beside the market's in a relayed transaction, "
            "besides those of the compute budget, which always may: those of a PROGRAM, or of those the ones "
            "whose data begins with the bytes of PROGRAM:HEX or PROGRAM:HEX-HEX, or that have none, "
            "PROGRAM:none",
            instruction_pattern.read,
            max_length=100,
        ),
    ] = COMPANIONS
    max_fee_lamports: Annotated[
        Lamports, described("the most that a relayed transaction pays the network, priority fee included")
    ] = 50_000_000


class RetentionSettings(Struct, frozen=True, kw_only=True):
    """How long that is kept of which no truth is lost, where no other section says it."""

    inbox_days: Annotated[
        int,
        Meta(ge=0, le=3_650),
        described("how long a webhook delivery is kept after it was applied, to look up what it said"),
    ] = 7
    runs_days: Annotated[
        int,
        Meta(ge=1, le=3_650),
        described("how long runs of tasks are kept that did something or failed, and what was not run"),
    ] = 30
    quiet_runs_days: Annotated[
        int, Meta(ge=1, le=3_650), described("how long the other runs of tasks are kept")
    ] = 2
    failures_days: Annotated[
        int,
        Meta(ge=1, le=3_650),
        described("how long it is kept why a market could not be moved on, after it was"),
    ] = 90
    orphaned_days: Annotated[
        int,
        Meta(ge=0, le=3_650),
        described("how long events are kept that were taken back, as by a fork; 0: for ever"),
    ] = 0


class NetworkFeeSettings(Struct, frozen=True, kw_only=True):
    """What the transactions that the daemon signs itself pay the network."""

    compute_margin_percent: Annotated[
        int,
        Meta(ge=0, le=1_000),
        described("how many more compute units they ask for than their simulation took"),
    ] = 20
    priority_fee_percentile: Annotated[
        int,
        Meta(ge=0, le=100),
        described(
            "which of the prices per compute unit they offer that landed in recent blocks for the accounts "
            "that they write: 0 the lowest, 100 the highest"
        ),
    ] = 75
    max_priority_fee_lamports: Annotated[
        Lamports,
        described(
            "the most that one of them offers beside the base fee, also after others have expired; 0: nothing"
        ),
    ] = 100_000
    max_markets_per_transaction: Annotated[
        int,
        Meta(ge=1, le=64),
        described("the most markets that share one of them, if they fit; 1: each market has its own"),
    ] = 64


class LogSettings(Struct, frozen=True, kw_only=True):
    level: Annotated[
        Literal["debug", "info", "warning", "error"], described("the least severe lines that are written")
    ] = "info"
    format: Annotated[Literal["json", "console"], described("json for machines, console for people")] = "json"


class Settings(Struct, frozen=True, kw_only=True):
    """The whole configuration. Packages get the sections that they need."""

    server: ServerSettings = ServerSettings()
    operator: OperatorSettings = OperatorSettings()
    database: DatabaseSettings = DatabaseSettings()
    redis: RedisSettings = RedisSettings()
    solana: SolanaSettings = SolanaSettings()
    helius: HeliusSettings = HeliusSettings()
    auth: AuthSettings = AuthSettings()
    rate_limits: RateLimitSettings = RateLimitSettings()
    realtime: RealtimeSettings = RealtimeSettings()
    voting: VotingSettings = VotingSettings()
    markets: MarketSettings = MarketSettings()
    transactions: TransactionSettings = TransactionSettings()
    retention: RetentionSettings = RetentionSettings()
    network_fees: NetworkFeeSettings = NetworkFeeSettings()
    tasks: TaskSettings = TaskSettings()
    alerts: AlertSettings = AlertSettings()
    log: LogSettings = LogSettings()
    plugins: dict[str, dict[str, Any]] = {}
    """The tables `[tasks.<name>]` of tasks of other packages, which validate them."""

"""The rules of the game: what the program's configuration and the daemon's settings say."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta, Struct

from zmartd import config
from zmartd.chain.accounts import GlobalConfig
from zmartd.chain.program_accounts import find_config
from zmartd.chain.transport import RpcRejected, RpcUnavailable
from zmartd.http.kit import keys
from zmartd.http.kit.fields import Amount, amount
from zmartd.http.kit.operation import Access, Call, Operation
from zmartd.http.kit.rate_limit_policy import RateLimitPolicy, rate_limit_policy
from zmartd.http.markets.creation import (
    MAX_LIFE_SECONDS,
    Description,
    Liquidity,
    LiquidityParameter,
    Question,
    ResolutionRules,
)
from zmartd.http.response_cache.policies import CacheFromNode
from zmartd.market import lifecycle
from zmartd.market.iso_time import iso_time, utc_from_unix
from zmartd.market.json_fields import Time
from zmartd.market.quotes import MIN_TRADE_LAMPORTS
from zmartd.task_settings import MarketMonitorSettings

Bps = Annotated[int, Meta(ge=0, le=65_535, description="basis points: 100 are one percent")]
Window = Annotated[int, Meta(description="a number of seconds")]


class ProtocolProgram(Struct, frozen=True, kw_only=True):
    """Which program this is, and where."""

    id: str
    """The program's address, base58."""
    cluster: Annotated[
        str,
        Meta(
            description="the Solana cluster that it is on",
            extra_json_schema={"enum": ["mainnet", "devnet", "testnet", "localnet"]},
        ),
    ]


class ProtocolKeys(Struct, frozen=True, kw_only=True):
    """The wallets in the program's configuration."""

    admin: str
    """The address of the wallet that approves, cancels and decides."""
    backend_authority: str
    """The address of the wallet that records votes and finalizes markets."""
    protocol_fee_wallet: str
    """The address of the wallet that gets the protocol's fees."""


class ProtocolFees(Struct, frozen=True, kw_only=True):
    """The fees on each trade, as shares of its amount before fees."""

    protocol_bps: Bps
    """For the protocol."""
    resolver_bps: Bps
    """For the wallet that proposes the market's outcome."""
    lp_bps: Bps
    """For the market's creator, as liquidity provider."""
    total_bps: Bps
    """The sum of the above."""


class ProtocolThresholds(Struct, frozen=True, kw_only=True):
    """The least share of votes in favour."""

    proposal_bps: Bps
    """Of the votes on a proposed market, for its approval."""
    dispute_bps: Bps
    """Of the votes on a dispute, by wallet and by stake, for the opposite outcome."""


class ProtocolConfig(Struct, frozen=True, kw_only=True):
    """The program's configuration on the chain."""

    is_paused: bool
    """Whether the program refuses all trades and new markets."""
    keys: ProtocolKeys
    """Who may do what no other wallet may."""
    fees: ProtocolFees
    """The fees on each trade."""
    thresholds: ProtocolThresholds
    """Which share of votes decides."""
    dispute_period_seconds: Window
    """How long a proposed outcome can be disputed, and how long holders vote on a dispute."""


class ProtocolVoting(Struct, frozen=True, kw_only=True):
    """Who votes, and how many votes it takes."""

    proposal_min_votes: int
    """The least number of votes that approve a proposed market."""
    proposal_min_balance: Amount
    """Lamports that a wallet has to hold, unless it has traded before, for its vote on a proposed market to
    count."""
    dispute_petition_bps: Bps
    """The share of a market's holders, or of their stake, whose requests make the backend open a dispute."""
    dispute_min_stake: Amount
    """Lamports of stake with which a holder counts in the number of holders."""
    dispute_quorum_bps: Bps
    """The share of the stake that has to vote for the votes to settle a dispute."""


class ProtocolWindows(Struct, frozen=True, kw_only=True):
    """How long things take."""

    finalization_seconds: Window | None
    """From the proposal of an outcome until it is final, if nobody disputes it: the longer of the dispute
    period and the daemon's own delay, and a margin. Null before the program is initialized."""
    automatic_dispute_seconds: Window | None
    """From the proposal of an outcome by a stranger until the backend disputes it, if nobody has. Null before
    the program is initialized."""
    veto_seconds: Window
    """From the announcement of a settlement until it is carried out: an admin may decide otherwise."""


class ProtocolLimits(Struct, frozen=True, kw_only=True):
    """The largest and the smallest of what can be asked for."""

    min_trade: Amount
    """The least lamports of a purchase with its fees, and of a sale before its fees."""
    min_initial_liquidity: Amount
    """The least lamports that a creator puts in."""
    max_initial_liquidity: Amount
    """The most lamports that a creator puts in."""
    min_b_parameter: Amount
    """The smallest liquidity parameter, with nine decimals."""
    max_b_parameter: Amount
    """The largest liquidity parameter, with nine decimals."""
    max_question_characters: int
    """The longest question of a market."""
    max_description_characters: int
    """The longest description of a market."""
    max_resolution_rules_characters: int
    """The longest rules of how a market is resolved."""
    max_life_seconds: Window
    """How far ahead of the chain's clock the expected end of a new market may be."""
    max_pending_markets: int
    """The most markets that a wallet may have registered and that are not on the chain yet."""
    max_pending_bytes: int
    """The most bytes that the documents of those markets may have together."""
    pending_kept_seconds: Window
    """How long a registered market is kept at least that is not on the chain. After that it may have to be
    registered again."""
    max_pending_transactions: int
    """The most relayed transactions of a wallet that may be in progress."""
    max_network_fee: Amount
    """The most lamports that a relayed transaction pays the network."""


class ProtocolBody(Struct, frozen=True, kw_only=True):
    """The rules by which markets live, in one place."""

    chain_time: Time
    """The time that the program sees, by which every deadline is kept. A development chain's can be far ahead
    of the machine's."""
    initialized: bool
    """Whether the program has a configuration on this cluster. Before that there are no markets: the admin
    has to send initialize_global_config."""
    program: ProtocolProgram
    """Which program this is, and where."""
    config: ProtocolConfig | None
    """The program's configuration; null before it is initialized."""
    voting: ProtocolVoting
    """Who votes, and how many votes it takes."""
    windows: ProtocolWindows
    """How long things take."""
    limits: ProtocolLimits
    """The largest and the smallest of what can be asked for."""
    request_limits: RateLimitPolicy
    """How many requests are answered."""


async def get_protocol(call: Call[None]) -> ProtocolBody:
    """The chain's time, fees, thresholds, windows and limits. They may change: an admin sets the program's
    configuration, an operator the daemon's settings. The answer is at most two seconds old; `Cache-Control:
    no-cache` does not change that."""
    app = call.app
    program_id = app[keys.PROGRAM].program_id
    rpc = app[keys.RPC]
    found, now = await find_config(rpc, program_id), await rpc.chain_time()
    voting = app[keys.VOTING]
    return ProtocolBody(
        chain_time=iso_time(utc_from_unix(now.unix_timestamp)),
        initialized=found is not None,
        program=ProtocolProgram(id=str(program_id), cluster=app[keys.CLUSTER]),
        config=None if found is None else _config(found),
        voting=_voting(voting),
        windows=_windows(found, app[keys.MARKET_MONITOR], voting),
        limits=_limits(app[keys.MARKET_SETTINGS], app[keys.TRANSACTION_SETTINGS]),
        request_limits=rate_limit_policy(app[keys.RATE_LIMITS]),
    )


def _config(found: GlobalConfig) -> ProtocolConfig:
    fees = (found.protocol_fee_bps, found.resolver_reward_bps, found.liquidity_provider_fee_bps)
    return ProtocolConfig(
        is_paused=found.is_paused,
        keys=ProtocolKeys(
            admin=str(found.admin),
            backend_authority=str(found.backend_authority),
            protocol_fee_wallet=str(found.protocol_fee_wallet),
        ),
        fees=ProtocolFees(protocol_bps=fees[0], resolver_bps=fees[1], lp_bps=fees[2], total_bps=sum(fees)),
        thresholds=ProtocolThresholds(
            proposal_bps=found.proposal_approval_threshold, dispute_bps=found.dispute_success_threshold
        ),
        dispute_period_seconds=found.dispute_period,
    )


def _voting(voting: config.VotingSettings) -> ProtocolVoting:
    return ProtocolVoting(
        proposal_min_votes=voting.min_proposal_votes,
        proposal_min_balance=amount(voting.proposal_min_balance_lamports),
        dispute_petition_bps=voting.dispute_petition_bps,
        dispute_min_stake=amount(voting.min_stake_lamports),
        dispute_quorum_bps=voting.dispute_quorum_bps,
    )


def _windows(
    found: GlobalConfig | None, monitor: MarketMonitorSettings, voting: config.VotingSettings
) -> ProtocolWindows:
    finalization = automatic_dispute = None
    if found is not None:
        finalization = lifecycle.finalizable_at(
            0, found.dispute_period, monitor.finalization_delay_seconds, monitor.safety_margin_seconds
        )
        automatic_dispute = lifecycle.automatic_dispute_at(0, found.dispute_period)
    return ProtocolWindows(
        finalization_seconds=finalization,
        automatic_dispute_seconds=automatic_dispute,
        veto_seconds=voting.veto_seconds,
    )


def _limits(markets: config.MarketSettings, transactions: config.TransactionSettings) -> ProtocolLimits:
    return ProtocolLimits(
        min_trade=amount(MIN_TRADE_LAMPORTS),
        min_initial_liquidity=amount(Liquidity.minimum),
        max_initial_liquidity=amount(Liquidity.maximum),
        min_b_parameter=amount(LiquidityParameter.minimum),
        max_b_parameter=amount(LiquidityParameter.maximum),
        max_question_characters=Question.max_length,
        max_description_characters=Description.max_length,
        max_resolution_rules_characters=ResolutionRules.max_length,
        max_life_seconds=MAX_LIFE_SECONDS,
        max_pending_markets=markets.max_pending_per_wallet,
        max_pending_bytes=markets.max_pending_bytes_per_wallet,
        pending_kept_seconds=markets.keep_pending_days * 86_400,
        max_pending_transactions=transactions.max_pending_per_wallet,
        max_network_fee=amount(transactions.max_fee_lamports),
    )


OPERATIONS: tuple[Operation[Any], ...] = (
    Operation(
        method="GET",
        path="/api/protocol",
        handler=get_protocol,
        summary="The rules of the game: fees, thresholds, windows and limits",
        tag="protocol",
        access=Access.PUBLIC,
        responses={200: ProtocolBody},
        cache=CacheFromNode(),
        errors=(RpcUnavailable, RpcRejected),
    ),
)

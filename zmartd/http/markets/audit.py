"""What the auditor found: whether what this API shows is what the chain has."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from msgspec import Meta, Struct

from zmartd.http.kit import keys
from zmartd.http.kit.fields import Time
from zmartd.http.kit.operation import Access, Call, Operation
from zmartd.market.iso_time import iso_time, iso_time_or_none
from zmartd.store import market_audits
from zmartd.store.market_audits import AuditPass, DifferingMarket, UncomparedMarket

MAX_LISTED: Final = 100


class DifferingBody(Struct, frozen=True, kw_only=True):
    """A market that differs from its accounts on the chain, or the program's configuration."""

    on_chain_address: str
    """The market's account, base58; the configuration's own."""
    market_id: Annotated[
        str | None,
        Meta(description="null for the configuration, and for a market that this API does not have"),
    ]
    differences: int
    """How many values differ."""
    fields: Annotated[
        list[str],
        Meta(
            description="the first of those that differ: `position.` before those of wallets' positions; "
            "`exists` where only one side has it; `content` where the account cannot be read"
        ),
    ]
    differs_since: Time
    """When this was first seen."""


class UncomparedBody(Struct, frozen=True, kw_only=True):
    """A market that could not be compared, or the program's configuration."""

    on_chain_address: str
    """The market's account, base58; the configuration's own."""
    market_id: Annotated[
        str | None,
        Meta(description="null for the configuration, and for a market that this API does not have"),
    ]
    why: Annotated[
        Literal["failing", "moving"],
        Meta(description="`failing`: no attempt succeeded; `moving`: it changed during each"),
    ]
    since: Time
    """When the first of these attempts was made."""
    compared_at: Annotated[Time | None, Meta(description="when it was compared last; null: never")]


class AuditTotals(Struct, frozen=True, kw_only=True):
    """The newest pass, and what it and those before it compared."""

    slot: int
    """Where the pass began: what it compared, it read at this slot or later."""
    finished_at: Time
    """When it ended."""
    markets_count: int
    """The number of markets compared."""
    accounts_count: int
    """The number of accounts compared: markets, positions, votes on the chain and the configuration."""
    differences: int
    """How many values differ; 0 means that everything was equal when it was compared last."""
    differing_markets: int
    """The number of markets that differ; the configuration counts as one."""
    moving_markets: int
    """The number of markets that changed while they were compared, which the next pass compares again."""
    failed_markets: int
    """The number of markets that could not be compared."""
    oldest_compared_at: Annotated[
        Time | None,
        Meta(
            description="when the market was compared that has waited longest; null where one never was. "
            "What changes is compared within minutes, everything within an hour"
        ),
    ]


class AuditBody(Struct, frozen=True, kw_only=True):
    audited: AuditTotals | None
    """Null before the first pass has ended."""
    differing: Annotated[
        list[DifferingBody],
        Meta(description=f"what differs now, longest first; at most {MAX_LISTED}"),
    ]
    uncompared: Annotated[
        list[UncomparedBody],
        Meta(description=f"what could not be compared, longest first; at most {MAX_LISTED}"),
    ]


async def get_audit(call: Call[None]) -> AuditBody:
    """Every market, position and vote of this API is compared with its account on the chain, all the time. A
    difference means that this API may show something that is not so; it is mended by its operator."""
    async with call.app[keys.DATABASE].service_reader() as connection:
        newest = await market_audits.newest_pass(connection)
        found = await market_audits.differing(connection, MAX_LISTED)
        uncompared = await market_audits.uncompared(connection, MAX_LISTED)
    return AuditBody(
        audited=None if newest is None else _totals(newest),
        differing=[_differing(one) for one in found],
        uncompared=[_uncompared(one) for one in uncompared],
    )


def _totals(newest: AuditPass) -> AuditTotals:
    return AuditTotals(
        slot=newest.slot,
        finished_at=iso_time(newest.finished_at),
        markets_count=newest.markets,
        accounts_count=newest.accounts,
        differences=newest.differences,
        differing_markets=newest.differing_markets,
        moving_markets=newest.moving_markets,
        failed_markets=newest.failed_markets,
        oldest_compared_at=None if newest.oldest_at is None else iso_time(newest.oldest_at),
    )


def _differing(found: DifferingMarket) -> DifferingBody:
    return DifferingBody(
        on_chain_address=found.address,
        market_id=found.market_id,
        differences=found.differences,
        fields=found.differing,
        differs_since=iso_time(found.differs_since),
    )


def _uncompared(market: UncomparedMarket) -> UncomparedBody:
    return UncomparedBody(
        on_chain_address=market.address,
        market_id=market.market_id,
        why=market.why,
        since=iso_time(market.since),
        compared_at=iso_time_or_none(market.compared_at),
    )


OPERATIONS: tuple[Operation[Any], ...] = (
    Operation(
        method="GET",
        path="/api/audit",
        handler=get_audit,
        summary="Whether the index equals the chain",
        tag="protocol",
        access=Access.PUBLIC,
        responses={200: AuditBody},
    ),
)

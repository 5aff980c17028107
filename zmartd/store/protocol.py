"""The program's configuration as its events tell it."""

from __future__ import annotations

from datetime import datetime

from asyncpg import Connection
from msgspec import Struct

_CURRENT = """
select is_paused, admin, backend_authority, protocol_fee_wallet, protocol_fee_bps, resolver_reward_bps,
       liquidity_provider_fee_bps, proposal_approval_threshold, dispute_success_threshold,
       min_resolution_delay, dispute_period, slot, version, updated_at
  from protocol
"""


class ProtocolConfig(Struct, frozen=True):
    """GlobalConfig, true at `slot`. None: no event has told it. The account on the chain is the authority."""

    is_paused: bool
    admin: str | None
    backend_authority: str | None
    protocol_fee_wallet: str | None
    protocol_fee_bps: int | None
    resolver_reward_bps: int | None
    liquidity_provider_fee_bps: int | None
    proposal_approval_threshold: int | None
    """Basis points."""
    dispute_success_threshold: int | None
    """Basis points."""
    min_resolution_delay: int | None
    """Seconds."""
    dispute_period: int | None
    """Seconds."""
    slot: int
    version: int
    updated_at: datetime


async def current(connection: Connection) -> ProtocolConfig:
    """The configuration now."""
    row = await connection.fetchrow(_CURRENT)
    assert row is not None, "migration 0006 made the row"
    return ProtocolConfig(**dict(row))

"""What the auditor found in each market, and the sum of it. All of these take a service reader."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Literal

from msgspec import Struct

from zmartd.store.postgres.reader import Reads

_NOW = "select clock_timestamp()"
_CONFIGURATION = """
select $1::text as address, protocol.version
  from protocol left join market_audits as audit on audit.address = $1
 where audit.address is null or audit.version is distinct from protocol.version or audit.differences > 0
    or audit.audited_at < $2
"""
# Markets that the index does not have are here because they were listed on the chain.
_DUE = """
with known as (
    select market.on_chain_address as address, market.version from markets as market where not market.orphaned
), compared as (
    select coalesce(known.address, audit.address) as address, known.version,
           audit.version as audited_version, coalesce(audit.differences, 0) as differences,
           audit.moving_since, audit.failure, audit.equal_slot,
           coalesce(audit.audited_at, '-infinity') as audited_at
      from known full join market_audits as audit on audit.address = known.address
)
select address, version, equal_slot, audited_at < $3 as is_aged
  from compared
 where address <> $1 and audited_at < $2
   and (version is distinct from audited_version or differences > 0 or moving_since is not null
        or failure is not null or version is null or audited_at < $3)
 order by audited_at, address
 limit $4
"""
_RECORD = """
insert into market_audits (address, version, slot, accounts, differences, differing, differs_since,
                           equal_slot, compared_at)
values ($1, $2, $3, $4, $5, $6, case when $5 > 0 then clock_timestamp() end,
        case when $5 = 0 then $3::bigint end, clock_timestamp())
on conflict (address) do update
   set version = excluded.version, slot = excluded.slot, accounts = excluded.accounts,
       differences = excluded.differences, differing = excluded.differing,
       differs_since = case when excluded.differences > 0
                            then coalesce(market_audits.differs_since, excluded.differs_since) end,
       equal_slot = coalesce(excluded.equal_slot, market_audits.equal_slot),
       moving_since = null, failure = null, failing_since = null,
       compared_at = excluded.compared_at, audited_at = clock_timestamp()
"""
# What it differed by stays, since nothing shows that it does no more.
_RECORD_UNPROVEN = """
insert into market_audits (address, version, slot, accounts, differences, differing, moving_since, failure,
                           failing_since)
values ($1, $2, $3, 0, 0, '{}', case when $4::text is null then clock_timestamp() end, $4,
        case when $4::text is not null then clock_timestamp() end)
on conflict (address) do update
   set moving_since = coalesce(market_audits.moving_since, excluded.moving_since),
       failure = excluded.failure,
       failing_since = case when excluded.failure is not null
                            then coalesce(market_audits.failing_since, excluded.failing_since) end,
       audited_at = clock_timestamp()
"""
_FORGET = "delete from market_audits where address = $1 returning true"
_ENTER = """
insert into market_audits (address, slot, accounts, differences, differing, audited_at)
select on_chain_address, 0, 0, 0, '{}', '-infinity' from markets
 where not orphaned and not exists (select from market_audits where address = on_chain_address)
on conflict (address) do nothing
returning true
"""
_LIST = """
insert into market_audits (address, slot, accounts, differences, differing, audited_at)
select address, $2, 0, 0, '{}', '-infinity' from unnest($1::text[]) as listed(address)
 where not exists (select from markets where on_chain_address = listed.address and not orphaned)
on conflict (address) do nothing
"""
_FINISH = """
with audited as (
    select count(*) filter (where compared_at is not null and address <> $1) as markets,
           coalesce(sum(accounts), 0) as accounts,
           coalesce(sum(differences), 0) as differences,
           count(*) filter (where differences > 0) as differing,
           count(*) filter (where moving_since is not null) as moving,
           count(*) filter (where failure is not null) as failed,
           case when bool_and(compared_at is not null) then min(compared_at) end as oldest_at
      from market_audits
)
insert into audit_passes (slot, markets, accounts, differences, differing_markets, moving_markets,
                          failed_markets, oldest_at, finished_at)
select $2, markets, accounts, differences, differing, moving, failed, oldest_at, clock_timestamp()
  from audited
on conflict (id) do update
   set slot = excluded.slot, markets = excluded.markets, accounts = excluded.accounts,
       differences = excluded.differences, differing_markets = excluded.differing_markets,
       moving_markets = excluded.moving_markets, failed_markets = excluded.failed_markets,
       oldest_at = excluded.oldest_at, finished_at = excluded.finished_at
returning slot, markets, accounts, differences, differing_markets, moving_markets, failed_markets, oldest_at,
          finished_at
"""
_NEWEST = """
select slot, markets, accounts, differences, differing_markets, moving_markets, failed_markets, oldest_at,
       finished_at
  from audit_passes
"""
_DIFFERING = """
select audit.address, market.id as market_id, audit.differences, audit.differing, audit.differs_since,
       audit.slot
  from market_audits as audit
  left join markets as market on market.on_chain_address = audit.address and not market.orphaned
 where audit.differences > 0
 order by audit.differs_since, audit.address
 limit $1
"""
# In base58 the longer one is greater, and of texts of one length they are in the order of the numbers. Only
# zero bytes at the beginning, each of which is a 1, make a smaller number longer.
_MEMBERS = """
select on_chain_address
  from markets
 where not orphaned
   and ($3::boolean is null
        or starts_with(on_chain_address, '1') = $3
           and (char_length(on_chain_address), on_chain_address::text collate "C")
               >= (char_length($1::text), $1 collate "C")
           and (char_length(on_chain_address), on_chain_address::text collate "C")
               <= (char_length($2::text), $2::text collate "C"))
"""
_RECORD_EQUAL = """
insert into market_audits (address, version, slot, accounts, differences, differing, equal_slot, compared_at)
select address, version, slot, accounts, 0, '{}', slot, clock_timestamp()
  from unnest($1::text[], $2::bigint[], $3::bigint[], $4::int[]) as equal(address, version, slot, accounts)
on conflict (address) do update
   set version = excluded.version, slot = excluded.slot, accounts = excluded.accounts, differences = 0,
       differing = '{}', differs_since = null, moving_since = null, failure = null, failing_since = null,
       equal_slot = excluded.equal_slot, compared_at = excluded.compared_at, audited_at = clock_timestamp()
returning true
"""
_NUMBER = "select count(*) from markets where not orphaned"
_UNCOMPARED = """
select why, address, market.id as market_id, since, compared_at
  from (
       select case when failing_since is not null then 'failing' else 'moving' end as why, address,
              coalesce(failing_since, moving_since) as since, compared_at
         from market_audits where failing_since is not null or moving_since is not null
        order by since, address limit $1
       ) as audit
  left join markets as market on market.on_chain_address = audit.address and not market.orphaned
 order by since, address
"""


class DueAudit(Struct, frozen=True):
    """Something to compare: a market by its address, or the configuration."""

    address: str
    version: int | None
    """Its version in the index; None for a market that only the chain has."""
    equal_slot: int | None = None
    """That of the last comparison that found everything equal."""
    is_aged: bool = False
    """Whether its time has come, whatever else there is about it."""


class AddressRange(Struct, frozen=True):
    """Addresses in the order of their bytes, both ends included."""

    first: str
    last: str
    begins_with_zero: bool | None
    """Whether their first byte is 0; None where some begin with it."""


class Audited(Struct, frozen=True, kw_only=True):
    """What a comparison found."""

    address: str
    version: int | None
    slot: int
    """The accounts were read at this slot or later."""
    accounts: int = 0
    differences: int = 0
    differing: tuple[str, ...] = ()
    """The first of the fields that differ, each once."""
    moving: bool = False
    """Whether it changed during the comparison, which therefore proves nothing."""
    failure: str | None = None
    """Why it could not be compared."""

    @property
    def is_nowhere(self) -> bool:
        """Whether neither the index nor the chain has such a market."""
        return self.version is None and not (self.accounts or self.moving or self.failure)


class AuditPass(Struct, frozen=True):
    """The whole index as the newest pass left it."""

    slot: int
    """Where the pass began: what it compared is of this slot or later."""
    markets: int
    accounts: int
    """Of those markets: their own, their positions and votes; and the configuration's."""
    differences: int
    differing_markets: int
    """Markets that differ, and the configuration if it does."""
    moving_markets: int
    failed_markets: int
    oldest_at: datetime | None
    """When the one was compared that has waited longest; None where one never was."""
    finished_at: datetime


class UncomparedMarket(Struct, frozen=True):
    """A market, or the configuration, whose last attempts proved nothing."""

    why: Literal["failing", "moving"]
    address: str
    market_id: str | None
    """None for the configuration, and for a market that the index does not have."""
    since: datetime
    compared_at: datetime | None
    """When a comparison last proved something; None: never."""


class DifferingMarket(Struct, frozen=True):
    """A market that differs from its accounts, or the configuration."""

    address: str
    market_id: str | None
    """None for the configuration, and for a market that the index does not have."""
    differences: int
    differing: list[str]
    differs_since: datetime
    slot: int


async def now(connection: Reads) -> datetime:
    moment: datetime = await connection.fetchval(_NOW)
    return moment


async def due_configuration(connection: Reads, address: str, before: datetime) -> DueAudit | None:
    """The configuration, if it has changed, or was not compared after `before`."""
    row = await connection.fetchrow(_CONFIGURATION, address, before)
    return None if row is None else DueAudit(**dict(row))


async def due(
    connection: Reads, configuration: str, started_at: datetime, before: datetime, limit: int
) -> list[DueAudit]:
    """Markets that were not compared since `started_at` and have to be, those first that have waited longest.

    They have changed, differed, moved or failed, or only the chain has them, or they were not compared after
    `before`.
    """
    rows = await connection.fetch(_DUE, configuration, started_at, before, limit)
    return [DueAudit(**dict(row)) for row in rows]


async def record(connection: Reads, found: Audited) -> None:
    """Record what was found. A comparison that proves nothing changes nothing of what was found before."""
    what = (found.address, found.version, found.slot)
    if found.moving or found.failure is not None:
        await connection.fetchval(_RECORD_UNPROVEN, *what, found.failure)
    else:
        await connection.fetchval(_RECORD, *what, found.accounts, found.differences, found.differing)


async def number(connection: Reads) -> int:
    """How many markets the index has."""
    markets: int = await connection.fetchval(_NUMBER)
    return markets


async def members(connection: Reads, addresses: AddressRange) -> list[str]:
    """The addresses of the index's markets that are in this range."""
    rows = await connection.fetch(_MEMBERS, addresses.first, addresses.last, addresses.begins_with_zero)
    return [row["on_chain_address"] for row in rows]


async def record_equal(connection: Reads, found: Sequence[Audited]) -> None:
    """Record markets of which nothing differs."""
    await connection.fetch(
        _RECORD_EQUAL,
        [one.address for one in found],
        [one.version for one in found],
        [one.slot for one in found],
        [one.accounts for one in found],
    )


async def forget(connection: Reads, address: str) -> None:
    """Forget a market that neither the index nor the chain has."""
    await connection.fetchval(_FORGET, address)


async def enter(connection: Reads) -> None:
    """Enter the markets of the index that are not here, to be compared next."""
    await connection.fetchval(_ENTER)


async def list_unknown(connection: Reads, addresses: Sequence[str], slot: int) -> None:
    """Enter those of these markets of the chain that the index does not have, to be compared next."""
    await connection.fetchval(_LIST, addresses, slot)


async def finish(connection: Reads, configuration: str, slot: int) -> AuditPass:
    """Record the sum of all that is known, at the end of a pass that began at `slot`."""
    row = await connection.fetchrow(_FINISH, configuration, slot)
    assert row is not None, "the statement returns its row"
    return AuditPass(**dict(row))


async def newest_pass(connection: Reads) -> AuditPass | None:
    """None before the first pass has ended."""
    row = await connection.fetchrow(_NEWEST)
    return None if row is None else AuditPass(**dict(row))


async def differing(connection: Reads, limit: int) -> list[DifferingMarket]:
    """The markets that differ, those first that do so for longest."""
    return [DifferingMarket(**dict(row)) for row in await connection.fetch(_DIFFERING, limit)]


async def uncompared(connection: Reads, limit: int) -> list[UncomparedMarket]:
    """Those whose last attempts failed, or met a change each time, those first that do so for longest."""
    return [UncomparedMarket(**dict(row)) for row in await connection.fetch(_UNCOMPARED, limit)]

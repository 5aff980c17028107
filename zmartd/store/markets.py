"""Markets as the index has them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from asyncpg import Connection, Record
from msgspec import UNSET, Struct, UnsetType

from zmartd.chain.commitment import Commitment
from zmartd.errors import DetailedError
from zmartd.market.decisions import Decision
from zmartd.market.fees import FeeRates, configured_rates
from zmartd.market.lifecycle import MarketState
from zmartd.market.lmsr import Curve
from zmartd.market.situation import ProgramRules
from zmartd.store.postgres.plans import kept
from zmartd.store.postgres.reader import Reads
from zmartd.store.streams import StreamPosition

SELECTED: Final = """
select id, on_chain_address, question, description, category, tags, end_date,
       metadata_verified, ipfs_question_hash, ipfs_evidence_hash, creator_wallet, resolver_wallet, state,
       b_parameter, initial_liquidity, current_liquidity, shares_yes, shares_no,
       (current_price_yes * 1000000000)::bigint as price_yes, total_volume, trades_count, proposed_outcome,
       final_outcome, was_disputed, proposal_likes, proposal_dislikes, proposal_total_votes, dispute_agree,
       dispute_disagree, dispute_total_votes, created_at, approved_at, activated_at, resolution_proposed_at,
       dispute_initiated_at, finalized_at, cancelled_at, updated_at, chain_confirmed, commitment, slot,
       version, discussion_snapshot_cid, awaiting_admin_approval, awaiting_decision, settles_at,
       liquidity_withdrawn is not null as is_withdrawn,
       greatest(current_liquidity - claimed_total
                - greatest(coalesce(liquidity_withdrawn, 0) - lp_fees_earned, 0), 0) as liquidity_left,
       (select array[slug, image_url] from market_metadata as registered
         where registered.market_id = markets.id and registered.creator_wallet = markets.creator_wallet
           and registered.cid = markets.ipfs_question_hash)
           as slug_and_image_url,
       (select decided.decision from market_decisions as decided
         where decided.market_id = markets.id and decided.state = markets.state) as decision,
       (select proposal_approval_threshold from protocol) as proposal_threshold_bps,
       (select dispute_success_threshold from protocol) as dispute_threshold_bps,
       (select dispute_period from protocol) as dispute_period_seconds,
       (select is_paused from protocol) as is_paused,
       (select zmartd.stream_epoch()) as epoch,
       coalesce((select stream.seq from streams as stream where stream.name = 'market:' || markets.id), 0)
           as seq
"""
"""Selects the columns that `from_row` needs; FROM markets follows."""
_FIND = kept(SELECTED + "from markets where id = $1 or on_chain_address = $1")
_FIND_ALL = SELECTED + "from markets where id = any($1) or on_chain_address = any($1)"
_POSITION = """
select zmartd.stream_epoch() as epoch,
       coalesce((select stream.seq from streams as stream where stream.name = 'market:' || market.id), 0)
           as seq
  from markets as market
"""
_POSITION_OF = kept(_POSITION + "where market.id = $1 or market.on_chain_address = $1")
_POSITION_BY_SLUG = kept(
    f"{_POSITION} where market.id = (select market_id from market_metadata where slug = $1)"  # noqa: S608
)
_AT_ADDRESSES = SELECTED + "from markets where on_chain_address = any($1::text[])"
_PRICING = kept("""
select market.id, market.state, market.b_parameter, market.shares_yes, market.shares_no, market.slot,
       market.commitment, protocol.is_paused, protocol.protocol_fee_bps, protocol.resolver_reward_bps,
       protocol.liquidity_provider_fee_bps, market.end_date, zmartd.stream_epoch() as epoch,
       coalesce((select stream.seq from streams as stream where stream.name = 'market:' || market.id), 0)
           as seq
  from markets as market, protocol
 where market.id = $1 or market.on_chain_address = $1
""")
_SET_SETTLEMENT = """
update markets set awaiting_decision = $3, settles_at = $4, version = version + 1
 where id = $1 and state = $2 and (awaiting_decision, settles_at) is distinct from ($3, $4::timestamptz)
returning id
"""
_SET_AWAITING_APPROVAL = """
update markets set awaiting_admin_approval = $2, version = version + 1
 where id = $1 and state = 'PROPOSED' and awaiting_admin_approval is distinct from $2
returning id
"""
_LOCK = "select from markets where id = $1 for share"


class MarketReference(Struct, frozen=True, kw_only=True):
    """The name that no market has; left out where what was given can be none."""

    given: str | UnsetType = UNSET
    """An id or an address, as it was given."""
    slug: str | UnsetType = UNSET
    """A slug, as it was given."""


class MarketNotFound(DetailedError[MarketReference]):
    """There is no such market; GET /api/markets lists those that there are."""

    code = "market_not_found"


class MarketVersion(Struct, frozen=True, kw_only=True):
    """What subscribers are told of a market, true at `slot`.

    Amounts are lamports; shares, `b_parameter` and prices have nine decimals. `b_parameter` is None while the
    market's creation is not indexed.
    """

    id: str
    on_chain_address: str
    state: MarketState
    b_parameter: int | None
    current_liquidity: int
    shares_yes: int
    shares_no: int
    price_yes: int
    total_volume: int
    proposed_outcome: bool | None
    final_outcome: bool | None
    awaiting_admin_approval: bool
    """Whether its votes are recorded on the chain and only the admin can approve it."""
    awaiting_decision: bool
    """Whether its outcome becomes final only when an admin decides."""
    settles_at: datetime | None
    """When its dispute will be settled by the votes, unless an admin decides before then."""
    commitment: Commitment
    slot: int
    version: int
    category: str


class MarketRow(MarketVersion, frozen=True, kw_only=True):
    """One market. While `chain_confirmed` is false its creation is not indexed yet, nor its creator known."""

    slug: str | None
    """Its name in URLs; None where its creator has not registered the texts that the chain names."""
    image_url: str | None
    question: str
    description: str
    tags: tuple[str, ...]
    end_date: datetime | None
    metadata_verified: bool
    """Whether the texts are the document whose content id is on the chain."""
    ipfs_question_hash: str | None
    ipfs_evidence_hash: str | None
    creator_wallet: str | None
    resolver_wallet: str | None
    initial_liquidity: int | None
    trades_count: int
    was_disputed: bool
    proposal_likes: int
    proposal_dislikes: int
    proposal_total_votes: int
    dispute_agree: int
    dispute_disagree: int
    dispute_total_votes: int
    created_at: datetime
    approved_at: datetime | None
    activated_at: datetime | None
    resolution_proposed_at: datetime | None
    dispute_initiated_at: datetime | None
    finalized_at: datetime | None
    cancelled_at: datetime | None
    updated_at: datetime
    chain_confirmed: bool
    discussion_snapshot_cid: str | None
    """The content id of the newest snapshot of its discussion."""
    is_withdrawn: bool
    """Whether its creator has withdrawn the liquidity."""
    liquidity_left: int
    """What claims and the creator's withdrawal have left of current_liquidity, in lamports."""
    decision: Decision | None
    """The admin's decision about the market in its present state."""
    rules: ProgramRules
    """The program's configuration as it is indexed."""
    stream_position: StreamPosition
    """How far its stream had come in the same read."""


_READ_AS_THEY_ARE = frozenset(MarketRow.__struct_fields__) - {
    *("state", "tags", "decision", "rules", "slug", "image_url", "stream_position")
}


class MarketPricing(Struct, frozen=True, kw_only=True):
    """What decides the price of a trade in a market, true at `slot`."""

    market_id: str
    state: MarketState
    is_paused: bool
    """Whether the protocol refuses all trades."""
    end_date: datetime | None
    """The market's expected end; it may take trades after it."""
    curve: Curve | None
    """None while the market's creation is not indexed."""
    rates: FeeRates
    slot: int
    commitment: str
    stream_position: StreamPosition
    """How far its stream had come in the same read."""


async def find(connection: Reads, reference: str) -> MarketRow | None:
    """The market with this id or on-chain address."""
    row = await connection.fetchrow(_FIND, reference)
    return None if row is None else from_row(row)


async def find_all(connection: Reads, references: Sequence[str]) -> list[MarketRow]:
    """The markets with these ids or on-chain addresses, in no order."""
    return [from_row(row) for row in await connection.fetch(_FIND_ALL, references)]


async def position(connection: Reads, reference: str) -> StreamPosition | None:
    """How far the stream of the market with this id or on-chain address has come; None if there is none."""
    return _position(await connection.fetchrow(_POSITION_OF, reference))


async def position_by_slug(connection: Reads, slug: str) -> StreamPosition | None:
    """The same of the market with this name in URLs."""
    return _position(await connection.fetchrow(_POSITION_BY_SLUG, slug))


async def at_addresses(connection: Reads, addresses: Collection[str]) -> dict[str, MarketRow]:
    """The markets at these on-chain addresses, by address, without those that there are not."""
    rows = await connection.fetch(_AT_ADDRESSES, list(addresses))
    return {row["on_chain_address"]: from_row(row) for row in rows}


async def get(connection: Reads, reference: str) -> MarketRow:
    """The market with this id or on-chain address. Raises MarketNotFound."""
    market = await find(connection, reference)
    if market is None:
        raise MarketNotFound(MarketReference(given=reference))
    return market


async def get_unchanging(connection: Connection, market_id: str) -> MarketRow:
    """The market with this id, which does not change until the end of the transaction.

    Takes a service transaction. Raises MarketNotFound.
    """
    await connection.execute(_LOCK, market_id)
    return await get(connection, market_id)


async def find_pricing(connection: Reads, reference: str) -> MarketPricing | None:
    """The pricing of the market with this id or on-chain address."""
    row = await connection.fetchrow(_PRICING, reference)
    if row is None:
        return None
    b = row["b_parameter"]
    return MarketPricing(
        market_id=row["id"],
        state=MarketState[row["state"]],
        is_paused=row["is_paused"],
        end_date=row["end_date"],
        curve=None if b is None else Curve(row["shares_yes"], row["shares_no"], b),
        rates=configured_rates(
            row["protocol_fee_bps"], row["resolver_reward_bps"], row["liquidity_provider_fee_bps"]
        ),
        slot=row["slot"],
        commitment=row["commitment"],
        stream_position=StreamPosition(row["epoch"], row["seq"]),
    )


async def set_settlement(
    connection: Connection,
    market_id: str,
    state: MarketState,
    *,
    awaiting_decision: bool = False,
    settles_at: datetime | None = None,
) -> MarketRow | None:
    """Record how a market in `state` will be settled: by an admin's decision, at a time, or neither.

    Increments the version of the market's row. None if the row has these values already, or is in another
    state. Takes a service transaction.
    """
    changed = await connection.fetchval(_SET_SETTLEMENT, market_id, state.name, awaiting_decision, settles_at)
    return await get(connection, market_id) if changed else None


async def set_awaiting_approval(
    connection: Connection, market_id: str, *, awaiting: bool
) -> MarketRow | None:
    """Record whether a proposed market waits for the admin's approval.

    As `set_settlement`: increments the version, and None where nothing changed. Takes a service transaction.
    """
    changed = await connection.fetchval(_SET_AWAITING_APPROVAL, market_id, awaiting)
    return await get(connection, market_id) if changed else None


def from_row(row: Mapping[str, Any] | Record) -> MarketRow:
    """The market in a row of SELECTED, which may have more columns."""
    fields = {name: row[name] for name in _READ_AS_THEY_ARE}
    slug, image_url = row["slug_and_image_url"] or (None, None)
    return MarketRow(
        **fields,
        slug=slug,
        image_url=image_url,
        state=MarketState[row["state"]],
        tags=tuple(row["tags"]),
        decision=None if row["decision"] is None else Decision(row["decision"]),
        rules=_rules(row),
        stream_position=StreamPosition(row["epoch"], row["seq"]),
    )


def _position(row: Record | None) -> StreamPosition | None:
    return None if row is None else StreamPosition(row["epoch"], row["seq"])


def _rules(row: Mapping[str, Any] | Record) -> ProgramRules:
    """Events report only changes of the configuration, so what is missing has its initial value."""
    changed = {name: row[name] for name in ProgramRules.__struct_fields__ if row[name] is not None}
    return ProgramRules(**changed)

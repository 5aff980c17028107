"""All that the answer about one market is made of, in one statement and so of one snapshot."""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from zmartd.market.evidence import EvidenceKind
from zmartd.market.needed_votes import open_votes
from zmartd.market.proposal import ResolutionTexts
from zmartd.market.votes import NO_VOTES, VotesSoFar
from zmartd.store import discovery, evidence, markets, metadata, positions, votes
from zmartd.store.discovery import MarketDay
from zmartd.store.evidence import Evidence
from zmartd.store.markets import MarketRow
from zmartd.store.postgres.plans import kept
from zmartd.store.postgres.reader import Reads

_DAY: Final = MarketDay.__struct_fields__
_EVIDENCE: Final = Evidence.__struct_fields__


def _named(prefix: str, fields: tuple[str, ...]) -> str:
    return ", ".join(f"{prefix}_{field}" for field in fields)


def _details(which: str) -> str:
    """The statement about the market for which the condition `which` holds."""
    return f"""
with market as materialized ({markets.SELECTED} from markets where {which}),
details as materialized (
    select market.*, so_far.*, ({positions.HAS_CLAIMS}) as has_claims, day.*
      from market
     cross join lateral ({votes.OPEN_SO_FAR}) as so_far
     cross join lateral ({discovery.DAY}) as day({_named("day", _DAY)})
)
select details.*, ({metadata.SHOWN_DOCUMENT.format(market_id="details.id")}) as document, shown.*
  from details
  left join lateral ({evidence.SHOWN.format(market_id="details.id")})
         as shown({_named("shown", _EVIDENCE)}) on true
"""  # noqa: S608 - constants


_FIND = kept(_details("id = $1 or on_chain_address = $1"))
_FIND_BY_SLUG = kept(_details(f"id = ({metadata.BY_SLUG})"))


class MarketDetails(Struct, frozen=True, kw_only=True):
    """A market on the chain, its last 24 hours, how it is resolved, and what its next steps depend on."""

    market: MarketRow
    votes: VotesSoFar
    """The votes that are open in its state."""
    has_claims: bool
    """Whether it is final, and some holder can claim and has not."""
    day: MarketDay
    texts: ResolutionTexts
    evidence: dict[EvidenceKind, Evidence]
    """What any caller may read of it, as `evidence.shown` gives it."""


async def find(connection: Reads, reference: str) -> MarketDetails | None:
    """The market with this id or on-chain address. Takes a service reader: it counts wallets and votes."""
    return await _found(connection, _FIND, reference)


async def find_by_slug(connection: Reads, slug: str) -> MarketDetails | None:
    """The market with this name in URLs. Takes a service reader, too."""
    return await _found(connection, _FIND_BY_SLUG, slug)


async def _found(connection: Reads, statement: str, reference: str) -> MarketDetails | None:
    rows = await connection.fetch(statement, reference)  # one for each kind of evidence, if there is any
    if not rows:
        return None
    row = rows[0]
    market = markets.from_row(row)
    given = [
        Evidence(*(one[f"shown_{field}"] for field in _EVIDENCE))
        for one in rows
        if one["shown_kind"] is not None
    ]
    return MarketDetails(
        market=market,
        votes=NO_VOTES if open_votes(market.state) is None else votes.votes_so_far(row),
        has_claims=row["has_claims"],
        day=MarketDay(*(row[f"day_{field}"] for field in _DAY)),
        texts=metadata.texts_of(row["document"]),
        evidence={one.kind: one for one in given},
    )

"""Who a wallet is: its own profile, and the little that everybody may know of it."""

from __future__ import annotations

import re
import unicodedata
from typing import Annotated, Any, ClassVar, Self
from urllib.parse import urlsplit

from msgspec import Meta, Struct

from zmartd.http.kit import keys
from zmartd.http.kit.fields import Amount, Field, Text, Time, amount
from zmartd.http.kit.operation import Access, Call, Operation
from zmartd.market.iso_time import iso_time
from zmartd.store import users, wallet_activity
from zmartd.store.users import Changes, User
from zmartd.store.wallet_activity import WalletRecord

_JOINER = "\u200d"
"""Holds many an emoji together; the other invisible characters only serve to look like somebody else."""


class DisplayName(Text):
    """A name on one line, of which everything can be seen."""

    longest: ClassVar[int] = 50
    schema: ClassVar[dict[str, Any]] = {"type": "string", "maxLength": 50}

    @classmethod
    def parse(cls, raw: Any) -> Self:
        text = super().parse(raw)
        kinds = [unicodedata.category(one) for one in text if one != _JOINER]
        if any(kind[0] == "C" or kind in {"Zl", "Zp"} for kind in kinds):
            raise ValueError("with invisible characters")
        if text and all(kind == "Zs" for kind in kinds):
            raise ValueError("nothing to be seen")
        return text


class Biography(Text):
    """Some lines about oneself."""

    longest: ClassVar[int] = 500
    schema: ClassVar[dict[str, Any]] = {"type": "string", "maxLength": 500}


class AvatarUrl(Field, str):
    """Where a picture is."""

    schema: ClassVar[dict[str, Any]] = {"type": "string", "pattern": "^(https://.+)?$", "maxLength": 500}

    @classmethod
    def parse(cls, raw: Any) -> Self:
        if not isinstance(raw, str) or len(raw) > 500:
            raise ValueError("not a URL")
        if raw and not (raw.isascii() and raw.isprintable() and " " not in raw):
            raise ValueError("with characters that a URL cannot have")
        place = urlsplit(raw)
        if raw and (place.scheme != "https" or not place.hostname or "@" in place.netloc):
            raise ValueError("not an https URL")
        return cls(raw)


class TwitterHandle(Field, str):
    """An account's name, with or without its @."""

    FORM: ClassVar[re.Pattern[str]] = re.compile("@?([A-Za-z0-9_]{1,15})", re.ASCII)
    schema: ClassVar[dict[str, Any]] = {"type": "string", "pattern": "^(@?[A-Za-z0-9_]{1,15})?$"}

    @classmethod
    def parse(cls, raw: Any) -> Self:
        if raw == "":
            return cls(raw)
        match = cls.FORM.fullmatch(raw) if isinstance(raw, str) else None
        if match is None:
            raise ValueError("not a handle")
        return cls(match[1])


class ProfileChanges(Struct, frozen=True, kw_only=True):
    """What is left out stays as it is; an empty text removes what was there."""

    display_name: Annotated[
        DisplayName | None, Meta(description="a text of at most 50 visible characters on one line")
    ] = None
    avatar_url: Annotated[
        AvatarUrl | None, Meta(description="an https URL of at most 500 characters, or empty")
    ] = None
    bio: Annotated[
        Biography | None, Meta(description="a text of at most 500 characters, without control characters")
    ] = None
    twitter_handle: Annotated[
        TwitterHandle | None, Meta(description="1 to 15 letters, digits and underscores, or empty")
    ] = None


class Profile(Struct, frozen=True, kw_only=True):
    """One's own profile, and what one has done. Amounts are lamports."""

    wallet: str
    """The wallet's address."""
    display_name: str | None
    """The name that the wallet gave itself; null where it gave none."""
    avatar_url: str | None
    """Where the wallet's picture is, an https URL; null where it gave none."""
    bio: str | None
    """What the wallet says about itself; null where it says nothing."""
    twitter_handle: str | None
    """An account's name without its @; null where the wallet gave none."""
    reputation_score: int
    """0, which nothing changes yet."""
    created_at: Time
    """When the profile was made: at the wallet's first sign-in, as a rule."""
    last_seen_at: Time
    """When the wallet last signed in, renewed a session or changed its profile."""
    total_trades: int
    """The wallet's trades in all markets."""
    total_volume: Annotated[Amount, Meta(description="lamports: purchases with fees and sales before fees")]
    markets_created: int
    """Markets on the chain that the wallet made."""
    markets_won: Annotated[int, Meta(description="finalized markets whose winning shares the wallet holds")]
    proposal_votes: int
    """Votes on proposed markets, cast here or on the chain."""
    dispute_votes: int
    """Votes on disputes, cast here or on the chain."""
    discussions: int
    """Comments that are not deleted."""


class PublicStatistics(Struct, frozen=True, kw_only=True):
    total_trades: int
    """The wallet's trades in all markets."""
    total_votes: int
    """Votes of both kinds, on questions that are decided."""
    proposal_votes: int
    """Votes on proposed markets that are decided, cast here or on the chain."""
    dispute_votes: int
    """Votes on disputes that are decided, cast here or on the chain."""
    discussions: int
    """Comments that are not deleted."""
    markets_created: int
    """Markets on the chain that the wallet made."""


class PublicProfile(Struct, frozen=True):
    """What everybody may know of a wallet: how much it did, not what. Unknown wallets did nothing."""

    wallet: str
    """The wallet's address, as in the path."""
    stats: PublicStatistics
    """How often it did what; zeros for a wallet that nothing is known of."""


async def get_me(call: Call[None]) -> Profile:
    """The profile of the wallet that is signed in."""
    wallet = call.wallet
    async with call.app[keys.DATABASE].caller(call.caller) as connection:
        user = await users.find(connection, wallet) or await users.sign_in(connection, wallet)
        record = await wallet_activity.record(connection, wallet)
    return _profile(user, record)


async def change_me(call: Call[ProfileChanges]) -> Profile:
    """Change the profile of the wallet that is signed in."""
    body = call.input
    wallet = call.wallet
    changes = Changes(
        display_name=body.display_name,
        avatar_url=body.avatar_url,
        bio=body.bio,
        twitter_handle=body.twitter_handle,
    )
    async with call.app[keys.DATABASE].caller(call.caller) as connection:
        user = await users.change(connection, wallet, changes)
        record = await wallet_activity.record(connection, wallet)
    return _profile(user, record)


async def get_user(call: Call[None]) -> PublicProfile:
    """How much a wallet has done. Its positions, votes and profit are its own business."""
    wallet = call.path["wallet"]
    async with call.app[keys.DATABASE].service() as connection:
        counts = await wallet_activity.public_counts(connection, wallet)
    stats = PublicStatistics(
        total_trades=counts.trades,
        total_votes=counts.proposal_votes + counts.dispute_votes,
        proposal_votes=counts.proposal_votes,
        dispute_votes=counts.dispute_votes,
        discussions=counts.comments,
        markets_created=counts.markets_created,
    )
    return PublicProfile(wallet, stats)


def _profile(user: User, record: WalletRecord) -> Profile:
    return Profile(
        wallet=user.wallet,
        display_name=user.display_name,
        avatar_url=user.avatar_url,
        bio=user.bio,
        twitter_handle=user.twitter_handle,
        reputation_score=user.reputation_score,
        created_at=iso_time(user.created_at),
        last_seen_at=iso_time(user.last_seen_at),
        total_trades=record.counts.trades,
        total_volume=amount(record.volume_lamports),
        markets_created=record.counts.markets_created,
        markets_won=record.markets_won,
        proposal_votes=record.counts.proposal_votes,
        dispute_votes=record.counts.dispute_votes,
        discussions=record.counts.comments,
    )


OPERATIONS: tuple[Operation[Any], ...] = (
    Operation(
        method="GET",
        path="/api/users/me",
        handler=get_me,
        summary="One's own profile",
        tag="users",
        answers={200: Profile},
        access=Access.WALLET,
    ),
    Operation(
        method="PATCH",
        path="/api/users/me",
        handler=change_me,
        summary="Change one's own profile",
        tag="users",
        body=ProfileChanges,
        answers={200: Profile},
        access=Access.WALLET,
    ),
    Operation(
        method="GET",
        path="/api/users/{wallet}",
        handler=get_user,
        summary="How much a wallet has done",
        tag="users",
        answers={200: PublicProfile},
    ),
)

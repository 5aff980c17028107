"""Profiles of wallets: the caller's own, and the public one of any wallet."""

from __future__ import annotations

import re
import unicodedata
from typing import Annotated, Any, ClassVar, Self

from msgspec import Meta, Struct

from zmartd.http.kit import earlier_answers, keys
from zmartd.http.kit.earlier_names import DEPRECATED
from zmartd.http.kit.fields import Amount, Field, HttpsUrl, Line, ServerTime, Text, amount
from zmartd.http.kit.operation import Access, Call, Operation
from zmartd.market.iso_time import iso_time
from zmartd.store import users, wallet_activity
from zmartd.store.postgres.rls import ACT_AS_SERVICE
from zmartd.store.users import Changes, User
from zmartd.store.wallet_activity import WalletRecord
from zmartd.text.readable import Unreadable


class DisplayName(Line):
    """A name, without what `readable` leaves out: that only serves to imitate another name."""

    max_length: ClassVar[int] = 50
    schema: ClassVar[dict[str, Any]] = {"type": "string", "maxLength": 50}

    @classmethod
    def parse(cls, raw: Any) -> Self:
        name = super().parse(raw)
        if name != unicodedata.normalize("NFC", raw).strip():
            raise Unreadable("invisible characters are in it; remove them")
        return name


class Biography(Text):
    """A text about oneself."""

    max_length: ClassVar[int] = 500
    schema: ClassVar[dict[str, Any]] = {"type": "string", "maxLength": 500}


class AvatarUrl(HttpsUrl):
    """The https URL of a picture, or nothing."""

    schema: ClassVar[dict[str, Any]] = HttpsUrl.schema | {
        "pattern": f"^({HttpsUrl.schema['pattern'].strip('^$')})?$"
    }

    @classmethod
    def parse(cls, raw: Any) -> Self:
        return cls(raw) if raw == "" else super().parse(raw)


class TwitterHandle(Field, str):
    """The name of an account, with or without its @."""

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


class Profile(Struct, frozen=True, kw_only=True):
    """The caller's own profile and activity."""

    wallet: str
    """The wallet's address."""
    display_name: str | None
    """The name that the wallet chose; null where it chose none."""
    avatar_url: str | None
    """The https URL of the wallet's picture; null where it has none."""
    bio: str | None
    """The wallet's text about itself; null where it has none."""
    twitter_handle: str | None
    """The name of a Twitter account without its @; null where the wallet gave none."""
    reputation_score: int
    """Always 0 for the time being."""
    created_at: ServerTime
    """When the profile was created, usually at the wallet's first sign-in."""
    last_seen_at: ServerTime
    """When the wallet last signed in, renewed a session or changed its profile."""
    trades_count: int
    """The number of the wallet's trades in all markets."""
    total_volume: Annotated[Amount, Meta(description="lamports: purchases with fees and sales before fees")]
    markets_created: int
    """The number of markets on the chain that the wallet created."""
    markets_won: Annotated[
        int, Meta(description="the number of finalized markets in which the wallet holds winning shares")
    ]
    proposal_votes_count: int
    """The number of votes on proposed markets, cast through the API or on the chain."""
    dispute_votes_count: int
    """The number of votes on disputes, cast through the API or on the chain."""
    comments_count: int
    """The number of comments that are not deleted."""
    total_trades: Annotated[int, DEPRECATED]
    """The same as trades_count."""


class ProfileChanges(Struct, frozen=True, kw_only=True):
    """Fields that are left out keep their values; an empty text removes the value."""

    READ_ONLY: ClassVar[tuple[str, ...]] = Profile.__struct_fields__

    display_name: Annotated[
        DisplayName | None, Meta(description="a text of at most 50 visible characters on one line")
    ] = None
    """What the wallet is called."""
    avatar_url: Annotated[
        AvatarUrl | None, Meta(description="an https URL of at most 500 characters, or empty")
    ] = None
    """A picture of the wallet's owner."""
    bio: Annotated[
        Biography | None, Meta(description="a text of at most 500 characters, without control characters")
    ] = None
    """What the owner says of themselves."""
    twitter_handle: Annotated[
        TwitterHandle | None, Meta(description="1 to 15 letters, digits and underscores, or empty")
    ] = None
    """The owner's name on Twitter; a leading @ is left out."""


class PublicStatistics(Struct, frozen=True, kw_only=True):
    trades_count: int
    """The number of the wallet's trades in all markets."""
    votes_count: int
    """proposal_votes_count + dispute_votes_count."""
    proposal_votes_count: int
    """The number of votes on proposed markets that are decided, cast through the API or on the chain."""
    dispute_votes_count: int
    """The number of votes on disputes that are decided, cast through the API or on the chain."""
    comments_count: int
    """The number of comments that are not deleted."""
    markets_created: int
    """The number of markets on the chain that the wallet created."""
    total_trades: Annotated[int, DEPRECATED]
    """The same as trades_count."""
    total_votes: Annotated[int, DEPRECATED]
    """The same as votes_count."""
    proposal_votes: Annotated[int, DEPRECATED]
    """The same as proposal_votes_count."""
    dispute_votes: Annotated[int, DEPRECATED]
    """The same as dispute_votes_count."""
    discussions: Annotated[int, DEPRECATED]
    """The same as comments_count."""


class PublicProfile(Struct, frozen=True):
    """The public profile of a wallet: the counts of its activity."""

    wallet: str
    """The wallet's address, as in the path."""
    stats: PublicStatistics
    """The counts; zeros for an unknown wallet."""


async def get_own_profile(call: Call[None]) -> Profile:
    """The profile of the wallet that is signed in."""
    wallet, database = call.wallet, call.app[keys.DATABASE]
    async with database.reader(call.caller) as connection:
        user = await users.find(connection, wallet)
        record = await wallet_activity.record(connection, wallet)
    if user is None:
        async with database.caller(call.caller) as connection:
            user = await users.sign_in(connection, wallet)
    return _profile(user, record)


async def change_own_profile(call: Call[ProfileChanges]) -> Profile:
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
        profile = _profile(user, await wallet_activity.record(connection, wallet))
        await connection.execute(ACT_AS_SERVICE)
        await call.keep_answer(connection, profile)
    return profile


async def get_public_profile(call: Call[None]) -> PublicProfile:
    """Counts only: a wallet's positions, votes and profit are private."""
    wallet = call.path["wallet"]
    async with call.app[keys.DATABASE].service_reader() as connection:
        counts = await wallet_activity.public_counts(connection, wallet)
    stats = PublicStatistics(
        trades_count=counts.trades,
        votes_count=counts.proposal_votes + counts.dispute_votes,
        proposal_votes_count=counts.proposal_votes,
        dispute_votes_count=counts.dispute_votes,
        comments_count=counts.comments,
        markets_created=counts.markets_created,
        **earlier_answers.of_activity_counts(
            counts.trades, counts.proposal_votes, counts.dispute_votes, counts.comments
        ),
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
        trades_count=record.counts.trades,
        total_volume=amount(record.volume_lamports),
        markets_created=record.counts.markets_created,
        markets_won=record.markets_won,
        proposal_votes_count=record.counts.proposal_votes,
        dispute_votes_count=record.counts.dispute_votes,
        comments_count=record.counts.comments,
        **earlier_answers.of_trade_counts(record.counts.trades),
    )


OPERATIONS: tuple[Operation[Any], ...] = (
    Operation(
        method="GET",
        path="/api/users/me",
        handler=get_own_profile,
        summary="The caller's own profile",
        tag="users",
        responses={200: Profile},
        access=Access.WALLET,
    ),
    Operation(
        method="PATCH",
        path="/api/users/me",
        handler=change_own_profile,
        summary="Change the caller's own profile",
        tag="users",
        body=ProfileChanges,
        responses={200: Profile},
        access=Access.WALLET,
    ),
    Operation(
        method="GET",
        path="/api/users/{wallet}",
        handler=get_public_profile,
        summary="The public profile of a wallet",
        tag="users",
        access=Access.PUBLIC,
        responses={200: PublicProfile},
    ),
)

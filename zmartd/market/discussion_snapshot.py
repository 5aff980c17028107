"""What is said about a market, as one document with a content id."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct


class SnapshotComment(Struct, frozen=True, kw_only=True):
    """A comment as it was when the snapshot was taken."""

    id: str
    """The comment's id, a UUID."""
    user_wallet: str
    """The author's address, shortened: the first four characters, … and the last four."""
    parent_id: str | None
    """The id of the comment that this is a reply to, which may be deleted; null for one on the market."""
    content: str
    """The comment's text."""
    created_at: str
    """When the comment was written, in UTC."""
    edited_at: str | None
    """When its text was last changed, in UTC; null where it was not."""


class DiscussionSnapshot(Struct, frozen=True, kw_only=True):
    """All comments on a market that were not deleted at the end of a day (UTC), oldest first.

    It has no date, so that the same comments are the same document.
    """

    market_id: str
    """The market's id, 64 hexadecimal digits."""
    snapshot_version: Literal["1.0"] = "1.0"
    """The version of this form."""
    discussions_count: Annotated[int, Meta(ge=0, description="the number of comments")]
    discussions: tuple[SnapshotComment, ...]
    """The comments by the time when they were written."""

    def document(self) -> bytes:
        """The canonical JSON: UTF-8, sorted keys, no spaces."""
        return msgspec.json.encode(self, order="sorted")

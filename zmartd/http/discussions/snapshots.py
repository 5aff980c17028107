"""Snapshots of discussions, as they are pinned on IPFS."""

from __future__ import annotations

import weakref
from typing import Any, Final

from aiohttp import hdrs, web
from multidict import CIMultiDict

from zmartd.http.kit import keys
from zmartd.http.kit.etags import TaggedResponse
from zmartd.http.kit.fields import AnyContentId
from zmartd.http.kit.operation import Access, Call, Operation
from zmartd.http.kit.path_variables import PathVariable
from zmartd.ipfs.retrieval import DocumentUnreachable
from zmartd.market.discussion_snapshot import DiscussionSnapshot
from zmartd.store import discussion_snapshots
from zmartd.store.evidence import DocumentDetails, DocumentNotFound

_FOR_EVER: Final = "public, max-age=31536000, immutable"
"""RFC 8246: what a content id names is never another."""


async def get_discussion_snapshot(call: Call[None]) -> web.StreamResponse:
    """The exact bytes of which the path names the content id: all comments on a market that were not deleted
    at the end of a day (UTC), oldest first. `snapshot_cid` in the list of comments names the newest one. They
    are compared with the content id before they are sent. Its words are those of the wallets that wrote them.
    """
    cid = call.path["cid"]
    retrieval = call.app[keys.RETRIEVAL]
    async with call.app[keys.DATABASE].reader(call.caller) as connection:
        size = await discussion_snapshots.size(connection, cid)
    retrieval.take_room(size)
    try:
        response = await _response(call, cid, size)
    except BaseException:
        retrieval.give_room_back(size)
        raise
    weakref.finalize(response, retrieval.give_room_back, size)
    return response


async def _response(call: Call[None], cid: str, size: int) -> web.Response:
    async with call.app[keys.DATABASE].reader(call.caller) as connection:
        stored = await discussion_snapshots.content(connection, cid)
    content = await call.app[keys.RETRIEVAL].read(cid, size, stored)
    if content is None:
        raise DocumentNotFound(DocumentDetails(cid))
    etag = f'"{cid}"'
    headers = {hdrs.CONTENT_TYPE: "application/json", hdrs.ETAG: etag, hdrs.CACHE_CONTROL: _FOR_EVER}
    return TaggedResponse(content, etag, CIMultiDict(headers)).respond_to(call.request)


OPERATIONS: tuple[Operation[Any], ...] = (
    Operation(
        method="GET",
        path="/api/discussions/ipfs/{cid}",
        handler=get_discussion_snapshot,
        summary="A snapshot of a discussion by its IPFS content id",
        tag="discussions",
        access=Access.PUBLIC,
        variables={
            "cid": PathVariable(AnyContentId, "an IPFS content id of version 0, or of version 1 in base32")
        },
        responses={200: DiscussionSnapshot, 304: None},
        errors=(DocumentNotFound, DocumentUnreachable),
    ),
)

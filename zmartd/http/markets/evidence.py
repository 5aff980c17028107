"""Evidence of resolutions and disputes: made into documents, and the documents that are kept here."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

import msgspec
from aiohttp import web
from msgspec import Meta, Struct

from zmartd.http.kit import keys
from zmartd.http.kit.etags import TaggedResponse
from zmartd.http.kit.fields import ContentId, HttpsUrl, ServerTime, Text
from zmartd.http.kit.operation import Access, Call, Operation
from zmartd.http.kit.path_variables import PathVariable
from zmartd.market.evidence import EvidenceTexts
from zmartd.market.iso_time import iso_time
from zmartd.store import evidence
from zmartd.store.evidence import DocumentNotFound, Evidence

PATH = "/api/documents/{cid}"


class EvidenceText(Text):
    """A text of evidence."""

    min_length: ClassVar[int] = 1
    max_length: ClassVar[int] = 10_000


class EarlyReason(Text):
    """Why an outcome is proposed early."""

    min_length: ClassVar[int] = 10
    max_length: ClassVar[int] = 2_000


Sources = Annotated[
    tuple[HttpsUrl, ...], Meta(max_length=10, description="at most 10 https URLs of at most 500 characters")
]


class EvidenceBody(Struct, frozen=True, kw_only=True):
    """What a wallet handed in for an outcome, or against it."""

    user_wallet: str
    """The wallet that proposed the outcome, or disputed it."""
    cid: str
    """The content id of the document."""
    url: str | None
    """The path of the document; null where it is not kept here."""
    text: str
    """The text in the document; empty where there is none, and where it is not kept here."""
    sources: tuple[str, ...]
    """The https URLs in the document."""
    early_reason: str | None
    """Why the outcome was proposed before the expected end; null where it was not."""
    created_at: ServerTime
    """When it was handed in."""


def evidence_body(found: Evidence | None) -> EvidenceBody | None:
    """The JSON of evidence, if there is any."""
    if found is None:
        return None
    document = found.document
    texts = None if document is None else msgspec.json.decode(document, type=EvidenceTexts)
    return EvidenceBody(
        user_wallet=found.wallet,
        cid=found.cid,
        url=None if document is None else document_path(found.cid),
        text="" if texts is None else texts.text,
        sources=() if texts is None else texts.sources,
        early_reason=found.early_reason,
        created_at=iso_time(found.created_at),
    )


def document_path(cid: str) -> str:
    """Where a document that is kept here is read."""
    return PATH.replace("{cid}", cid)


async def get_document(call: Call[None]) -> web.StreamResponse:
    """The exact bytes of which the path names the content id: a market's texts, or evidence. Its words are
    those of the wallet that handed it in."""
    async with call.app[keys.DATABASE].reader(call.caller) as connection:
        found = await evidence.document(connection, call.path["cid"])
    return TaggedResponse.of(found).respond_to(call.request)


OPERATIONS: tuple[Operation[Any], ...] = (
    Operation(
        method="GET",
        path=PATH,
        handler=get_document,
        summary="A document by its IPFS content id: a market's texts, or evidence",
        tag="markets",
        access=Access.PUBLIC,
        variables={
            "cid": PathVariable(ContentId, "an IPFS content id of version 0: Qm and 44 base58 characters")
        },
        responses={200: dict[str, Any], 304: None},
        errors=(DocumentNotFound,),
    ),
)

"""Pinning through Pinata's own API: https://docs.pinata.cloud/api-reference."""

from __future__ import annotations

from typing import Final

import msgspec
from msgspec import Struct

from zmartd.config_values import ServiceUrl
from zmartd.ipfs.pinning import Document, WrongContentId, require_cid
from zmartd.ipfs.remote import Remote, RemoteFailed

PINATA: Final = ServiceUrl("https://api.pinata.cloud")
_OPTIONS: Final = msgspec.json.encode({"cidVersion": 0}).decode()


class _Answer(Struct, frozen=True, rename="pascal"):
    ipfs_hash: str


class Pinata:
    """A `Pinning`.

    Documents are sent as files, because `pinJSONToIPFS` writes JSON anew, in a form of its own choice.
    """

    def __init__(self, remote: Remote) -> None:
        self._remote = remote

    async def pin(self, document: Document, known: str | None, until: float) -> None:
        """Raises RemoteFailed, WrongContentId."""
        del known  # an answer is the end of it; what is pinned already is answered in the same way
        answer = await self._remote.call(
            "POST",
            "/pinning/pinFileToIPFS",
            until=until,
            files={"file": (f"{document.cid}.json", document.content, "application/json")},
            data={
                "pinataOptions": _OPTIONS,
                "pinataMetadata": msgspec.json.encode({"name": document.name}).decode(),
            },
        )
        try:
            named = msgspec.json.decode(answer, type=_Answer).ipfs_hash
        except (msgspec.DecodeError, UnicodeError):
            self._remote.count_failure("unreadable")
            raise RemoteFailed("pinata's answer cannot be read") from None
        try:
            require_cid(self._remote.name, named, document.cid)
        except WrongContentId:
            self._remote.count_failure("wrong content id")
            raise

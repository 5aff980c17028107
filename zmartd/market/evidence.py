"""Evidence for an outcome, or against it, as one document with a content id."""

from __future__ import annotations

from typing import Literal

import msgspec
from msgspec import Struct

from zmartd.market import ids

EvidenceKind = Literal["resolution", "dispute"]


class EvidenceTexts(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The content of a document of evidence."""

    market_id: str
    wallet: str
    kind: EvidenceKind
    text: str = ""
    sources: tuple[str, ...] = ()
    """https URLs."""
    outcome: bool | None = None
    """The proposed outcome, for a resolution."""
    early_reason: str | None = None
    """Why an outcome is proposed before the market's expected end."""

    def document(self) -> bytes:
        """The canonical JSON: UTF-8, sorted keys, no spaces, nothing that is empty."""
        return msgspec.json.encode(self, order="sorted")

    def cid(self) -> str:
        """The document's IPFS content id."""
        return ids.cid_v0(self.document())

"""Fields of the program's events in the JSON of the API."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from zmartd.chain.content_ids import content_id_text

EVIDENCE_HASH: Final = "evidence_hash"
EVIDENCE_CID: Final = "evidence_cid"


def event_fields(payload: Mapping[str, Any]) -> dict[str, Any]:
    """The payload of an event, with its evidence's content id as text; null where the bytes are not text."""
    if EVIDENCE_HASH not in payload:
        return dict(payload)
    return {**payload, EVIDENCE_CID: content_id_text(bytes.fromhex(payload[EVIDENCE_HASH]))}

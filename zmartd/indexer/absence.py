"""Which transactions are certainly not on the chain, by all that a node says of them."""

from __future__ import annotations

from collections.abc import Mapping

from solders.pubkey import Pubkey

from zmartd.chain.rpc import MAX_SIGNATURES_PER_REQUEST, Rpc
from zmartd.indexer.fetch import Fetcher


class Absence:
    """Looks for transactions without a status, of slots that are final, on a node that is not behind."""

    def __init__(self, rpc: Rpc, fetcher: Fetcher, program_id: Pubkey) -> None:
        self._rpc = rpc
        self._fetcher = fetcher
        self._program_id = program_id

    async def of(self, slots: Mapping[str, int]) -> set[str]:
        """Those of these signatures, given with their slots, that are not on the chain: the node keeps
        transactions that old, has none with the signature, and does not list it in the program's history.

        Raises RpcUnavailable, RpcRejected.
        """
        if not slots:
            return set()
        kept_from = await self._rpc.first_available_block()
        kept = [signature for signature, slot in slots.items() if slot >= kept_from]
        absent = await self._fetcher.absent(kept)
        return absent - await self._listed({signature: slots[signature] for signature in absent})

    async def _listed(self, slots: Mapping[str, int]) -> set[str]:
        """Those of these signatures that the program's history still has, down to the oldest of the slots."""
        listed: set[str] = set()
        before: str | None = None
        while slots:
            page = await self._rpc.signatures_for_address(self._program_id, before=before)
            listed.update(one.signature for one in page if one.signature in slots)
            if len(page) < MAX_SIGNATURES_PER_REQUEST or page[-1].slot < min(slots.values()):
                break
            before = page[-1].signature
        return listed

"""A walk over a program's signatures from the program's checkpoint to the newest, oldest first.

RPC nodes list signatures newest first. The walk goes down from the newest to the checkpoint and saves one for
each page; then it goes up again from page to page and requests each page again. So it holds one page and the
checkpoints, however many signatures there are, and an interrupted walk resumes at those of its pages.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator

from solders.pubkey import Pubkey

from zmartd.chain.answers import SignatureInfo
from zmartd.chain.rpc import MAX_SIGNATURES_PER_REQUEST, Rpc
from zmartd.log import get_logger
from zmartd.store import checkpoints
from zmartd.store.checkpoints import Checkpoint
from zmartd.store.postgres.database import Database

log = get_logger(__name__)


class CheckpointedWalk:
    """The transactions that mention a program after its checkpoint. Concurrent walks only repeat work."""

    def __init__(
        self,
        rpc: Rpc,
        database: Database,
        program_id: Pubkey,
        page_size: int = MAX_SIGNATURES_PER_REQUEST,
    ) -> None:
        """`page_size`: signatures per request, from 2 to MAX_SIGNATURES_PER_REQUEST."""
        self._rpc = rpc
        self._database = database
        self._program_id = program_id
        self._page_size = page_size

    async def pages(self) -> AsyncGenerator[list[SignatureInfo], None]:
        """Pages of less than `page_size` signatures, oldest first.

        The caller moves the program's checkpoint over a page before it takes the next one.
        Raises RpcUnavailable, DatabaseUnavailable.
        """
        program = str(self._program_id)
        async with self._database.service() as connection:
            start = await checkpoints.find(connection, program)
            page_checkpoints = await checkpoints.pages(connection, program, start.slot if start else -1)
        left_over = set(page_checkpoints)
        until = start.signature if start else None
        while True:
            before = page_checkpoints[-1].signature if page_checkpoints else None
            page = await self._rpc.signatures_for_address(
                self._program_id, before=before, until=until, limit=self._page_size
            )
            if len(page) == self._page_size:
                page_checkpoints.append(await self._save(page))
                continue
            if page:
                yield page[::-1]
                until = page[0].signature
            if not page_checkpoints:
                return
            done = page_checkpoints.pop()
            async with self._database.service() as connection:
                await checkpoints.remove_page(connection, program, done)
            if not page and done not in left_over:
                # This walk has seen signatures below the checkpoint: the node does not know its transaction.
                log.warning("history.unknown_bookmark", signature=done.signature, slot=done.slot)
                return

    async def _save(self, page: list[SignatureInfo]) -> Checkpoint:
        """The checkpoint of a page: its last transaction but one, so that less than a page lies between two.

        It is saved only if that transaction is finalized: any other may leave the chain.
        """
        last = page[-2]
        checkpoint = Checkpoint(last.signature, last.slot)
        if last.confirmation_status == "finalized":
            async with self._database.service() as connection:
                await checkpoints.add_page(connection, str(self._program_id), checkpoint)
        return checkpoint

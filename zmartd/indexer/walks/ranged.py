"""A walk over a range of an address's signatures, oldest first.

RPC nodes list signatures newest first. The walk goes down once to count the signatures and to note where the
pages begin; then it requests the pages again from the oldest to the newest. So it holds two pages and a note
for each page, however many signatures there are. Unlike `checkpointed` it keeps no state: a walk that was
stopped starts again.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence

from msgspec import Struct
from solders.pubkey import Pubkey

from zmartd.chain.answers import SignatureInfo
from zmartd.chain.rpc import MAX_SIGNATURES_PER_REQUEST, Rpc
from zmartd.errors import ZmartdError


class UnknownEnd(ZmartdError):
    """There is no such transaction in that part of the history: give another signature, or a slot."""

    code = "unknown_end"


class HistoryChanged(ZmartdError):
    """The RPC node's list of signatures changed during the walk: start again, what was applied stays."""

    code = "history_changed"


class SignatureRange(Struct, frozen=True):
    """A range of signatures, both ends included. `until` is the last slot or the last signature, if any."""

    from_slot: int = 0
    until: int | str | None = None


WHOLE_HISTORY = SignatureRange()


class _Page(Struct, frozen=True):
    """A page: requested with `before`, it has `transactions` in the range, from `newest` to `oldest`."""

    before: str | None
    newest: str
    oldest: str
    transactions: int


class RangeWalk:
    """The successful transactions in a range: first `count` them, then take their `pages`."""

    def __init__(
        self,
        rpc: Rpc,
        address: Pubkey,
        signatures: SignatureRange = WHOLE_HISTORY,
        page_size: int = MAX_SIGNATURES_PER_REQUEST,
    ) -> None:
        """`page_size`: signatures per request."""
        self._rpc = rpc
        self._address = address
        self._range = signatures
        self._page_size = page_size
        self._pages: list[_Page] = []
        self._top: list[SignatureInfo] = []

    @property
    def transactions(self) -> int:
        """How many there are, once `count` has counted them."""
        return sum(page.transactions for page in self._pages)

    async def count(self) -> RangeWalk:
        """Count the signatures and note the pages. Returns the walk itself.

        Raises UnknownEnd if the range ends with a transaction that is not in it, and RpcUnavailable.
        """
        reached = not isinstance(self._range.until, str)
        before: str | None = None
        while True:
            page = await self._request(before)
            part: Sequence[SignatureInfo] = page if reached else self._from_end(page)
            reached = reached or bool(part)
            self._note(before, [one for one in part if self._contains(one)])
            if len(page) < self._page_size or page[-1].slot < self._range.from_slot:
                if not reached:
                    raise UnknownEnd
                return self
            before = page[-1].signature

    async def pages(self) -> AsyncGenerator[list[SignatureInfo], None]:
        """The counted signatures, oldest first.

        Raises RpcUnavailable, and HistoryChanged if a page differs from what was counted.
        """
        for page in reversed(self._pages[1:]):
            yield self._again(page, await self._request(page.before))
        if self._top:
            # The newest page is kept: requested again, it would begin with newer transactions.
            yield self._top[::-1]

    async def _request(self, before: str | None) -> list[SignatureInfo]:
        return await self._rpc.signatures_for_address(self._address, before=before, limit=self._page_size)

    def _from_end(self, page: Sequence[SignatureInfo]) -> Sequence[SignatureInfo]:
        """The part of a page from the range's last signature on; empty if the page does not have it."""
        until, first = self._range.until, self._range.from_slot
        positions = (at for at, one in enumerate(page) if one.signature == until and one.slot >= first)
        position = next(positions, None)
        return () if position is None else page[position:]

    def _contains(self, one: SignatureInfo) -> bool:
        until = self._range.until
        late = isinstance(until, int) and one.slot > until
        return one.err is None and not late and one.slot >= self._range.from_slot

    def _note(self, before: str | None, part: Sequence[SignatureInfo]) -> None:
        if not part:
            return
        if not self._pages:
            self._top = list(part)
        self._pages.append(_Page(before, part[0].signature, part[-1].signature, len(part)))

    def _again(self, page: _Page, answer: Sequence[SignatureInfo]) -> list[SignatureInfo]:
        positions = {one.signature: position for position, one in enumerate(answer)}
        if page.newest not in positions or page.oldest not in positions:
            raise HistoryChanged
        part = [
            one for one in answer[positions[page.newest] : positions[page.oldest] + 1] if self._contains(one)
        ]
        if len(part) != page.transactions:
            raise HistoryChanged
        return part[::-1]

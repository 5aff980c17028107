"""A stretch of an address's history, oldest first, although nodes tell it newest first.

The survey goes down through the history once, to count it and to note where its pages begin; then the pages
are asked for again from the oldest to the newest. So it holds two pages and a note per page, however long
the history is. Unlike `history` it leaves nothing behind: whoever stops starts again, and finds that what was
applied is there.
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
    """The RPC node tells another history than a moment ago: start again, it goes on where it was."""

    code = "history_changed"


class SignatureRange(Struct, frozen=True):
    """A part of a history, both ends included. `until` is the last slot, or the last signature, if any."""

    from_slot: int = 0
    until: int | str | None = None


WHOLE_HISTORY = SignatureRange()


class _Page(Struct, frozen=True):
    """Where one page of the stretch is: asked for with `before`, it has so many from `newest` to `oldest`."""

    before: str | None
    newest: str
    oldest: str
    transactions: int


class RangeWalk:
    """The successful transactions of a stretch: how many there are, and page by page which."""

    def __init__(
        self,
        rpc: Rpc,
        address: Pubkey,
        stretch: SignatureRange = WHOLE_HISTORY,
        page_size: int = MAX_SIGNATURES_PER_REQUEST,
    ) -> None:
        """`page_size` is how many signatures one request asks for."""
        self._rpc = rpc
        self._address = address
        self._stretch = stretch
        self._page_size = page_size
        self._pages: list[_Page] = []
        self._top: list[SignatureInfo] = []

    @property
    def transactions(self) -> int:
        """How many there are, once `look` has counted them."""
        return sum(page.transactions for page in self._pages)

    async def count(self) -> RangeWalk:
        """Go down through the stretch; returns itself.

        Raises UnknownEnd when the stretch ends with a transaction that is not in it, and RpcUnavailable.
        """
        reached = not isinstance(self._stretch.until, str)
        before: str | None = None
        while True:
            page = await self._request(before)
            told: Sequence[SignatureInfo] = page if reached else self._from_end(page)
            reached = reached or bool(told)
            self._note(before, [one for one in told if self._holds(one)])
            if len(page) < self._page_size or page[-1].slot < self._stretch.from_slot:
                if not reached:
                    raise UnknownEnd(until=self._stretch.until)
                return self
            before = page[-1].signature

    async def pages(self) -> AsyncGenerator[list[SignatureInfo], None]:
        """What `look` has seen, oldest first.

        Raises RpcUnavailable, and HistoryChanged where a page is not what it was.
        """
        for page in reversed(self._pages[1:]):
            yield self._again(page, await self._request(page.before))
        if self._top:
            # Newer transactions have moved the first page since; it is the one that is kept.
            yield self._top[::-1]

    async def _request(self, before: str | None) -> list[SignatureInfo]:
        return await self._rpc.signatures_for_address(self._address, before=before, limit=self._page_size)

    def _from_end(self, page: Sequence[SignatureInfo]) -> Sequence[SignatureInfo]:
        """What is left of a page from the transaction on that ends the stretch; nothing without it."""
        until, first = self._stretch.until, self._stretch.from_slot
        places = (at for at, one in enumerate(page) if one.signature == until and one.slot >= first)
        place = next(places, None)
        return () if place is None else page[place:]

    def _holds(self, one: SignatureInfo) -> bool:
        until = self._stretch.until
        late = isinstance(until, int) and one.slot > until
        return one.err is None and not late and one.slot >= self._stretch.from_slot

    def _note(self, before: str | None, part: Sequence[SignatureInfo]) -> None:
        if not part:
            return
        if not self._pages:
            self._top = list(part)
        self._pages.append(_Page(before, part[0].signature, part[-1].signature, len(part)))

    def _again(self, page: _Page, told: Sequence[SignatureInfo]) -> list[SignatureInfo]:
        places = {one.signature: place for place, one in enumerate(told)}
        if page.newest not in places or page.oldest not in places:
            raise HistoryChanged(before=page.before)
        part = [one for one in told[places[page.newest] : places[page.oldest] + 1] if self._holds(one)]
        if len(part) != page.transactions:
            raise HistoryChanged(before=page.before)
        return part[::-1]

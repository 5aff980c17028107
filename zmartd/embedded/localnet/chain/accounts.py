"""Accounts as they are now, and as they were at the blocks that are not final yet."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from msgspec import Struct, field
from solders.account import Account
from solders.litesvm import LiteSVM
from solders.pubkey import Pubkey

SYSTEM_PROGRAM = Pubkey.default()
_GONE = Account(0, b"", SYSTEM_PROGRAM)


class _Layer(Struct):
    """What a slot changed: address to what the account was before."""

    slot: int
    before: dict[Pubkey, Account | None] = field(default_factory=dict)


class Accounts:
    """LiteSVM's accounts with their past, and an index by owner.

    Reading at an older slot looks for the first change after it: what was there before that change is what
    the slot saw.
    """

    def __init__(self, svm: LiteSVM, opened_slot: int) -> None:
        self._svm = svm
        self._layers: deque[_Layer] = deque([_Layer(opened_slot)])
        self._owned: dict[Pubkey, set[Pubkey]] = {}

    def current(self, address: Pubkey) -> Account | None:
        """What the account is now; None where there is none."""
        account = self._svm.get_account(address)
        return account if account is not None and account.lamports > 0 else None

    def at(self, address: Pubkey, slot: int) -> Account | None:
        """What the account was at the end of `slot`, which is final or newer."""
        for layer in self._layers:
            if layer.slot > slot and address in layer.before:
                return layer.before[address]
        return self.current(address)

    def owned_by(self, owner: Pubkey, slot: int) -> Iterator[tuple[Pubkey, Account]]:
        """The accounts of a program at the end of `slot`, by address."""
        addresses = set(self._owned.get(owner, ()))
        for layer in self._layers:
            if layer.slot > slot:
                addresses.update(layer.before)
        for address in sorted(addresses, key=bytes):
            account = self.at(address, slot)
            if account is not None and account.owner == owner:
                yield address, account

    def load(self, address: Pubkey, account: Account) -> None:
        """Put an account where it was when the process ended."""
        self._svm.set_account(address, account)
        self._owned.setdefault(account.owner, set()).add(address)

    def set(self, address: Pubkey, account: Account | None) -> None:
        """Overwrite an account in the open slot."""
        before = self.current(address)
        self._svm.set_account(address, account or _GONE)
        self.changed(address, before)

    def changed(self, address: Pubkey, before: Account | None) -> None:
        """Note that an account, which was `before`, has changed in the open slot."""
        self._layers[-1].before.setdefault(address, before)
        if before is not None:
            self._owned.get(before.owner, set()).discard(address)
        after = self.current(address)
        if after is not None:
            self._owned.setdefault(after.owner, set()).add(address)

    def open_slot(self, slot: int, finalized_slot: int) -> None:
        """Changes belong to `slot` from now on; how things were before `finalized_slot` is forgotten."""
        if not self._layers[-1].before:
            self._layers.pop()
        self._layers.append(_Layer(slot))
        while self._layers[0].slot <= finalized_slot:
            self._layers.popleft()

    def roll_back_to(self, slot: int) -> dict[Pubkey, Account | None]:
        """Make everything as it was at the end of `slot`, and return what has changed by that."""
        restored: dict[Pubkey, Account | None] = {}
        opened_slot = self._layers[-1].slot
        while self._layers and self._layers[-1].slot > slot:
            restored |= self._layers.pop().before
        self._layers.append(_Layer(opened_slot))
        for address, account in restored.items():
            self.set(address, account)
        self._layers[-1].before.clear()
        return restored

"""Accounts at the open slot, and at each block that is not final."""

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
    """The changes of a slot: each changed address with its account before."""

    slot: int
    before: dict[Pubkey, Account | None] = field(default_factory=dict)


class Accounts:
    """LiteSVM's accounts with their earlier versions, and an index by owner.

    The version at an older slot is the one before the first change after that slot.
    """

    def __init__(self, svm: LiteSVM, opened_slot: int) -> None:
        self._svm = svm
        self._layers: deque[_Layer] = deque([_Layer(opened_slot)])
        self._owned: dict[Pubkey, set[Pubkey]] = {}

    def current(self, address: Pubkey) -> Account | None:
        """The account in the open slot, or None."""
        account = self._svm.get_account(address)
        return account if account is not None and account.lamports > 0 else None

    def at(self, address: Pubkey, slot: int) -> Account | None:
        """The account at the end of `slot`, which is the newest final slot or a later one."""
        for layer in self._layers:
            if layer.slot > slot and address in layer.before:
                return layer.before[address]
        return self.current(address)

    def owned_by(self, owner: Pubkey, slot: int) -> Iterator[tuple[Pubkey, Account]]:
        """The accounts of an owner at the end of `slot`, by address."""
        addresses = set(self._owned.get(owner, ()))
        for layer in self._layers:
            if layer.slot > slot:
                addresses.update(layer.before)
        for address in sorted(addresses, key=bytes):
            account = self.at(address, slot)
            if account is not None and account.owner == owner:
                yield address, account

    def all(self, slot: int) -> Iterator[tuple[Pubkey, Account]]:
        """All accounts at the end of `slot` that the ledger or a change has brought."""
        addresses = set[Pubkey]().union(*self._owned.values(), *(layer.before for layer in self._layers))
        for address in addresses:
            account = self.at(address, slot)
            if account is not None:
                yield address, account

    def load(self, address: Pubkey, account: Account) -> None:
        """Load an account from the ledger."""
        self._svm.set_account(address, account)
        self._owned.setdefault(account.owner, set()).add(address)

    def set(self, address: Pubkey, account: Account | None) -> None:
        """Overwrite an account in the open slot."""
        before = self.current(address)
        self._svm.set_account(address, account or _GONE)
        self.changed(address, before)

    def changed(self, address: Pubkey, before: Account | None) -> None:
        """Record that an account has changed in the open slot; `before` is its earlier version."""
        self._layers[-1].before.setdefault(address, before)
        if before is not None:
            self._owned.get(before.owner, set()).discard(address)
        after = self.current(address)
        if after is not None:
            self._owned.setdefault(after.owner, set()).add(address)

    def open_slot(self, slot: int, finalized_slot: int) -> None:
        """Begin `slot`, and drop the versions before `finalized_slot`."""
        if not self._layers[-1].before:
            self._layers.pop()
        self._layers.append(_Layer(slot))
        while self._layers[0].slot <= finalized_slot:
            self._layers.popleft()

    def roll_back_to(self, slot: int) -> dict[Pubkey, Account | None]:
        """Restore all accounts to the end of `slot`; the restored accounts."""
        restored: dict[Pubkey, Account | None] = {}
        opened_slot = self._layers[-1].slot
        while self._layers and self._layers[-1].slot > slot:
            restored |= self._layers.pop().before
        self._layers.append(_Layer(opened_slot))
        for address, account in restored.items():
            self.set(address, account)
        self._layers[-1].before.clear()
        return restored

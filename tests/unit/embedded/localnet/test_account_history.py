from hypothesis import given, settings
from hypothesis import strategies as st
from solders.account import Account
from solders.litesvm import LiteSVM
from solders.pubkey import Pubkey

from zmartd.embedded.localnet.chain.accounts import Accounts

ADDRESSES = [Pubkey([number + 1] * 32) for number in range(3)]
OWNERS = [Pubkey([number + 101] * 32) for number in range(2)]
DEPTH = 4
"""Slots after which one is final here."""

State = dict[Pubkey, Account]
account = st.none() | st.builds(
    lambda lamports, owner: Account(lamports, b"", owner), st.integers(1, 5), st.sampled_from(OWNERS)
)
write = st.tuples(st.sampled_from(ADDRESSES), account)
slot_of_writes = st.lists(write, max_size=4)


def as_they_were(accounts: Accounts, slot: int) -> State:
    return {address: found for address in ADDRESSES if (found := accounts.at(address, slot)) is not None}


def owned_as_they_were(accounts: Accounts, slot: int) -> State:
    return {address: found for owner in OWNERS for address, found in accounts.owned_by(owner, slot)}


def play(slots: list[list[tuple[Pubkey, Account | None]]]) -> tuple[Accounts, dict[int, State]]:
    """The accounts after those writes, and what a simple copy for each slot says they were."""
    accounts = Accounts(LiteSVM(), opened_slot=0)
    present: State = {}
    snapshots: dict[int, State] = {}
    for slot, writes in enumerate(slots):
        if slot:
            accounts.open_slot(slot, slot - DEPTH)
        for address, value in writes:
            accounts.set(address, value)
            present.pop(address, None)
            if value is not None:
                present[address] = value
        snapshots[slot] = dict(present)
    return accounts, snapshots


@settings(max_examples=60)
@given(st.lists(slot_of_writes, min_size=1, max_size=8))
def test_every_slot_that_is_not_too_old_is_seen_as_it_was(
    slots: list[list[tuple[Pubkey, Account | None]]],
) -> None:
    accounts, snapshots = play(slots)
    newest = len(slots) - 1
    for slot in range(max(0, newest - DEPTH), newest + 1):
        assert as_they_were(accounts, slot) == snapshots[slot]
        assert owned_as_they_were(accounts, slot) == snapshots[slot]


@settings(max_examples=60)
@given(st.lists(slot_of_writes, min_size=2, max_size=8), st.data())
def test_rolling_back_leads_to_what_was(
    slots: list[list[tuple[Pubkey, Account | None]]], data: st.DataObject
) -> None:
    accounts, snapshots = play(slots)
    newest = len(slots) - 1
    slot = data.draw(st.integers(max(0, newest - DEPTH), newest))
    restored = accounts.roll_back_to(slot)
    assert as_they_were(accounts, newest) == snapshots[slot]
    assert owned_as_they_were(accounts, newest) == snapshots[slot]
    differing = {a for a in ADDRESSES if snapshots[slot].get(a) != snapshots[newest].get(a)}
    assert differing <= set(restored)

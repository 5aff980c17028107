"""The bank: executes transactions in the open slot, completes slots, and writes both to the ledger."""

from __future__ import annotations

import hashlib
import sqlite3
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from solders.account import Account
from solders.hash import Hash
from solders.keypair import Keypair
from solders.pubkey import Pubkey
from solders.signature import Signature
from solders.transaction import VersionedTransaction

from zmartd.chain.network_fees import fee_lamports
from zmartd.clock import Clock
from zmartd.embedded.localnet.chain import messages
from zmartd.embedded.localnet.chain.accounts import Accounts
from zmartd.embedded.localnet.chain.blocks import (
    RecentBlocks,
    blockhash_blocks,
    retained_blocks,
)
from zmartd.embedded.localnet.chain.clock import ChainClock
from zmartd.embedded.localnet.chain.commitment import Commitment
from zmartd.embedded.localnet.chain.genesis import create_genesis
from zmartd.embedded.localnet.chain.ledger import Ledger, LedgerError
from zmartd.embedded.localnet.chain.observer import CompletedBlock, Observer
from zmartd.embedded.localnet.chain.records import Block, LandedTransaction, TransactionMeta
from zmartd.embedded.localnet.chain.runtime import Outcome, Runtime
from zmartd.errors import ZmartdError

EMPTY_BLOCKS_KEPT = 216_000
"""Empty blocks are deleted after about a day of 400 ms slots."""
_BLOCKS_BETWEEN_CLEANINGS = 1_024
_CLOCK_SYSVAR = Pubkey.from_string("SysvarC1ock11111111111111111111111111111111")
_BLOCKHASH_SYSVARS = {
    Pubkey.from_string("SysvarS1otHashes111111111111111111111111111"),
    Pubkey.from_string("SysvarRecentB1ockHashes11111111111111111111"),
}


class NotLanded(ZmartdError):
    """The transaction did not land, and no fee was charged."""

    code = "localnet_transaction_not_landed"

    def __init__(self, error: Any, outcome: Outcome | None = None) -> None:
        super().__init__()
        self.error = error
        self.outcome = outcome


class BlocksAreFinal(ZmartdError):
    """More blocks were to be rolled back than can be."""

    code = "localnet_blocks_are_final"

    def __init__(self, at_most: int) -> None:
        super().__init__()
        self.at_most = at_most


class Bank:
    """The single writer of the chain. Its methods do not await, so each call is atomic.

    A transaction that `execute` returns is in the ledger.
    """

    def __init__(
        self,
        ledger: Ledger,
        clock: Clock,
        programs: Mapping[Pubkey, Path],
        slot_milliseconds: int,
        genesis_accounts: Mapping[Pubkey, int],
    ) -> None:
        """Continue the ledger's chain, or create one when the ledger is empty."""
        self.slot_milliseconds = slot_milliseconds
        self._ledger = ledger
        self._observers: list[Observer] = []
        self._runtime = Runtime(programs)
        self.genesis = ledger.genesis() or create_genesis(ledger, int(clock.time()), genesis_accounts)
        valid_blocks = blockhash_blocks(slot_milliseconds)
        complete = ledger.latest_blocks(retained_blocks(valid_blocks))
        self._clock = ChainClock(clock, ledger.clock_offset_seconds(), complete[-1].unix_time)
        opened = Block(
            slot=max(complete[-1].slot + 1, ledger.next_slot() or 0),
            height=complete[-1].height + 1,
            unix_time=self._clock.read(),
            blockhash=None,
        )
        self.blocks = RecentBlocks(complete, opened, valid_blocks)
        self.accounts = Accounts(self._runtime.svm, opened.slot)
        self._transactions: list[LandedTransaction] = ledger.transactions_in(opened.slot)
        self._changed: set[Pubkey] = set()
        self._unfinalized: deque[CompletedBlock] = deque()
        self._transaction_count = ledger.transaction_count()
        self._ledger_failure: sqlite3.Error | None = None
        for address, account in sorted(ledger.accounts(), key=lambda item: item[1].executable):
            self.accounts.load(
                address, account
            )  # programs last: LiteSVM reads their data accounts when it loads them
        self._runtime.begin_slot(self.blocks.newest.slot, self.blocks.newest.unix_time, tuple)
        self._begin_slot()
        if self._transactions:  # the process ended with this slot open: its transactions have landed
            self.complete_slot()

    @property
    def faucet(self) -> Keypair:
        return Keypair.from_bytes(self.genesis.faucet_key)

    @property
    def ledger(self) -> Ledger:
        return self._ledger

    @property
    def transaction_count(self) -> int:
        """The number of transactions since genesis."""
        return self._transaction_count

    def observe(self, observer: Observer) -> None:
        self._observers.append(observer)

    # Reading

    def account(self, address: Pubkey, commitment: Commitment) -> Account | None:
        if address in _BLOCKHASH_SYSVARS:
            self._runtime.set_blockhashes()
        return self.accounts.at(address, self.blocks.at(commitment).slot)

    def owned_by(self, owner: Pubkey, commitment: Commitment) -> Sequence[tuple[Pubkey, Account]]:
        return list(self.accounts.owned_by(owner, self.blocks.at(commitment).slot))

    def all_accounts(self, commitment: Commitment) -> Sequence[tuple[Pubkey, Account]]:
        return list(self.accounts.all(self.blocks.at(commitment).slot))

    def rent_exempt_lamports(self, data_bytes: int) -> int:
        return self._runtime.rent_exempt_lamports(data_bytes)

    def transaction(self, signature: Signature) -> LandedTransaction | None:
        return self._ledger.transaction_by_signature(signature)

    def keys(self, transaction: VersionedTransaction) -> tuple[Pubkey, ...]:
        """All addresses of a transaction, including those from lookup tables."""
        loaded = messages.loaded_addresses(transaction, self.accounts.current)
        return (*transaction.message.account_keys, *loaded.writable, *loaded.readonly)

    def lamports(self, address: Pubkey) -> int:
        """The balance in the open slot."""
        return self._runtime.svm.get_balance(address) or 0

    # Executing

    def simulate(self, transaction: VersionedTransaction) -> tuple[Outcome, dict[Pubkey, Account]]:
        """Execute without effect, whatever the blockhash and signatures."""
        return self._runtime.simulate(transaction, self.keys(transaction))

    def refusal(self, transaction: VersionedTransaction) -> str | None:
        """Solana's name of the error that keeps the transaction from being executed, or None."""
        if not self.blocks.is_alive(transaction.message.recent_blockhash) and not self._is_durable(
            transaction
        ):
            return "BlockhashNotFound"
        if self._ledger.has_transaction(transaction.signatures[0]):
            return "AlreadyProcessed"
        return None

    def execute(self, transaction: VersionedTransaction) -> LandedTransaction:
        """Execute a transaction in the open slot. Its signatures have been verified. Raises NotLanded."""
        self._require_ledger()
        refusal = self.refusal(transaction)
        if refusal is not None:
            raise NotLanded(refusal)
        is_durable = not self.blocks.is_alive(transaction.message.recent_blockhash)
        nonce = messages.nonce_account(transaction) if is_durable else None
        own_keys = transaction.message.account_keys
        loaded = messages.loaded_addresses(transaction, self.accounts.current)
        keys = (*own_keys, *loaded.writable, *loaded.readonly)
        before = {
            address: self.accounts.current(address)
            for index, address in enumerate(own_keys)
            if messages.is_writable(transaction, index)
        } | {address: self.accounts.current(address) for address in loaded.writable}
        pre_balances = [self.lamports(address) for address in keys]
        outcome, has_landed = self._runtime.execute(transaction, keys, before)
        if not has_landed:
            raise NotLanded(outcome.error, outcome)
        if outcome.error is not None and nonce is not None:
            self._runtime.advance_nonce(nonce)
        landed = LandedTransaction(
            signature=transaction.signatures[0],
            slot=self.blocks.opened.slot,
            index_in_block=len(self._transactions),
            transaction=transaction,
            loaded=loaded,
            meta=TransactionMeta(
                err=outcome.error,
                fee=fee_lamports(transaction.message),
                pre_balances=pre_balances,
                post_balances=[self.lamports(address) for address in keys],
                log_messages=outcome.logs,
                inner_instructions=outcome.inner_instructions,
                compute_units_consumed=outcome.compute_units_consumed,
                return_data=outcome.return_data,
            ),
            unix_time=self.blocks.opened.unix_time,
            memo=messages.memo(transaction),
        )
        self._record(landed, before)
        return landed

    def set_account(self, address: Pubkey, account: Account | None) -> None:
        """Overwrite an account without the rules of the runtime."""
        self.accounts.set(address, account)
        with self._writing():
            self._ledger.put_accounts({address: account})
        self._notify_written(frozenset((address,)))

    # Slots

    def complete_slot(self) -> None:
        """Close the open slot and open the next one. Raises LedgerError when the ledger cannot be written."""
        self._complete_slot(self.blocks.opened.slot + 1)

    def travel(self, slots: int, seconds: int) -> None:
        """Complete the open slot, and open the one `slots` later and `seconds` of chain time later."""
        self._clock.travel(seconds)
        target = self.blocks.opened.slot + max(1, slots)
        self._complete_slot(target)

    def hold_finality(self, *, hold: bool) -> None:
        """As `RecentBlocks.hold_finality`; what becomes final when it ends is told at once."""
        self.blocks.hold_finality(hold=hold)
        self._tell_of_finality()

    def blocks_from(self, slot: int) -> int:
        """How many complete blocks there are from `slot` on that are not final. Raises BlocksAreFinal."""
        if slot <= self.blocks.finalized.slot:
            raise BlocksAreFinal(len(self._unfinalized))
        return sum(completed.block.slot >= slot for completed in self._unfinalized)

    def roll_back(self, blocks: int) -> list[Signature]:
        """Roll back the open slot and the newest `blocks` complete ones, like an abandoned fork.

        Their slots stay, without transactions. Returns the signatures of the removed transactions. Raises
        BlocksAreFinal, and nothing is rolled back, when not so many are there that are not final.
        """
        at_most = len(self._unfinalized)
        if blocks > at_most:
            raise BlocksAreFinal(at_most)
        undone = list(self._unfinalized)[at_most - blocks :]
        first_slot = undone[0].block.slot if undone else self.blocks.opened.slot
        lost = [landed.signature for completed in undone for landed in completed.transactions]
        lost += [landed.signature for landed in self._transactions]
        restored = self.accounts.roll_back_to(first_slot - 1)
        del restored[_CLOCK_SYSVAR]  # the runtime sets it, and time does not go back
        with self._writing():
            self._ledger.delete_transactions_from(first_slot)
            self._ledger.put_accounts(restored)
        kept = list(self._unfinalized)[: len(self._unfinalized) - len(undone)]
        emptied = (CompletedBlock(completed.block, (), frozenset()) for completed in undone)
        self._unfinalized = deque((*kept, *emptied))
        self._transactions = []
        self._transaction_count -= len(lost)
        self._changed = set()
        self._notify_written(frozenset(restored))
        self._begin_slot()
        return lost

    def _complete_slot(self, next_slot: int) -> None:
        self._require_ledger()
        opened = self.blocks.opened
        following = Block(next_slot, opened.height + 1, self._clock.read(), None)
        block = self.blocks.complete(self._blockhash(), following)
        completed = CompletedBlock(block, tuple(self._transactions), frozenset(self._changed))
        self._transactions = []
        self._changed = set()
        with self._writing():
            self._ledger.put_block(block)
            self._ledger.put_next_slot(next_slot)
            self._ledger.put_clock_offset_seconds(self._clock.offset_seconds)
            if block.height % _BLOCKS_BETWEEN_CLEANINGS == 0:
                self._ledger.delete_empty_blocks_below(block.height - EMPTY_BLOCKS_KEPT)
        self.accounts.open_slot(following.slot, self.blocks.finalized.slot)
        self._begin_slot()
        self._unfinalized.append(completed)
        for observer in self._observers:
            observer.confirmed(completed)
        self._tell_of_finality()

    def _tell_of_finality(self) -> None:
        while len(self._unfinalized) > self.blocks.finality_depth:
            final = self._unfinalized.popleft()
            for observer in self._observers:
                observer.finalized(final)

    def _begin_slot(self) -> None:
        opened = self.blocks.opened
        clock_before = self.accounts.current(_CLOCK_SYSVAR)
        self._runtime.begin_slot(opened.slot, opened.unix_time, self.blocks.slot_hashes)
        self.accounts.changed(_CLOCK_SYSVAR, clock_before)
        self._notify_written(frozenset((_CLOCK_SYSVAR,)))

    def _blockhash(self) -> Hash:
        """The hash of the previous blockhash and the transactions of this block."""
        digest = hashlib.sha256(bytes(self.blocks.newest.blockhash or b""))
        digest.update(self.blocks.opened.slot.to_bytes(8, "little"))
        for landed in self._transactions:
            digest.update(bytes(landed.signature))
        return Hash(digest.digest())

    def _record(self, landed: LandedTransaction, before: Mapping[Pubkey, Account | None]) -> None:
        after = {address: self.accounts.current(address) for address in before}
        changes = {address: account for address, account in after.items() if account != before[address]}
        with self._writing():
            self._ledger.put_transaction(landed)
            self._ledger.put_accounts(changes)
        for address in changes:
            self.accounts.changed(address, before[address])
        self._transactions.append(landed)
        self._transaction_count += 1
        for observer in self._observers:
            observer.landed(landed)
        self._notify_written(frozenset(changes))

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """A transaction on the ledger. After a failure, memory is ahead of the ledger, so the chain stops."""
        try:
            with self._ledger.transaction():
                yield
        except sqlite3.Error as error:
            self._ledger_failure = error
            raise

    def _require_ledger(self) -> None:
        if self._ledger_failure is not None:
            raise LedgerError(f"the ledger cannot be written: {self._ledger_failure}")

    def _notify_written(self, addresses: frozenset[Pubkey]) -> None:
        self._changed |= addresses
        for observer in self._observers:
            observer.accounts_written(addresses)

    def _is_durable(self, transaction: VersionedTransaction) -> bool:
        address = messages.nonce_account(transaction)
        return address is not None and messages.lends_nonce(self.accounts.current(address), transaction)

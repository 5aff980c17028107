"""Executes a transaction on LiteSVM, and does what LiteSVM leaves to its caller."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import based58
import msgspec
from msgspec import Struct
from solders.account import Account
from solders.clock import Clock
from solders.epoch_schedule import EpochSchedule
from solders.hash import Hash
from solders.litesvm import LiteSVM
from solders.pubkey import Pubkey
from solders.transaction import VersionedTransaction
from solders.transaction_metadata import FailedTransactionMetadata, TransactionMetadata

from zmartd.chain.network_fees import fee_lamports, priority_lamports
from zmartd.embedded.localnet.chain import messages
from zmartd.embedded.localnet.chain.records import CompiledInstruction, InnerInstructions, ReturnData
from zmartd.errors import ZmartdError

SLOTS_PER_EPOCH = 432_000
_NOTHING = Account(0, b"", Pubkey.default())
_RENT_EXEMPT_ALWAYS = Pubkey.from_string("1nc1nerator11111111111111111111111111111111")


class Outcome(Struct, frozen=True):
    """The result of executing or simulating a transaction."""

    error: Any
    """Solana's JSON form of a TransactionError, or None."""
    logs: list[str]
    inner_instructions: list[InnerInstructions]
    compute_units_consumed: int
    return_data: ReturnData | None


class RuntimePanic(ZmartdError):
    """LiteSVM panicked."""

    code = "localnet_runtime_panic"


class Runtime:
    """LiteSVM without its own blockhashes, signature checks and history: the bank has them."""

    def __init__(self, programs: Mapping[Pubkey, Path]) -> None:
        """Load `programs` from their .so files. Raises OSError or RuntimePanic."""
        self.svm = LiteSVM().with_blockhash_check(False).with_sigverify(False).with_transaction_history(0)
        self.svm.set_epoch_schedule(EpochSchedule.without_warmup())
        self._slot_hashes: Callable[[], Sequence[tuple[int, Hash]]] | None = None
        """Those of the open slot, while the sysvars do not have them."""
        for program_id, path in programs.items():
            with _panics_as_errors(f"{path} is not a program that this runtime can load (sBPF v0 to v2)"):
                self.svm.add_program(program_id, path.read_bytes())

    def begin_slot(
        self, slot: int, unix_time: int, slot_hashes: Callable[[], Sequence[tuple[int, Hash]]]
    ) -> None:
        """Set the Clock sysvar to this slot and time. `slot_hashes` gives the earlier blockhashes."""
        epoch = slot // SLOTS_PER_EPOCH
        self._slot_hashes = slot_hashes
        self.svm.set_clock(
            Clock(
                slot=slot,
                epoch_start_timestamp=unix_time,
                epoch=epoch,
                leader_schedule_epoch=epoch + 1,
                unix_timestamp=unix_time,
            )
        )

    def set_blockhashes(self) -> None:
        """Bring the sysvars with blockhashes to the open slot, for somebody who may read them.

        In most slots nobody does, and without this they take less than half the time.
        """
        if self._slot_hashes is not None:
            self.svm.expire_blockhash()
            self.svm.set_slot_hashes(self._slot_hashes())
            self._slot_hashes = None

    def rent_exempt_lamports(self, data_bytes: int) -> int:
        """The lamports that make an account of that size exempt from rent."""
        return self.svm.minimum_balance_for_rent_exemption(data_bytes)

    def simulate(
        self, transaction: VersionedTransaction, keys: Sequence[Pubkey]
    ) -> tuple[Outcome, dict[Pubkey, Account]]:
        """The result of a simulation and the accounts after it; no accounts when it fails.

        `keys` are all addresses of the transaction, including those from lookup tables.
        """
        self.set_blockhashes()
        payer = transaction.message.account_keys[0]
        payer_before = self.svm.get_account(payer)
        if not self._debit_priority(transaction):
            return _PRIORITY_TOO_DEAR, {}
        try:
            with _panics_as_errors("the runtime panicked on this transaction"):
                result = self.svm.simulate_transaction(transaction)
        finally:
            self._restore({payer: payer_before})
        if isinstance(result, FailedTransactionMetadata):
            return _outcome(result), {}
        after = dict(result.post_accounts())
        outcome = _success(result.meta())
        before = {address: self.svm.get_account(address) for address in after}
        poor = self._left_below_rent(before, after)
        return (outcome, after) if poor is None else (_below_rent(outcome, keys.index(poor)), {})

    def execute(
        self,
        transaction: VersionedTransaction,
        keys: Sequence[Pubkey],
        before: Mapping[Pubkey, Account | None],
    ) -> tuple[Outcome, bool]:
        """The result, and whether the transaction landed: it succeeded, or failed and paid its fee.

        `before` holds its writable accounts, for what LiteSVM does not do: it charges no priority fee, and
        does not check rent exemption.
        """
        self.set_blockhashes()
        if not self._debit_priority(transaction):
            return _PRIORITY_TOO_DEAR, False
        payer = transaction.message.account_keys[0]
        debited = self._lamports(payer)
        with _panics_as_errors("the runtime panicked on this transaction"):
            result = self.svm.send_transaction(transaction)
        if isinstance(result, FailedTransactionMetadata):
            landed = self._lamports(payer) != debited
            if not landed:
                self._restore({payer: before[payer]})
            return _outcome(result), landed
        outcome = _success(result)
        poor = self._left_below_rent(before, {address: self.svm.get_account(address) for address in before})
        if poor is None:
            return outcome, True
        self._restore(before)
        self._debit(payer, fee_lamports(transaction.message))
        return _below_rent(outcome, keys.index(poor)), True

    def advance_nonce(self, address: Pubkey) -> None:
        """Advance the nonce of a transaction that has failed: it is used up like a fee."""
        account = self.svm.get_account(address)
        assert account is not None, "the transaction has been admitted by it"
        self.svm.set_account(address, messages.with_next_nonce(account))

    def _debit_priority(self, transaction: VersionedTransaction) -> bool:
        """Charge the priority fee; False, and nothing is charged, when the payer cannot pay the whole fee."""
        priority = priority_lamports(transaction.message)
        payer = transaction.message.account_keys[0]
        if priority == 0 or self._lamports(payer) == 0:
            return True  # LiteSVM itself refuses a payer that does not exist
        if self._lamports(payer) < fee_lamports(transaction.message):
            return False
        self._debit(payer, priority)
        return True

    def _debit(self, address: Pubkey, lamports: int) -> None:
        was = self.svm.get_account(address)
        assert was is not None
        assert was.lamports >= lamports
        debited = Account(was.lamports - lamports, was.data, was.owner, was.executable, was.rent_epoch)
        self.svm.set_account(address, debited)

    def _restore(self, accounts: Mapping[Pubkey, Account | None]) -> None:
        for address, account in accounts.items():
            self.svm.set_account(address, account or _NOTHING)

    def _left_below_rent(
        self, before: Mapping[Pubkey, Account | None], after: Mapping[Pubkey, Account | None]
    ) -> Pubkey | None:
        """An account that the transaction left below rent exemption.

        An account that was below it before may stay so, if its size stays the same and its lamports do not
        grow.
        """
        for address, account in after.items():
            if account is None or account.lamports == 0 or address == _RENT_EXEMPT_ALWAYS:
                continue
            size = len(account.data)
            if account.lamports >= self.rent_exempt_lamports(size):
                continue
            was = before.get(address)
            if was is None or size != len(was.data) or not account.lamports <= was.lamports:
                return address
            if was.lamports >= self.rent_exempt_lamports(size):
                return address
        return None

    def _lamports(self, address: Pubkey) -> int:
        return self.svm.get_balance(address) or 0


_PRIORITY_TOO_DEAR = Outcome("InsufficientFundsForFee", [], [], 0, None)


@contextmanager
def _panics_as_errors(message: str) -> Iterator[None]:
    """Turn a panic of Rust code into RuntimePanic: its type is no Exception and cannot be imported."""
    try:
        yield
    except BaseException as error:
        if type(error).__module__ != "pyo3_runtime":
            raise
        raise RuntimePanic(f"{message}: {error}") from error


def _outcome(failed: FailedTransactionMetadata) -> Outcome:
    error = msgspec.json.decode(failed.to_json())["err"]
    return msgspec.structs.replace(_success(failed.meta()), error=error)


def _below_rent(outcome: Outcome, account_index: int) -> Outcome:
    return msgspec.structs.replace(
        outcome, error={"InsufficientFundsForRent": {"account_index": account_index}}, inner_instructions=[]
    )


def _success(meta: TransactionMetadata) -> Outcome:
    returned = meta.return_data()  # type: ignore[attr-defined]  # the stubs lack it
    return Outcome(
        error=None,
        logs=meta.logs(),
        inner_instructions=[
            InnerInstructions(
                index,
                [
                    CompiledInstruction(
                        program_id_index=inner.instruction().program_id_index,
                        accounts=list(inner.instruction().accounts),
                        data=based58.b58encode(bytes(inner.instruction().data)).decode(),
                        stack_height=inner.stack_height(),  # type: ignore[attr-defined]  # as above
                    )
                    for inner in calls
                ],
            )
            for index, calls in enumerate(meta.inner_instructions())
            if calls
        ],
        compute_units_consumed=meta.compute_units_consumed(),
        return_data=(
            ReturnData(str(returned.program_id), (base64.b64encode(returned.data).decode(), "base64"))
            if returned.data
            else None
        ),
    )

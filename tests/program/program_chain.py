"""The program in a Solana runtime of its own: wallets, a clock, and transactions that land or are refused."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Generic, TypeVar

from solders.account import Account
from solders.clock import Clock
from solders.instruction import AccountMeta, Instruction
from solders.keypair import Keypair
from solders.litesvm import LiteSVM
from solders.message import Message
from solders.pubkey import Pubkey
from solders.transaction import Transaction
from solders.transaction_metadata import FailedTransactionMetadata
from solders.transaction_status import InstructionErrorCustom, TransactionErrorInstructionError

import zmartd
from zmartd.chain.accounts import GlobalConfig, MarketAccount, UserPosition, VoteRecord
from zmartd.chain.codec import Codec
from zmartd.chain.events import ProgramEvent
from zmartd.chain.idl import default_idl
from zmartd.chain.logs import read_logs
from zmartd.chain.program import Program

PROGRAM_FILE = Path(zmartd.__file__).parent / "embedded/programs/zmart_core.so"
IDL = default_idl()
PROGRAM = Program(IDL, IDL.program_id)
CODEC = Codec(IDL)
SYSTEM_PROGRAM = Pubkey.default()

SOL = 1_000_000_000
START = 1_800_000_000
SIGNATURE_FEE_LAMPORTS = 5_000

ACCOUNT_IN_USE = 0
"""The system program's error for making an account that exists."""

Decoded = TypeVar("Decoded", GlobalConfig, MarketAccount, UserPosition, VoteRecord)


Event = TypeVar("Event", bound=ProgramEvent)
Kind = TypeVar("Kind", bound=ProgramEvent)


@dataclass(frozen=True)
class Landed(Generic[Event]):
    events: tuple[Event, ...]
    logs: tuple[str, ...]
    compute_units: int

    @property
    def event(self) -> Event:
        """The only event."""
        (event,) = self.events
        return event

    def telling(self, kind: type[Kind]) -> Landed[Kind]:
        """The same, of which all events are known to be of one kind."""
        events = tuple(event for event in self.events if isinstance(event, kind))
        assert len(events) == len(self.events), self.events
        return Landed(events, self.logs, self.compute_units)


class Refused(Exception):
    """`code` is a custom program error's number, or else the runtime's name of what went wrong."""

    def __init__(self, code: int | str, logs: tuple[str, ...]) -> None:
        super().__init__(code, *logs)
        self.code = code
        self.logs = logs

    @property
    def line(self) -> str:
        """The line in which the program names its error."""
        (line,) = [line for line in self.logs if line.startswith("Program log: AnchorError")]
        return line.removeprefix("Program log: ")


class Chain:
    """A cluster with nothing but the program. One wallet pays all transaction fees and does nothing else."""

    _seeds = count(1)

    def __init__(self) -> None:
        self.runtime = LiteSVM()
        self.runtime.add_program(PROGRAM.program_id, PROGRAM_FILE.read_bytes())
        self.now = START
        self.postage = self.wallet()

    @property
    def now(self) -> int:
        return self.runtime.get_clock().unix_timestamp

    @now.setter
    def now(self, unix_seconds: int) -> None:
        clock = self.runtime.get_clock()
        self.runtime.set_clock(
            Clock(
                clock.slot,
                clock.epoch_start_timestamp,
                clock.epoch,
                clock.leader_schedule_epoch,
                unix_seconds,
            )
        )

    def wallet(self, lamports: int = 1_000_000 * SOL) -> Keypair:
        key = Keypair.from_seed(next(self._seeds).to_bytes(32, "little"))
        if lamports:
            self.give(key.pubkey(), lamports)
        return key

    def give(self, address: Pubkey, lamports: int) -> None:
        """Set the balance of a wallet."""
        self.runtime.set_account(address, Account(lamports, b"", SYSTEM_PROGRAM))

    def send(
        self, instructions: Instruction | Sequence[Instruction], *signers: Keypair
    ) -> Landed[ProgramEvent]:
        """Land a transaction. Raises Refused."""
        listed = [instructions] if isinstance(instructions, Instruction) else list(instructions)
        self.runtime.expire_blockhash()
        blockhash = self.runtime.latest_blockhash()
        message = Message.new_with_blockhash(listed, self.postage.pubkey(), blockhash)
        keys = [self.postage, *(key for key in signers if message.is_signer(_index(message, key)))]
        answer = self.runtime.send_transaction(Transaction(keys, message, blockhash))
        if isinstance(answer, FailedTransactionMetadata):
            raise Refused(_code(answer.err()), tuple(answer.meta().logs()))
        logs = tuple(answer.logs())
        events = tuple(
            CODEC.decode_event(base64.b64decode(line.strip()))
            for line in read_logs(logs, str(PROGRAM.program_id)).data_lines
        )
        return Landed(events, logs, answer.compute_units_consumed())

    def refusal(self, instructions: Instruction | Sequence[Instruction], *signers: Keypair) -> Refused:
        """The refusal of a transaction that must not land."""
        try:
            landed = self.send(instructions, *signers)
        except Refused as refused:
            return refused
        raise AssertionError(f"the transaction landed: {landed}")

    def lamports(self, address: Pubkey) -> int:
        return self.runtime.get_balance(address) or 0

    def account(self, address: Pubkey) -> Account:
        account = self.runtime.get_account(address)
        assert account is not None, f"{address} does not exist"
        return account

    def read(self, kind: type[Decoded], address: Pubkey) -> Decoded:
        account = self.account(address)
        assert account.owner == PROGRAM.program_id
        return kind.decode(account.data)

    def write(self, address: Pubkey, value: GlobalConfig | MarketAccount | UserPosition) -> None:
        """Put other contents into an existing account of the program."""
        old = self.account(address)
        data = value.encode()
        self.runtime.set_account(
            address, Account(old.lamports, data + bytes(len(old.data) - len(data)), old.owner)
        )

    def set_lamports(self, address: Pubkey, lamports: int) -> None:
        """Leave an account as it is but for its balance."""
        old = self.account(address)
        self.runtime.set_account(address, Account(lamports, old.data, old.owner))

    def rent(self, address: Pubkey) -> int:
        """What the account must hold to stay."""
        return self.runtime.minimum_balance_for_rent_exemption(len(self.account(address).data))


def error_code(name: str) -> int:
    return next(error.code for error in IDL.errors if error.name == name)


def with_account(instruction: Instruction, index: int, meta: AccountMeta) -> Instruction:
    """The same instruction, but for one account."""
    metas = list(instruction.accounts)
    metas[index] = meta
    return Instruction(instruction.program_id, instruction.data, metas)


def with_data(instruction: Instruction, data: bytes) -> Instruction:
    return Instruction(instruction.program_id, data, instruction.accounts)


def _index(message: Message, key: Keypair) -> int:
    keys = message.account_keys
    return keys.index(key.pubkey()) if key.pubkey() in keys else len(keys)


def _code(error: object) -> int | str:
    if isinstance(error, TransactionErrorInstructionError):
        if isinstance(error.err, InstructionErrorCustom):
            return int(error.err.code)
        return str(error.err).rsplit(".", 1)[-1]
    return type(error).__name__ if not str(error).count(".") else str(error).rsplit(".", 1)[-1]

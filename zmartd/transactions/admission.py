"""Which signed transactions the daemon relays: those for our program that the caller alone signed.

Wallets add companions, instructions of other programs: guards that fail the transaction when something is not
as they expect, the compute budget, memos. Two rules keep these from moving what is the wallet's:

- Each sets the compute budget, or is on the configured list, by its program and by how its data begins.
- An account that it can write to is the fee payer, or one that an instruction of ours asks for. Of these only
  the wallet signs; the others are our program's, or wallets that nobody can spend from here.

`zmartd.transactions.spending` limits what leaves the wallet, by what the node says that the transaction does.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Iterator, Sequence

from msgspec import UNSET, Struct, UnsetType
from solders.compute_budget import ID as COMPUTE_BUDGET
from solders.instruction import CompiledInstruction
from solders.message import Message, MessageV0
from solders.pubkey import Pubkey
from solders.signature import Signature
from solders.transaction import VersionedTransaction

from zmartd import instruction_pattern
from zmartd.chain.assemble import MAX_TRANSACTION_BYTES
from zmartd.chain.discriminators import DISCRIMINATOR_BYTES, discriminator
from zmartd.chain.interface import INTERFACE, BuyShares, CreateMarket, ResolveMarket, SellShares
from zmartd.chain.network_fees import fee_lamports
from zmartd.chain.outlays import Outlay, outlay
from zmartd.chain.wire import Layout, UndecodableData, layout_of
from zmartd.errors import DetailedError
from zmartd.market.json_fields import Amount
from zmartd.transactions.price_protection import Trade

_COMPUTE_BUDGET = instruction_pattern.read(f"{COMPUTE_BUDGET}:01-04")
"""Heap, units, price and size of the accounts; 0 is not in use any more."""
_INSTRUCTIONS = {discriminator("global", name): name for name in INTERFACE}
_TRADES: dict[bytes, Layout[BuyShares] | Layout[SellShares]] = {
    discriminator("global", "buy_shares"): layout_of(BuyShares),
    discriminator("global", "sell_shares"): layout_of(SellShares),
}
_CREATION, _RESOLUTION = layout_of(CreateMarket), layout_of(ResolveMarket)
_TRADE_ACCOUNTS = INTERFACE["buy_shares"].accounts
assert INTERFACE["sell_shares"].accounts == _TRADE_ACCOUNTS
_TRADED_MARKET, _POSITION = _TRADE_ACCOUNTS.index("market"), _TRADE_ACCOUNTS.index("position")
_ACCOUNTS_ASKED_FOR = {discriminator("global", name): len(form.accounts) for name, form in INTERFACE.items()}
_MAX_BASE64_CHARACTERS = (MAX_TRANSACTION_BYTES + 2) // 3 * 4
_FEE_PAYER = 0
_REMEDY = "leave the instruction out, or send this transaction to the network yourself"


class RefusalDetails(Struct, frozen=True, kw_only=True):
    """Which instruction of a transaction is refused, or how many lamports are too many."""

    instruction_index: int | UnsetType = UNSET
    """The index of the instruction, from 0."""
    program_id: str | UnsetType = UNSET
    """The program that it calls, base58."""
    discriminator: str | UnsetType = UNSET
    """The first bytes of its data, hexadecimal."""
    fee_lamports: Amount | UnsetType = UNSET
    """The network's fee."""
    taken_lamports: Amount | UnsetType = UNSET
    """What the transaction would take from its wallet, besides that fee."""
    max_taken_lamports: Amount | UnsetType = UNSET
    """The most that what it asks of the program takes."""


_NO_DETAILS = RefusalDetails()


class TransactionRefused(DetailedError[RefusalDetails]):
    """This transaction is not one that the daemon passes on."""

    code = "transaction_refused"

    def __init__(self, message: str, details: RefusalDetails = _NO_DETAILS) -> None:
        super().__init__(details, message)


class MarketAct(Struct, frozen=True):
    """An instruction of our program about a market, at its index in the transaction."""

    index: int
    instruction: str
    market: str
    """The market's address."""
    cid: str | None
    """The content id of the texts in a creation, and of the evidence in a resolution; None in all others, and
    where the program would not understand it."""


class AdmittedTransaction(Struct, frozen=True):
    """A transaction that may be relayed: its signature and its signer in base58, and its exact bytes."""

    signature: str
    wallet: str
    wire: bytes
    trades: tuple[Trade, ...]
    outlays: tuple[Outlay, ...]
    """What its instructions of our program take from the wallet at most, beside the network's fee."""
    fee_lamports: int
    """What it pays the network."""
    acts: tuple[MarketAct, ...]
    """What its instructions of our program do to which markets, in order."""
    calls_other_programs: bool
    """Whether it calls other programs than ours and the compute budget, which only sets the fee."""

    @property
    def resolutions(self) -> tuple[MarketAct, ...]:
        """Those of its acts that propose outcomes. The caller checks who may do that."""
        return tuple(act for act in self.acts if act.instruction == "resolve_market")

    @property
    def creations(self) -> tuple[MarketAct, ...]:
        """Those of its acts that create markets. The caller checks which texts they may name."""
        return tuple(act for act in self.acts if act.instruction == "create_market")

    @property
    def max_taken_lamports(self) -> int:
        """The most that all its instructions of our program take."""
        return sum(one.most for one in self.outlays)

    @property
    def buys(self) -> bool:
        """Whether it has a purchase."""
        return any(isinstance(trade.arguments, BuyShares) for trade in self.trades)


class Admission:
    """Decides which transactions for the program `program_id` are relayed."""

    def __init__(self, program_id: Pubkey, companions: Iterable[str]) -> None:
        """`companions` are patterns of `zmartd.instruction_pattern`, besides the compute budget."""
        self._program_id = program_id
        self._companions = (_COMPUTE_BUDGET, *map(instruction_pattern.read, companions))

    def admit(self, encoded: str, wallet: str) -> AdmittedTransaction:
        """Decode a transaction from base64 and check that `wallet` pays for it and is its only signer.

        Raises TransactionRefused, which names the rule that it breaks.
        """
        wire = _decode(encoded)
        transaction = _parse(wire)
        message = transaction.message
        if message.header.num_required_signatures != 1 or len(transaction.signatures) != 1:
            raise TransactionRefused(
                "The transaction must need exactly one signature, that of its fee payer."
            )
        if message.account_keys[_FEE_PAYER] != Pubkey.from_string(wallet):
            raise TransactionRefused(
                f"The fee payer must be the signed-in wallet, {wallet}, not "
                f"{message.account_keys[_FEE_PAYER]}."
            )
        if isinstance(message, MessageV0) and message.address_table_lookups:
            raise TransactionRefused(
                "The transaction must name its accounts itself, without lookup tables; build it so, or send "
                "this transaction to the network yourself."
            )
        own = self._own_instructions(message)
        self._check_companions(message, own)
        if transaction.signatures[0] == Signature.default():
            raise TransactionRefused(
                f"The transaction is not signed yet; sign it with its fee payer, {wallet}, then send it."
            )
        if not all(transaction.verify_with_results()):
            raise TransactionRefused(
                "The signature is not that of the fee payer over these bytes; sign the transaction as it is, "
                "and change nothing of it afterwards."
            )
        programs = {message.account_keys[one.program_id_index] for one in message.instructions}
        return AdmittedTransaction(
            signature=str(transaction.signatures[0]),
            wallet=wallet,
            wire=wire,
            acts=tuple(self._acts(message)),
            trades=tuple(_trades(message, own)),
            outlays=tuple(outlay(bytes(one.data), _accounts(message, one)) for one in own),
            fee_lamports=fee_lamports(message),
            calls_other_programs=not programs <= {self._program_id, COMPUTE_BUDGET},
        )

    def _own_instructions(self, message: Message | MessageV0) -> list[CompiledInstruction]:
        keys = message.account_keys
        own = [one for one in message.instructions if keys[one.program_id_index] == self._program_id]
        if not own:
            raise TransactionRefused(f"The transaction must have an instruction for {self._program_id}.")
        return own

    def _acts(self, message: Message | MessageV0) -> Iterator[MarketAct]:
        keys = message.account_keys
        for index, instruction in enumerate(message.instructions):
            data = bytes(instruction.data)
            name = _INSTRUCTIONS.get(data[:DISCRIMINATOR_BYTES])
            if name is None or keys[instruction.program_id_index] != self._program_id:
                continue
            accounts = INTERFACE[name].accounts
            if "market" in accounts and accounts.index("market") < len(instruction.accounts):
                market = keys[instruction.accounts[accounts.index("market")]]
                yield MarketAct(index, name, str(market), _cid(name, data))

    def _check_companions(self, message: Message | MessageV0, own: Sequence[CompiledInstruction]) -> None:
        keys = message.account_keys
        shared = {_FEE_PAYER}.union(*map(_accounts_asked_for, own))
        for index, instruction in enumerate(message.instructions):
            program, data = keys[instruction.program_id_index], bytes(instruction.data)
            if program == self._program_id:
                continue
            if not any(pattern.matches(program, data) for pattern in self._companions):
                raise self._not_listed(index, program, data)
            for account in instruction.accounts:
                if account not in shared and _is_writable(message, account):
                    raise _companion_refused(
                        index,
                        program,
                        data,
                        f"can write to {keys[account]}, which no instruction for {self._program_id} asks "
                        f"for; make this account read-only, {_REMEDY}.",
                    )

    def _not_listed(self, index: int, program: Pubkey, data: bytes) -> TransactionRefused:
        listed = [pattern.text for pattern in self._companions if pattern.program == program]
        rule = f"of its program only {', '.join(listed)} may" if listed else "none of its program may"
        return _companion_refused(
            index,
            program,
            data,
            f"may not stand beside one for {self._program_id}: {rule}; {_REMEDY}.",
        )


def _companion_refused(index: int, program: Pubkey, data: bytes, rule: str) -> TransactionRefused:
    beginning = data[:DISCRIMINATOR_BYTES].hex()
    return TransactionRefused(
        f"The instruction at index {index}, for {program} and "
        f"{f'with data that begins with {beginning}' if beginning else 'without data'}, {rule}",
        RefusalDetails(instruction_index=index, program_id=str(program), discriminator=beginning),
    )


def _accounts_asked_for(instruction: CompiledInstruction) -> bytes:
    """The indexes of the accounts that our program looks at. It ignores those after the last."""
    name = bytes(instruction.data)[:DISCRIMINATOR_BYTES]
    return bytes(instruction.accounts)[: _ACCOUNTS_ASKED_FOR.get(name, 0)]


def _is_writable(message: Message | MessageV0, account: int) -> bool:
    """Whether the message lets any instruction write to it. Writable accounts precede readonly ones, among
    those that sign and among the others."""
    header, count = message.header, len(message.account_keys)
    if account < header.num_required_signatures:
        return account < header.num_required_signatures - header.num_readonly_signed_accounts
    return account < count - header.num_readonly_unsigned_accounts


def _cid(name: str, data: bytes) -> str | None:
    try:
        match name:
            case "create_market":
                return _CREATION.unpack(data, DISCRIMINATOR_BYTES)[0].ipfs_question_hash.decode("ascii")
            case "resolve_market":
                return _RESOLUTION.unpack(data, DISCRIMINATOR_BYTES)[0].ipfs_evidence_hash.decode("ascii")
    except (UndecodableData, UnicodeDecodeError):
        pass
    return None


def _trades(message: Message | MessageV0, own: Iterable[CompiledInstruction]) -> Iterator[Trade]:
    """Its trades, without those that the program would not understand."""
    for instruction in own:
        data, accounts = bytes(instruction.data), _accounts(message, instruction)
        layout = _TRADES.get(data[:DISCRIMINATOR_BYTES])
        if layout is None or len(accounts) < len(_TRADE_ACCOUNTS):
            continue
        try:
            arguments, _ = layout.unpack(data, DISCRIMINATOR_BYTES)
        except UndecodableData:
            continue
        yield Trade(accounts[_TRADED_MARKET], accounts[_POSITION], arguments)


def _accounts(message: Message | MessageV0, instruction: CompiledInstruction) -> list[Pubkey]:
    return [message.account_keys[index] for index in bytes(instruction.accounts)]


def _decode(encoded: str) -> bytes:
    if len(encoded) > _MAX_BASE64_CHARACTERS:
        raise TransactionRefused(f"The transaction has more than {MAX_TRANSACTION_BYTES} bytes.")
    try:
        wire = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError) as error:
        raise TransactionRefused("The transaction must be the base64 of its bytes.") from error
    if len(wire) > MAX_TRANSACTION_BYTES:
        raise TransactionRefused(f"The transaction has more than {MAX_TRANSACTION_BYTES} bytes.")
    return wire


def _parse(wire: bytes) -> VersionedTransaction:
    try:
        transaction = VersionedTransaction.from_bytes(wire)
        transaction.sanitize()
    except Exception as error:  # solders has no common error class for what it refuses
        raise TransactionRefused(
            "These bytes are not a Solana transaction; sign the one that the API gave, and send its base64."
        ) from error
    if bytes(transaction) != wire:
        raise TransactionRefused("There are bytes behind the transaction's end.")
    return transaction

"""The JSON shape of a transaction, as far as zmartd reads it: getTransaction's and the raw webhook's."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta, Struct

NEWEST_VERSION = 1
"""The newest version of transactions that there is (SIMD-0385). As JSON it differs from version 0 only in
`transactionConfig`, which nothing here needs, and in having no lookup tables."""

MAX_ACCOUNT_KEYS = 256
MAX_INSTRUCTIONS = 1_024
MAX_INSTRUCTION_TEXT = 20_000

Address = Annotated[str, Meta(min_length=32, max_length=44)]
Addresses = Annotated[list[Address], Meta(max_length=MAX_ACCOUNT_KEYS)]
Signature = Annotated[str, Meta(pattern=r"^[1-9A-HJ-NP-Za-km-z]{64,88}\Z")]
KeyIndex = Annotated[int, Meta(ge=0, lt=MAX_ACCOUNT_KEYS)]
Unsigned31 = Annotated[int, Meta(ge=0, le=2**31 - 1)]
Unsigned63 = Annotated[int, Meta(ge=0, le=2**63 - 1)]
Signed64 = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]


class RawKey(Struct, gc=False):
    """An account key in the form that also tells its role."""

    pubkey: Address


class RawInstruction(Struct, gc=False, rename="camel"):
    """Program and accounts by index (encoding `json`) or by address (`jsonParsed`); data in base58."""

    program_id_index: KeyIndex | None = None
    program_id: Address | None = None
    accounts: Annotated[list[KeyIndex | Address], Meta(max_length=MAX_ACCOUNT_KEYS)] = []
    data: Annotated[str, Meta(max_length=MAX_INSTRUCTION_TEXT)] = ""

    def addresses(self, keys: list[str]) -> list[str]:
        """Its accounts. Raises ValueError where an index points past the transaction's keys."""
        try:
            return [account if isinstance(account, str) else keys[account] for account in self.accounts]
        except IndexError as error:
            raise ValueError("an account index points past the transaction's keys") from error

    def program(self, keys: list[str]) -> str | None:
        """The address of its program; None where it names none."""
        index = self.program_id_index
        return self.program_id if index is None or index >= len(keys) else keys[index]


Balances = Annotated[list[Unsigned63], Meta(max_length=MAX_ACCOUNT_KEYS)]
Instructions = Annotated[list[RawInstruction], Meta(max_length=MAX_INSTRUCTIONS)]


class RawInner(Struct, gc=False):
    """What programs called while the message's instruction `index` ran."""

    instructions: Instructions
    index: Annotated[int, Meta(ge=0, lt=MAX_INSTRUCTIONS)] = 0


class RawHeader(Struct, gc=False, rename="camel"):
    """How many of the message's own keys sign, and how many of those, and of the others, are read-only."""

    num_required_signatures: KeyIndex
    num_readonly_signed_accounts: KeyIndex
    num_readonly_unsigned_accounts: KeyIndex


class RawMessage(Struct, gc=False, rename="camel"):
    account_keys: Annotated[list[Address | RawKey], Meta(max_length=MAX_ACCOUNT_KEYS)]
    instructions: Instructions
    header: RawHeader | None = None


class RawSigned(Struct, gc=False):
    message: RawMessage
    signatures: Annotated[list[Signature], Meta(min_length=1, max_length=MAX_ACCOUNT_KEYS)]


class RawLoaded(Struct, gc=False):
    """Keys that address lookup tables added, behind the message's own."""

    writable: Addresses = []
    readonly: Addresses = []


class RawMeta(Struct, gc=False, rename="camel"):
    """What happened. `err` must be there: without it nobody knows whether the transaction failed."""

    err: Any
    log_messages: list[str] | None = None
    inner_instructions: Annotated[list[RawInner], Meta(max_length=MAX_INSTRUCTIONS)] | None = None
    loaded_addresses: RawLoaded | None = None
    fee: Unsigned63 = 0
    """Lamports that the first account paid for the transaction."""
    pre_balances: Balances = []
    post_balances: Balances = []


class RawTransaction(Struct, gc=False, rename="camel"):
    slot: Unsigned63
    meta: RawMeta
    transaction: RawSigned
    block_time: Signed64 | None = None
    version: int | str | None = None
    """`legacy`, a number, or nothing at all from who does not say it."""
    index_within_block: Unsigned31 | None = None
    transaction_index: Unsigned31 | None = None

    @property
    def index_in_block(self) -> int | None:
        """The webhook's name for it, else the RPC's."""
        return self.transaction_index if self.index_within_block is None else self.index_within_block

    def keys(self) -> list[str]:
        """All account keys in the order that instructions index them."""
        keys = [key if isinstance(key, str) else key.pubkey for key in self.transaction.message.account_keys]
        loaded = self.meta.loaded_addresses
        if loaded is not None and (loaded.writable or loaded.readonly):
            keys += loaded.writable + loaded.readonly
        return keys

    def writable(self) -> set[str]:
        """The keys of accounts that the transaction may change; all keys where it does not say."""
        keys, header = self.keys(), self.transaction.message.header
        if header is None:
            return set(keys)
        own, signing = len(self.transaction.message.account_keys), header.num_required_signatures
        read_only = {
            *range(signing - header.num_readonly_signed_accounts, signing),
            *range(own - header.num_readonly_unsigned_accounts, own),
        }
        loaded = self.meta.loaded_addresses
        changed = {key for place, key in enumerate(keys[:own]) if place not in read_only}
        return changed if loaded is None else changed | set(loaded.writable)

    def instructions(self) -> list[RawInstruction]:
        """The message's instructions, then those that programs called."""
        found = self.transaction.message.instructions.copy()
        for inner in self.meta.inner_instructions or ():
            found += inner.instructions
        return found

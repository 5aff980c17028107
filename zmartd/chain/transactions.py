"""A transaction as the chain recorded it, reduced to what the projection needs."""

from __future__ import annotations

import binascii
from collections.abc import Mapping, Sequence
from functools import lru_cache
from types import MappingProxyType
from typing import Any

import msgspec
from msgspec import Struct
from solders.pubkey import Pubkey
from solders.signature import Signature

from zmartd.chain.arguments import (
    NO_ARGUMENTS,
    Arguments,
    DisputeCount,
    MalformedTransaction,
    MarketCreation,
    read_arguments,
)
from zmartd.chain.calls import Call, read_calls
from zmartd.chain.codec import Codec
from zmartd.chain.events import ProgramEvent, WinningsClaimed
from zmartd.chain.failures import ProgramFailure, explain_failure
from zmartd.chain.flows import Flow, read_flows
from zmartd.chain.logs import LogReading, read_logs
from zmartd.chain.payments import ResolverPayment, resolver_payments
from zmartd.chain.pdas import Pdas
from zmartd.chain.raw import NEWEST_VERSION, RawInstruction, RawTransaction
from zmartd.chain.wire import UndecodableData

MAX_QUARANTINED_BYTES = 16_384

RawJson = Mapping[str, Any] | msgspec.Raw
"""A JSON object, decoded or not: what is not decoded before is never built where nobody reads it."""

NO_FLOWS: Mapping[str, Flow] = MappingProxyType({})
_DECODER = msgspec.json.Decoder(RawTransaction)


class EventRecord(Struct, frozen=True, gc=False):
    """One event and its `ordinal`: its place among the program's own data lines in the transaction."""

    ordinal: int
    event: ProgramEvent


class Quarantined(Struct, frozen=True, gc=False):
    """A data line of our own program that cannot be decoded, kept until an IDL explains it.

    `data` is the payload, or the line's text where it is not one payload in base64.
    """

    ordinal: int
    data: bytes
    reason: str


class ChainTransaction(Struct, frozen=True, gc=False):
    """What one transaction did. A failed one has an `error` and nothing else: no events, no creations.

    `logs_truncated` says that events may be missing; then `calls` is what it asked of the program, None where
    the node does not know, and `flows` are the lamports of all its writable accounts, by address.
    """

    signature: str
    slot: int
    block_time: int | None
    index_in_block: int | None
    succeeded: bool
    error: ProgramFailure | None
    events: tuple[EventRecord, ...]
    quarantined: tuple[Quarantined, ...]
    creations: tuple[MarketCreation, ...]
    dispute_counts: tuple[DisputeCount, ...]
    logs_truncated: bool
    resolver_payments: tuple[ResolverPayment, ...] = ()
    calls: tuple[Call, ...] | None = None
    flows: Mapping[str, Flow] = NO_FLOWS

    @property
    def changes(self) -> tuple[str, ...]:
        """The addresses of the markets, or of the configuration, that its calls change.

        All its writable accounts where the calls are not known.
        """
        if self.calls is None or any(call.instruction is None for call in self.calls):
            return tuple(sorted(self.flows))
        changed = (call.accounts.get("market") or call.accounts["global_config"] for call in self.calls)
        return tuple(sorted({str(address) for address in changed}))


def parse_transaction(raw: RawJson, program_id: Pubkey, codec: Codec) -> ChainTransaction:
    """Read the JSON of getTransaction (encoding `json`), or one element of a raw Helius delivery.

    Raises MalformedTransaction, naming the field, and nothing else.
    """
    transaction = _read(raw)
    if transaction.meta.err is not None:
        return _failed(transaction, codec)
    program = _base58(program_id)
    keys = transaction.keys()
    if program not in keys:
        return _transaction(transaction)
    own = _own_instructions(transaction, keys, program)
    reading, complete = _trusted(transaction, own, program)
    events, quarantined = decode_events(reading, codec)
    arguments = read_arguments(own, keys)
    if not complete:
        return _transaction(
            transaction,
            events,
            quarantined,
            arguments,
            logs_truncated=True,
            calls=read_calls(transaction, program),
            flows=read_flows(transaction),
        )
    payments = _payments(transaction, [record.event for record in events], program_id)
    return _transaction(transaction, events, quarantined, arguments, payments=payments)


def _payments(
    transaction: RawTransaction, events: Sequence[ProgramEvent], program_id: Pubkey
) -> tuple[ResolverPayment, ...]:
    if not any(isinstance(event, WinningsClaimed) for event in events):
        return ()
    return resolver_payments(events, read_flows(transaction), Pdas(program_id))


def _read(raw: RawJson) -> RawTransaction:
    try:
        if isinstance(raw, msgspec.Raw):
            transaction = _DECODER.decode(raw)
        else:
            transaction = msgspec.convert(raw, RawTransaction)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise MalformedTransaction(f"this is not a transaction: {error}") from error
    if not is_signature(transaction.transaction.signatures[0]):
        raise MalformedTransaction("this is not a transaction: its first signature is not of 64 bytes")
    if isinstance(transaction.version, int) and transaction.version > NEWEST_VERSION:
        raise MalformedTransaction(
            f"its version is {transaction.version}: zmartd reads versions up to {NEWEST_VERSION}"
        )
    return transaction


def is_signature(text: str) -> bool:
    """Whether a node can be asked for a transaction with this signature: 64 bytes in base58."""
    try:
        Signature.from_string(text)
    except ValueError:
        return False
    return True


@lru_cache(maxsize=4)
def _base58(program_id: Pubkey) -> str:
    return str(program_id)


def _transaction(
    transaction: RawTransaction,
    events: tuple[EventRecord, ...] = (),
    quarantined: tuple[Quarantined, ...] = (),
    arguments: Arguments = NO_ARGUMENTS,
    *,
    error: ProgramFailure | None = None,
    logs_truncated: bool = False,
    payments: tuple[ResolverPayment, ...] = (),
    calls: tuple[Call, ...] | None = None,
    flows: Mapping[str, Flow] = NO_FLOWS,
) -> ChainTransaction:
    return ChainTransaction(
        transaction.transaction.signatures[0],
        transaction.slot,
        transaction.block_time,
        transaction.index_in_block,
        error is None,
        error,
        events,
        quarantined,
        arguments.creations,
        arguments.dispute_counts,
        logs_truncated,
        payments,
        calls,
        flows,
    )


def _failed(transaction: RawTransaction, codec: Codec) -> ChainTransaction:
    meta = transaction.meta
    return _transaction(transaction, error=explain_failure(meta.err, meta.log_messages, codec.idl))


def _own_instructions(
    transaction: RawTransaction, keys: list[str], program: str
) -> tuple[RawInstruction, ...]:
    index = keys.index(program)
    return tuple(
        [
            instruction
            for instruction in transaction.instructions()
            if instruction.program_id_index == index or instruction.program_id == program
        ]
    )


def _trusted(
    transaction: RawTransaction, own: tuple[RawInstruction, ...], program: str
) -> tuple[LogReading, bool]:
    """What the logs say, checked against the instructions that the runtime recorded, and if that is all.

    Logs that show more runs of our program than there were are not the runtime's: none of them is believed.
    """
    logs = transaction.meta.log_messages
    if logs is None:
        return LogReading((), 0, complete=False), False
    reading = read_logs(logs, program)
    if transaction.meta.inner_instructions is None:
        return reading, reading.complete and reading.invocations >= len(own)
    if reading.invocations > len(own):
        return LogReading((), 0, complete=False), False
    return reading, reading.complete and reading.invocations == len(own)


def decode_events(
    reading: LogReading, codec: Codec
) -> tuple[tuple[EventRecord, ...], tuple[Quarantined, ...]]:
    """The events in the data lines of our program, and the lines that are none."""
    events: list[EventRecord] = []
    quarantined: list[Quarantined] = []
    for ordinal, line in enumerate(reading.data_lines):
        data = b""
        try:
            data = _payload(line)
            events.append(EventRecord(ordinal, codec.decode_event(data)))
        except UndecodableData as error:
            kept = (data or line.strip().encode(errors="replace"))[:MAX_QUARANTINED_BYTES]
            quarantined.append(Quarantined(ordinal, kept, error.message))
    return tuple(events), tuple(quarantined)


def _payload(line: str) -> bytes:
    """Anchor logs an event as one field; `sol_log_data` with several writes them with spaces between."""
    text = line.strip()
    if " " in text:
        raise UndecodableData(f"{len(text.split())} fields instead of one")
    try:
        data = binascii.a2b_base64(text, strict_mode=True)
    except (binascii.Error, ValueError) as error:
        raise UndecodableData("this is not base64") from error
    if len(text) % 4:
        raise UndecodableData("this is not base64")
    return data

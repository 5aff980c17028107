"""What a transaction asked of the program, in the order in which it was done.

Logs can be cut off, instructions cannot. Each instruction of the program says one event, so the place of a
call among the program's calls is the ordinal of its event.
"""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import Struct
from solders.pubkey import Pubkey

from zmartd.chain.discriminators import DISCRIMINATOR_BYTES, discriminator
from zmartd.chain.interface import INTERFACE
from zmartd.chain.raw import RawInstruction, RawTransaction
from zmartd.chain.wire import U64, Layout, UndecodableData
from zmartd.market import ids
from zmartd.market.lifecycle import VoteKind


class TradeCall(Struct, frozen=True):
    """A purchase for at most `amount` lamports, fees included, or a sale of `amount` shares."""

    ordinal: int
    market: Pubkey
    user: Pubkey
    buys: bool
    outcome: bool
    amount: int


class VoteCall(Struct, frozen=True):
    ordinal: int
    market: Pubkey
    user: Pubkey
    kind: VoteKind
    vote: bool


class OtherCall(Struct, frozen=True):
    """Any other instruction, by its name; `unknown` where it has none here, or cannot be read."""

    ordinal: int
    name: str


Call = TradeCall | VoteCall | OtherCall


class _Buy(Struct, frozen=True):
    outcome: bool
    target_cost: U64


class _Sell(Struct, frozen=True):
    outcome: bool
    shares: U64


class _Vote(Struct, frozen=True):
    vote: bool


_NAMES = {discriminator("global", name): name for name in INTERFACE}
_BUY, _SELL, _VOTE = Layout(_Buy), Layout(_Sell), Layout(_Vote)
_UNKNOWN = "unknown"


def read_calls(transaction: RawTransaction, program: str) -> tuple[Call, ...] | None:
    """The calls of `program` in a transaction that succeeded.

    None where the node has not kept what programs called.
    """
    if transaction.meta.inner_instructions is None:
        return None
    keys = transaction.keys()
    own = (one for one in _executed(transaction) if _program(one, keys) == program)
    return tuple(_call(ordinal, instruction, keys) for ordinal, instruction in enumerate(own))


def _executed(transaction: RawTransaction) -> Iterator[RawInstruction]:
    """All instructions, each followed by those that it led to."""
    inner = transaction.meta.inner_instructions or []
    for index, instruction in enumerate(transaction.transaction.message.instructions):
        yield instruction
        for group in inner:
            if group.index == index:
                yield from group.instructions


def _program(instruction: RawInstruction, keys: list[str]) -> str | None:
    index = instruction.program_id_index
    return instruction.program_id if index is None or index >= len(keys) else keys[index]


def _call(ordinal: int, instruction: RawInstruction, keys: list[str]) -> Call:
    try:
        data = ids.base58_decode(instruction.data)
        name = _NAMES.get(data[:DISCRIMINATOR_BYTES], _UNKNOWN)
        accounts = dict(zip(INTERFACE[name].accounts, instruction.addresses(keys), strict=False))
        match name:
            case "buy_shares":
                buy, _ = _BUY.unpack(data, DISCRIMINATOR_BYTES)
                return TradeCall(ordinal, *_market_and_user(accounts), True, buy.outcome, buy.target_cost)
            case "sell_shares":
                sale, _ = _SELL.unpack(data, DISCRIMINATOR_BYTES)
                return TradeCall(ordinal, *_market_and_user(accounts), False, sale.outcome, sale.shares)
            case "submit_proposal_vote" | "submit_dispute_vote":
                kind = VoteKind.PROPOSAL if name == "submit_proposal_vote" else VoteKind.DISPUTE
                cast, _ = _VOTE.unpack(data, DISCRIMINATOR_BYTES)
                return VoteCall(ordinal, *_market_and_user(accounts), kind, cast.vote)
            case _:
                return OtherCall(ordinal, name)
    except (ValueError, KeyError, UndecodableData):
        return OtherCall(ordinal, _UNKNOWN)


def _market_and_user(accounts: dict[str, str]) -> tuple[Pubkey, Pubkey]:
    return Pubkey.from_string(accounts["market"]), Pubkey.from_string(accounts["user"])

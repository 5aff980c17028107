"""What the backend authority means to do to a market, before it is signed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

from msgspec import Struct
from solders.hash import Hash
from solders.instruction import Instruction
from solders.pubkey import Pubkey

from zmartd.chain.accounts import MarketAccount
from zmartd.chain.assemble import (
    MAX_COMPUTE_UNITS,
    TransactionTooLarge,
    build_transaction,
    compute_budget,
)
from zmartd.chain.program_accounts import ChainMarket
from zmartd.store.intents import Intent


class Meant(Struct, frozen=True):
    """Instructions for a market that were decided from its account."""

    market: ChainMarket
    purpose: str
    instructions: tuple[Instruction, ...]
    detail: str = ""
    """Why, for people."""

    @property
    def intent(self) -> Intent:
        return Intent(
            self.market.id,
            self.purpose,
            round_of(self.market.account),
            effect_of(self.instructions),
            self.market.slot,
        )


class ChainIsAhead(Struct, frozen=True):
    """The market's account is not as the index has it: nothing is to be done to it but to index that."""

    market: ChainMarket


def instructions_of(meant: Iterable[Meant]) -> list[Instruction]:
    """All instructions, in order."""
    return [instruction for one in meant for instruction in one.instructions]


def owner_of(meant: Sequence[Meant], index: int) -> int:
    """Whose instruction that is, of all of them in order."""
    for place, one in enumerate(meant):
        if index < len(one.instructions):
            return place
        index -= len(one.instructions)
    raise IndexError("there are not so many instructions")


def packed(meant: Iterable[Meant], payer: Pubkey, most: int) -> list[list[Meant]]:
    """All of them in order, in parts of which each fits one transaction of 1232 bytes that `payer` signs.

    A part is for `most` markets at most.
    """
    packs: list[list[Meant]] = []
    for one in meant:
        if packs and len(packs[-1]) < most and _fits([*packs[-1], one], payer):
            packs[-1].append(one)
        else:
            packs.append([one])
    return packs


def _fits(pack: Sequence[Meant], payer: Pubkey) -> bool:
    budget = compute_budget(MAX_COMPUTE_UNITS, 1)
    try:
        build_transaction([*budget, *instructions_of(pack)], payer, Hash.default())
    except TransactionTooLarge:
        return False
    return True


def round_of(account: MarketAccount) -> str:
    """Which passage of the market's life an account is in: whatever lands for it ends it.

    A second dispute, counts that are recorded again, or a resolution in the place of one that a fork took is
    another one; an account that a fork gives back is in the same one as before.
    """
    outcome = {True: "yes", False: "no", None: "none"}[account.proposed_outcome]
    return (
        f"{account.state.name.lower()} created={account.created_at}"
        f" counts={account.proposal_likes}/{account.proposal_dislikes}"
        f" resolution={account.resolution_proposed_at}/{outcome} dispute={account.dispute_initiated_at}"
    )


def effect_of(instructions: Iterable[Instruction]) -> bytes:
    """The SHA-256 of what the instructions do: equal for equal ones."""
    digest = hashlib.sha256()
    for instruction in instructions:
        data = bytes(instruction.data)
        digest.update(bytes(instruction.program_id))
        digest.update(len(instruction.accounts).to_bytes(2, "little"))
        for meta in instruction.accounts:
            digest.update(bytes(meta.pubkey) + bytes((meta.is_signer, meta.is_writable)))
        digest.update(len(data).to_bytes(2, "little") + data)
    return digest.digest()

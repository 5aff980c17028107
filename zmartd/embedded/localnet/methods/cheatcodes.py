"""Cheatcodes, which no real node has: time travel, overwriting accounts, rolling back blocks, faults.

Names that begin with `surfnet_` are surfpool's; the others are this localnet's own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct
from solders.account import Account
from solders.pubkey import Pubkey

from zmartd.embedded.localnet.chain.bank import Bank, BlocksAreFinal
from zmartd.embedded.localnet.chain.commitment import Commitment
from zmartd.embedded.localnet.chain.runtime import SLOTS_PER_EPOCH
from zmartd.embedded.localnet.errors import InvalidParams
from zmartd.embedded.localnet.faults import FaultPlan, Faults
from zmartd.embedded.localnet.methods.accounts import MAX_ACCOUNT_BYTES
from zmartd.embedded.localnet.methods.node import epoch_info
from zmartd.embedded.localnet.params import U64, Slot
from zmartd.embedded.localnet.response_context import with_context
from zmartd.embedded.localnet.settings import WebhookTarget
from zmartd.embedded.localnet.webhooks import Webhooks

CHEATCODE_PREFIXES = ("surfnet_", "zmartd_")
MAX_UNIX_MILLISECONDS = 253_402_300_799_000
"""The end of the year 9999, the last that all clients can show."""
MAX_ADVANCE_SLOTS = 10_000


class Destination(Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """Exactly one of the three."""

    absolute_timestamp: Annotated[int, Meta(ge=0, le=MAX_UNIX_MILLISECONDS)] | None = None
    """Unix milliseconds."""
    absolute_slot: Slot | None = None
    absolute_epoch: Annotated[int, Meta(ge=0, le=2**24)] | None = None


class AccountUpdate(Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """Fields that are left out do not change."""

    lamports: U64 | None = None
    data: Annotated[str, Meta(max_length=2 * MAX_ACCOUNT_BYTES)] | None = None
    """Hexadecimal."""
    owner: Pubkey | None = None
    executable: bool | None = None
    rent_epoch: U64 | None = None


class Advance(Struct, frozen=True, forbid_unknown_fields=True):
    slots: Annotated[int, Meta(ge=1, le=MAX_ADVANCE_SLOTS)] = 1


class Hold(Struct, frozen=True, forbid_unknown_fields=True):
    hold: bool = True


class Rollback(Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """How many complete blocks to roll back besides the open slot, or from which slot on. All of them must be
    there, and none final: after a start or a restart there are none at first.
    """

    slots: Annotated[int, Meta(ge=0)] | None = None
    from_slot: Slot | None = None


class WebhookUrl(Struct, frozen=True, forbid_unknown_fields=True):
    url: str


class CheatcodeMethods:
    def __init__(self, bank: Bank, faults: FaultPlan, webhooks: Webhooks) -> None:
        self._bank = bank
        self._faults = faults
        self._webhooks = webhooks

    def table(self) -> Mapping[str, Callable[..., Any]]:
        return {
            "surfnet_timeTravel": self.time_travel,
            "surfnet_setAccount": self.set_account,
            "zmartd_advanceSlots": self.advance_slots,
            "zmartd_rollback": self.rollback,
            "zmartd_holdFinality": self.hold_finality,
            "zmartd_setFaults": self.set_faults,
            "zmartd_addWebhook": self.add_webhook,
            "zmartd_removeWebhook": self.remove_webhook,
        }

    def time_travel(self, destination: Destination) -> Any:
        """Travel forward; slots and seconds move together. The result is the new epoch info."""
        chosen = [name for name, value in msgspec.structs.asdict(destination).items() if value is not None]
        if len(chosen) != 1:
            raise InvalidParams(
                "Invalid params: destination: give one of absoluteTimestamp, absoluteSlot, absoluteEpoch."
            )
        slots, seconds = self._distance(destination)
        if slots < 0 or seconds < 0:
            raise InvalidParams("Invalid params: destination: the chain cannot travel into its past.")
        self._bank.travel(slots, seconds)
        return epoch_info(self._bank, Commitment.PROCESSED)

    def set_account(self, address: Pubkey, update: AccountUpdate) -> Any:
        old = self._bank.account(address, Commitment.PROCESSED) or Account(0, b"", Pubkey.default())
        self._bank.set_account(
            address,
            Account(
                lamports=old.lamports if update.lamports is None else update.lamports,
                data=old.data if update.data is None else _bytes_of_hex(update.data),
                owner=old.owner if update.owner is None else update.owner,
                executable=old.executable if update.executable is None else update.executable,
                rent_epoch=old.rent_epoch if update.rent_epoch is None else update.rent_epoch,
            ),
        )
        return with_context(self._bank, Commitment.PROCESSED, None)

    def advance_slots(self, advance: Advance) -> Any:
        """Complete so many slots at once. The result is the new epoch info."""
        for _ in range(advance.slots):
            self._bank.complete_slot()
        return epoch_info(self._bank, Commitment.PROCESSED)

    def rollback(self, rollback: Rollback) -> Any:
        """The signatures of the transactions that were rolled back."""
        if rollback.slots is not None and rollback.from_slot is not None:
            raise InvalidParams("Invalid params: rollback: give one of slots, fromSlot.")
        try:
            if rollback.from_slot is not None:
                blocks = self._bank.blocks_from(rollback.from_slot)
            else:
                blocks = rollback.slots or 0
            return [str(signature) for signature in self._bank.roll_back(blocks)]
        except BlocksAreFinal as error:
            raise InvalidParams(
                f"Invalid params: rollback: too many blocks: {error.at_most} are complete and not final."
            ) from None

    def hold_finality(self, hold: Hold) -> Any:
        """Whether finality is held from now on."""
        self._bank.hold_finality(hold=hold.hold)
        return hold.hold

    def set_faults(self, faults: Faults) -> Any:
        """Replace all faults; an empty object ends them. The result is the faults in force."""
        self._faults.set(faults)
        return msgspec.to_builtins(faults)

    def add_webhook(self, webhook: WebhookTarget) -> Any:
        try:
            self._webhooks.add(webhook)
        except ValueError as error:
            raise InvalidParams(f"Invalid params: webhook: {error}.") from None
        return True

    def remove_webhook(self, webhook: WebhookUrl) -> Any:
        """How many targets had that URL."""
        return self._webhooks.remove(webhook.url)

    def _distance(self, destination: Destination) -> tuple[int, int]:
        """Slots and seconds from the open slot."""
        opened = self._bank.blocks.opened
        per_slot = self._bank.slot_milliseconds
        if destination.absolute_timestamp is not None:
            milliseconds = destination.absolute_timestamp - opened.unix_time * 1000
            return milliseconds // per_slot, -(-milliseconds // 1000)
        if destination.absolute_slot is not None:
            slot = destination.absolute_slot
        else:
            assert destination.absolute_epoch is not None
            slot = destination.absolute_epoch * SLOTS_PER_EPOCH
        slots = slot - opened.slot
        return slots, slots * per_slot // 1000


def _bytes_of_hex(text: str) -> bytes:
    try:
        return bytes.fromhex(text)
    except ValueError:
        raise InvalidParams("Invalid params: update: data: expected hexadecimal digits.") from None

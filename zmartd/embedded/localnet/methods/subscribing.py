"""The RPC methods of a WebSocket connection."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct
from solders.pubkey import Pubkey
from solders.signature import Signature

from zmartd.embedded.localnet.account_filter import account_filter
from zmartd.embedded.localnet.block_encoding import BlockConfig, block_json
from zmartd.embedded.localnet.chain.ledger import Ledger
from zmartd.embedded.localnet.chain.observer import CompletedBlock
from zmartd.embedded.localnet.errors import InvalidParams, MethodNotFound, UnsupportedTransactionVersion
from zmartd.embedded.localnet.params import U64, AccountConfig, CommitmentConfig, ProgramAccountsConfig
from zmartd.embedded.localnet.response_context import require_confirmed
from zmartd.embedded.localnet.subscriptions import EVERY_TRANSACTION, Client, Subscriptions, Topic


class Mentions(Struct, frozen=True):
    """Transactions that mention one address."""

    mentions: Annotated[list[Pubkey], Meta(min_length=1, max_length=1)]


class BlockMentions(Struct, frozen=True, rename="camel"):
    """Blocks with transactions that mention one address."""

    mentions_account_or_program: Pubkey


class BlockSubscriptionConfig(BlockConfig, frozen=True, rename="camel", kw_only=True):
    show_rewards: bool | None = None

    def as_block_config(self) -> BlockConfig:
        """`getBlock` calls rewards by another name."""
        return msgspec.structs.replace(self, rewards=self.show_rewards is not False)


class SubscriptionMethods:
    """The methods of one WebSocket client."""

    def __init__(self, subscriptions: Subscriptions, client: Client, ledger: Ledger) -> None:
        self._subscriptions = subscriptions
        self._client = client
        self._ledger = ledger

    def table(self) -> Mapping[str, Callable[..., Any]]:
        subscribing: dict[str, Callable[..., Any]] = {
            "account": self.account,
            "block": self.block,
            "logs": self.logs,
            "program": self.program,
            "root": self.root,
            "signature": self.signature,
            "slot": self.slot,
            "slotsUpdates": self.slots_updates,
            "vote": self.vote,
        }
        return {f"{name}Subscribe": method for name, method in subscribing.items()} | {
            f"{name}Unsubscribe": self.unsubscribe for name in subscribing
        }

    def signature(self, signature: Signature, config: CommitmentConfig) -> Any:
        return self._add(Topic("signatureNotification", signature, config.level))

    def logs(
        self,
        filter: Literal["all", "allWithVotes"] | Mentions,  # noqa: A002 - the parameter's name in the API
        config: CommitmentConfig,
    ) -> Any:
        key = filter.mentions[0] if isinstance(filter, Mentions) else EVERY_TRANSACTION
        return self._add(Topic("logsNotification", key, config.level))

    def account(self, address: Pubkey, config: AccountConfig) -> Any:
        topic = Topic("accountNotification", address, config.level)
        return self._subscriptions.add(self._client, topic, config)

    def program(self, program_id: Pubkey, config: ProgramAccountsConfig) -> Any:
        topic = Topic("programNotification", program_id, config.level)
        matches = account_filter(config.filters or ())
        return self._subscriptions.add(self._client, topic, config, matches)

    def slot(self) -> Any:
        return self._add(Topic("slotNotification", None))

    def block(
        self,
        filter: Literal["all"] | BlockMentions,  # noqa: A002 - the parameter's name in the API
        config: BlockSubscriptionConfig,
    ) -> Any:
        """Blocks at `confirmed` or `finalized`; where an address is given, those that mention it, and no more
        of them than the transactions that do.
        """
        require_confirmed(config.level)
        wanted = None if filter == "all" else filter.mentions_account_or_program

        def show(completed: CompletedBlock) -> Any:
            chosen = [one for one in completed.transactions if wanted is None or wanted in one.keys]
            if wanted is not None and not chosen:
                return None
            value: dict[str, Any] = {"slot": completed.block.slot, "block": None, "err": None}
            try:
                value["block"] = block_json(self._ledger, completed.block, chosen, config.as_block_config())
            except UnsupportedTransactionVersion as error:
                value["err"] = {"UnsupportedTransactionVersion": error.version}
            return value

        topic = Topic("blockNotification", None, config.level)
        return self._subscriptions.add(self._client, topic, show_block=show)

    def slots_updates(self) -> Any:
        return self._add(Topic("slotsUpdatesNotification", None))

    def vote(self) -> Any:
        raise MethodNotFound("Method not found: nobody votes on this localnet. Use slotSubscribe")

    def root(self) -> Any:
        return self._add(Topic("rootNotification", None))

    def unsubscribe(self, subscription: U64) -> Any:
        if not self._subscriptions.remove(self._client, subscription):
            raise InvalidParams("Invalid subscription id.")
        return True

    def _add(self, topic: Topic) -> int:
        return self._subscriptions.add(self._client, topic)

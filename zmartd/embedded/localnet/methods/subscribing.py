"""The RPC methods of a WebSocket connection."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct
from solders.pubkey import Pubkey
from solders.signature import Signature

from zmartd.embedded.localnet.account_filter import account_filter
from zmartd.embedded.localnet.errors import InvalidParams
from zmartd.embedded.localnet.params import U64, AccountConfig, CommitmentConfig, ProgramAccountsConfig
from zmartd.embedded.localnet.subscriptions import EVERY_TRANSACTION, Client, Subscriptions, Topic


class Mentions(Struct, frozen=True):
    """Transactions that mention one address."""

    mentions: Annotated[list[Pubkey], Meta(min_length=1, max_length=1)]


class SubscriptionMethods:
    """The methods of one WebSocket client."""

    def __init__(self, subscriptions: Subscriptions, client: Client) -> None:
        self._subscriptions = subscriptions
        self._client = client

    def table(self) -> Mapping[str, Callable[..., Any]]:
        subscribing: dict[str, Callable[..., Any]] = {
            "account": self.account,
            "logs": self.logs,
            "program": self.program,
            "root": self.root,
            "signature": self.signature,
            "slot": self.slot,
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

    def root(self) -> Any:
        return self._add(Topic("rootNotification", None))

    def unsubscribe(self, subscription: U64) -> Any:
        if not self._subscriptions.remove(self._client, subscription):
            raise InvalidParams("Invalid subscription id.")
        return True

    def _add(self, topic: Topic) -> int:
        return self._subscriptions.add(self._client, topic)

"""Fault injection, repeatable by a seed, for tests of clients."""

from __future__ import annotations

import random
from typing import Annotated, Literal

from msgspec import Meta, Struct, field

from zmartd.embedded.localnet.params import U64

Share = Annotated[float, Meta(ge=0, le=1)]
Count = Annotated[int, Meta(ge=0, le=1_000_000)]
Failure = Literal[429, 500, 502, 503, "timeout", "unhealthy"]

REORDER_SECONDS = 1.0
"""The longest delay of a delivery that later ones overtake."""


class WebhookFaults(Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """Faults of webhook deliveries. Each transaction is then a delivery of its own."""

    drop: Share = 0.0
    """The share of deliveries that are never sent."""
    duplicate: Share = 0.0
    """The share of deliveries that are sent twice."""
    reorder: bool = False
    """Delay each by a random part of REORDER_SECONDS."""
    delay_ms: Count = 0
    seed: int = 0


class RpcFaults(Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """Faults of HTTP requests. Cheatcodes never fail."""

    fail_next: Count = 0
    """How many of the next requests fail."""
    fail_rate: Share = 0.0
    """The share of all other requests that fail."""
    status: Failure = 503
    """An HTTP status, no answer at all, or the JSON-RPC error of a node that is behind."""
    after: bool = False
    """Execute the request before it fails, so that only the answer is lost."""
    methods: tuple[str, ...] = ()
    """Only requests that call one of these methods; empty: all requests."""
    lose_next: Count = 0
    """How many of the next transactions are answered with their signature, but never land."""
    first_available_block: U64 = 0
    """The slot with which the node says that its history begins. It answers for earlier ones all the same."""
    seed: int = 0


class Faults(Struct, frozen=True, forbid_unknown_fields=True):
    webhook: WebhookFaults = field(default_factory=WebhookFaults)
    rpc: RpcFaults = field(default_factory=RpcFaults)


class FaultPlan:
    """The faults in force, and how many are left."""

    def __init__(self) -> None:
        self.set(Faults())

    def set(self, faults: Faults) -> None:
        """Replace all faults; the random sequences start again from their seeds."""
        self._webhook = faults.webhook
        self._rpc = faults.rpc
        self._failures_left = faults.rpc.fail_next
        self._losses_left = faults.rpc.lose_next
        self._webhook_rng = random.Random(faults.webhook.seed)  # noqa: S311 - has to be repeatable
        self._rpc_rng = random.Random(faults.rpc.seed)  # noqa: S311

    @property
    def touches_webhooks(self) -> bool:
        return self._webhook != WebhookFaults(seed=self._webhook.seed)

    @property
    def touches_requests(self) -> bool:
        return self._failures_left > 0 or self._rpc.fail_rate > 0

    @property
    def first_available_block(self) -> int:
        return self._rpc.first_available_block

    @property
    def fails_after_answering(self) -> bool:
        return self._rpc.after

    def request_failure(self, methods: frozenset[str]) -> Failure | None:
        """How a request with these methods fails, or None."""
        if self._rpc.methods and methods.isdisjoint(self._rpc.methods):
            return None
        if self._failures_left > 0:
            self._failures_left -= 1
            return self._rpc.status
        return self._rpc.status if self._rpc_rng.random() < self._rpc.fail_rate else None

    def loses_transaction(self) -> bool:
        """Whether the present transaction is lost."""
        if self._losses_left == 0:
            return False
        self._losses_left -= 1
        return True

    def delivery_delays(self) -> list[float]:
        """The delay in seconds of each time that a delivery is sent."""
        is_dropped = self._webhook_rng.random() < self._webhook.drop
        is_doubled = self._webhook_rng.random() < self._webhook.duplicate
        copies = 0 if is_dropped else 1 + is_doubled
        spread = REORDER_SECONDS if self._webhook.reorder else 0.0
        return [self._webhook.delay_ms / 1000 + self._webhook_rng.random() * spread for _ in range(copies)]

"""Misbehaviour on request, the same each time for the same seed: what tests of others need."""

from __future__ import annotations

import random
from typing import Annotated, Literal

from msgspec import Meta, Struct, field

Share = Annotated[float, Meta(ge=0, le=1)]
Count = Annotated[int, Meta(ge=0, le=1_000_000)]
Failure = Literal[429, 500, 502, 503, "timeout", "unhealthy"]

REORDER_SECONDS = 1.0
"""How long a delivery may be held back so that later ones overtake it."""


class WebhookFaults(Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """What happens to deliveries. Each transaction then travels alone, and meets its own fate."""

    drop: Share = 0.0
    """The share that is never sent."""
    duplicate: Share = 0.0
    """The share that is sent twice."""
    reorder: bool = False
    """Hold each back for a random part of REORDER_SECONDS."""
    delay_ms: Count = 0
    seed: int = 0


class RpcFaults(Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """What happens to HTTP requests. Cheat methods are never touched."""

    fail_next: Count = 0
    """So many of the coming requests fail."""
    fail_rate: Share = 0.0
    """And this share of all others."""
    status: Failure = 503
    """An HTTP status; or no answer at all; or the JSON-RPC error of a node that is behind."""
    after: bool = False
    """Do what was asked, and only then fail: the answer is lost, not the request."""
    methods: tuple[str, ...] = ()
    """Only requests that call one of these; empty means every one."""
    lose_next: Count = 0
    """So many of the coming transactions are answered with their signature and then never land."""
    seed: int = 0


class Faults(Struct, frozen=True, forbid_unknown_fields=True):
    webhook: WebhookFaults = field(default_factory=WebhookFaults)
    rpc: RpcFaults = field(default_factory=RpcFaults)


class FaultPlan:
    """The faults in force, and what is left of them."""

    def __init__(self) -> None:
        self.set(Faults())

    def set(self, faults: Faults) -> None:
        """Replace every fault; the random sequences start again from their seeds."""
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
    def fails_after_answering(self) -> bool:
        return self._rpc.after

    def request_failure(self, methods: frozenset[str]) -> Failure | None:
        """How a request that calls these methods fails, or None when it does not."""
        if self._rpc.methods and methods.isdisjoint(self._rpc.methods):
            return None
        if self._failures_left > 0:
            self._failures_left -= 1
            return self._rpc.status
        return self._rpc.status if self._rpc_rng.random() < self._rpc.fail_rate else None

    def loses_transaction(self) -> bool:
        """Whether the transaction at hand gets lost on its way."""
        if self._losses_left == 0:
            return False
        self._losses_left -= 1
        return True

    def delivery_delays(self) -> list[float]:
        """Seconds after which a delivery is sent: once for each time that it is."""
        is_dropped = self._webhook_rng.random() < self._webhook.drop
        is_doubled = self._webhook_rng.random() < self._webhook.duplicate
        copies = 0 if is_dropped else 1 + is_doubled
        spread = REORDER_SECONDS if self._webhook.reorder else 0.0
        return [self._webhook.delay_ms / 1000 + self._webhook_rng.random() * spread for _ in range(copies)]

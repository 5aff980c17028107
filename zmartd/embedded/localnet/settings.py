"""The settings of a localnet, and its addresses when it runs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from msgspec import Struct, field


class WebhookTarget(Struct, frozen=True):
    """A URL that confirmed transactions are posted to, as a Helius raw webhook."""

    url: str
    accounts: tuple[str, ...]
    """Base58 addresses, usually a program's. Transactions that mention one of them are delivered."""
    authorization: str | None = None
    """The value of the `Authorization` header. It is never logged."""


class LocalnetSettings(Struct, frozen=True):
    """The settings of one local Solana chain."""

    data_directory: Path
    """The directory of the ledger. The same directory continues the same chain."""
    host: str = "127.0.0.1"
    rpc_port: int = 8899
    """The port of HTTP; the WebSocket listens on the next one. 0: two free adjacent ports."""
    slot_milliseconds: int = 400
    programs: Mapping[str, Path] = field(default_factory=dict)
    """The .so file of each program id (base58), loaded at each start."""
    webhooks: tuple[WebhookTarget, ...] = ()
    genesis_accounts: Mapping[str, int] = field(default_factory=dict)
    """The lamports of each address (base58), credited only when the chain is created."""


class Endpoints(Struct, frozen=True):
    """The addresses of a running localnet."""

    host: str
    rpc_port: int
    ws_port: int

    @property
    def rpc_url(self) -> str:
        return f"http://{self.host}:{self.rpc_port}"

    @property
    def ws_url(self) -> str:
        return f"ws://{self.host}:{self.ws_port}"

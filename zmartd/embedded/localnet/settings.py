"""What a localnet is told when it starts, and where it can be reached afterwards."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from msgspec import Struct, field


class WebhookTarget(Struct, frozen=True):
    """Who wants confirmed transactions posted, as a Helius raw webhook would."""

    url: str
    accounts: tuple[str, ...]
    """Base58 addresses (a program's, usually). A transaction that mentions one of them is delivered."""
    authorization: str | None = None
    """Sent verbatim in the `Authorization` header. Never logged."""


class LocalnetSettings(Struct, frozen=True):
    """One local Solana chain."""

    data_directory: Path
    """Holds the ledger. The same directory continues the same chain."""
    host: str = "127.0.0.1"
    rpc_port: int = 8899
    """HTTP; the WebSocket listens on the next port. 0 takes two free neighbours."""
    slot_milliseconds: int = 400
    programs: Mapping[str, Path] = field(default_factory=dict)
    """Program id (base58) to the .so file, loaded at each start."""
    webhooks: tuple[WebhookTarget, ...] = ()
    genesis_accounts: Mapping[str, int] = field(default_factory=dict)
    """Address (base58) to lamports, credited when the chain is created, and only then."""


class Endpoints(Struct, frozen=True):
    """Where a running localnet listens."""

    host: str
    rpc_port: int
    ws_port: int

    @property
    def rpc_url(self) -> str:
        return f"http://{self.host}:{self.rpc_port}"

    @property
    def ws_url(self) -> str:
        return f"ws://{self.host}:{self.ws_port}"

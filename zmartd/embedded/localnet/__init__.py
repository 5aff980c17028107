"""A local Solana chain: LiteSVM behind the JSON-RPC that every Solana client speaks.

`async with running(LocalnetSettings(directory, rpc_port=0)) as endpoints:` runs one inside the block.
"""

from zmartd.embedded.localnet.server import LocalnetError, running, serve
from zmartd.embedded.localnet.settings import Endpoints, LocalnetSettings, WebhookTarget

__all__ = ["Endpoints", "LocalnetError", "LocalnetSettings", "WebhookTarget", "running", "serve"]

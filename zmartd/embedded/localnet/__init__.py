"""A local Solana chain: LiteSVM behind the JSON-RPC that every Solana client speaks.

`async with running(LocalnetSettings(directory, rpc_port=0)) as endpoints:` runs one inside the block.

- A transaction executes when it is sent, in the open slot: it is then *processed*, and in the ledger. It is
  *confirmed* when its slot is complete, *finalized* 31 blocks later. Accounts, slots and blockhashes are read
  as they were at the commitment asked for (after a restart, what was confirmed counts as finalized).
- A blockhash lives 150 blocks. Clock and block time stand still within a slot.
- Fees (signatures and priority) and rent exemption are a cluster's. A transaction that cannot be loaded
  (no such program) does not land, where a cluster would take its fee.
- Preflight and simulation run on the open slot, whatever commitment they are asked for.
- `jsonParsed` knows no program: instructions come partially decoded, account data as base64. Token
  balances in `meta` are empty. `base64+zstd` is not served.
- Time travel skips slots, and so makes nothing final and no blockhash old.

Read `chain/bank.py` for what happens to a transaction, `methods/` for what can be asked.
"""

from zmartd.embedded.localnet.server import LocalnetError, running, serve
from zmartd.embedded.localnet.settings import Endpoints, LocalnetSettings, WebhookTarget

__all__ = ["Endpoints", "LocalnetError", "LocalnetSettings", "WebhookTarget", "running", "serve"]

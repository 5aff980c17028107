"""A local Solana chain: LiteSVM behind a Solana node's JSON-RPC.

`async with running(LocalnetSettings(directory, rpc_port=0)) as endpoints:` runs one inside the block.

- A transaction executes when it is sent, in the open slot: it is then *processed*, and in the ledger. It is
  *confirmed* when its slot is complete, *finalized* 31 blocks later. Accounts, slots and blockhashes are read
  at the requested commitment (after a restart, what was confirmed counts as finalized).
- A blockhash is valid for 150 blocks, and no shorter than a minute where slots are shorter. Clock
  and block time do not change within a slot.
- Fees (signatures and priority) and rent exemption are those of a cluster. A transaction that cannot be
  loaded (no such program) does not land, where a cluster would charge its fee.
- Transactions are legacy or version 0. Others are refused by their version.
- This node is the whole cluster and leads every slot. There are no votes, stakes, inflation, rewards or
  snapshots: methods about them answer so.
- Preflight and simulation run on the open slot, whatever commitment is requested.
- `jsonParsed` has no parser for any program: instructions are partially decoded, account data is base64.
  Token balances in `meta` are empty. `base64+zstd` is not supported.
- Time travel skips slots, and so finalizes no block and expires no blockhash.

`chain/bank.py` shows what happens to a transaction, `methods/` the RPC methods.
"""

from zmartd.embedded.localnet.server import LocalnetError, running, serve
from zmartd.embedded.localnet.settings import Endpoints, LocalnetSettings, WebhookTarget

__all__ = ["Endpoints", "LocalnetError", "LocalnetSettings", "WebhookTarget", "running", "serve"]

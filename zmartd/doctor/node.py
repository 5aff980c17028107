"""The RPC node: whether it is of the right cluster, up to date, and keeps enough history."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from zmartd.chain.rpc import Rpc
from zmartd.doctor.check import Check, Outcome, failed, ok, warning
from zmartd.doctor.patient import Patient
from zmartd.errors import ZmartdError
from zmartd.store import checkpoints

CLUSTERS: Final = {
    "mainnet": "5eykt4UsFv8P8NJdTREpY1vzqKqZKvdp",
    "devnet": "EtWTRABZaYq6iMfeYKouRu166VU2xqa1",
    "testnet": "4uhcVJyU9pJkvQyS88uRDiswHXSCkY3z",
}
"""What the hash of each cluster's genesis block begins with: the references of CAIP-2 for Solana."""

OLDEST_VERSION: Final = 2
SLOTS_PER_HOUR: Final = 9_000
"""At 400 ms each."""
LEAST_HISTORY_HOURS: Final = 24
"""A daemon that is away for longer than the node remembers misses transactions."""

_URL = ("solana.rpc_url",)
_ANOTHER = "give another node in solana.rpc_url"


async def _rpc(patient: Patient) -> Sequence[Outcome]:
    solana = patient.settings.solana
    patient.rpc = rpc = await patient.resources.enter_async_context(
        Rpc(solana.rpc_url.reveal(), clock=patient.clock, timeout_seconds=solana.timeout_seconds)
    )
    version = await rpc.version()
    patient.chain_time = await rpc.chain_time()
    found = [ok(f"{rpc.endpoint}, version {version}, slot {patient.chain_time.slot}")]
    major = version.partition(".")[0]
    if major.isdecimal() and 0 < int(major) < OLDEST_VERSION and solana.cluster != "localnet":
        found.append(warning(f"version {version} is older than {OLDEST_VERSION}.0", _ANOTHER))
    return found


async def _cluster(patient: Patient) -> Sequence[Outcome]:
    assert patient.rpc is not None, "set by the check `rpc`"
    configured = patient.settings.solana.cluster
    genesis = await patient.rpc.genesis_hash()
    actual = next((name for name, start in CLUSTERS.items() if genesis.startswith(start)), None)
    if actual == configured or (actual is None and configured == "localnet"):
        return [ok(configured)]
    return [
        failed(
            f"solana.cluster is {configured}, and the node is of {actual or 'none of the public clusters'}",
            f"set solana.cluster to {actual or 'localnet'}, or {_ANOTHER}",
        )
    ]


async def _lag(patient: Patient) -> Sequence[Outcome]:
    assert patient.rpc is not None, "set by the check `rpc`"
    try:
        await patient.rpc.health()
    except ZmartdError as error:
        return [warning(error.message, f"wait until it has caught up, or {_ANOTHER}")]
    return [ok("up to date, as it says itself")]


async def _history(patient: Patient) -> Sequence[Outcome]:
    assert patient.rpc is not None, "set by the check `rpc`"
    assert patient.chain_time is not None, "set by the check `rpc`"
    first = await patient.rpc.first_available_block()
    hours = (patient.chain_time.slot - first) / SLOTS_PER_HOUR
    if patient.database is not None:
        async with patient.database.service() as connection:
            checkpoint = await checkpoints.find(connection, patient.settings.solana.program_id)
        if checkpoint is not None and checkpoint.slot < first:
            return [
                failed(
                    f"the index is complete up to slot {checkpoint.slot}, and the node's history begins "
                    f"with {first}",
                    "run `zmartd backfill` with a node that has all of it (an archive) in solana.rpc_url",
                )
            ]
    if first and hours < LEAST_HISTORY_HOURS:
        return [
            warning(
                f"the node remembers {hours:.1f} hours: what happens while no daemon runs for longer is "
                "missed",
                _ANOTHER,
            )
        ]
    return [ok(f"from slot {first} on" if first else "from the first block on")]


CHECKS = (
    Check(
        name="rpc",
        look=_rpc,
        about="the RPC node answers, and its version",
        uses=_URL,
        remedy="`zmartd config` shows where solana.rpc_url leads; look at the node, or at its provider's "
        "status",
    ),
    Check(
        name="cluster",
        look=_cluster,
        about="the node is of solana.cluster",
        uses=(*_URL, "solana.cluster"),
        needs=("rpc",),
    ),
    Check(name="lag", look=_lag, about="whether the node is behind the others", uses=_URL, needs=("rpc",)),
    Check(
        name="history",
        look=_history,
        about=f"the node has the history since the index's checkpoint, and {LEAST_HISTORY_HOURS} hours at "
        "least",
        uses=_URL,
        needs=("rpc", "migrations"),
    ),
)

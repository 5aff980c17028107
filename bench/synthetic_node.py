"""A synthetic Solana node in its own process, which serves a synthetic history.

    python -m bench.synthetic_node SEED MARKETS WALLETS TRADES

It prints its port when it listens, and serves until its standard input is closed.
"""

from __future__ import annotations

import asyncio
import base64
import struct
import sys
from collections.abc import Sequence
from typing import Any

import click
import msgspec
import uvloop
from aiohttp import web

from bench.synthetic_history import (
    GENESIS_SLOT,
    GENESIS_TIME,
    OPENINGS,
    TRANSACTIONS_PER_SLOT,
    SyntheticHistory,
)

_LOADER = "BPFLoaderUpgradeab1e11111111111111111111111"
_SYSVARS = "Sysvar1111111111111111111111111111111111111"
_CLOCK_SYSVAR = "SysvarC1ock11111111111111111111111111111111"
_CLOCK = struct.Struct("<QqQQq")
"""Slot, start of the epoch, epoch, epoch of the leader schedule, unix seconds."""
PRESENT_SLOT = GENESIS_SLOT + 8_000
"""Within an hour of every delivery, so that none has to be verified first (`zmartd.indexer.plausibility`)."""
PRESENT_TIME = GENESIS_TIME + 8_000 // 3
_UNTIL_PRESENT = TRANSACTIONS_PER_SLOT * (PRESENT_SLOT - GENESIS_SLOT)
"""So many transactions are between; those of a longer history begin before, and its last is the present."""


class SyntheticNode:
    """Answers the reconciler's RPC requests: an address's signatures, and transactions, all finalized."""

    def __init__(self, transactions: Sequence[bytes]) -> None:
        self._raw: dict[str, msgspec.Raw] = {}
        self._newest_first: list[dict[str, Any]] = []
        for encoded in transactions:
            transaction = msgspec.json.decode(encoded)
            signature = transaction["transaction"]["signatures"][0]
            self._raw[signature] = msgspec.Raw(encoded)
            self._newest_first.append(
                {
                    "signature": signature,
                    "slot": transaction["slot"],
                    "err": None,
                    "memo": None,
                    "blockTime": transaction["blockTime"],
                    "confirmationStatus": "finalized",
                }
            )
        self._newest_first.reverse()
        self._place = {info["signature"]: place for place, info in enumerate(self._newest_first)}

    async def answer(self, request: web.Request) -> web.Response:
        """Answer one JSON-RPC request or a batch."""
        asked = msgspec.json.decode(await request.read())
        answer = [self._one(call) for call in asked] if isinstance(asked, list) else self._one(asked)
        return web.Response(body=msgspec.json.encode(answer), content_type="application/json")

    def _one(self, call: dict[str, Any]) -> dict[str, Any]:
        envelope = {"jsonrpc": "2.0", "id": call.get("id")}
        match call["method"], call.get("params", []):
            case "getTransaction", [signature, *_]:
                return envelope | {"result": self._raw.get(signature)}
            case "getSignaturesForAddress", [_, *options]:
                return envelope | {"result": self._signatures(options[0] if options else {})}
            case "getMultipleAccounts", [addresses, *_]:
                program = {"lamports": 1, "owner": _LOADER, "data": ["", "base64"], "executable": True}
                accounts = [
                    self._clock if address == _CLOCK_SYSVAR else program if place == 0 else None
                    for place, address in enumerate(addresses)
                ]
                return envelope | {"result": {"context": {"slot": PRESENT_SLOT}, "value": accounts}}
            case "getSlot", _:
                return envelope | {"result": PRESENT_SLOT}
            case method, _:
                return envelope | {"error": {"code": -32601, "message": f"no method {method} here"}}

    @property
    def _clock(self) -> dict[str, Any]:
        """The Clock sysvar at the present slot."""
        data = base64.b64encode(_CLOCK.pack(PRESENT_SLOT, 0, 0, 0, PRESENT_TIME)).decode()
        return {"lamports": 1, "owner": _SYSVARS, "data": [data, "base64"], "executable": False}

    def _signatures(self, options: dict[str, Any]) -> list[dict[str, Any]]:
        start = self._place[options["before"]] + 1 if options.get("before") else 0
        end = self._place[options["until"]] if options.get("until") else len(self._newest_first)
        return self._newest_first[start : min(end, start + options.get("limit", 1_000))]


async def serve(node: SyntheticNode) -> None:
    app = web.Application(client_max_size=2**24)
    app.router.add_post("/", node.answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print(runner.addresses[0][1], flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await runner.cleanup()


@click.command()
@click.argument("seed", type=int)
@click.argument("markets", type=int)
@click.argument("wallets", type=int)
@click.argument("trades", type=int)
def main(seed: int, markets: int, wallets: int, trades: int) -> None:
    """Serve the history of SEED with these numbers of MARKETS, WALLETS and TRADES."""
    before = max(OPENINGS * markets + trades - _UNTIL_PRESENT, 0)
    history = SyntheticHistory(seed, markets, wallets, before=before)
    uvloop.run(serve(SyntheticNode([*history.openings(), *history.trades(trades)])))


if __name__ == "__main__":
    main()

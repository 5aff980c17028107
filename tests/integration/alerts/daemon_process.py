"""A daemon that opens an alert and delivers it, as a process of its own.

`python -m tests.integration.alerts.daemon_process POSTGRES RECEIVER`: it says `evaluated` when the alert is
committed, and delivers when it gets a line.
"""

from __future__ import annotations

import asyncio
import sys

import uvloop

from tests.integration.alerts.outbox import Trouble, deliver, settings_for
from zmartd import config
from zmartd.config_values import PostgresUrl
from zmartd.store.postgres.database import Database


async def main(postgres: str, receiver: str) -> None:
    database = await Database.connect(config.DatabaseSettings(url=PostgresUrl(postgres), pool_size=4))
    settings = settings_for(receiver)
    await Trouble().evaluate(database, settings)
    print("evaluated", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    await deliver(database, settings)
    print("delivered", flush=True)


if __name__ == "__main__":
    uvloop.run(main(*sys.argv[1:]))

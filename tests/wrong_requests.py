"""Prints the table of wrong requests with their answers: `python -m tests.wrong_requests`.

It starts the whole system in a temporary directory, and exits with 1 if an answer is another than expected.
"""

from __future__ import annotations

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.event_loop import run
from tests.integration.http.contract.wrong_requests import answers, table
from tests.integration.http.rest.rest_stage import running_stage
from zmartd import config, log
from zmartd.config_values import PostgresUrl
from zmartd.embedded.postgres import Durability, EmbeddedPostgres
from zmartd.embedded.valkey import EmbeddedValkey
from zmartd.store.postgres.database import Database
from zmartd.store.postgres.migrations import migrate


async def main(directory: Path) -> bool:
    """Print the table. Returns whether all answers are the expected ones."""
    async with (
        EmbeddedPostgres(directory / "postgres", Durability.EPHEMERAL) as postgres,
        EmbeddedValkey(directory / "valkey") as valkey,
    ):
        await migrate(postgres.dsn)
        database = await Database.connect(config.DatabaseSettings(url=PostgresUrl(postgres.dsn)))
        async with running_stage(database, valkey.url, directory) as stage:
            rows = [row async for row in answers(stage)]
        await database.close()
    print(table(rows))
    unexpected = [(wrong, told) for wrong, told in rows if not told.is_as_expected(wrong)]
    if unexpected:
        print("Not as expected:", table(unexpected), sep="\n", file=sys.stderr)
    return not unexpected


if __name__ == "__main__":
    log.configure("error", "console")
    with TemporaryDirectory() as directory:
        sys.exit(not run(main(Path(directory))))

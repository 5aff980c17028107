"""Prints the table of wrong requests with their answers: `python -m tests.wrong_requests`.

It starts the whole system in a temporary directory, and exits with 1 if an answer is another than expected.
"""

from __future__ import annotations

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.event_loop import run
from tests.integration.http.contract.wrong_requests import answers, table
from tests.integration.http.rest.rest_stage import temporary_stage
from zmartd import log


async def main(directory: Path) -> bool:
    """Print the table. Returns whether all answers are the expected ones."""
    async with temporary_stage(directory) as (stage, _):
        rows = [row async for row in answers(stage)]
    print(table(rows))
    unexpected = [(wrong, told) for wrong, told in rows if not told.is_as_expected(wrong)]
    if unexpected:
        print("Not as expected:", table(unexpected), sep="\n", file=sys.stderr)
    return not unexpected


if __name__ == "__main__":
    log.configure("error", "console")
    with TemporaryDirectory() as directory:
        sys.exit(not run(main(Path(directory))))

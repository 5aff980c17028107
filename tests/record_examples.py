"""Records the examples of answers in the OpenAPI document anew: `python -m tests.record_examples`.

It starts the whole system in a temporary directory.
"""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.event_loop import run
from tests.integration.http.contract.example_tour import whole_tour
from tests.integration.http.contract.recorded_examples import recording
from tests.integration.http.rest.rest_stage import temporary_stage
from zmartd import log
from zmartd.http.openapi.recorded import FILE


async def main(directory: Path) -> None:
    async with temporary_stage(directory) as (stage, redis_url):
        tour = await whole_tour(stage, redis_url)
    FILE.write_text(json.dumps(recording(tour), indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    log.configure("error", "console")
    with TemporaryDirectory() as directory:
        run(main(Path(directory)))

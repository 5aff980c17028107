"""Requests that schemathesis makes up from the document, sent to the API with its chain.

It prints what it did: `pytest -s -k schemathesis`.
"""

from __future__ import annotations

import asyncio
import os
import re
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from msgspec import Struct

from tests.integration.http.rest.rest_api import WEBHOOK
from tests.integration.http.rest.rest_stage import SOL, Stage, running_stage
from zmartd.http.helius import PATHS
from zmartd.http.routes import OPERATIONS
from zmartd.store.pool import Database

CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
)
OPTIONS = ("--checks", ",".join(CHECKS), "--seed", "1", "--no-shrink", "--warnings", "off")
TESTED = {(one.method, one.path) for one in OPERATIONS} - {("GET", "/api/openapi.json")}
"""All but the document itself, which schemathesis starts with."""
END_OF_SESSIONS = {"/api/auth/logout", "/api/auth/refresh"}
ALIASES = {*PATHS[1:], "/ws/", "/"}
"""Paths where something is that has another path, too."""
PATIENCE_SECONDS = 120


class Known(Struct, frozen=True):
    """What there is on the stage, so that requests come upon something."""

    market_id: str
    wallet: str
    signature: str
    comment_id: str

    def configuration(self) -> str:
        """Values for the variables of paths and the webhooks' secret, as schemathesis.toml has them."""
        return f"""
[parameters]
"path.id" = "{self.market_id}"
"path.wallet" = "{self.wallet}"
"path.signature" = "{self.signature}"

[[operations]]
include-name = ["PATCH /api/discussions/{{id}}", "DELETE /api/discussions/{{id}}"]
parameters = {{ "path.id" = "{self.comment_id}" }}

[[operations]]
include-path = {list(PATHS)}
headers = {{ Authorization = "{WEBHOOK.authorization.reveal()}" }}
"""


@pytest.fixture
async def stage(database: Database, redis_url: str, tmp_path: Path) -> AsyncIterator[Stage]:
    """The API with a chain that runs the program."""
    async with running_stage(database, redis_url, tmp_path) as stage:
        yield stage


async def test_schemathesis_finds_no_fault_as_a_trader(stage: Stage, tmp_path: Path) -> None:
    known = await furnished(stage)
    (tmp_path / "schemathesis.toml").write_text(known.configuration())
    options = ["--phases", "coverage,fuzzing", "--max-examples", "2"]
    options += ["--header", f"Authorization: Bearer {stage.alice.token}"]
    left_out = END_OF_SESSIONS | ALIASES
    options += [option for path in left_out for option in ("--exclude-path", path)]
    assert await operations_without_fault(stage, tmp_path, *options) == len(TESTED) - len(left_out)


async def test_schemathesis_finds_no_fault_as_anybody(stage: Stage, tmp_path: Path) -> None:
    options = ["--phases", "fuzzing", "--max-examples", "3"]
    assert await operations_without_fault(stage, tmp_path, *options) == len(TESTED)


async def furnished(stage: Stage) -> Known:
    """A market that ALICE trades and talks about."""
    market_id = await stage.active_market()
    bought = await stage.alice.carry_out(
        "/api/trades/buy", {"market_id": market_id, "outcome": True, "target_cost": SOL}
    )
    said = await stage.alice.post(f"/api/discussions/{market_id}", {"content": "It will."})
    return Known(
        market_id=market_id,
        wallet=stage.alice.address,
        signature=bought.body["signature"],
        comment_id=said.body["discussion"]["id"],
    )


async def operations_without_fault(stage: Stage, directory: Path, *options: str) -> int:
    """How many operations schemathesis tested without finding anything; AssertionError when it did."""
    document = str(stage.api.client.make_url("/api/openapi.json"))
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "schemathesis.cli", "run", document, *OPTIONS, *options),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        cwd=directory,
        env={**os.environ, "COLUMNS": "110", "NO_COLOR": "1"},
    )
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            output, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
    report = output.decode()
    print(report)
    assert process.returncode == 0, report
    found = re.search(r"Tested: (\d+)$", report, re.MULTILINE)
    assert found, report
    return int(found[1])

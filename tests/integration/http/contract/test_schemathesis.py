"""Requests that schemathesis makes up from the document, sent to the API with its chain.

What it did is told in short at the end of pytest's output, and at length by `pytest -s` on this file.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from msgspec import Struct

from tests.integration.http.rest.rest_api import WEBHOOK
from tests.integration.http.rest.rest_stage import SOL, Stage, running_stage
from zmartd.http.kit.fields import MarketRef
from zmartd.http.routes import OPERATIONS
from zmartd.store.postgres.database import Database

CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
)
OPTIONS = ("--checks", ",".join(CHECKS), "--seed", "1", "--no-shrink", "--warnings", "off")
DOCUMENT = "/api/openapi.json"
END_OF_SESSIONS = {"/api/auth/logout", "/api/auth/logout-everywhere", "/api/auth/refresh"}
ALIASES = {"/ws/", "/"}
"""Paths where something is that has another path, too."""
PATIENCE_SECONDS = 3_500


class Known(Struct, frozen=True):
    """What there is on the stage, so that requests come upon something."""

    market_id: str
    wallet: str
    signature: str
    comment_id: str

    def configuration(self) -> str:
        """Values for what names them and the webhooks' secret, as schemathesis.toml has them."""
        return f"""
[parameters]
"path.wallet" = "{self.wallet}"
"path.signature" = "{self.signature}"

[[operations]]
include-name = ["PATCH /api/discussions/{{id}}", "DELETE /api/discussions/{{id}}"]
parameters = {{ "path.id" = "{self.comment_id}" }}

[[operations]]
include-path = "/helius/webhook"
headers = {{ Authorization = "{WEBHOOK.authorization.reveal()}" }}
"""

    def in_terms_of_the_market(self, document: str) -> str:
        """`document` with the one market wherever requests name one."""
        any_market, this_market = json.dumps(MarketRef.schema["pattern"]), json.dumps(self.market_id)
        return document.replace(f'"pattern":{any_market}', f'"const":{this_market}')


@pytest.fixture
async def stage(database: Database, redis_url: str, tmp_path: Path) -> AsyncIterator[Stage]:
    """The API with a chain that runs the program."""
    async with running_stage(database, redis_url, tmp_path) as stage:
        yield stage


@pytest.mark.timeout(3_600)
async def test_schemathesis_finds_no_fault_as_a_trader(
    stage: Stage, tmp_path: Path, tell_reader: Callable[[str], None]
) -> None:
    known = await furnished(stage)
    (tmp_path / "schemathesis.toml").write_text(known.configuration())
    document = await (await stage.api.client.get(DOCUMENT)).text()
    (tmp_path / "openapi.json").write_text(known.in_terms_of_the_market(document))
    left_out = END_OF_SESSIONS | ALIASES
    report = await run(
        tmp_path,
        *("openapi.json", "--url", str(stage.api.client.make_url("/"))),
        *("--phases", "coverage,fuzzing", "--max-examples", "2"),
        *("--header", f"Authorization: Bearer {stage.alice.token}"),
        *(option for path in left_out for option in ("--exclude-path", path)),
    )
    tell_reader(f"as a trader: {summary_of(report)}")
    assert operations_in(report) == len(OPERATIONS) - len(left_out)


@pytest.mark.timeout(3_600)
async def test_schemathesis_finds_no_fault_as_anybody(
    stage: Stage, tmp_path: Path, tell_reader: Callable[[str], None]
) -> None:
    url = str(stage.api.client.make_url(DOCUMENT))
    report = await run(tmp_path, url, "--phases", "fuzzing", "--max-examples", "3")
    tell_reader(f"as anybody: {summary_of(report)}")
    assert operations_in(report) == len(OPERATIONS) - len([DOCUMENT])  # it has asked for the document already


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


async def run(directory: Path, *options: str) -> str:
    """What schemathesis says; AssertionError when it has found a fault."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "schemathesis.cli", "run", *options, *OPTIONS),
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
    return report


def summary_of(report: str) -> str:
    """Like `67 operations, 3739 generated, 3739 passed`."""
    (cases,) = re.findall(r"(\d+ generated, .*)$", report, re.MULTILINE)
    return f"{operations_in(report)} operations, {cases}"


def operations_in(report: str) -> int:
    """How many operations it was about."""
    (count,) = re.findall(r"Tested: (\d+)$", report, re.MULTILINE)
    return int(count)

"""The client that openapi-python-client generates from the OpenAPI document, checked and used."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import sys
from pathlib import Path

import msgspec
import pytest

from tests.e2e.generated_clients.commands import run
from tests.integration.http.rest.rest_stage import ALICE, SOL, Stage

HERE = Path(__file__).parent
SEED_OF_ALICE = 2


@pytest.fixture(scope="module")
def client(document: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the generated package, and the customer beside it. A warning fails the generator."""
    directory = tmp_path_factory.mktemp("python")
    (directory / "config.json").write_text('{"post_hooks": []}')
    run(
        directory,
        *(sys.executable, "-m", "openapi_python_client", "generate", "--fail-on-warning"),
        *("--path", document, "--config", "config.json", "--meta", "none", "--output-path", "zmartd_client"),
    )
    shutil.copy(HERE / "customer.py", directory)
    return directory


def test_there_is_a_class_for_every_schema_and_a_module_for_every_operation(
    client: Path, document: Path
) -> None:
    described = msgspec.json.decode(document.read_bytes())
    classes = (client / "zmartd_client" / "models" / "__init__.py").read_text()
    made = set(re.findall(r"import (\w+)$", classes, re.MULTILINE))
    schemas = described["components"]["schemas"].items()
    unions = {name for name, schema in schemas if "oneOf" in schema}
    assert unions == {"BuyRequest", "EventBody", "ProgramEvent"}
    assert {name.lower() for name, _ in schemas if name not in unions} <= {name.lower() for name in made}
    operations = [entry for item in described["paths"].values() for entry in item.values()]
    modules = {path for path in (client / "zmartd_client" / "api").glob("*/*_*.py") if path.stem[0] != "_"}
    assert len(modules) == len(operations)


def test_the_client_and_who_uses_it_pass_strict_type_checks(client: Path) -> None:
    run(client, sys.executable, "-m", "mypy", "--strict", "zmartd_client", "customer.py")


async def test_a_customer_signs_in_and_buys_with_the_client(client: Path, stage: Stage) -> None:
    market_id = await stage.active_market()
    url = str(stage.api.client.make_url("")).rstrip("/")
    seen = json.loads(
        await asyncio.to_thread(
            run, client, sys.executable, "customer.py", url, market_id, str(SEED_OF_ALICE)
        )
    )
    assert seen["markets"] == [market_id]
    assert seen["unknown"] == "market_not_found"
    assert seen["problems"] == ["limit"]
    assert seen["wallet"] == str(ALICE.pubkey())
    # Nobody else trades, so the purchase is what was estimated.
    assert seen["trades"] == [[seen["signature"], seen["estimated"], str(ALICE.pubkey())]]
    assert seen["quoted"] == seen["estimated"]
    position = await stage.position_account(market_id, ALICE)
    assert (str(position.shares_yes), position.total_invested <= SOL) == (seen["estimated"], True)

"""The numbers in the program's README are the program's."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.program.program_chain import IDL, PROGRAM
from tests.program.program_world import World
from tests.program.valid_requests import REQUESTS

README = Path(__file__).parents[2] / "programs" / "zmart_core" / "README.md"
TRY_FOR_AN_ADDRESS_UNITS = 1_500
MEASURED = {
    name: int(units.replace(",", ""))
    for name, units in re.findall(r"^\| (\w+) \| ([\d,]+) \|$", README.read_text(), re.MULTILINE)
}
SIZES = {
    name: int(size)
    for name, size in re.findall(r"^\| ([A-Z]\w+) \| (\d+) \| `", README.read_text(), re.MULTILINE)
}
MAKES_AN_ACCOUNT = {
    "initialize_global_config",
    "create_market",
    "submit_proposal_vote",
    "submit_dispute_vote",
    "buy_shares",
}


def test_the_readme_measures_every_instruction() -> None:
    assert set(MEASURED) == {instruction.name for instruction in IDL.instructions}


@pytest.mark.parametrize("name", REQUESTS)
def test_the_readme_tells_the_compute_units_of(world: World, name: str) -> None:
    request = REQUESTS[name](world)
    units = world.chain.send(request.instruction, request.signer).compute_units
    if name in MAKES_AN_ACCOUNT:
        units -= (units - MEASURED[name] + 100) // TRY_FOR_AN_ADDRESS_UNITS * TRY_FOR_AN_ADDRESS_UNITS
    assert units == pytest.approx(MEASURED[name], abs=100)


def test_the_readme_tells_the_accounts_sizes(world: World) -> None:
    request = REQUESTS["sell_shares"](world)
    config, market, position, user = (meta.pubkey for meta in request.instruction.accounts[:4])
    vote = REQUESTS["submit_proposal_vote"](world)
    world.chain.send(vote.instruction, vote.signer)
    record = vote.instruction.accounts[1].pubkey
    accounts = {
        "GlobalConfig": config,
        "MarketAccount": market,
        "UserPosition": position,
        "VoteRecord": record,
    }
    assert {name: len(world.chain.account(at).data) for name, at in accounts.items()} == SIZES
    assert position == PROGRAM.pdas.position(market, user)

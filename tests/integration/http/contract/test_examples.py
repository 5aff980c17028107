"""The examples of the OpenAPI document do what they show, in the order of a market's life."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.integration.http.contract.example_tour import WITH_BODIES, told_answers, whole_tour
from tests.integration.http.contract.recorded_examples import fields, recording
from tests.integration.http.contract.response_contract import contract
from tests.integration.http.rest.rest_stage import running_stage
from zmartd.http.openapi.examples import EXAMPLES
from zmartd.http.openapi.recorded import recorded
from zmartd.http.routes import OPERATIONS
from zmartd.store.postgres.database import Database

AGAIN = "record them again with `python -m tests.record_examples`"


def test_every_body_and_every_answer_has_an_example() -> None:
    assert set(EXAMPLES) == WITH_BODIES
    assert all(EXAMPLES.values())
    found = {(name, status) for name, by_status in recorded().answers.items() for status in by_status}
    assert found == told_answers(), AGAIN
    statuses = {body["status"] for body in recorded().errors.values()}
    assert {400, 401, 403, 404, 409, 422, 429} <= statuses


def test_every_recorded_answer_is_of_the_type_that_its_operation_declares() -> None:
    paths = {one.name: (one.method, one.path) for one in OPERATIONS}
    breaches = {
        (name, status): found
        for name, by_status in recorded().answers.items()
        for status, body in by_status.items()
        if (found := contract().breaches_of_body(*paths[name], status, body))
    }
    assert not breaches, AGAIN
    errors = {
        kind: found
        for kind, body in recorded().errors.items()
        if (found := contract().breaches_of_schema(kind, body))
    }
    assert not errors, AGAIN


async def test_every_example_is_accepted_by_a_running_api_and_answered_with_the_recorded_fields(
    database: Database, redis_url: str, tmp_path: Path
) -> None:
    async with running_stage(database, redis_url, tmp_path) as stage:
        tour = await whole_tour(stage, redis_url)
    assert tour.sent == WITH_BODIES
    today: Any = recording(tour)
    for name, by_status in recorded().answers.items():
        for status, body in by_status.items():
            assert set(fields(body)) == set(fields(today["answers"][name][str(status)])), (
                name,
                status,
                AGAIN,
            )
    assert {kind: set(fields(body)) for kind, body in recorded().errors.items()} == {
        kind: set(fields(body)) for kind, body in today["errors"].items()
    }, AGAIN

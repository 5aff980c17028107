"""The AsyncAPI document against the schema that AsyncAPI publishes for such documents."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema_rs

from tests.e2e.typescript import needs_node, node_modules_of
from zmartd.http.asyncapi.document import asyncapi

pytestmark = needs_node


def test_the_document_is_one_of_asyncapi_3() -> None:
    specification = node_modules_of(Path(__file__).parent) / "@asyncapi" / "specs" / "schemas" / "3.0.0.json"
    validator = jsonschema_rs.validator_for(json.loads(specification.read_text()))
    document = asyncapi()
    assert not list(validator.iter_errors(document))
    del document["channels"]["websocket"]["messages"]["pong"]["$ref"]
    document["operations"]["ping"]["action"] = "ask"
    assert list(validator.iter_errors(document))

from __future__ import annotations

import pytest

from tests.integration.http.rest.rest_api import Api
from zmartd.http.routes import CORS_OPERATIONS

MARKET = "ab" * 32
COMMENT = "00000000-0000-4000-8000-000000000007"
OPERATIONS = [operation for operation in CORS_OPERATIONS if operation.expects_no_body]


@pytest.mark.parametrize(
    ("body", "media_type", "status", "code"),
    [
        (b" " * 200_000, "application/json", 413, "body_too_large"),
        (b"{bad", "application/json", 400, "invalid_json"),
        (b"[]", "application/json", 400, "invalid_json"),
        (b"amount=1", "application/x-www-form-urlencoded", 415, "unsupported_media_type"),
        (b"{}", "application/json", 401, None),
        (b"", "text/plain", 401, None),
    ],
)
async def test_a_body_is_checked_also_where_none_is_asked_for(
    api: Api, body: bytes, media_type: str, status: int, code: str | None
) -> None:
    assert {operation.path for operation in OPERATIONS} >= {"/api/markets/{id}/claim", "/api/auth/logout"}
    for operation in OPERATIONS:
        of_comments = operation.path == "/api/discussions/{id}"
        path = operation.path.replace("{id}", COMMENT if of_comments else MARKET)
        answer = await api.client.request(
            operation.method, path, data=body, headers={"Content-Type": media_type}
        )
        assert answer.status == status, path
        if code is not None:
            assert (await answer.json())["code"] == code

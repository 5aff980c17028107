from __future__ import annotations

import hashlib
import json
import re

from aiohttp import ClientResponse

from tests.integration.http.rest.rest_api import Api
from tests.integration.http.served import Client
from zmartd.http.openapi.routes import SWAGGER_UI, content_security_policy
from zmartd.http.routes import OPERATIONS

BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"


async def fetch(client: Client, path: str, **headers: str) -> tuple[ClientResponse, str]:
    response = await client.get(path, headers=headers)
    return response, await response.text()


async def test_the_document_is_served_and_not_sent_twice(api: Api) -> None:
    first, text = await fetch(api.client, "/api/openapi.json")
    assert (first.status, first.content_type) == (200, "application/json")
    document = json.loads(text)
    assert document["openapi"] == "3.1.0"
    assert "(/docs/guide)" in document["info"]["description"]  # so that /docs leads there

    again, nothing = await fetch(api.client, "/api/openapi.json", **{"If-None-Match": first.headers["ETag"]})
    assert (again.status, nothing) == (304, "")
    assert again.headers["ETag"] == first.headers["ETag"]
    other, _ = await fetch(api.client, "/api/openapi.json", **{"If-None-Match": '"another"'})
    assert other.status == 200


async def test_the_websocket_is_documented_for_programs_and_people(api: Api) -> None:
    answer, text = await fetch(api.client, "/api/asyncapi.json")
    assert (answer.status, answer.content_type) == (200, "application/json")
    document = json.loads(text)
    assert document["asyncapi"] == "3.0.0"

    shown, html = await fetch(api.client, "/docs/websocket")
    assert (shown.status, shown.content_type) == (200, "text/html")
    assert shown.headers["Content-Security-Policy"] == content_security_policy(None)
    for name in re.findall(r'href="#([^"]+)"', html):
        assert f'id="{name}"' in html, name
    for path in re.findall(r'href="(/[^"]*)"', html):
        part, _ = await fetch(api.client, path, Accept=BROWSER)
        assert part.status == 200, path


async def test_the_guide_is_served_with_its_chapters_and_not_sent_twice(api: Api) -> None:
    for path in ("/docs/guide", "/docs/guide/operations"):
        shown, html = await fetch(api.client, path)
        assert (shown.status, shown.content_type, shown.charset) == (200, "text/html", "utf-8")
        assert shown.headers["Content-Security-Policy"] == content_security_policy(None)
        assert shown.headers["Cache-Control"] == "public, no-cache"
        again, nothing = await fetch(api.client, path, **{"If-None-Match": shown.headers["ETag"]})
        assert (again.status, nothing) == (304, "")
        for part in re.findall(r'href="(/[^"#]*)"', html):
            found, _ = await fetch(api.client, part, Accept=BROWSER)
            assert found.status == 200, part
    for path in ("/docs/guide/no-such-chapter", "/docs/guide/README", "/docs/guide/..%2Fsetup.cfg"):
        missing, text = await fetch(api.client, path)
        assert (missing.status, json.loads(text)["code"]) == (404, "route_not_found"), path


async def test_what_can_be_read_answers_head_as_well(api: Api) -> None:
    for path in ("/api/openapi.json", "/api/markets", "/docs", "/docs/guide/alerts", "/health"):
        full, _ = await fetch(api.client, path)
        bare = await api.client.head(path)
        assert (bare.status, await bare.read()) == (200, b"")
        assert bare.content_type == full.content_type


async def test_the_documentation_page_needs_nothing_from_elsewhere(api: Api) -> None:
    page, html = await fetch(api.client, "/docs")
    assert (page.status, page.content_type) == (200, "text/html")
    named = re.findall(r'(?:src|href)="([^"]+)"', html)
    assert named == ["data:,", "/docs/swagger-ui.css", "/docs/swagger-ui-bundle.js", "/docs/start.js"]
    for path in named[1:]:
        part, content = await fetch(api.client, path)
        assert (part.status, bool(content)) == (200, True)
    _, start = await fetch(api.client, "/docs/start.js")
    assert '"/api/openapi.json"' in start


async def test_a_browser_that_opens_the_root_gets_a_page_and_everybody_else_a_text(api: Api) -> None:
    page, html = await fetch(api.client, "/", Accept=BROWSER)
    assert (page.status, page.content_type) == (200, "text/html")
    assert page.headers["Vary"] == "Accept, Upgrade"
    assert "<title>zmartd on localnet</title>" in html
    named = set(re.findall(r'(?:src|href)="(/[^"]*)"', html))
    assert {"/docs", "/docs/guide", "/llms.txt", "/api/openapi.json", "/page/style.css"} <= named
    for path in named:
        part, content = await fetch(api.client, path)
        assert (part.status, bool(content)) == (200, True), path
    again, _ = await fetch(api.client, "/", Accept=BROWSER, **{"If-None-Match": page.headers["ETag"]})
    assert again.status == 304
    for accept in ("*/*", "application/json", "text/plain, */*"):
        other, text = await fetch(api.client, "/", Accept=accept)
        assert (other.status, other.content_type, other.headers["Vary"]) == (
            200,
            "text/plain",
            page.headers["Vary"],
        )
        for path in re.findall(r"^  (/\S+)", text, re.MULTILINE):
            found, _ = await fetch(api.client, path)
            assert found.status == (426 if path == "/ws" else 200), path
        assert {"/docs", "/llms.txt", "/api/openapi.json"} <= set(text.split())


async def test_llms_txt_is_a_text_whose_paths_exist(api: Api) -> None:
    answer, text = await fetch(api.client, "/llms.txt")
    assert (answer.status, answer.content_type, answer.charset) == (200, "text/plain", "utf-8")
    paths = {operation.path for operation in OPERATIONS}
    named = set(re.findall(r"(/(?:api|docs|ws)[a-z/{}.-]*)", text))
    assert len(named) > 20
    assert sorted(path.rstrip(".") for path in named if path.rstrip(".") not in paths) == []


async def test_the_documentation_page_lets_nothing_inline_or_foreign_run(api: Api) -> None:
    for path in ("/docs", "/"):
        page, html = await fetch(api.client, path, Accept=BROWSER)
        policy = page.headers["Content-Security-Policy"]
        assert policy == content_security_policy(None)
        assert "unsafe" not in policy
        assert "http" not in policy
        assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\bstyle=|\bon[a-z]+=", html)
    elsewhere, _ = await fetch(api.client, "/health")
    assert elsewhere.headers["Content-Security-Policy"].startswith("default-src 'none'; base-uri 'none'")


FIRST_SAFE_DOMPURIFY = (3, 4, 14)
"""With the last fix of a bypass that its release notes name; it keeps markup in descriptions from running."""


def test_swagger_ui_is_as_it_was_fetched() -> None:
    sums = (SWAGGER_UI / "SHA256SUMS").read_text().splitlines()
    recorded = {name: digest for digest, name in (line.split() for line in sums)}
    present = {file.name for file in SWAGGER_UI.iterdir()} - {"SHA256SUMS", "VERSION"}
    assert recorded.keys() == present
    for name, digest in recorded.items():
        assert hashlib.sha256((SWAGGER_UI / name).read_bytes()).hexdigest() == digest, name


def test_the_sanitizer_in_swagger_ui_has_no_known_way_around_it() -> None:
    bundle = (SWAGGER_UI / "swagger-ui-bundle.js").read_text()
    [version] = re.findall(r'DOMPurify\.version\s*=\s*"([0-9.]+)"', bundle)
    assert tuple(map(int, version.split("."))) >= FIRST_SAFE_DOMPURIFY

"""The routes of the guide, and of its style sheet."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache, partial
from pathlib import Path
from typing import Any, ClassVar, Final, Self

from aiohttp import web

from zmartd.http.errors.requests import RouteNotFound
from zmartd.http.guide.chapters import CONTENTS, PATH, chapters, path_of
from zmartd.http.kit.etags import TaggedResponse
from zmartd.http.kit.fields import Field
from zmartd.http.kit.lazy_response import LazyResponse
from zmartd.http.kit.operation import Access, Call, NonJson, Operation
from zmartd.http.kit.path_variables import PathVariable
from zmartd.http.openapi.routes import InMemory, PageFile, content_security_policy, file_operations

GUIDE: Final[web.AppKey[Mapping[str, LazyResponse]]] = web.AppKey("guide")
"""The pages of the guide by path, each made when it is first asked for."""

_HTML: Final = "text/html"

FILES: Final = (
    PageFile(
        "/page/guide.css",
        "Get the guide's style sheet",
        "text/css",
        lambda _: Path(__file__).with_name("guide.css").read_bytes(),
    ),
)


class Chapter(Field, str):
    """The name of a chapter of the guide."""

    schema: ClassVar[dict[str, Any]] = {"type": "string", "pattern": "^[a-z0-9-]{1,64}$"}

    @classmethod
    def parse(cls, raw: Any) -> Self:
        if raw not in chapters():
            raise ValueError("not a chapter")
        return cls(raw)


CHAPTER: Final = PathVariable(
    Chapter,
    "the name of a chapter",
    lambda: RouteNotFound(f"There is no such chapter; GET {PATH} lists all of them."),
)


def setup(app: web.Application) -> None:
    """Set GUIDE."""
    app[GUIDE] = _pages()


@cache
def _pages() -> Mapping[str, LazyResponse]:
    return {path_of(name): LazyResponse(partial(_response, name)) for name in (CONTENTS, *chapters())}


def _response(name: str) -> TaggedResponse:
    from zmartd.http.guide.page import page  # noqa: PLC0415 - with a parser of Markdown; many daemons show none

    response = TaggedResponse.of(page(name).encode(), f"{_HTML}; charset=utf-8")
    response.headers["Content-Security-Policy"] = content_security_policy(None)
    return response


def _made(app: web.Application, path: str) -> TaggedResponse | None:
    found = app[GUIDE].get(path)
    return None if found is None else found.made


async def guide_contents(call: Call[None]) -> web.Response:
    return (await call.app[GUIDE][PATH].get()).respond_to(call.request)


async def guide_chapter(call: Call[None]) -> web.Response:
    """The documentation for those who use the API and for those who run it, which comes with the daemon."""
    return (await call.app[GUIDE][path_of(call.path["chapter"])].get()).respond_to(call.request)


OPERATIONS: tuple[Operation[Any], ...] = (
    Operation(
        method="GET",
        path=PATH,
        handler=guide_contents,
        name="get_guide_contents",
        summary="List the chapters of the guide",
        tag="documentation",
        access=Access.PUBLIC,
        responses={200: NonJson(_HTML)},
        cache=InMemory(_made),
    ),
    Operation(
        method="GET",
        path=f"{PATH}/{{chapter}}",
        handler=guide_chapter,
        name="read_guide_chapter",
        summary="Read a chapter of the guide",
        tag="documentation",
        access=Access.PUBLIC,
        variables={"chapter": CHAPTER},
        responses={200: NonJson(_HTML)},
        errors=(RouteNotFound,),
        cache=InMemory(_made),
    ),
    *file_operations(FILES),
)
"""For pages of the daemon's own origin only."""

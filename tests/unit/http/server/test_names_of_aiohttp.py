"""The names of aiohttp that are not public and that we use. It is pinned below its next minor version."""

from __future__ import annotations

from aiohttp import web

from zmartd.http.server.connection import HttpConnection


def names_of(kind: type) -> set[str]:
    """What instances of a class have, or have room for."""
    return {name for base in kind.__mro__ for name in (*vars(base), *getattr(base, "__slots__", ()))}


def test_a_connection_has_what_filters_and_timeouts_read() -> None:
    used = {"_close", "_current_request", "_force_close", "_loop", "_message_tail", "_messages", "_parser"}
    used |= {"_request_count", "finish_response", "set_parser", "shutdown"}
    assert used <= names_of(HttpConnection.__bases__[0])


async def test_a_runner_makes_its_server_as_ours_does() -> None:
    runner = web.AppRunner(web.Application())
    server = await runner._make_server()
    assert {"_kwargs", "_loop", "request_factory"} <= vars(server).keys()
    assert runner._app is runner.app


def test_a_request_knows_where_it_was_routed_to() -> None:
    assert "_match_info" in names_of(web.Request)

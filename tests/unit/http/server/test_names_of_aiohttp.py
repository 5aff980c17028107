"""The names of aiohttp that are not public and that we use. It is pinned below its next minor version."""

from __future__ import annotations

from aiohttp import web

from zmartd.http.server.connection import HttpConnection
from zmartd.http.server.hand_over import can_hand_over


def names_of(kind: type) -> set[str]:
    """What instances of a class have, or have room for."""
    return {name for base in kind.__mro__ for name in (*vars(base), *getattr(base, "__slots__", ()))}


def test_a_connection_has_what_filters_and_timeouts_read() -> None:
    used = {"_close", "_current_request", "_force_close", "_loop", "_messages", "_parser"}
    used |= {"_request_count", "finish_response", "set_parser", "shutdown"}
    assert used <= names_of(HttpConnection.__bases__[0])


def test_connections_are_handed_over_by_this_aiohttp() -> None:
    assert can_hand_over()


def test_they_stay_where_they_are_with_an_aiohttp_whose_inside_is_not_known() -> None:
    class Other:
        __slots__ = ("transport",)

    assert not can_hand_over(version="3.15.0")
    assert not can_hand_over(handler=Other)


async def test_a_runner_makes_its_server_as_ours_does() -> None:
    runner = web.AppRunner(web.Application())
    server = await runner._make_server()
    assert {"_kwargs", "_loop", "request_factory"} <= vars(server).keys()
    assert runner._app is runner.app


def test_a_request_knows_where_it_was_routed_to() -> None:
    assert "_match_info" in names_of(web.Request)

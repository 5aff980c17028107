"""The header Expect: `100-continue` is honoured, anything else is refused."""

from __future__ import annotations

from aiohttp import HttpVersion11, hdrs, web

from zmartd.http.errors.requests import InvalidHttp

_CONTINUE = "100-continue"


async def send_continue(request: web.Request) -> None:
    """Send 100 Continue if the request expects it; an `expect_handler` of aiohttp."""
    if request.version == HttpVersion11 and request.headers[hdrs.EXPECT].lower() == _CONTINUE:
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0  # the response itself has not begun


def require_known_expectation(request: web.Request) -> None:
    """Raises InvalidHttp for any expectation but 100-continue."""
    expected = request.headers.get(hdrs.EXPECT)
    if expected and request.version == HttpVersion11 and expected.lower() != _CONTINUE:
        raise InvalidHttp("Send no Expect header, or `Expect: 100-continue`.")

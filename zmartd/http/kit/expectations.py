"""`Expect: 100-continue`, and expectations that nobody can meet."""

from __future__ import annotations

from aiohttp import HttpVersion11, hdrs, web

from zmartd.http.errors.requests import InvalidHttp

_CONTINUE = "100-continue"


async def accept_expectation(request: web.Request) -> None:
    """Tell who waits for it to send its body. What else it expects, `require_known_expectation` refuses."""
    if request.version == HttpVersion11 and request.headers[hdrs.EXPECT].lower() == _CONTINUE:
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0  # the answer has not begun


def require_known_expectation(request: web.Request) -> None:
    """Raises InvalidHttp."""
    expected = request.headers.get(hdrs.EXPECT)
    if expected and request.version == HttpVersion11 and expected.lower() != _CONTINUE:
        raise InvalidHttp("The only expectation that a request may have is 100-continue.")

"""Errors as bytes, for connections that have no request to be answered."""

from __future__ import annotations

from http import HTTPStatus

from aiohttp import hdrs
from multidict import CIMultiDict

from zmartd.errors import ZmartdError
from zmartd.http.errors.requests import RETRY_AFTER_SECONDS
from zmartd.http.errors.statuses import body_of
from zmartd.http.kit.codec import encoded
from zmartd.http.middleware import access_log
from zmartd.http.middleware.security_headers import secure


def raw_answer(error: ZmartdError, request_id: str) -> bytes:
    """A whole HTTP/1.1 answer, after which the connection is closed."""
    body = body_of(error, request_id)
    content = encoded(body)
    headers: CIMultiDict[str] = CIMultiDict(
        {
            hdrs.CONTENT_TYPE: "application/json",
            hdrs.CONTENT_LENGTH: str(len(content)),
            hdrs.CONNECTION: "close",
            access_log.HEADER: request_id,
        }
    )
    if body.status == HTTPStatus.SERVICE_UNAVAILABLE:
        headers[hdrs.RETRY_AFTER] = str(RETRY_AFTER_SECONDS)
    secure(headers)
    lines = [f"HTTP/1.1 {body.status} {HTTPStatus(body.status).phrase}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + content

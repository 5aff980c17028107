"""Exports: the rows of a list as CSV or as JSON Lines, for clients whose Accept prefers one of these to JSON.

Rows are read in batches while the client reads them, so an export takes little memory and no connection of
the database for as long as the client is slow. The key of its last row is known before the first is sent:
`X-Next-Cursor` and `Link` lead to the next export. If the rows cannot be read to the end, the connection is
closed before the end of the response, so that no client takes a part for the whole.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec
from aiohttp import hdrs, web
from msgspec import Struct

from zmartd.errors import ZmartdError
from zmartd.http.kit.accept import preferred_type
from zmartd.http.kit.operation import ExportedRows
from zmartd.http.kit.pagination import next_page_headers
from zmartd.log import get_logger

CSV: Final = "text/csv"
JSON_LINES: Final = "application/x-ndjson"
VARY: Final = "Origin, Authorization, Accept"
"""Of responses, in JSON as well, that are also exported."""

_OFFERED = ("application/json", CSV, JSON_LINES)
_PARAMETERS = {CSV: "charset=utf-8; header=present", JSON_LINES: "charset=utf-8"}
_NUMBER = re.compile(r"-?[0-9]+(?:\.[0-9]+)?(?:e-?[0-9]+)?")
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""What makes spreadsheets take a text for a formula (OWASP, CSV Injection)."""

_ENCODER = msgspec.json.Encoder()

log = get_logger(__name__)


def export_type(request: web.Request) -> str | None:
    """CSV or JSON_LINES where the request prefers one of them; None for JSON."""
    accept = request.headers.get(hdrs.ACCEPT)
    chosen = None if accept is None else preferred_type(accept, _OFFERED)
    return chosen if chosen in _PARAMETERS else None


def export_response(
    request: web.Request, media_type: str, row: type[Struct], rows: ExportedRows
) -> web.Response:
    """The response with `rows`, of type `row`, as a CSV or JSON_LINES."""
    chunks = _csv(row, rows.batches) if media_type == CSV else _json_lines(rows.batches)
    headers = {
        hdrs.CONTENT_TYPE: f"{media_type}; {_PARAMETERS[media_type]}",
        hdrs.VARY: VARY,
        **next_page_headers(request, rows.next_key),
    }
    return web.Response(body=_until_failure(request.path, chunks), headers=headers)


async def _until_failure(path: str, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """`chunks`; what cannot be read raises ConnectionResetError, so that aiohttp closes the connection."""
    try:
        async for chunk in chunks:
            yield chunk
    except ZmartdError as error:
        log.warning("http.export_broken_off", path=path, code=error.code, reason=error.message)
        raise ConnectionResetError from error
    except Exception as error:
        log.exception("http.export_broken_off", path=path)
        raise ConnectionResetError from error


async def _json_lines(batches: AsyncIterator[Sequence[Struct]]) -> AsyncIterator[bytes]:
    async for batch in batches:
        yield _ENCODER.encode_lines(batch)


async def _csv(row: type[Struct], batches: AsyncIterator[Sequence[Struct]]) -> AsyncIterator[bytes]:
    """RFC 4180: a line with the names of the columns, then one for each row, all ended by CRLF."""
    columns = tuple(csv_columns(row))
    yield _lines([["_".join(path) for path in columns]])
    async for batch in batches:
        yield _lines(_cells(msgspec.to_builtins(one), columns) for one in batch)


def csv_columns(row: type[Struct]) -> Iterator[tuple[str, ...]]:
    """The columns of `row`, each as the path of a value in its JSON: a field, or a field in a struct."""
    for field in msgspec.structs.fields(row):
        if isinstance(field.type, type) and issubclass(field.type, Struct):
            yield from ((field.encode_name, *path) for path in csv_columns(field.type))
        else:
            yield (field.encode_name,)


def _lines(rows: Any) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text).writerows(rows)
    return text.getvalue().encode()


def _cells(values: Mapping[str, Any], columns: Sequence[tuple[str, ...]]) -> list[str]:
    cells = []
    for path in columns:
        value: Any = values
        for name in path:
            value = value[name]
        cells.append(csv_cell(value))
    return cells


def csv_cell(value: object) -> str:
    """A value as a cell: null is empty. A text that a spreadsheet would run as a formula begins with `'`."""
    match value:
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case int() | float():
            return str(value)
        case str():
            is_formula = value.startswith(_FORMULA) and not _NUMBER.fullmatch(value)
            return f"'{value}" if is_formula else value
    raise TypeError(f"{type(value).__name__} is no value of a cell")

"""Structured logs: one JSON object (or one readable line) per event, named by its dotted `action`."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, Literal, TextIO

import msgspec
import structlog

Level = Literal["debug", "info", "warning", "error"]
Format = Literal["json", "console"]

CURRENT_REQUEST_ID: ContextVar[str] = ContextVar("request_id")
"""The id of the request that is being answered, which every line carries that is logged meanwhile."""


def configure(level: Level, fmt: Format, stream: TextIO | None = None) -> None:
    """Send every log line, the standard library's included, to `stream` (default: stderr)."""
    out = stream or sys.stderr
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        add_request_id,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    renderer: list[structlog.typing.Processor]
    if fmt == "json":
        renderer = [
            structlog.processors.ExceptionRenderer(
                structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
            ),
            structlog.processors.EventRenamer("action"),
            structlog.processors.JSONRenderer(_encode),
        ]
    else:
        # Plain tracebacks: the pretty ones show local variables, and a secret can be one.
        renderer = [
            structlog.dev.ConsoleRenderer(
                colors=out.isatty(), exception_formatter=structlog.dev.plain_traceback
            )
        ]
    structlog.configure(
        processors=[*shared, *renderer],
        # A line below the level costs a call of a method that does nothing.
        wrapper_class=structlog.make_filtering_bound_logger(level),
        # Our own lines do not pass through the standard library, which takes three times as long.
        logger_factory=lambda name=__name__: _Lines(name, out),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(out)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderer],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for chatty in ("httpx", "httpcore", "asyncio", "aiohttp.access"):
        logging.getLogger(chatty).setLevel("WARNING")


class _Lines:
    """Writes the lines of the logger `name`. One that cannot be written is lost, and nothing else."""

    def __init__(self, name: str, stream: TextIO) -> None:
        self.name = name
        self._stream = stream

    def info(self, line: str) -> None:
        try:
            self._stream.write(line + "\n")
            self._stream.flush()
        except (OSError, ValueError):
            return

    debug = warning = error = critical = info


def _encode(event: structlog.typing.EventDict, default: Callable[[Any], Any]) -> str:
    try:
        return msgspec.json.encode(event, enc_hook=default).decode()
    except (TypeError, ValueError, OverflowError):
        return json.dumps(event, default=default)  # what a caller sent may be no proper text


def add_request_id(
    _logger: object, _method: str, event: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    """The structlog processor that puts the id on a line."""
    request_id = CURRENT_REQUEST_ID.get(None)
    if request_id is not None:
        event["request_id"] = request_id
    return event


def get_logger(name: str) -> structlog.stdlib.BoundLogger:
    """A logger whose first argument is the dotted action: `log.info("inbox.parked", signature=...)`."""
    logger: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(name)
    return logger

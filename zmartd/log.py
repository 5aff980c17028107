"""Structured logs: one JSON object (or one readable line) per event, named by its dotted `action`."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Sequence
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any, Literal, Protocol

import msgspec
import structlog
from msgspec import Struct
from structlog.typing import EventDict

Level = Literal["debug", "info", "warning", "error"]
Format = Literal["json", "console"]

CURRENT_REQUEST_ID: ContextVar[str] = ContextVar("request_id")
"""The id of the present request, which every line that is logged meanwhile contains."""

_ENCODER = msgspec.json.Encoder(enc_hook=repr)


class LogStream(Protocol):
    """Where lines are written to: a text stream, or what is written in the background."""

    def write(self, text: str, /) -> int: ...

    def flush(self) -> None: ...

    def isatty(self) -> bool: ...


def configure(level: Level, fmt: Format, stream: LogStream | None = None) -> None:
    """Send every log line, also the standard library's, to `stream` (default: stderr)."""
    out = _Output(stream or sys.stderr, takes_encoded=fmt == "json" and level in ("debug", "info"))
    shared: list[structlog.typing.Processor] = [structlog.contextvars.merge_contextvars, describe]
    renderer: list[structlog.typing.Processor]
    if fmt == "json":
        renderer = [
            structlog.processors.ExceptionRenderer(
                structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
            ),
            _json_line,
        ]
    else:
        # Plain tracebacks, since the pretty ones show local variables, which may be secrets.
        renderer = [
            structlog.dev.ConsoleRenderer(
                colors=out.stream.isatty(), exception_formatter=structlog.dev.plain_traceback
            )
        ]
    structlog.configure(
        processors=[*shared, *renderer],
        # A line below the level costs only the call of a method that does nothing.
        wrapper_class=structlog.make_filtering_bound_logger(level),
        # Our own lines bypass the standard library, which takes three times as long.
        logger_factory=out,
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(out.stream)
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
    # Its only warning contains the protocol names of a client's handshake, which may have kilobytes.
    logging.getLogger("aiohttp.websocket").setLevel("ERROR")


def reconfigure(level: Level, fmt: Format) -> None:
    """Go on writing to the same stream, in another way."""
    out = structlog.get_config()["logger_factory"]
    configure(level, fmt, out.stream if isinstance(out, _Output) else None)


def write_lines(logger: str, lines: Sequence[Struct]) -> None:
    """Write many lines at level info at once, which costs little more than one.

    Each is a struct of its fields, `action` among them, with the fields that `describe` adds to other lines.
    """
    out = structlog.get_config()["logger_factory"]
    if isinstance(out, _Output) and out.takes_encoded:
        try:
            out.write(_ENCODER.encode_lines(lines).decode().removesuffix("\n"))
        except ValueError:  # one of them contains a lone surrogate
            out.write("\n".join(map(_encoded, lines)))
        return
    write = get_logger(logger).info
    for line in lines:
        fields = msgspec.structs.asdict(line)
        write(fields.pop("action"), **fields)


class _Output:
    """The output, and the factory of its loggers. `takes_encoded`: it takes JSON at level info."""

    def __init__(self, stream: LogStream, *, takes_encoded: bool) -> None:
        self.stream = stream
        self.takes_encoded = takes_encoded

    def __call__(self, name: str = __name__) -> _Lines:
        return _Lines(name, self)

    def write(self, text: str) -> None:
        """Write one line or several. Lines that cannot be written are lost."""
        try:
            self.stream.write(text + "\n")
            self.stream.flush()
        except (OSError, ValueError):
            return


class _Lines:
    """A logger with the name `name`."""

    def __init__(self, name: str, out: _Output) -> None:
        self.name = name
        self.debug = self.info = self.warning = self.error = self.critical = out.write


def describe(logger: Any, method: str, event: EventDict) -> EventDict:
    """The structlog processor that adds level, logger, request id and timestamp to each line.

    A line that is written later than it was made has its own timestamp and request id.
    """
    event["level"] = "warning" if method == "warn" else "error" if method == "exception" else method
    record = event.get("_record")  # set for lines of the standard library
    event["logger"] = getattr(logger if record is None else record, "name", None)
    if "request_id" not in event:
        request_id = CURRENT_REQUEST_ID.get(None)
        if request_id is not None:
            event["request_id"] = request_id
    state = _sql_state(event.get("exc_info"))
    if state is not None:
        event["sqlstate"] = state
    if "timestamp" not in event:
        event["timestamp"] = datetime.now(UTC)
    return event


def _sql_state(error: object) -> str | None:
    """What an error of Postgres is, in the same words whatever its language."""
    cause = sys.exception() if error is True else error
    while isinstance(cause, BaseException):
        state = getattr(cause, "sqlstate", None)
        if isinstance(state, str):
            return state
        cause = cause.__cause__ or cause.__context__
    return None


def _json_line(_logger: object, _method: str, event: EventDict) -> str:
    return _encoded({"action": event.pop("event"), **event})


def _encoded(line: Struct | EventDict) -> str:
    try:
        return _ENCODER.encode(line).decode()
    except (TypeError, ValueError, OverflowError):  # msgspec refuses lone surrogates, which callers can send
        fields = msgspec.structs.asdict(line) if isinstance(line, Struct) else line
        return json.dumps(fields, default=str)


def get_logger(name: str) -> structlog.stdlib.BoundLogger:
    """A logger whose first argument is the dotted action: `log.info("inbox.parked", signature=...)`."""
    logger: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(name)
    return logger

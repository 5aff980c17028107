"""Makes the AsyncAPI 3 document from the types that encode frames and decode clients' messages."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from zmartd import __version__
from zmartd.config import ServerSettings
from zmartd.errors import ZmartdError
from zmartd.http.openapi.declared_errors import told_kinds
from zmartd.http.openapi.schemas import Json, Schemas
from zmartd.http.ws.actions import ACTIONS, ANY_MESSAGE, UNASKED, Action
from zmartd.realtime.close_codes import CloseCode
from zmartd.realtime.frame_kinds import FRAME_KINDS, FrameKind, Presence
from zmartd.realtime.frames import Envelope

_DEFAULTS = ServerSettings()
_CHANNEL = "websocket"
_ADDRESS = "/ws"

_DESCRIPTION = """\
What a prediction market on Solana tells as it happens: prices, trades, votes, comments and states of markets.

* Every frame is one JSON object with a `type`, and `data` of that type. Ignore fields and types that you do
  not know.
* Amounts are decimal strings: lamports, or shares with nine decimals. Prices are numbers from 0 to 1, in SOL
  a share. Times are ISO 8601, UTC, with milliseconds.
* Sign in with the header `Authorization: Bearer <token>`, with `?token=`, or on the open connection with the
  action `auth`. Then the channel `user` has what is for the wallet alone: `fill`, `claim`, `position` and
  `transaction`. Anonymous clients see wallets shortened.
* Everything that is told of a market or a wallet is numbered without gaps: `seq`, in an `epoch`. `since` in a
  subscription resumes, after a frame or after an answer of the REST API, whose `stream_position` and header
  `Stream-Position` are the same position as one text.
* Who is subscribed to something gets a `beat` at least every five seconds. Without one for ten seconds the
  connection is dead: connect again and resume.
* A frame with `commitment` `confirmed` may still be taken back by a fork: `retracted` says so, and a frame
  `commitment` says what no fork can take any more.
* A message with an unknown action or key does nothing: an `error` frame names it, and the nearest right
  name.

`GET /api/stream` sends the same frames as Server-Sent Events, and takes no messages.

`docs/frames.md` in the repository says what a client has to do so that its lists equal those of the REST API.
The operations of the REST API are in `/api/openapi.json`.
"""


def asyncapi() -> Json:
    """The document. Raises ValueError where two types have the same name."""
    schemas = Schemas(
        [action.message for action in ACTIONS.values()], [kind.data for kind in FRAME_KINDS.values()]
    )
    around = Schemas([], [Envelope]).components[Envelope.__name__]["properties"]
    frames = {name: _frame(name, kind, around, schemas) for name, kind in FRAME_KINDS.items()}
    messages = {f"{name}_message": _message(name, action, schemas) for name, action in ACTIONS.items()}
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "zmartd",
            "version": __version__,
            "description": _DESCRIPTION,
            "license": {"name": "MIT"},
        },
        "defaultContentType": "application/json",
        "servers": {
            "daemon": {
                "host": "{host}",
                "protocol": "wss",
                "description": "The host of the REST API.",
                "variables": {"host": {"default": f"{_DEFAULTS.host}:{_DEFAULTS.port}"}},
            }
        },
        "channels": {
            _CHANNEL: {
                "address": _ADDRESS,
                "title": "The WebSocket",
                "description": _close_codes(),
                "messages": {
                    name: {"$ref": f"#/components/messages/{name}"} for name in (*frames, *messages)
                },
                "bindings": {
                    "ws": {
                        "method": "GET",
                        "query": {
                            "type": "object",
                            "properties": {
                                "token": {
                                    "type": "string",
                                    "description": "a session's token, for clients that cannot send headers",
                                }
                            },
                        },
                    }
                },
                "x-close-codes": {
                    str(code.value): {"name": code.name, "description": code.meaning} for code in CloseCode
                },
            }
        },
        "operations": {
            **{name: _operation(name, action) for name, action in ACTIONS.items()},
            "push": {
                "action": "send",
                "channel": {"$ref": f"#/channels/{_CHANNEL}"},
                "summary": "What the daemon sends by itself.",
                "messages": [_in_channel(name) for name, kind in FRAME_KINDS.items() if kind.is_pushed],
                "x-errors": _errors(UNASKED),
            },
        },
        "components": {"schemas": schemas.components, "messages": {**frames, **messages}},
    }


def _frame(name: str, kind: FrameKind, around: Mapping[str, Json], schemas: Schemas) -> Json:
    presence = {field: getattr(kind, field, Presence.ALWAYS) for field in around}
    properties: Json = {
        field: schema for field, schema in around.items() if presence[field] is not Presence.NEVER
    }
    properties |= {"type": {"const": kind.name}, "data": schemas.of(kind.data)}
    required = [field for field in around if presence[field] is Presence.ALWAYS]
    return {
        "name": name,
        "title": kind.name,
        "summary": kind.summary,
        "payload": {"type": "object", "properties": properties, "required": [*required, "data"]},
    }


def _message(name: str, action: Action, schemas: Schemas) -> Json:
    payload: Json = dict(schemas.components[action.message.__name__])
    payload["properties"] = {**payload["properties"], "action": {"const": name}}
    payload["required"] = ["action", *payload.get("required", ())]
    return {"name": f"{name}_message", "title": name, "summary": action.summary, "payload": payload}


def _operation(name: str, action: Action) -> Json:
    operation: Json = {
        "action": "receive",
        "channel": {"$ref": f"#/channels/{_CHANNEL}"},
        "summary": action.summary,
        "messages": [_in_channel(f"{name}_message")],
    }
    if action.answers:
        operation["reply"] = {
            "channel": {"$ref": f"#/channels/{_CHANNEL}"},
            "messages": [_in_channel(answer) for answer in (*action.answers, "error")],
        }
    operation["x-errors"] = _errors((*ANY_MESSAGE, *action.errors))
    return operation


def _errors(kinds: Iterable[type[ZmartdError]]) -> Json:
    """The codes that an `error` frame may have, with what they mean."""
    return {kind.code: kind.meaning() for kind in sorted(told_kinds(kinds), key=lambda kind: kind.code)}


def _close_codes() -> str:
    lines = "\n".join(f"* {code.value}: {code.meaning}" for code in CloseCode)
    return f"The codes with which the daemon closes a connection:\n\n{lines}\n"


def _in_channel(message: str) -> Json:
    return {"$ref": f"#/channels/{_CHANNEL}/messages/{message}"}

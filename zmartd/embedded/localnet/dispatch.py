"""JSON-RPC 2.0: decodes requests, calls methods from a table, and encodes responses."""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import msgspec
import orjson

from zmartd.embedded.localnet.errors import (
    InternalError,
    InvalidParams,
    InvalidRequest,
    MethodNotFound,
    ParseError,
    RpcError,
)
from zmartd.embedded.localnet.params import convert
from zmartd.log import get_logger

MAX_BATCH = 100

log = get_logger(__name__)


class Method:
    """A function as a JSON-RPC method: its annotations are the types of the parameters.

    A parameter that is left out or null has the function's default, or is an empty configuration object where
    its type allows one.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function
        self._parameters, self._defaults = _signature(getattr(function, "__func__", function))
        self._required = len(self._parameters) - len(self._defaults)

    def __call__(self, params: list[Any]) -> Any:
        """Raises InvalidParams when there are too few, too many, or one has another type."""
        if len(params) < self._required:
            raise InvalidParams(
                f"`params` should have at least {self._required} argument(s)"
                f" ({', '.join(name for name, _ in self._parameters)})"
            )
        if len(params) > len(self._parameters):
            raise InvalidParams(f"`params` should have at most {len(self._parameters)} argument(s)")
        arguments = {
            name: convert(name, value, wanted)
            for value, (name, wanted) in zip(params, self._parameters, strict=False)
            if value is not None or name not in self._defaults
        }
        return self._function(**self._defaults | arguments)


class Dispatcher:
    """The methods of one caller of HTTP, or of one WebSocket connection."""

    def __init__(self, functions: Mapping[str, Callable[..., Any]]) -> None:
        self._methods = types.MappingProxyType({name: Method(f) for name, f in functions.items()})

    def respond(self, body: bytes | str) -> bytes | None:
        """The response to a request or a batch; None when it contains only notifications."""
        try:
            request = _parsed(body)
        except ParseError as error:
            return msgspec.json.encode(_failure(None, error))
        if not isinstance(request, list):
            response = self._respond_to(request)
            return None if response is None else msgspec.json.encode(response)
        if not request or len(request) > MAX_BATCH:
            return msgspec.json.encode(
                _failure(
                    None, InvalidRequest(f"a batch has 1 to {MAX_BATCH} requests, this one {len(request)}")
                )
            )
        responses = [response for one in request if (response := self._respond_to(one)) is not None]
        return msgspec.json.encode(responses) if responses else None

    def _respond_to(self, request: Any) -> dict[str, Any] | None:
        if not isinstance(request, dict):
            return _failure(None, InvalidRequest())
        request_id = request.get("id")
        if not isinstance(request_id, str | int | float | None):
            return _failure(None, InvalidRequest())
        try:
            result = self._call(request)
        except RpcError as error:
            is_answered = "id" in request or isinstance(error, InvalidRequest)
            return _failure(request_id, error) if is_answered else None
        return {"jsonrpc": "2.0", "result": result, "id": request_id} if "id" in request else None

    def _call(self, request: dict[str, Any]) -> Any:
        name = request.get("method")
        params = request.get("params")
        if request.get("jsonrpc") != "2.0" or not isinstance(name, str):
            raise InvalidRequest
        method = self._methods.get(name)
        if method is None:
            raise MethodNotFound
        if params is None:
            params = []
        if not isinstance(params, list):
            raise InvalidParams("Invalid params: expected an array.")
        try:
            return method(params)
        except (RpcError, MemoryError):
            raise
        except Exception as error:
            log.exception("localnet.method_failed", method=name)
            raise InternalError from error


def called_methods(body: bytes) -> frozenset[str]:
    """The method names in a request or batch, valid or not."""
    try:
        request = _parsed(body)
    except ParseError:
        return frozenset()
    requests = request if isinstance(request, list) else [request]
    names = (one.get("method") for one in requests if isinstance(one, dict))
    return frozenset(name for name in names if isinstance(name, str))


def refusal(body: bytes, error: RpcError) -> bytes:
    """The response with the same error for every request in the body."""
    request = _parsed(body)
    if isinstance(request, list):
        return msgspec.json.encode([_failure(_id(one), error) for one in request])
    return msgspec.json.encode(_failure(_id(request), error))


def _parsed(body: bytes | str) -> Any:
    """A request as plain objects. Raises ParseError.

    orjson reads an integer above 2**64 - 1 as a float, which no integer parameter accepts. msgspec reads
    integers of any size, and its bounds end at 2**63 - 1.
    """
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise ParseError from error


def _id(request: Any) -> Any:
    return request.get("id") if isinstance(request, dict) else None


@cache
def _signature(function: Callable[..., Any]) -> tuple[list[tuple[str, Any]], dict[str, Any]]:
    """The parameters and their types, without a method's own, and the values of those that may be left out.

    Kept, since the methods of each WebSocket connection are those of one class.
    """
    hints = typing.get_type_hints(function, include_extras=True)
    parameters = {name: one for name, one in inspect.signature(function).parameters.items() if name in hints}
    defaults = {
        name: default
        for name, parameter in parameters.items()
        if (default := _default(parameter, hints[name])) is not inspect.Parameter.empty
    }
    return [(name, hints[name]) for name in parameters], defaults


def _default(parameter: inspect.Parameter, wanted: Any) -> Any:
    """The value of a parameter that is left out; `Parameter.empty` when it is required."""
    if parameter.default is not inspect.Parameter.empty:
        return parameter.default
    if isinstance(wanted, type) and issubclass(wanted, msgspec.Struct):
        try:
            return msgspec.convert({}, wanted)
        except msgspec.ValidationError:
            pass
    return inspect.Parameter.empty


def _failure(request_id: Any, error: RpcError) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "error": error.as_json(), "id": request_id}

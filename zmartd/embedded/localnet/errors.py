"""The JSON-RPC errors of a Solana node: their codes, messages and data."""

from __future__ import annotations

from typing import Any, ClassVar

from zmartd.errors import ZmartdError


class RpcError(ZmartdError):
    """The node could not process the request."""

    code = "localnet_rpc_error"
    rpc_code: ClassVar[int] = -32603

    def __init__(self, message: str | None = None, data: Any = None) -> None:
        super().__init__(message)
        self.data = data

    def as_json(self) -> dict[str, Any]:
        """The `error` member of a response."""
        body = {"code": self.rpc_code, "message": self.message}
        return body if self.data is None else body | {"data": self.data}


class InternalError(RpcError):
    """Internal error"""

    rpc_code = -32603


class ParseError(RpcError):
    """Parse error"""

    rpc_code = -32700


class InvalidRequest(RpcError):
    """Invalid Request"""

    rpc_code = -32600


class MethodNotFound(RpcError):
    """Method not found"""

    rpc_code = -32601


class InvalidParams(RpcError):
    """Invalid params"""

    rpc_code = -32602


class PreflightFailure(RpcError):
    """Transaction simulation failed"""

    rpc_code = -32002


class SignatureVerificationFailure(RpcError):
    """Transaction signature verification failure"""

    rpc_code = -32003


class BlockNotAvailable(RpcError):
    """Block not available for slot"""

    rpc_code = -32004


class NodeUnhealthy(RpcError):
    """Node is unhealthy"""

    rpc_code = -32005


class SlotSkipped(RpcError):
    """Slot was skipped, or missing due to ledger jump to recent snapshot"""

    rpc_code = -32007

    @classmethod
    def of(cls, slot: int) -> SlotSkipped:
        return cls(f"Slot {slot} was skipped, or missing due to ledger jump to recent snapshot")


class NoSnapshot(RpcError):
    """No snapshot"""

    rpc_code = -32008


class UnsupportedTransactionVersion(RpcError):
    """Transaction version is not supported by the requesting client"""

    rpc_code = -32015

    def __init__(self, version: int) -> None:
        self.version = version
        super().__init__(
            f"Transaction version ({version}) is not supported by the requesting client. "
            "Please try the request again with the following configuration parameter: "
            f'"maxSupportedTransactionVersion": {version}'
        )


class MinContextSlotNotReached(RpcError):
    """Minimum context slot has not been reached"""

    rpc_code = -32016

    def __init__(self, context_slot: int) -> None:
        super().__init__(None, {"contextSlot": context_slot})

"""The base class of every error that zmartd raises on purpose."""

from __future__ import annotations

from typing import Any, ClassVar


class ZmartdError(Exception):
    """Something went wrong inside zmartd."""

    code: ClassVar[str] = "internal_error"
    """A stable snake_case name that clients may depend on."""

    def __init__(self, message: str | None = None, **details: Any) -> None:
        """`message` defaults to `meaning()`; `details` are JSON-serialisable facts for the caller."""
        self.message = message or self.meaning()
        self.details = details
        super().__init__(self.message)

    @classmethod
    def meaning(cls) -> str:
        """The class docstring as one line."""
        return " ".join((cls.__doc__ or cls.__name__).split())


class OutcomeUnknown(ZmartdError):
    """It is not known whether this was done: the connection was lost before the answer came."""

    code = "outcome_unknown"

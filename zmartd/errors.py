"""The root of every error that zmartd raises on purpose."""

from __future__ import annotations

from typing import Any, ClassVar


class ZmartdError(Exception):
    """Something went wrong inside zmartd."""

    code: ClassVar[str] = "internal_error"
    """Stable snake_case name that clients may depend on."""

    def __init__(self, message: str | None = None, **details: Any) -> None:
        """`message` defaults to the meaning; `details` are JSON-serialisable facts for the caller."""
        self.message = message or self.meaning()
        self.details = details
        super().__init__(self.message)

    @classmethod
    def meaning(cls) -> str:
        """The class docstring as a message: one line, wherever the source breaks it."""
        return " ".join((cls.__doc__ or cls.__name__).split())

"""The root of every error that zmartd raises on purpose."""

from __future__ import annotations

import inspect
from typing import Any, ClassVar


class ZmartdError(Exception):
    """Something went wrong inside zmartd."""

    code: ClassVar[str] = "internal_error"
    """Stable snake_case name that clients may depend on."""

    def __init__(self, message: str | None = None, **details: Any) -> None:
        """`message` defaults to the class docstring; `details` are JSON-serialisable facts for the caller."""
        self.message = message or inspect.cleandoc(type(self).__doc__ or type(self).__name__)
        self.details = details
        super().__init__(self.message)

"""The base classes of every error that zmartd raises on purpose."""

from __future__ import annotations

from typing import Any, ClassVar, Generic, TypeVar, get_args, get_origin

from msgspec import Struct

Details = TypeVar("Details", bound=Struct | tuple[Struct, ...])


class ZmartdError(Exception):
    """Something went wrong inside zmartd."""

    code: ClassVar[str] = "internal_error"
    """A stable snake_case name that clients may depend on."""

    def __init__(self, message: str | None = None) -> None:
        """`message` defaults to `meaning()`."""
        self.message = message or self.meaning()
        super().__init__(self.message)

    @classmethod
    def meaning(cls) -> str:
        """The class docstring as one line."""
        return " ".join((cls.__doc__ or cls.__name__).split())


class DetailedError(ZmartdError, Generic[Details]):
    """An error with facts for programs: a subclass names their type, and cannot be raised with others."""

    def __init__(self, details: Details, message: str | None = None) -> None:
        super().__init__(message)
        self.details = details


def details_type(kind: type[ZmartdError]) -> Any:
    """The type of the details of `kind`, a struct or a tuple of structs; None where it has none."""
    for parent in kind.__mro__:
        for base in parent.__dict__.get("__orig_bases__", ()):
            if get_origin(base) is DetailedError:
                (declared,) = get_args(base)
                return declared
    return None


class OutcomeUnknown(ZmartdError):
    """It is not known whether this was done: the connection was lost before the answer came."""

    code = "outcome_unknown"


class RetryDetails(Struct, frozen=True):
    """When a request may be sent again."""

    retry_after_seconds: int
    """Seconds to wait, as Retry-After says."""


class AboutMarket(Struct, frozen=True):
    """The market that an error is about."""

    market_id: str
    """The market's id, 64 hexadecimal digits."""

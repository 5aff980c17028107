"""Requests of which some fields exclude each other."""

from __future__ import annotations

from msgspec import Struct


class Form(Struct, frozen=True):
    """One form of a request whose class attribute `FORMS` lists them: a request has exactly one of them.

    In the OpenAPI document the request is the union of its forms, because generators of clients
    understand that. The handler checks it.
    """

    name: str
    """Of the schema."""
    meaning: str
    """The schema's description, one or more sentences."""
    requires: str
    """The optional field that a request of this form has."""
    excludes: tuple[str, ...]
    """The fields that it does not have."""

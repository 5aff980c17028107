"""Why a transaction failed, in words."""

from __future__ import annotations

from msgspec import Struct


class ProgramFailure(Struct, frozen=True):
    """One reason: `code` is the program's error number where it gave one, `name` is stable."""

    code: int | None
    name: str
    message: str
    instruction_index: int | None

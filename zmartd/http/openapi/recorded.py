"""Recorded examples of answers: what a real system answered to the examples of bodies and to every read.

`python -m tests.record_examples` writes the file anew, and a test compares its fields with today's answers.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final

import msgspec
from msgspec import Struct

FILE: Final = Path(__file__).with_name("recorded.json")


class Recorded(Struct, frozen=True):
    """Bodies as they were answered."""

    answers: Mapping[str, Mapping[int, Any]]
    """Of operations, by name and status."""
    errors: Mapping[str, Any]
    """Of errors, by the name of their class."""


@cache
def recorded() -> Recorded:
    """The recorded examples."""
    return msgspec.json.decode(FILE.read_bytes(), type=Recorded)

"""What tests found out that a reader of the whole run should see, too."""

from __future__ import annotations

import pytest

SUMMARIES = pytest.StashKey[list[str]]()
"""Lines for the end of pytest's output."""

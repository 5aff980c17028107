from __future__ import annotations

import pytest

from tests.program.program_world import World, configured_world


@pytest.fixture
def world() -> World:
    """The program, configured, on a chain of its own."""
    return configured_world()

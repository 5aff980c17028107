"""Writes what is made of the settings: zmartd.toml, and the reference in docs/configuration.md.

`python -m tests.record_settings`, whenever a setting has changed.
"""

from __future__ import annotations

from pathlib import Path

from zmartd.config_text import defaults_toml, reference

REPOSITORY = Path(__file__).parents[1]
SHIPPED = REPOSITORY / "zmartd.toml"
PAGE = REPOSITORY / "docs" / "configuration.md"
MARKER = "<!-- The rest is made by `python -m tests.record_settings`. -->\n\n"


def page(text: str) -> str:
    """The page with the present reference."""
    prose, marker, _ = text.partition(MARKER)
    assert marker, "the page has the marker that the reference follows"
    return prose + marker + reference()


if __name__ == "__main__":
    SHIPPED.write_text(defaults_toml())
    PAGE.write_text(page(PAGE.read_text()))

"""Which chapters the guide has, in the order of their table of contents, docs/README.md."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Final

DIRECTORY: Final = Path(__file__).with_name("docs")
"""The repository's docs/, which is a part of the package."""
PATH: Final = "/docs/guide"
CONTENTS: Final = "README"
"""The chapter that lists the others; it is the page at PATH itself."""

_LINK = re.compile(r"\]\(([a-z0-9-]+)\.md\)")
_ELSEWHERE = ("#", "https://", "http://")


@cache
def chapters() -> tuple[str, ...]:
    """The names of all chapters but CONTENTS: those that it lists, and after them all others."""
    listed = dict.fromkeys(_LINK.findall(source(CONTENTS)))
    present = {file.stem for file in DIRECTORY.glob("*.md")} - {CONTENTS}
    return (*(name for name in listed if name in present), *sorted(present - listed.keys()))


def source(name: str) -> str:
    """The Markdown of a chapter."""
    return (DIRECTORY / f"{name}.md").read_text(encoding="utf-8")


def path_of(name: str) -> str:
    """The path of a chapter's page."""
    return PATH if name == CONTENTS else f"{PATH}/{name}"


def resolve(target: str) -> str | None:
    """Where a link of a chapter leads; None for files that are no chapters: the daemon lacks those."""
    if target.startswith(_ELSEWHERE):
        return target
    file, hash_sign, anchor = target.partition("#")
    name = file.removesuffix(".md")
    if file == name or name not in {CONTENTS, *chapters()}:
        return None
    return f"{path_of(name)}{hash_sign}{anchor}"

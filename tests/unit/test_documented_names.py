"""Every metric, and every error with its status, that a document names is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
DOCUMENTS = [
    path
    for path in (*REPOSITORY.glob("*.md"), *sorted((REPOSITORY / "docs").glob("*.md")))
    if path.name != "CHANGELOG.md"
]
SOURCE = "".join(path.read_text() for path in sorted((REPOSITORY / "zmartd").rglob("*.py")))
METRICS = set(re.findall(r'"(zmartd_[a-z_]+)"', SOURCE))
METRICS_PAGE = REPOSITORY / "docs" / "metrics.md"
if METRICS_PAGE.exists():  # which a test of its own holds to what is shown; names may be put together
    METRICS |= set(re.findall(r"`(zmartd_[a-z_]+)", METRICS_PAGE.read_text()))
ERRORS_PAGE = (REPOSITORY / "docs" / "errors.md").read_text()
ERRORS = set(re.findall(r"^\| (?:\d+ \| )?`([a-z_]+)` \|", ERRORS_PAGE, re.MULTILINE))

_METRIC = re.compile(r"\bzmartd_[a-z][a-z_]*[a-z]")
_ERROR = re.compile(r"\b[45]\d\d `([a-z]+(?:_[a-z]+)+)`")
_OF_THE_CLIENT = re.compile(r"_(total|count|sum|bucket)$")


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_metric_in_a_document_exists(document: Path) -> None:
    """Also the beginning of names, for which an operator searches."""
    named = {_OF_THE_CLIENT.sub("", name) for name in _METRIC.findall(document.read_text())}
    assert {name for name in named if not any(one.startswith(name) for one in METRICS)} == set()


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_error_with_its_status_in_a_document_exists(document: Path) -> None:
    named = set(_ERROR.findall(" ".join(document.read_text().split())))
    assert named - ERRORS - _refusals() == set()


def _refusals() -> set[str]:
    """What the program and the chain refuse with."""
    start, end = map(ERRORS_PAGE.index, ("## What the program", "## For operators"))
    return set(re.findall(r"`([a-z_]+)`", ERRORS_PAGE[start:end]))


def test_a_wrong_name_would_be_found() -> None:
    assert "server_full" in ERRORS
    assert "account_already_in_use" in _refusals()
    assert _ERROR.findall("answered with 503 `sever_full`") == ["sever_full"]
    assert not any(one.startswith("zmartd_inbox_wating") for one in METRICS)

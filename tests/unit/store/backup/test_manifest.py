from __future__ import annotations

from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

import msgspec
import pytest

from zmartd.store.backup.errors import RestoreRefused
from zmartd.store.backup.manifest import (
    Chain,
    Manifest,
    manifest_of,
    read_manifest,
    require_intact,
    write_manifest,
)

CONTENT = b"what pg_dump wrote"
MANIFEST = Manifest(
    zmartd="0.1.0",
    created_at=datetime(2026, 1, 1, tzinfo=UTC),
    server=15,
    dumped_with=15,
    schema=52,
    chain=Chain("devnet", "7h3gXfBfYFueFVLYyfL5Qo1QGsf4GQUfW96FKVgnUsJS"),
    checkpoint_slot=7,
    epoch="0123456789abcdef",
    rows={"public.markets": 3},
    extensions={"pg_trgm": "zmartd"},
    bytes=len(CONTENT),
    sha256=sha256(CONTENT).hexdigest(),
)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "backup"
    file.write_bytes(CONTENT)
    write_manifest(file, MANIFEST)
    return file


def test_a_manifest_is_read_as_it_was_written(file: Path) -> None:
    assert read_manifest(file) == MANIFEST
    require_intact(file, MANIFEST)


@pytest.mark.parametrize("content", [CONTENT[:-1], CONTENT + b"\n", CONTENT.upper()])
def test_a_file_that_is_not_as_it_was_written_is_refused(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    with pytest.raises(RestoreRefused, match="is not as it was written"):
        require_intact(file, MANIFEST)


def test_a_backup_without_its_manifest_is_refused(file: Path) -> None:
    manifest_of(file).unlink()
    with pytest.raises(RestoreRefused, match=r"backup\.json cannot be read \(No such file or directory\)"):
        read_manifest(file)


def test_a_manifest_of_a_later_format_is_refused(file: Path) -> None:
    write_manifest(file, msgspec.structs.replace(MANIFEST, format=2))
    with pytest.raises(RestoreRefused, match="format 2, which this zmartd does not know"):
        read_manifest(file)


def test_what_is_no_manifest_is_refused(file: Path) -> None:
    manifest_of(file).write_text("{}")
    with pytest.raises(RestoreRefused, match="is no manifest of a backup"):
        read_manifest(file)

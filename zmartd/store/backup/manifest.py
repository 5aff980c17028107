"""What is known about a backup: a JSON file beside it, without which it is not restored."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from zmartd.private_file import write_private
from zmartd.store.backup.errors import RestoreRefused

FORMAT: Final = 1
_BLOCK_BYTES: Final = 1_048_576


class Chain(Struct, frozen=True):
    """The chain whose projection the database is."""

    cluster: str
    program_id: str


class Manifest(Struct, frozen=True, kw_only=True):
    """A backup, as it was counted in the snapshot that it was made from."""

    format: int = FORMAT
    zmartd: str
    """The version that made it."""
    created_at: datetime
    """By the clock of Postgres."""
    server: int
    """The major version of the Postgres that it is from."""
    dumped_with: int
    """The major version of pg_dump."""
    schema: int
    """The number of the newest migration."""
    chain: Chain
    checkpoint_slot: int | None
    """Up to where the reconciler had followed the chain; None before its first walk."""
    epoch: str
    """The epoch of the streams."""
    rows: Mapping[str, int]
    """How many rows each table has, by its name with the schema."""
    extensions: Mapping[str, str]
    """The extensions that it needs, with the schema of each."""
    bytes: int
    sha256: str


def manifest_of(file: Path) -> Path:
    """The name of the manifest beside a backup."""
    return file.with_name(f"{file.name}.json")


def write_manifest(file: Path, manifest: Manifest) -> None:
    """Write the manifest of the backup `file`, for its owner only. Raises OSError."""
    text = msgspec.json.format(msgspec.json.encode(manifest), indent=2).decode()
    write_private(manifest_of(file), f"{text}\n")


def read_manifest(file: Path) -> Manifest:
    """The manifest of the backup `file`. Raises RestoreRefused, which says what is wrong with it."""
    place = manifest_of(file)
    try:
        manifest = msgspec.json.decode(place.read_bytes(), type=Manifest)
    except OSError as error:
        raise RestoreRefused(
            f"{place} cannot be read ({error.strerror}): it is written beside every backup, and says what "
            "has to be in it; move both together"
        ) from error
    except msgspec.MsgspecError as error:
        raise RestoreRefused(f"{place} is no manifest of a backup: {error}") from error
    if manifest.format != FORMAT:
        raise RestoreRefused(
            f"{place} has format {manifest.format}, which this zmartd does not know: upgrade zmartd"
        )
    return manifest


def require_intact(file: Path, manifest: Manifest) -> None:
    """Raises RestoreRefused unless `file` is, to the byte, what the manifest was written for."""
    try:
        found = (file.stat().st_size, sha256_of(file))
    except OSError as error:
        raise RestoreRefused(f"{file} cannot be read ({error.strerror})") from error
    if found != (manifest.bytes, manifest.sha256):
        raise RestoreRefused(
            f"{file} is not as it was written: {found[0]} bytes with SHA-256 {found[1]} instead of "
            f"{manifest.bytes} bytes with {manifest.sha256}; take another copy"
        )


def sha256_of(file: Path) -> str:
    """The SHA-256 of a file's content, in hexadecimal. Raises OSError."""
    digest = hashlib.sha256()
    with file.open("rb") as opened:
        while block := opened.read(_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()

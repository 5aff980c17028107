"""A directory with a file for each document, named by its content id."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from zmartd.errors import ZmartdError
from zmartd.ipfs.pinning import Document


class DirectoryUnusable(ZmartdError):
    """A file cannot be written in the directory of documents."""

    code = "directory_unusable"


class Directory:
    """A `Pinning`."""

    def __init__(self, path: Path) -> None:
        self._path = path

    async def pin(self, document: Document, known: str | None, until: float) -> None:
        """Raises DirectoryUnusable."""
        del known, until  # a file is there or is not
        try:
            await asyncio.to_thread(self._write, document)
        except OSError as error:
            raise DirectoryUnusable(
                f"the document cannot be written in tasks.ipfs_snapshot.directory: {error.strerror}"
            ) from error

    async def read(self, cid: str, size: int) -> bytes | None:
        """The file of a document that has `size` bytes; None where there is none. It is not verified."""
        try:
            return await asyncio.to_thread(self._read, cid, size)
        except OSError:
            return None

    def _write(self, document: Document) -> None:
        """The file is on disk before it has its name, so that it is whole wherever it is found."""
        self._path.mkdir(parents=True, exist_ok=True)
        file = self._path / document.cid
        if file.is_file() and file.read_bytes() == document.content:
            return
        draft = self._path / f".{document.cid}.{os.getpid()}.new"
        with draft.open("wb") as out:
            out.write(document.content)
            out.flush()
            os.fchmod(out.fileno(), 0o644)  # an IPFS node of another user may serve it: it is public
            os.fsync(out.fileno())
        draft.replace(file)
        entries = os.open(self._path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(entries)
        finally:
            os.close(entries)

    def _read(self, cid: str, size: int) -> bytes:
        with (self._path / cid).open("rb") as file:
            return file.read(size + 1)

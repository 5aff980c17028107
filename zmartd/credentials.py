"""Settings in files of their own that only this service can read: the credentials of systemd.

Each has the name of its setting, as `database.url`. An empty one gives nothing. The credential of a setting
that is a file's path is that file itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from zmartd.config_values import ConfigError
from zmartd.private_file import CREDENTIALS_VARIABLE, MAX_BYTES

PATH_SUFFIX: Final = "_path"
"""The end of the names of settings that are a file's path."""


def credentials(environ: Mapping[str, str]) -> dict[str, str]:
    """The values of the credentials that are not empty, by their names. Raises ConfigError."""
    directory = environ.get(CREDENTIALS_VARIABLE)
    if not directory:
        return {}
    try:
        files = sorted(file for file in Path(directory).iterdir() if file.is_file())
        texts = {file: _text(file) for file in files}
    except OSError as error:
        raise ConfigError([f"the credentials in {directory} cannot be read: {error.strerror}"]) from error
    return {
        file.name: str(file) if file.name.endswith(PATH_SUFFIX) else text
        for file, text in texts.items()
        if text
    }


def _text(file: Path) -> str:
    """The text of a credential; raises ConfigError where it is none, and quotes nothing of it."""
    with file.open("rb") as opened:
        content = opened.read(MAX_BYTES)
    try:
        return content.decode().strip()
    except UnicodeDecodeError as error:
        raise ConfigError([f"credential {file.name}: it is not text in UTF-8"]) from error

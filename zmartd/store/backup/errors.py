"""Why a backup or a restore did not happen; each error says what to do."""

from __future__ import annotations

from zmartd.errors import ZmartdError


class BackupFailed(ZmartdError):
    """The backup is not complete, and its file was removed."""

    code = "backup_failed"


class RestoreRefused(ZmartdError):
    """The restore has not begun: the database is as it was."""

    code = "restore_refused"


class RestoreFailed(ZmartdError):
    """The restore ended half way: the database is not to be used."""

    code = "restore_failed"

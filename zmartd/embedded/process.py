"""Processes that do not outlive the daemon, however it dies."""

from __future__ import annotations

import ctypes
import os
import signal as signals
import sys
from collections.abc import Callable

_PR_SET_PDEATHSIG = 1
# Loaded at import: between fork and exec a child must not allocate more than it has to.
_LIBC = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


def die_with_parent(signal: signals.Signals = signals.SIGKILL) -> None:
    """Ask the kernel to send `signal` to this process when its parent dies. Does nothing outside Linux.

    The kernel forgets the request when the process changes its user id, so ask after that. It counts the
    parent's *thread*: a child that a short-lived thread started gets the signal when that thread ends.
    Raises OSError.
    """
    if _LIBC is None:
        return
    if _LIBC.prctl(_PR_SET_PDEATHSIG, int(signal), 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def child_setup(
    signal: signals.Signals, uid: int | None = None, gid: int | None = None
) -> Callable[[], None]:
    """A `preexec_fn` for subprocess: become `uid`/`gid` where given, and get `signal` when this process dies.

    A process that dies between fork and the child's request would be missed, so the child ends itself when
    its parent is gone already.
    """
    parent = os.getpid()

    def prepare() -> None:
        if gid is not None:
            if os.geteuid() == 0:
                os.setgroups([])
            os.setgid(gid)
        if uid is not None:
            os.setuid(uid)
        die_with_parent(signal)
        if os.getppid() != parent:
            os.kill(os.getpid(), signals.SIGKILL)

    return prepare

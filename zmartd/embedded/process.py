"""Child processes that end with the daemon, however it ends."""

from __future__ import annotations

import ctypes
import os
import signal as signals
import sys
from collections.abc import Callable

_PR_SET_PDEATHSIG = 1
# Loaded at import, since a child should allocate as little as possible between fork and exec.
_LIBC = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


def die_with_parent(signal: signals.Signals = signals.SIGKILL) -> None:
    """Ask the kernel to send `signal` to this process when its parent ends. Does nothing outside Linux.

    A change of the user id clears the request, so call this after it. The parent is the *thread* that started
    this process: the signal is sent when that thread ends. Raises OSError.
    """
    if _LIBC is None:
        return
    if _LIBC.prctl(_PR_SET_PDEATHSIG, int(signal), 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def child_setup(
    signal: signals.Signals, uid: int | None = None, gid: int | None = None
) -> Callable[[], None]:
    """A `preexec_fn` for subprocess: change to `uid` and `gid`, and get `signal` when the parent ends.

    The parent may end between the fork and the request to the kernel, so the child kills itself if it has
    another parent by then.
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

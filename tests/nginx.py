"""nginx, the proxy that tests put in front of daemons."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.debian_packages import debian_program
from tests.ports import free_port
from zmartd.embedded.server_process import ServerProcess

KEEPALIVE_SECONDS = 1
"""How long it keeps idle connections to daemons: less than they drain, so that it closes them first."""
_START_SECONDS = 120.0
_STOP_SECONDS = 10.0
_CONFIGURATION = """
daemon off;
pid {directory}/nginx.pid;
error_log {directory}/error.log warn;
worker_processes 2;
worker_rlimit_nofile 20000;
events {{ worker_connections 18000; }}
http {{
    access_log off;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    map $http_upgrade $connection_upgrade {{ default upgrade; "" ""; }}
    upstream daemons {{
        {daemons}
        keepalive 32;
        keepalive_timeout {keepalive}s;
    }}
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        location / {{
            proxy_pass http://daemons;
            proxy_http_version 1.1;
            proxy_set_header Host $http_host;
            proxy_set_header X-Forwarded-For $remote_addr;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection $connection_upgrade;
            proxy_read_timeout 1h;
            proxy_next_upstream error timeout http_503;
        }}
    }}
}}
"""


class Nginx:
    """`async with Nginx(directory, ports) as proxy:` spreads requests over the daemons on these ports."""

    def __init__(self, directory: Path, ports: Sequence[int]) -> None:
        """Raises NotToBeHad."""
        self._program = debian_program("nginx", "nginx")
        self._directory = directory
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._daemons = " ".join(f"server 127.0.0.1:{port} max_fails=0;" for port in ports)
        self._process = ServerProcess("nginx", directory / "nginx.log")

    async def __aenter__(self) -> Self:
        self._directory.mkdir(parents=True, exist_ok=True)
        configuration = self._directory / "nginx.conf"
        configuration.write_text(
            _CONFIGURATION.format(
                directory=self._directory, daemons=self._daemons, port=self.port, keepalive=KEEPALIVE_SECONDS
            )
        )
        command = [str(self._program.path), "-p", str(self._directory), "-c", str(configuration)]
        self._process.start(command, orphaned=signal.SIGTERM, environment=self._program.environment)
        await self._process.until(self._listens, _START_SECONDS)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._process.stop(signal.SIGTERM, signal.SIGKILL, timeout_seconds=_STOP_SECONDS)

    async def _listens(self) -> bool:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", self.port)
        except OSError:
            return False
        writer.close()
        return True

"""nginx, the proxy that tests put in front of daemons, with the configuration that is shipped."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import socket
import subprocess
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests import patience
from tests.debian_packages import debian_program
from tests.ports import free_port
from zmartd.embedded.server_process import ServerProcess

SHIPPED = Path(__file__).parents[1] / "nginx"
KEEPALIVE_SECONDS = 3
"""How long it keeps idle connections to daemons: less than they drain, so that it closes them first."""
NAME = "localhost"
"""The name that it serves in tests. A client has to ask for it, and for no address."""
HELIUS = "52.89.214.238"
"""The address that webhooks are shipped to be taken from."""
_TIMES = ("proxy_connect_timeout", "proxy_read_timeout", "proxy_next_upstream_timeout")
"""What would depend on the machine's speed."""
_START_SECONDS = 120.0
_STOP_SECONDS = 10.0
_MAIN = """
{user}
daemon off;
pid {directory}/nginx.pid;
error_log {directory}/log/error.log;
worker_processes 2;
worker_rlimit_nofile 20000;
events {{ worker_connections 18000; }}
http {{
    error_log {directory}/log/error.log;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    include conf.d/*.conf;
}}
"""


class Adapted:
    """The shipped configuration for a directory, for ports that are free, and for other daemons.

    Only what a machine decides is replaced: addresses, ports, directories, and the name.
    """

    def __init__(self, directory: Path, daemons: Sequence[int], *, tls: bool, helius: str = HELIUS) -> None:
        """`directory`: of everything. Without `tls` there is no encryption, and no certificate."""
        self.directory = directory
        self.port, self.plain_port = free_port(), free_port()
        self._tls = tls
        self._daemons = "\n    ".join(f"server 127.0.0.1:{port} max_fails=0;" for port in daemons)
        self._helius = helius

    def text(self, shipped: str) -> str:
        """A shipped file, adapted."""
        adapted = re.sub(
            r"(?:server 127\.0\.0\.1:\d+ max_fails=0;\s*)+(?=keepalive)", self._daemons + "\n    ", shipped
        )
        adapted = re.sub(r"listen 80\b", f"listen 127.0.0.1:{self.plain_port}", adapted)
        adapted = re.sub(r"listen 443\b", f"listen 127.0.0.1:{self.port}", adapted)
        for shipped_port, port in ((80, self.plain_port), (443, self.port)):
            here = rf"listen [::1]:{port}\1" if _has_ipv6() else ""
            adapted = re.sub(rf"listen \[::\]:{shipped_port}\b([^;]*;)", here, adapted)
        if not self._tls:
            adapted = re.sub(r" ssl http2\b", "", adapted)
            adapted = re.sub(
                r"^ *(?:ssl_.*|include snippets/zmartd-tls\.conf);\n", "", adapted, flags=re.MULTILINE
            )
        for times in _TIMES:
            adapted = re.sub(rf"{times} \d+s;", f"{times} {patience.SECONDS:g}s;", adapted)
        return (
            adapted.replace("api.example.com", NAME)
            .replace(HELIUS, self._helius)
            .replace("/etc/letsencrypt", f"{self.directory}/letsencrypt")
            .replace("/var/log/nginx", f"{self.directory}/log")
            .replace("/var/cache/zmartd-nginx", f"{self.directory}/cache")
            .replace("/var/www", f"{self.directory}/www")
        )


class Nginx:
    """`async with Nginx(directory, ports) as proxy:` spreads requests over the daemons on these ports."""

    def __init__(
        self,
        directory: Path,
        ports: Sequence[int],
        *,
        tls: bool = False,
        helius: str = HELIUS,
        max_connections_per_client: int | None = None,
    ) -> None:
        """`helius`: the address that webhooks are taken from. Raises NotToBeHad."""
        self._program = debian_program("nginx", "nginx")
        self.directory = directory
        self._adapted = Adapted(directory, ports, tls=tls, helius=helius)
        self._max_connections_per_client = max_connections_per_client
        self.port, self.plain_port = self._adapted.port, self._adapted.plain_port
        self.is_encrypted = tls
        self.url = f"{'https' if tls else 'http'}://{NAME}:{self.port}"
        self.logs = directory / "log"
        self.authority = directory / f"letsencrypt/live/{NAME}/fullchain.pem"
        """The certificate that clients trust."""
        self._process = ServerProcess("nginx", directory / "nginx.log")

    async def __aenter__(self) -> Self:
        for name in ("log", "conf.d", "snippets"):
            (self.directory / name).mkdir(parents=True, exist_ok=True)
        if self.is_encrypted:
            make_certificate(self.authority)
        for file in SHIPPED.rglob("*.conf"):
            text = self._adapted.text(file.read_text())
            if self._max_connections_per_client is not None:
                text = text.replace(
                    "zmartd_clients 200;", f"zmartd_clients {self._max_connections_per_client};"
                )
            to = self.directory / ("snippets" if file.parent.name == "snippets" else "conf.d")
            (to / file.name).write_text(text)
        configuration = self.directory / "nginx.conf"
        # Else workers run as a user who may not enter the directory.
        user = "user root;" if os.geteuid() == 0 else ""
        configuration.write_text(_MAIN.format(directory=self.directory, user=user))
        command = [str(self._program.path), "-p", str(self.directory), "-c", str(configuration)]
        self._process.start(command, orphaned=signal.SIGTERM, environment=self._program.environment)
        await self._process.until(self._listens, _START_SECONDS)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._process.stop(signal.SIGTERM, signal.SIGKILL, timeout_seconds=_STOP_SECONDS)

    @property
    def pid(self) -> int:
        """The master process."""
        return self._process.pid

    def logged(self) -> list[dict[str, Any]]:
        """The requests in the access log, oldest first."""
        text = (self.logs / "zmartd.log").read_text()
        return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]

    async def _listens(self) -> bool:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", self.port)
        except OSError:
            return False
        writer.close()
        return True


def make_certificate(file: Path) -> None:
    """Write a certificate for NAME, and its key beside it, as certbot names them."""
    file.parent.mkdir(parents=True)
    kind = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
    subject = ["-subj", f"/CN={NAME}", "-addext", f"subjectAltName=DNS:{NAME}"]
    files = ["-keyout", str(file.with_name("privkey.pem")), "-out", str(file)]
    subprocess.run(["openssl", "req", "-x509", *kind, *subject, *files], check=True, capture_output=True)


def _has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True

"""The commands of docs/nginx.md, on the files of Debian's own packages."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import signal
import ssl
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.debian_packages import NotToBeHad, Program, debian_program
from tests.integration.nginx.client import client_of
from tests.integration.nginx.upstream import Upstream
from tests.nginx import NAME, SHIPPED, Adapted, make_certificate
from zmartd.embedded.server_process import ServerProcess

REPOSITORY = SHIPPED.parent
GUIDE = (REPOSITORY / "docs" / "nginx.md").read_text()
[COMMANDS] = re.findall(r"((?:^    .*\n)+)", GUIDE[: GUIDE.index("## Descriptors")], re.MULTILINE)[:1]
TEST = "nginx -t\n"
_TEMPORARY = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
"""Where nginx keeps what does not fit into memory."""
_START_SECONDS = 120.0
_STOP_SECONDS = 10.0


class Machine:
    """A Debian on which nginx was just installed, as a directory."""

    def __init__(self, root: Path, program: Program, daemons: list[int]) -> None:
        self.root = root
        self.program = program
        self.adapted = Adapted(root, daemons, tls=True)
        self.url = f"https://{NAME}:{self.adapted.port}"
        self.authority = root / f"letsencrypt/live/{NAME}/fullchain.pem"
        self.nginx = root / "etc/nginx"
        self.is_encrypted = True
        for directory in ("bin", "log", "www/html"):
            (root / directory).mkdir(parents=True)
        packaged = debian_program("nginx.conf", "nginx-common", "etc/nginx").path.parent
        shutil.copytree(packaged, self.nginx, symlinks=True)
        for directory in ("conf.d", "sites-enabled", "modules-enabled"):
            (self.nginx / directory).mkdir(exist_ok=True)
        default = self.nginx / "sites-enabled/default"
        if not default.is_symlink():  # the package makes it when it is installed
            default.symlink_to("../sites-available/default")
        for command in ("apt-get", "certbot", "systemctl"):
            self._command(command, "exit 0")
        self._command("nginx", f'exec {program.path} -c {self.nginx}/nginx.conf "$@"')

    def _command(self, name: str, script: str) -> None:
        file = self.root / "bin" / name
        file.write_text(f"#!/bin/sh\n{script}\n")
        file.chmod(0o755)

    def type(self, script: str) -> subprocess.CompletedProcess[str]:
        """What an operator types, in the directory of the release."""
        here = script.replace("/etc/nginx", str(self.nginx)).replace("YOUR.NAME", NAME)
        environment = self.program.environment
        environment["PATH"] = f"{self.root}/bin:{environment['PATH']}"
        return subprocess.run(
            ["sh", "-ec", here], cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False
        )

    def move_here(self) -> None:
        """Let the installed files name this directory and free ports instead of the machine's."""
        for file in [
            self.nginx / "nginx.conf",
            *self.nginx.glob("conf.d/*"),
            *self.nginx.glob("snippets/zmartd-*"),
        ]:
            text = self.adapted.text(file.read_text().replace("/etc/nginx", str(self.nginx)))
            text = text.replace("/run/nginx.pid", f"{self.root}/nginx.pid")
            file.write_text(text.replace("user www-data;", "user root;" if os.geteuid() == 0 else ""))
        site = self.nginx / "sites-available/default"
        site.write_text(self.adapted.text(site.read_text()))
        paths = "".join(f"{name}_temp_path {self.root}/{name};\n" for name in _TEMPORARY)
        (self.nginx / "conf.d/temporary.conf").write_text(paths)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """nginx, until it is stopped."""
        process = ServerProcess("nginx", self.root / "nginx.log")
        command = [str(self.program.path), "-c", f"{self.nginx}/nginx.conf", "-g", "daemon off;"]
        process.start(command, orphaned=signal.SIGTERM, environment=self.program.environment)
        try:
            await process.until(self._listens, _START_SECONDS)
            yield
        finally:
            await process.stop(signal.SIGTERM, signal.SIGKILL, timeout_seconds=_STOP_SECONDS)

    async def _listens(self) -> bool:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", self.adapted.port)
        except OSError:
            return False
        writer.close()
        return True


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    async with Upstream() as upstream:
        yield upstream


@pytest.fixture
def machine(tmp_path: Path, upstream: Upstream) -> Machine:
    try:
        return Machine(tmp_path, debian_program("nginx", "nginx"), [upstream.port])
    except NotToBeHad as error:
        pytest.skip(str(error))


async def test_the_documented_commands_lead_to_an_nginx_that_serves(
    machine: Machine, upstream: Upstream
) -> None:
    before, after = COMMANDS.split(TEST)
    typed = machine.type(before)
    assert (typed.returncode, typed.stderr) == (0, "")
    make_certificate(machine.authority)
    machine.move_here()
    tested = machine.type(TEST + after)
    assert tested.returncode == 0, tested.stderr
    warnings = [line for line in tested.stderr.splitlines() if "[warn]" in line]
    assert [line for line in warnings if '"listen ... http2"' not in line] == []  # as nginx 1.25 has it
    main = (machine.nginx / "nginx.conf").read_text()
    assert "worker_connections 24000;" in main
    assert "\nworker_rlimit_nofile 50000;\nevents {" in main
    async with machine.running():
        async with client_of(machine) as client, client.get("/health") as response:
            assert (response.status, await response.text()) == (200, "ok")
        assert upstream.asked == ["GET /health HTTP/1.1"]
        assert await _protocol(machine) == "h2"
        with pytest.raises(ssl.SSLError, match=r"(?i)unrecognized.name"):
            await _protocol(machine, "evil.example")


def test_debian_s_own_site_has_to_go(machine: Machine) -> None:
    kept = COMMANDS[: COMMANDS.index(TEST)].replace("rm /etc/nginx/sites-enabled/default\n", "")
    assert machine.type(kept).returncode == 0
    make_certificate(machine.authority)
    machine.move_here()
    assert "a duplicate default server" in machine.type(TEST).stderr


async def _protocol(machine: Machine, name: str = NAME) -> str | None:
    """What nginx chooses of HTTP/2 and HTTP/1.1 for a client that asks for this name."""
    context = ssl.create_default_context(cafile=str(machine.authority))
    context.check_hostname = False
    context.set_alpn_protocols(["h2", "http/1.1"])
    _, writer = await asyncio.open_connection(
        "127.0.0.1", machine.adapted.port, ssl=context, server_hostname=name
    )
    encrypted: ssl.SSLObject = writer.get_extra_info("ssl_object")
    writer.close()
    return encrypted.selected_alpn_protocol()

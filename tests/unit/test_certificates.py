"""Until when certificates are valid, as OpenSSL makes them, and what the doctor says of served ones."""

from __future__ import annotations

import asyncio
import json
import os
import ssl
import subprocess
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from zmartd.cli import main
from zmartd.doctor.certificates import UnreadableCertificate, file_end, valid_until

DAY = 86_400


def certificate(directory: Path, days: int, *, key: str = "ec") -> Path:
    """A certificate for 127.0.0.1 that ends in so many days; its key is beside it."""
    file = directory / f"{key}{days}.crt"
    kind = (
        ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"] if key == "ec" else ["-newkey", "rsa:2048"]
    )
    subject = ["-subj", "/CN=zmartd", "-addext", "subjectAltName=IP:127.0.0.1"]
    files = ["-keyout", str(file.with_suffix(".key")), "-out", str(file)]
    subprocess.run(
        ["openssl", "req", "-x509", *kind, "-nodes", "-days", str(days), *subject, *files],
        check=True,
        capture_output=True,
    )
    return file


@pytest.mark.parametrize("key", ["ec", "rsa"])
@pytest.mark.parametrize("days", [1, 400, 20_000])
def test_the_end_is_that_which_openssl_wrote(tmp_path: Path, key: str, days: int) -> None:
    """In 20,000 days the year is beyond 2049, where the form of the time is another."""
    file = certificate(tmp_path, days, key=key)
    told = subprocess.run(
        ["openssl", "x509", "-in", str(file), "-noout", "-enddate"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    assert file_end(file) == ssl.cert_time_to_seconds(told.strip().removeprefix("notAfter="))
    assert abs(file_end(file) - time.time() - days * DAY) < DAY


def test_of_several_certificates_the_first_to_end_counts(tmp_path: Path) -> None:
    early, late = certificate(tmp_path, 3), certificate(tmp_path, 300)
    chain = tmp_path / "chain.crt"
    chain.write_text(f"a comment\n{late.read_text()}\n{early.read_text()}")
    assert file_end(chain) == file_end(early)


@pytest.mark.parametrize(
    "text", ["", "hello", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"]
)
def test_what_is_no_certificate_is_said_to_be_none(tmp_path: Path, text: str) -> None:
    file = tmp_path / "x.crt"
    file.write_text(text)
    with pytest.raises(UnreadableCertificate):
        file_end(file)


def test_no_part_of_a_certificate_crashes_the_reading(tmp_path: Path) -> None:
    der = ssl.PEM_cert_to_DER_cert(certificate(tmp_path, 3).read_text())
    whole = valid_until(der)
    for end in range(len(der)):
        with pytest.raises(UnreadableCertificate):
            valid_until(der[:end])
    for place in range(0, len(der), 7):
        changed = der[:place] + bytes([der[place] ^ 0x5A]) + der[place + 1 :]
        try:
            assert isinstance(valid_until(changed), float)
        except UnreadableCertificate:
            continue
    assert valid_until(der) == whole


@pytest.mark.parametrize(
    ("days", "trusted", "verdict", "said"),
    [
        (300, True, "ok", "redis.url: the certificate of 127.0.0.1 ends on"),
        (5, True, "warning", "redis.url: the certificate of 127.0.0.1 ends on"),
        (300, False, "failed", "its certificate is not valid: self"),
    ],
)
async def test_the_certificate_that_a_server_shows_is_looked_at(
    tmp_path: Path, days: int, trusted: bool, verdict: str, said: str
) -> None:
    file = certificate(tmp_path, days)
    other = certificate(tmp_path, 301)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(file, file.with_suffix(".key"))

    async def close(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    server = await asyncio.start_server(close, "127.0.0.1", 0, ssl=context)
    port = server.sockets[0].getsockname()[1]
    ours = {name: None for name in os.environ if name.startswith(("ZMARTD_", "PG"))}
    environment: dict[str, str | None] = {
        **ours,
        "ZMARTD_REDIS_URL": f"rediss://127.0.0.1:{port}/0?ssl_ca_certs={file if trusted else other}",
        "ZMARTD_DATABASE_URL": "postgresql://127.0.0.1:1/x?sslmode=verify-full&sslrootcert=/nowhere/ca.crt",
        "ZMARTD_SOLANA_RPC_URL": "http://127.0.0.1:1",
        "ZMARTD_SOLANA_TIMEOUT_SECONDS": "0.2",
    }
    arguments = ["check", "--json"]
    result = await asyncio.to_thread(CliRunner(env=environment).invoke, main, arguments)
    server.close()
    found = [
        (one["verdict"], one["detail"]) for one in json.loads(result.stdout) if one["check"] == "certificates"
    ]
    assert any(mark == verdict and said in detail for mark, detail in found), found
    missing = "database.url: sslrootcert: /nowhere/ca.crt cannot be read (No such file or directory)"
    assert ("failed", missing) in found

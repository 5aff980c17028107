"""Connections to other machines: whether they are encrypted, and until when certificates are valid."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Final

from msgspec import Struct

from zmartd import endpoint, plaintext
from zmartd.alerts.receivers import certificate_authorities, urls
from zmartd.config_values import Url
from zmartd.doctor.certificates import UnreadableCertificate, file_end, valid_until
from zmartd.doctor.check import Check, Outcome, failed, ok, warning
from zmartd.doctor.patient import Patient

NOTICE_DAYS: Final = 14
_DAY = 86_400.0
_ANSWER_SECONDS = 10.0
_FILES = ("sslrootcert", "sslcert", "ssl_ca_certs", "ssl_certfile")
_RENEW = "renew it: `certbot renew`, or as its authority says"
_REACH = "check its URL, and whether this machine may connect to it"


class _TlsServer(Struct, frozen=True):
    """A server of which the daemon is a client over TLS from the first byte."""

    setting: str
    host: str
    port: int
    authorities: str | None = None


async def _encryption(patient: Patient) -> Sequence[Outcome]:
    unknown = patient.reading.unusable
    needed = {"database.url", "database.replica_url", "redis.url", "solana.rpc_url"}
    if unusable := sorted(needed & set(unknown)):
        return [Outcome("skipped", f"not looked at, because of {', '.join(unusable)}")]
    found = [
        warning(f"{name}: {text.partition(': ')[0]}", text.partition(": ")[2])
        for name, text in plaintext.unencrypted_connections(patient.settings)
    ]
    return found or [ok("everything that leaves this machine is encrypted")]


async def _certificates(patient: Patient) -> Sequence[Outcome]:
    found = []
    for setting, file in _certificate_files(patient):
        try:
            found.append(_ending(f"{setting}: {file}", file_end(file)))
        except OSError as error:
            # What is no path may have been meant for another place.
            named = file if str(file).startswith("/") else "the file"
            found.append(
                failed(f"{setting}: {named} cannot be read ({endpoint.reason(error)})", "correct the path")
            )
        except UnreadableCertificate:
            found.append(failed(f"{setting}: {file} is no certificate in PEM", "give the file of one"))
    found += await asyncio.gather(*map(_served, _tls_servers(patient)))
    return found or [ok("there are none")]


async def _certificate_of_postgres(patient: Patient) -> Sequence[Outcome]:
    async with patient.as_login() as connection:
        transport = connection._transport  # type: ignore[attr-defined]  # not public
        tls = transport.get_extra_info("ssl_object")
    der = tls.getpeercert(binary_form=True) if tls is not None else None
    return [_ending("it", valid_until(der)) if der else ok("the connection is not encrypted")]


def _certificate_files(patient: Patient) -> list[tuple[str, Path]]:
    settings, unknown = patient.settings, patient.reading.unusable
    given: list[tuple[str, Url]] = [
        ("database.url", settings.database.url),
        ("database.replica_url", settings.database.replica_url),
        ("redis.url", settings.redis.url),
    ]
    found = []
    for setting, url in given:
        if url and setting not in unknown:
            query = endpoint.read(url.reveal(), url.schemes).query
            found += [(f"{setting}: {name}", Path(query[name])) for name in _FILES if query.get(name)]
    return found


def _tls_servers(patient: Patient) -> list[_TlsServer]:
    settings, unknown = patient.settings, patient.reading.unusable
    given: list[tuple[str, Url, int]] = [
        *([] if settings.redis.sentinels else [("redis.url", settings.redis.url, 6379)]),
        ("solana.rpc_url", settings.solana.rpc_url, 443),
        *((f"alerts.{name}.url", url, 443) for name, url in urls(settings.alerts).items()),
    ]
    found = []
    for setting, url, port in given:
        if setting in unknown or not url:
            continue
        where = endpoint.read(url.reveal(), url.schemes)
        if where.scheme in {"https", "rediss"} and len(where.addresses) == 1:
            (address,) = where.addresses
            authorities = where.query.get("ssl_ca_certs")
            if where.query.get("ssl_cert_reqs") != "none":
                found.append(_TlsServer(setting, address.host, address.port or port, authorities))
    return found


async def _served(server: _TlsServer) -> Outcome:
    """Connect, and say nothing."""
    name = f"{server.setting}: the certificate of {server.host}"
    try:
        if server.authorities:
            context = ssl.create_default_context(cafile=server.authorities)
        elif server.setting == "redis.url":
            context = ssl.create_default_context()
        else:
            context = certificate_authorities()
        async with asyncio.timeout(_ANSWER_SECONDS):
            _, writer = await asyncio.open_connection(server.host, server.port, ssl=context)
    except TimeoutError:
        return failed(f"{server.setting}: {server.host} does not answer within {_ANSWER_SECONDS:g} s", _REACH)
    except OSError as error:
        return failed(f"{server.setting}: {server.host}: {endpoint.reason(error)}", _REACH)
    tls = writer.get_extra_info("ssl_object")
    der = tls.getpeercert(binary_form=True)
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()
    return _ending(name, valid_until(der))


def _ending(name: str, end: float) -> Outcome:
    days = (end - time.time()) / _DAY
    day = time.strftime("%Y-%m-%d", time.gmtime(end))
    if days < 0:
        return failed(f"{name} has ended on {day}", _RENEW)
    if days < NOTICE_DAYS:
        return warning(f"{name} ends on {day}, in {days:.0f} days", _RENEW)
    return ok(f"{name} ends on {day}")


async def _receivers(patient: Patient) -> Sequence[Outcome]:
    alerts = patient.settings.alerts
    receivers = urls(alerts)
    looks = [partial(_receiver, name, url, alerts.attempt_seconds) for name, url in receivers.items()]
    found = await asyncio.gather(*(look() for look in looks))
    return found or [ok("the log")]


async def _receiver(name: str, url: Url, seconds: float) -> Outcome:
    """Connect, and send nothing."""
    where = endpoint.read(url.reveal(), endpoint.HTTP)
    if len(where.addresses) != 1:
        return failed(f"{name}: its URL does not name one host", "give it as https://host/path")
    (address,) = where.addresses
    secure = where.scheme == "https"
    try:
        async with asyncio.timeout(seconds):
            _, writer = await asyncio.open_connection(
                address.host,
                address.port or (443 if secure else 80),
                ssl=certificate_authorities() if secure else None,
            )
    except TimeoutError:
        return failed(f"{name}: {address} does not answer within {seconds:g} s", _REACH)
    except OSError as error:
        return failed(f"{name}: {address} cannot be reached ({endpoint.reason(error)})", _REACH)
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()
    return ok(f"{name}: {address} can be reached; `zmartd alerts test` sends it a message")


CHECKS = (
    Check(
        name="encryption",
        look=_encryption,
        about="connections to other machines that others can read and change",
    ),
    Check(
        name="certificates",
        look=_certificates,
        about="certificates of Redis, RPC and receivers, and those in files, are valid, and for "
        f"{NOTICE_DAYS} days or more",
    ),
    Check(
        name="certificate of postgres",
        look=_certificate_of_postgres,
        about="the same of the certificate that Postgres shows",
        uses=("database.url",),
        needs=("database",),
    ),
    Check(
        name="receivers of alerts",
        look=_receivers,
        about="the receivers of alerts can be reached",
        uses=("alerts.webhook.url", "alerts.slack.url"),
    ),
)

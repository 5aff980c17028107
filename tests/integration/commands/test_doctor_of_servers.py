"""What `zmartd check` finds of clocks, the node, the authority and Postgres's TLS: each illness, and none."""

from __future__ import annotations

import time
from pathlib import Path
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest

from tests.integration.commands.tls_front import tls_front
from tests.integration.tasks.world import AUTHORITY, PROGRAM_ID, World
from tests.shared_secrets import shared_secret
from tests.unit.test_certificates import certificate
from zmartd.clock import SystemClock
from zmartd.doctor.catalogue import CHECKS
from zmartd.doctor.check import Finding
from zmartd.doctor.examination import examine
from zmartd.private_file import write_private
from zmartd.store import checkpoints
from zmartd.store.checkpoints import Checkpoint

HOUR = 3_600


class TenMinutesAhead(SystemClock):
    """The clock of a machine that is ten minutes ahead."""

    @staticmethod
    def time() -> float:
        return time.time() + 600


class Doctor:
    """Looks at what the environment names."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._monkeypatch = monkeypatch

    def set(self, **environment: str) -> None:
        for name, value in environment.items():
            self._monkeypatch.setenv(f"ZMARTD_{name}", value)

    async def of(self, name: str, clock: SystemClock | None = None) -> list[Finding]:
        found = await examine(None, CHECKS, clock or SystemClock())
        return [one for one in found if one.check == name]

    async def verdicts(self, name: str, clock: SystemClock | None = None) -> list[str]:
        return [one.verdict for one in await self.of(name, clock)]


@pytest.fixture
def doctor(database_url: str, redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Doctor:
    monkeypatch.chdir(tmp_path)
    doctor = Doctor(monkeypatch)
    doctor.set(
        DATABASE_URL=database_url,
        REDIS_URL=redis_url,
        SOLANA_RPC_URL="http://127.0.0.1:1",
        SOLANA_TIMEOUT_SECONDS="0.2",
        AUTH_JWT_SECRET=shared_secret("sessions"),
        HELIUS_AUTHORIZATION=shared_secret("webhook"),
    )
    return doctor


@pytest.fixture
def doctor_of_the_chain(doctor: Doctor, world: World, tmp_path: Path) -> Doctor:
    write_private(tmp_path / "authority.json", AUTHORITY.to_json())
    doctor.set(
        SOLANA_RPC_URL=world.rpc_url,
        SOLANA_TIMEOUT_SECONDS="5",
        SOLANA_PROGRAM_ID=str(PROGRAM_ID),
        SOLANA_AUTHORITY_KEYPAIR_PATH=str(tmp_path / "authority.json"),
    )
    return doctor


async def test_a_clock_that_is_ten_minutes_ahead_is_found(doctor: Doctor) -> None:
    for name, whose in (("clock", "Postgres's"), ("clock of redis", "Redis's")):
        assert await doctor.verdicts(name) == ["ok"]
        [found] = await doctor.of(name, TenMinutesAhead())
        assert found.verdict == "failed"
        assert found.detail.startswith((f"{whose} differs by -600.", f"{whose} differs by -599."))
        assert "timedatectl set-ntp true" in found.remedy


async def test_what_is_wrong_with_a_node_is_found(doctor_of_the_chain: Doctor, world: World) -> None:
    """It is behind the others, remembers little, has forgotten what the index lacks, and its clock is off."""
    doctor = doctor_of_the_chain
    doctor.set(SOLANA_CLUSTER="devnet")  # on a localnet the clock may be anything
    for name in ("lag", "history", "clock of the chain"):
        assert await doctor.verdicts(name) == ["ok"], name

    await world.misbehave(failNext=1_000, status="unhealthy", methods=["getHealth"])
    [found] = await doctor.of("lag")
    assert found.verdict == "warning"
    assert found.remedy == "wait until it has caught up, or give another node in solana.rpc_url"

    await world.misbehave(firstAvailableBlock=1)
    [found] = await doctor.of("history")
    assert (found.verdict, found.remedy) == ("warning", "give another node in solana.rpc_url")
    assert found.detail.startswith("the node remembers 0.")

    async with world.database.service() as connection:
        await checkpoints.advance(connection, str(PROGRAM_ID), Checkpoint("5" * 88, 3))
    await world.misbehave(firstAvailableBlock=4)
    [found] = await doctor.of("history")
    assert found.verdict == "failed"
    assert found.detail == "the index is complete up to slot 3, and the node's history begins with 4"
    assert found.remedy.startswith("run `zmartd backfill`")

    await world.travel(HOUR)
    [found] = await doctor.of("clock of the chain")
    assert found.verdict == "warning"
    assert "timedatectl" in found.remedy


async def test_an_authority_that_cannot_pay_is_found(doctor_of_the_chain: Doctor, world: World) -> None:
    address = str(AUTHORITY.pubkey())
    for lamports, verdicts in (
        (50_000_000, ["ok"]),
        (49_999_999, ["warning", "ok"]),
        (9_999_999, ["failed", "ok"]),
    ):
        await world.cheat("surfnet_setAccount", address, {"lamports": lamports})
        found = await doctor_of_the_chain.of("authority")
        assert [one.verdict for one in found] == verdicts
        if len(found) > 1:
            assert found[0].detail.startswith(f"{address} has {lamports} lamports")
            assert f"`solana transfer {address} 0.05 --allow-unfunded-recipient`" in found[0].remedy


@pytest.mark.usefixtures("embedded_postgres")  # what is there already shows one certificate
async def test_postgres_certificates_are_verified_and_their_end_is_found(
    doctor: Doctor, database_url: str, tmp_path: Path
) -> None:
    split = urlsplit(database_url)
    socket = Path(parse_qs(split.query)["host"][0]) / ".s.PGSQL.5432"
    for days, verdict in ((90, "ok"), (5, "warning")):
        shown = certificate(tmp_path, days)
        async with tls_front(socket, shown) as port:

            def lead_to(**options: str) -> None:
                query = urlencode(options)
                url = f"postgresql://{split.username}@127.0.0.1:{port}{split.path}?{query}"
                doctor.set(DATABASE_URL=url)

            lead_to(sslmode="verify-full", sslrootcert=str(shown))
            assert await doctor.verdicts("database") == ["ok"]
            [found] = await doctor.of("certificate of postgres")
            assert found.verdict == verdict
            assert ("renew it" in found.remedy) is (verdict == "warning")
            [found] = [one for one in await doctor.of("certificates") if "sslrootcert" in one.detail]
            assert found.verdict == verdict

            lead_to(sslmode="verify-full", sslrootcert=str(certificate(tmp_path, 300)))
            [found] = await doctor.of("database")
            assert found.verdict == "failed"
            assert "certificate" in found.detail
            assert "sslrootcert" in found.remedy

    lead_to(sslmode="verify-full", sslrootcert=str(tmp_path / "absent.crt"))
    failed = [one for one in await doctor.of("certificates") if one.verdict == "failed"]
    assert any("absent.crt cannot be read" in one.detail for one in failed)

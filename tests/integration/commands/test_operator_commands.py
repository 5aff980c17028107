"""The operator's commands, each run in a process of its own."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from tests.forked_commands import run_command
from tests.integration.indexer.test_quarantine import indexed_by_an_older_version, kind_of
from tests.integration.indexer.test_reconcile import active, purchase, settled
from tests.integration.indexer.test_repair import alter
from tests.integration.tasks.failing_markets import ruin
from tests.integration.tasks.test_finalizing import due_market
from tests.integration.tasks.world import (
    AUTHORITY,
    HOLDERS,
    PROGRAM_ID,
    RESOLVER,
    TREASURY,
    World,
)
from zmartd.indexer.parking import park
from zmartd.store import decisions, inbox, unverified
from zmartd.store.parked import Unapplied
from zmartd.store.unverified import Claim

Zmartd = Callable[..., Awaitable[tuple[int, str]]]


@pytest.fixture
def zmartd(environment: dict[str, str], tmp_path: Path) -> Zmartd:
    """Runs a command; its exit status and its output."""

    async def run(*arguments: str) -> tuple[int, str]:
        ended = await run_command(arguments, environment, tmp_path)
        configuration, _, errors = ended.errors.partition("\n")
        assert configuration.startswith("using ")
        if arguments[0] != "tick":  # which logs what it does
            assert not (ended.output and errors), f"a result stands alone: {errors}"
        return ended.status, ended.output or errors

    return run


async def test_an_audit_exits_with_1_until_a_repair_has_healed_the_index(
    world: World, zmartd: Zmartd
) -> None:
    market_id = await world.proposal(indexed=False)
    status, printed = await zmartd("audit")
    assert status == 1
    assert str(world.address(market_id)) in printed
    assert "1 difference in 1 markets and 0 positions" in printed
    status, printed = await zmartd("audit", "--repair", "--json")
    repaired: dict[str, Any] = json.loads(printed)
    assert (status, repaired["done"]["written"], repaired["report"]["differences"]) == (0, 1, [])
    status, printed = await zmartd("audit", "--replay")
    assert status == 0
    assert "DIFFERS" not in printed


async def test_a_dry_run_prints_what_a_task_would_send_and_sends_nothing(
    world: World, zmartd: Zmartd, environment: dict[str, str]
) -> None:
    environment["ZMARTD_SOLANA_AUTHORITY_SECRET_KEY"] = str(AUTHORITY)
    market_id = await due_market(world)
    status, printed = await zmartd("tick", "market_monitor", "--dry-run", "--json")
    (found,) = json.loads(printed)
    (transaction,) = found["transactions"]
    assert (status, found["task"], found["ok"]) == (0, "market_monitor", True)
    assert (transaction["purpose"], transaction["market_ids"]) == ("finalize_market", [market_id])
    assert transaction["units"] > 0
    assert transaction["fee_lamports"] == 5_000

    await ruin(world, market_id)
    status, printed = await zmartd("tick", "market_monitor", "--dry-run")
    assert status == 1
    lines = printed.splitlines()
    assert lines[0] == "market_monitor: would send 1 transaction; nothing was sent"
    assert lines[1].split() == ["TRANSACTION", "MARKETS", "UNITS", "LIMIT", "LAMPORTS", "DETAIL"]
    assert "FAIL  finalize_market" in lines[2]
    assert "BoundedLossExceeded" in lines[2]
    assert lines[3] == f"  the end of the logs of finalize_market for {market_id[:12]}…"
    status, printed = await zmartd("tick", "leaderboard", "--dry-run")
    assert (status, "leaderboard sends no transactions" in printed) == (1, True)
    assert await world.outbox(market_id) == []


AGED = {
    "webhook_inbox": (
        "(body, status, settled_at) select 'x', 'done', now() - n * interval '23 hours'",
        "ZMARTD_RETENTION_INBOX_DAYS",
    ),
    "task_runs": (
        "(task, status, started_at, finished_at, outcome, eventful)"
        " select 't', 'ran', now(), now() - n * interval '23 hours', 'ok', true",
        "ZMARTD_RETENTION_RUNS_DAYS",
    ),
    "outbox_transactions": (
        "(signature, wire, last_valid_block_height, purpose, status, settled_at)"
        " select repeat('1', 86) || n, 'x', 1, 'test', 'failed', now() - n * interval '23 hours'",
        "ZMARTD_TRANSACTIONS_KEEP_DAYS",
    ),
    "orphaned_events": (
        "(source, tx_signature, event_index, slot, content, orphaned_at)"
        " select 'trade_events', repeat('1', 86) || n, 0, 1, '{}', now() - n * interval '23 hours'",
        "ZMARTD_RETENTION_ORPHANED_DAYS",
    ),
    "stream_messages": (
        "(stream_id, seq, body, created_at) select 1, n, 'x', now() - n * interval '23 hours'",
        "ZMARTD_REALTIME_HISTORY_SECONDS",
    ),
}
"""Rows of the last five days, and the setting that says how long they are kept."""


async def test_the_settings_say_how_long_what_expires_is_kept(
    world: World, zmartd: Zmartd, environment: dict[str, str]
) -> None:
    for kept_days, left in ((4, 4), (2, 2)):
        async with world.database.service() as connection:
            for table, (rows, setting) in AGED.items():
                await connection.execute(f"delete from {table}")
                # The oldest come first.
                await connection.execute(
                    f"insert into {table} {rows} from generate_series(5, 1, -1) as n order by n desc"
                )
                environment[setting] = str(kept_days * (86_400 if "SECONDS" in setting else 1))
        status, printed = await zmartd("tick", "stream_retention")
        assert status == 0, printed
        async with world.database.service_reader() as connection:
            for table in AGED:
                own = "where task = 't'" if table == "task_runs" else ""
                found = await connection.fetchval(f"select count(*) from {table} {own}")
                assert (table, found) == (table, left)


async def test_a_backfill_from_genesis_leaves_nothing_to_find(world: World, zmartd: Zmartd) -> None:
    market_id = await world.proposal(indexed=False)
    await world.approve(market_id, indexed=False)
    status, printed = await zmartd("backfill")
    assert (status, printed) == (0, "3 transactions, 2 of them missing, 3 new events\n")
    status, printed = await zmartd("audit", "--json")
    assert (status, json.loads(printed)["differences"]) == (0, [])


async def test_every_form_of_a_backfill_applies_its_part_of_the_history(world: World, zmartd: Zmartd) -> None:
    for _ in range(4):
        await world.proposal(indexed=False)
    history = (await world.own.rpc.signatures_for_address(PROGRAM_ID))[::-1]
    forms = [
        (("--from-slot", str(history[4].slot)), "1 transactions, 1 of them missing, 1 new events"),
        (("--until", history[1].signature), "2 transactions, 1 of them missing, 1 new events"),
        (("--until", str(history[2].slot)), "3 transactions, 1 of them missing, 1 new events"),
        (
            ("--from-slot", str(history[2].slot), "--until", history[3].signature),
            "2 transactions, 1 of them missing, 1 new events",
        ),
        ((), "5 transactions, 0 of them missing, 0 new events"),
    ]
    for form, expected in forms:
        assert await zmartd("backfill", *form) == (0, expected + "\n"), form
    status, printed = await zmartd("backfill", "--until", history[2].signature, "--json")
    assert status == 0
    assert json.loads(printed) == {
        "transactions": 3,
        "applied": 0,
        "new_events": 0,
        "not_found": [],
        "parked": [],
    }
    status, printed = await zmartd("backfill", "--until", "1" * 64)
    assert status == 1
    assert "no such transaction" in printed
    assert (await zmartd("backfill", "--quarantine", "--from-slot", "1"))[0] == 2


async def test_a_backfill_on_a_terminal_shows_how_far_it_is(
    world: World, environment: dict[str, str], tmp_path: Path
) -> None:
    for _ in range(2):
        await world.proposal(indexed=False)
    ours, terminal = os.openpty()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "zmartd", "backfill"),
        stdout=asyncio.subprocess.PIPE,
        stderr=terminal,
        env=environment,
        cwd=tmp_path,
    )
    os.close(terminal)
    async with asyncio.timeout(600):
        output, _ = await process.communicate()
    shown = os.read(ours, 65_536).decode()
    os.close(ours)
    assert (process.returncode, output.decode()) == (0, "3 transactions, 2 of them missing, 2 new events\n")
    assert "transactions" in shown
    assert "3/3" in shown


async def test_lines_in_quarantine_are_applied_once_the_idl_explains_them(
    world: World, zmartd: Zmartd
) -> None:
    await world.proposal(indexed=False)
    await indexed_by_an_older_version(world, kind_of("MarketCreated"))
    status, printed = await zmartd("backfill", "--quarantine")
    assert (status, printed) == (0, "1 quarantined lines applied, 0 cannot be read yet\n")
    assert (await zmartd("audit"))[0] == 0
    await alter(world, "update quarantined_events set resolved_at = null, data = 'nobody knows'")
    await alter(world, f"update quarantined_events set tx_signature = '{'3' * 88}'")
    status, printed = await zmartd("backfill", "--quarantine", "--json")
    assert (status, json.loads(printed)) == (1, {"applied": 0, "remaining": 1, "not_found": []})


async def test_rows_that_somebody_altered_stop_a_backfill_and_are_repaired(
    world: World, zmartd: Zmartd
) -> None:
    market_id = await active(world)
    await world.act(HOLDERS[0], purchase(world, market_id, HOLDERS[0]))
    await alter(world, "delete from trade_events")
    status, printed = await zmartd("backfill")
    assert status == 1
    assert "zmartd audit --repair" in printed
    await alter(world, "update user_positions set shares_yes = 0, shares_no = 7")
    status, printed = await zmartd("audit", "--repair")
    assert (status, printed.splitlines()[-1].split(",")[0]) == (
        0,
        "0 differences in 1 markets and 1 positions",
    )
    assert printed.startswith("1 transactions fetched, 1 events written, 0 taken away\n")
    await alter(world, "update market_events set actor = null")
    status, printed = await zmartd("audit", "--repair", "--all", "--json")
    assert (status, json.loads(printed)["done"]["written"]) == (0, 3)
    assert (await zmartd("audit", "--replay"))[0] == 0


async def test_parked_deliveries_are_listed_and_queued_again(world: World, zmartd: Zmartd) -> None:
    async with world.database.service() as connection:
        await inbox.add(connection, [inbox.NewDelivery(b"[{}]", 1)])
        delivery = await connection.fetchval("select id from webhook_inbox")
        await inbox.park(connection, {delivery: "this is not a transaction"})
    status, printed = await zmartd("inbox", "list", "--json")
    (parked,) = json.loads(printed)
    assert (status, parked["id"], parked["error"]) == (0, delivery, "this is not a transaction")
    assert await zmartd("inbox", "replay", str(delivery)) == (0, f"queued again: {delivery}\n")
    assert await zmartd("inbox", "replay", str(delivery)) == (1, f"not parked: {delivery}\n")
    assert (await zmartd("inbox", "list"))[1] == "nothing is parked\n"


async def test_transactions_that_were_not_believed_are_listed(world: World, zmartd: Zmartd) -> None:
    assert await zmartd("inbox", "unverified") == (0, "nothing is unverified\n")
    signatures = ["3" * 88, "4" * 88]
    async with world.database.service() as connection:
        await unverified.add(connection, [Claim(one, 2**62, "too early") for one in signatures])
        await unverified.record_misses(connection, signatures[:1], most_attempts=1, reason="nobody knew it")
    status, printed = await zmartd("inbox", "unverified", "--json")
    given_up, waiting = json.loads(printed)
    assert (status, given_up["signature"], given_up["reason"]) == (0, signatures[0], "nobody knew it")
    assert (waiting["slot"], waiting["doubt"], waiting["given_up_at"]) == (2**62, "too early", None)
    _, table = await zmartd("inbox", "unverified")
    assert [line.split()[4:6] for line in table.splitlines()[1:]] == [["given", "up"], ["waiting", "too"]]


async def test_parked_transactions_are_shown_everywhere_and_tried_again(world: World, zmartd: Zmartd) -> None:
    market_id = await active(world)
    await settled(world)
    signature = await world.act(HOLDERS[0], purchase(world, market_id, HOLDERS[0]), indexed=False)
    nobodys = "3" * 87
    assert await zmartd("inbox", "parked") == (0, "nothing is parked\n")
    await park(
        world.database,
        [
            Unapplied(signature, 5, "unreadable", "its version is 2"),
            Unapplied(nobodys, 2**40, "refused", "the RPC node refused getTransaction"),
        ],
    )
    # The commands may take longer than the minute after which it is tried again by itself.
    await alter(world, "update parked_transactions set next_attempt_at = now() + interval '1 day'")
    status, printed = await zmartd("inbox", "parked", "--json")
    first, second = json.loads(printed)
    assert (status, first["signature"], first["reason"], first["slot"]) == (0, signature, "unreadable", 5)
    assert (second["detail"], second["attempts"]) == ("the RPC node refused getTransaction", 0)
    _, printed = await zmartd("check", "--json")
    (finding,) = (one for one in json.loads(printed) if one["check"] == "index")
    assert (finding["verdict"], finding["ok"]) == ("warning", True)
    assert finding["detail"].startswith("2 transactions could not be read or applied yet")
    status, printed = await zmartd("tick", "reconciler")
    assert status == 3  # it waits for a person
    assert "2 transactions could not be read or applied: see `zmartd inbox parked`" in printed

    assert (await zmartd("inbox", "retry"))[0] == 2
    assert await zmartd("inbox", "retry", signature) == (0, f"applied: {signature}\n")
    assert await world.fetch("select tx_signature from trades") == [(signature,)]
    assert await zmartd("inbox", "retry", signature) == (1, f"not parked: {signature}\n")
    status, printed = await zmartd("inbox", "retry", "--all", "--json")
    (still,) = json.loads(printed)["parked"]
    assert (status, still["signature"], still["attempts"]) == (1, nobodys, 1)


async def test_a_replay_of_no_delivery_in_particular_is_refused(zmartd: Zmartd) -> None:
    status, printed = await zmartd("inbox", "replay")
    assert status == 2
    assert "--all" in printed


async def test_a_check_says_what_the_programs_fee_wallet_lacks(world: World, zmartd: Zmartd) -> None:
    wallet = str(TREASURY.pubkey())
    for lamports, ok in ((890_880, True), (890_879, False), (0, False)):
        await world.cheat("surfnet_setAccount", wallet, {"lamports": lamports})
        _, printed = await zmartd("check", "--json")
        (finding,) = (one for one in json.loads(printed) if one["check"] == "fee wallet")
        assert finding["ok"] is ok
        assert wallet in finding["detail"]
        assert ok or f"send it at least {890_880 - lamports}" in finding["remedy"]


async def test_a_check_warns_of_a_daemon_that_starts_without_a_key(world: World, zmartd: Zmartd) -> None:
    _, printed = await zmartd("check", "--json")
    (finding,) = (one for one in json.loads(printed) if one["check"] == "authority")
    assert (finding["verdict"], finding["ok"]) == ("warning", True)
    assert "set solana.authority_keypair_path" in finding["remedy"]
    status, _ = await zmartd("tick", "reconciler")  # opens what `serve` opens
    assert status == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--overturn", "--keep"], "--keep and --overturn exclude each other: give one"),
        (["--keep", "--refund", "--yes"], "--keep and --refund exclude each other: give one"),
        (["--keep"], "there is no terminal to confirm the decision on: give --yes"),
        (["--keep", "--json"], "--json asks for no confirmation: give --yes, too"),
    ],
)
async def test_a_decision_that_is_not_clear_or_not_confirmed_is_refused(
    world: World, zmartd: Zmartd, arguments: list[str], said: str
) -> None:
    market_id = await world.resolving(10**9, resolver=RESOLVER)
    status, printed = await zmartd("decide", market_id, *arguments, "--because", "the evidence is plain")
    assert (status, said in " ".join(printed.split())) == (2, True), printed
    async with world.database.service() as connection:
        assert await decisions.of_market(connection, market_id) == ()


async def test_the_operator_sees_what_is_decided_and_confirms_it(
    world: World, environment: dict[str, str], tmp_path: Path
) -> None:
    market_id = await world.resolving(10**9, resolver=RESOLVER)

    async def decide(answer: bytes) -> tuple[int, str]:
        operator, terminal = pty.openpty()
        os.write(operator, answer)
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "zmartd", "decide", market_id, "--overturn"),
            *("--because", "the evidence is plain"),
            stdin=terminal,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env=environment,
            cwd=tmp_path,
        )
        async with asyncio.timeout(600):
            output, _ = await process.communicate()
        os.close(terminal)
        os.close(operator)
        assert process.returncode is not None
        return process.returncode, output.decode()

    status, printed = await decide(b"n\n")
    assert (status, "decision  overturn: NO is final" in printed) == (1, True), printed
    async with world.database.service() as connection:
        assert await decisions.of_market(connection, market_id) == ()
    status, printed = await decide(b"y\n")
    assert (status, f"decided for {market_id}" in printed) == (0, True), printed


async def test_the_operator_decides_about_a_market_once(
    world: World, zmartd: Zmartd, tmp_path: Path, environment: dict[str, str]
) -> None:
    market_id = await world.resolving(10**9, resolver=RESOLVER)
    await world.travel(60)
    reason = "a stranger resolved it within a minute"
    status, printed = await zmartd("decide", market_id, "--because", reason)
    assert (status, "--keep, --overturn or --refund" in printed) == (2, True)
    status, printed = await zmartd("decide", market_id, "--refund", "--because", "no")
    assert (status, "10 to 2000 characters" in printed) == (2, True)

    status, printed = await zmartd("decide", market_id, "--refund", "--because", reason, "--yes")

    assert status == 0, printed
    assert "proposed  YES\nvotes     none: nobody has disputed" in printed
    assert "decision  refund: no outcome is final, and holders get back what they paid" in printed
    assert f"decided for {market_id} (RESOLVING): refund, because {reason}" in printed
    status, printed = await zmartd("decide", market_id, "--keep", "--because", reason, "--yes")
    assert (status, "a decision cannot be changed" in printed) == (1, True)
    environment["ZMARTD_SOLANA_AUTHORITY_KEYPAIR_PATH"] = str(tmp_path / "authority.json")
    (tmp_path / "authority.json").write_text(AUTHORITY.to_json())
    (tmp_path / "authority.json").chmod(0o600)
    status, printed = await zmartd("tick", "vote_aggregator", "--json")
    assert status == 0, printed
    ((action,),) = [report["actions"] for report in json.loads(printed)]
    assert (action["market_id"], action["action"], action["ok"]) == (market_id, "refund_resolution", True)
    assert (await world.account(market_id)).final_outcome is None

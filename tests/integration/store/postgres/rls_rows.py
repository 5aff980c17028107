"""A row of every table, for the tests of row level security."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import Any
from uuid import NAMESPACE_OID, uuid5

from asyncpg import Connection

from tests.integration.store.rows import NOON, cid, insert, insert_market, market_id, signature, wallet
from zmartd.market.lifecycle import MarketState

OWNER, OTHER = wallet("owner"), wallet("other")
OWNERS = {OWNER: "owner", OTHER: "other"}
RANKS = {OWNER: 1, OTHER: 2}
PUBLISHED_EDITION = 100
"""Of the leaderboard, one that belongs to no row below."""


@dataclass(frozen=True)
class Table:
    """How to make, find and change a wallet's row of a table."""

    row: dict[str, Any]
    where: str
    change: str


def tables(of: str) -> dict[str, Table]:
    """For each table, the row of wallet `of`. Every such row lies in a market of that wallet's own."""
    name = OWNERS[of]
    place = list(OWNERS).index(of)
    proposed, disputed, resolving = (
        market_id(f"{state} {name}") for state in ("proposed", "disputed", "resolving")
    )
    event = {
        "tx_signature": signature(name),
        "event_index": 0,
        "slot": 1,
        "market_id": proposed,
        "actor": of,
        "payload": "{}",
    }
    by_signature = f"tx_signature = '{signature(name)}'"
    by_market = f"market_id = '{proposed}'"
    by_wallet = f"user_wallet = '{of}'"
    return {
        "users": Table({"wallet": of, "bio": "hello"}, f"wallet = '{of}'", "bio = 'changed'"),
        "markets": Table(
            {"id": market_id(name), "on_chain_address": wallet(f"address {name}"), "creator_wallet": of},
            f"id = '{market_id(name)}'",
            "question = 'changed'",
        ),
        "market_metadata": Table(
            {
                "market_id": market_id(name),
                "creator_wallet": of,
                "on_chain_address": wallet(f"address {name}"),
                "question": "Will it rain tomorrow?",
                "category": "other",
                "end_date": NOON,
                "cid": cid(name),
                "document": b"{}",
                "b_parameter": 1,
                "initial_liquidity": 1,
            },
            f"creator_wallet = '{of}'",
            "description = 'changed'",
        ),
        "trades": Table(
            {
                "market_id": proposed,
                "user_wallet": of,
                "trade_type": "buy",
                "outcome": True,
                "shares": 1,
                "cost": 1,
                "price_after": 0.5,
                "tx_signature": signature(name),
                "event_index": 0,
                "slot": 1,
                "block_time": NOON,
            },
            f"user_masked = zmartd.masked('{of}')",
            "cost = 2",
        ),
        "user_positions": Table(
            {"market_id": proposed, "user_wallet": of, "shares_yes": 1},
            f"{by_wallet} and {by_market}",
            "slot = 2",
        ),
        "candles": Table(
            {
                "market_id": resolving,
                "seconds": 300,
                "starts_at": NOON,
                **dict.fromkeys(("open", "high", "low", "close"), 0.5),
                "volume": 1,
                "bought": 1,
                "trades": 1,
                "first_place": [1, 1, 1],
                "last_place": [1, 1, 1],
            },
            f"market_id = '{resolving}'",
            "trades = 2",
        ),
        "trade_results": Table(
            {
                "trade_id": 10**12 + place,
                "at": NOON,
                **dict.fromkeys(("profit", "volume", "lot_shares", "lot_cost"), 1),
            },
            f"trade_id = {10**12 + place}",
            "profit = 2",
        ),
        "lots": Table(
            {
                "market_id": resolving,
                "user_wallet": of,
                "outcome": True,
                "last_trade_at": NOON,
                **dict.fromkeys(
                    ("shares", "cost", "last_slot", "newest_trade", "profit", "volume", "trades"), 1
                ),
            },
            f"user_masked = zmartd.masked('{of}') and market_id = '{resolving}'",
            "trades = 2",
        ),
        "market_traders": Table(
            {"market_id": disputed, "traders": 1}, f"market_id = '{disputed}'", "traders = 2"
        ),
        "market_holdings": Table(
            {
                "market_id": disputed,
                **dict.fromkeys(("holders_yes", "holders_no", "shares_yes", "shares_no", "refundable"), 1),
                **dict.fromkeys(("unclaimed_yes", "unclaimed_no", "unclaimed_refunds"), 1),
            },
            f"market_id = '{disputed}'",
            "holders_yes = 2",
        ),
        "market_counts": Table(
            {"state": "CANCELLED", "category": "science", "markets": 1},
            "state = 'CANCELLED' and category = 'science'",
            "markets = 2",
        ),
        "market_volumes": Table(
            {"market_id": market_id(f"gone {name}"), "state": "DISPUTED", "total_volume": 1},
            f"market_id = '{market_id(f'gone {name}')}'",
            "total_volume = 2",
        ),
        "position_results": Table(
            {"market_id": resolving, "user_wallet": of, "at": NOON, "profit": 1}, by_wallet, "profit = 2"
        ),
        "standing_periods": Table(
            {"period": ("7d", "30d")[place], "since": NOON},
            f"period = '{('7d', '30d')[place]}'",
            "traders = 2",
        ),
        "standings": Table(
            {
                "period": "all",
                "user_wallet": of,
                **dict.fromkeys(("profit", "volume", "trades", "results"), 1),
            },
            by_wallet,
            "profit = 2",
        ),
        "standing_changes": Table(
            {
                "user_wallet": of,
                "at": NOON,
                **dict.fromkeys(("profit", "volume", "trades", "results"), 3),
            },
            f"{by_wallet} and trades = 3",
            "profit = 2",
        ),
        "proposal_votes": Table(
            {"market_id": proposed, "user_wallet": of, "vote": True}, by_wallet, "vote = false"
        ),
        "dispute_votes": Table(
            {"market_id": disputed, "user_wallet": of, "vote": True}, by_wallet, "vote = false"
        ),
        "vote_tallies": Table(
            {"market_id": market_id(f"counted {name}"), "kind": "proposal", "yes": 1, "no": 0},
            f"market_id = '{market_id(f'counted {name}')}'",
            "yes = 2",
        ),
        "voter_checks": Table(
            {"market_id": market_id(f"counted {name}"), "kind": "proposal"},
            f"market_id = '{market_id(f'counted {name}')}'",
            "requests = 2",
        ),
        "voter_balances": Table(
            {"market_id": market_id(f"counted {name}"), "user_wallet": of}, by_wallet, "holds = true"
        ),
        "verified_voters": Table(
            {
                "market_id": market_id(f"settling {name}"),
                "user_wallet": of,
                **dict.fromkeys(("on_chain", "vote"), True),
                **dict.fromkeys(("shares_yes", "shares_no", "total_invested", "trades_count"), 1),
            },
            by_wallet,
            "vote = false",
        ),
        "settled_proposals": Table(
            {
                "market_id": disputed,
                **dict.fromkeys(("yes", "no", "not_counted"), 1),
                "counted_at": NOON,
            },
            f"market_id = '{disputed}'",
            "yes = 2",
        ),
        "settled_disputes": Table(
            {
                "market_id": disputed,
                **dict.fromkeys(("yes", "no", "stake_yes", "stake_no"), 1),
                **dict.fromkeys(("electorate_wallets", "electorate_stake", "not_counted"), 1),
                "counted_at": NOON,
            },
            f"market_id = '{disputed}'",
            "yes = 2",
        ),
        "evidence": Table(
            {
                "market_id": disputed,
                "user_wallet": of,
                "kind": "dispute",
                "cid": cid(f"evidence {name}"),
                "document": b"{}",
            },
            f"{by_wallet} and market_id = '{disputed}'",
            "document = '[]'",
        ),
        "dispute_electorate": Table(
            {"market_id": market_id(f"held {name}"), "user_wallet": of, "stake": 1},
            f"{by_wallet} and market_id = '{market_id(f'held {name}')}'",
            "stake = 2",
        ),
        "market_decisions": Table(
            {"market_id": disputed, "state": "DISPUTED", "decision": "keep", "because": "it is on record"},
            f"market_id = '{disputed}'",
            "decision = 'refund'",
        ),
        "dispute_requests": Table(
            {"market_id": resolving, "user_wallet": of}, by_wallet, "requested_at = now()"
        ),
        "shelved_opinions": Table(
            {
                "market_id": proposed,
                "resolution": signature(name),
                "source": "dispute_requests",
                "content": "{}",
            },
            by_market,
            "source = 'dispute_votes'",
        ),
        "discussions": Table(
            {"market_id": proposed, "user_wallet": of, "content": "hello"},
            f"user_masked = zmartd.masked('{of}')",
            "content = 'changed'",
        ),
        "leaderboard_editions": Table(
            {"id": RANKS[of], "as_of": NOON, "markets_version": 1},
            f"id = {RANKS[of]}",
            "markets_version = 2",
        ),
        "leaderboard": Table(
            {
                "edition": PUBLISHED_EDITION,
                "period": "all",
                "ranking": "profit",
                "rank": RANKS[of],
                "wallet": of,
                "profit": 1,
                "volume": 1,
                "trades": 1,
            },
            f"wallet_masked = zmartd.masked('{of}')",
            "profit = 2",
        ),
        "ipfs_anchors": Table(
            {
                "market_id": proposed,
                "ipfs_hash": cid(name),
                "discussions_count": 1,
                "snapshot_date": NOON.date(),
            },
            by_market,
            "discussions_count = 2",
        ),
        "ipfs_documents": Table(
            {
                "cid": cid(name),
                "market_id": proposed,
                "content": b"{}",
                "size": 2,
                "discussions_count": 1,
                "pinned_at": NOON,
            },
            by_market,
            "discussions_count = 2",
        ),
        "market_events": Table(event | {"event_type": "MarketCreated"}, by_signature, "slot = 2"),
        "trade_events": Table(event | {"event_type": "SharesBought"}, by_signature, "slot = 2"),
        "vote_events": Table(event | {"event_type": "ProposalVoteSubmitted"}, by_signature, "slot = 2"),
        "admin_events": Table(event | {"event_type": "ConfigUpdated"}, by_signature, "slot = 2"),
        "quarantined_events": Table(
            {"tx_signature": signature(name), "event_index": 0, "slot": 1, "data": b"?", "reason": "unknown"},
            by_signature,
            "slot = 2",
        ),
        "protocol_config_history": Table(
            {"tx_signature": signature(name), "event_index": 0, "slot": 1, "event_type": "ConfigUpdated"},
            by_signature,
            "slot = 2",
        ),
        "protocol": Table({"is_paused": False}, "singleton", "slot = 2"),
        "outbox_transactions": Table(
            {"signature": signature(name), "wire": b"?", "last_valid_block_height": 1, "purpose": "test"},
            f"signature = '{signature(name)}'",
            "slot = 2",
        ),
        "transaction_intents": Table(
            {"signature": signature(name), "market_id": proposed, "purpose": "test", "round": ""},
            f"signature = '{signature(name)}'",
            "is_current = false",
        ),
        "webhook_inbox": Table({"body": of.encode()}, f"body = '{of}'::bytea", "attempts = 2"),
        "indexer_cursor": Table(
            {"program_id": of, "signature": signature(name), "slot": 1}, f"program_id = '{of}'", "slot = 2"
        ),
        "market_finalization_errors": Table(
            {
                "market_id": proposed,
                "task": "market_monitor",
                "error_code": "x",
                "error_message": "x",
                "next_attempt_at": NOON,
            },
            by_market,
            "attempt_count = 2",
        ),
        "idempotency_keys": Table(
            {"subject": of, "key": "k", "request_hash": b"?", "expires_at": NOON},
            f"subject = '{of}'",
            "status = 200",
        ),
        "task_runs": Table(
            {"task": of, "status": "ran", "started_at": NOON, "finished_at": NOON, "outcome": "ok"},
            f"task = '{of}'",
            "outcome = 'failed'",
        ),
        "task_schedules": Table(
            {"task": of, "schedule": "every 300 s", "next_due_at": NOON},
            f"task = '{of}'",
            "schedule = 'every 30 s'",
        ),
        "prompted_moments": Table(
            {"market_id": disputed, "task": of, "kind": "decision", "due_at": NOON, "again_at": NOON},
            f"task = '{of}'",
            "prompts = 2",
        ),
        "daemons": Table(
            {
                "instance": uuid5(NAMESPACE_OID, of),
                "place": of,
                "started_at": NOON,
                "seen_at": NOON,
                "vitals": "{}",
            },
            f"place = '{of}'",
            f"stopped_at = '{NOON}'",
        ),
        "alerts": Table(
            {
                "id": RANKS[of],
                "rule": "restarts",
                "subject": of,
                "severity": "critical",
                "summary": "x",
                "value": 1.0,
                "first_seen": NOON,
                "last_seen": NOON,
            },
            f"subject = '{of}'",
            "count = 2",
        ),
        "alert_deliveries": Table(
            {
                "id": of,
                "alert_id": RANKS[of],
                "receiver": "log",
                "body": "{}",
                "next_attempt_at": NOON,
                "created_at": NOON,
            },
            f"id = '{of}'",
            "attempts = 2",
        ),
        "alert_order": Table({"id": RANKS[of]}, f"id = {RANKS[of]}", "recoveries = 2"),
        "orphaned_events": Table(
            {
                "source": "trade_events",
                "tx_signature": signature(name),
                "event_index": 0,
                "slot": 1,
                "content": "{}",
            },
            by_signature,
            "slot = 2",
        ),
        "truncated_transactions": Table(
            {"tx_signature": signature(name), "slot": 1, "events_read": 0}, by_signature, "slot = 2"
        ),
        "market_corrections": Table(
            {"market_id": proposed, "slot": 1, "market": "{}", "positions": "{}"},
            by_market,
            "slot = 2",
        ),
        "eventless_transactions": Table(
            {"tx_signature": signature(name), "slot": 1}, by_signature, "slot = 2"
        ),
        "unverified_transactions": Table(
            {"tx_signature": signature(name), "slot": 1, "doubt": "early"}, by_signature, "slot = 2"
        ),
        "parked_transactions": Table(
            {
                "tx_signature": signature(name),
                "slot": 1,
                "reason": "refused",
                "detail": "no",
                "next_attempt_at": NOON,
            },
            by_signature,
            "slot = 2",
        ),
        "history_bookmarks": Table(
            {"program_id": of, "signature": signature(name), "slot": 1}, f"program_id = '{of}'", "slot = 2"
        ),
        "revocations": Table(
            {"name": f"wallet:{of}", "before": 1, "expires_at": NOON}, f"name = 'wallet:{of}'", "before = 2"
        ),
        "streams": Table({"name": f"user:{of}", "seq": 1}, f"name = 'user:{of}'", "seq = 2"),
        "stream_messages": Table(
            {"stream_id": RANKS[of], "seq": 1, "body": b"{}"}, f"stream_id = {RANKS[of]}", "body = '[]'"
        ),
        "stream_epochs": Table(
            {"id": f"{RANKS[of]:016x}", "database": name}, f"database = '{name}'", "database = 'changed'"
        ),
        "pulses": Table(
            {"id": RANKS[of], "number": 1, "committed_at": NOON, "raised_at": NOON, "newest_at": NOON}
            | dict.fromkeys(("slot", "chain_time", "newest_slot"), 1),
            f"id = {RANKS[of]}",
            "slot = 2",
        ),
        "market_audits": Table(
            {"address": of, "slot": 1, "accounts": 1, "differences": 0, "differing": []},
            f"address = '{of}'",
            "slot = 2",
        ),
        "audit_passes": Table(
            {"id": RANKS[of], "slot": 1, "finished_at": NOON}
            | dict.fromkeys(("markets", "accounts", "differences"), 1)
            | dict.fromkeys(("differing_markets", "moving_markets", "failed_markets"), 1),
            f"id = {RANKS[of]}",
            "slot = 2",
        ),
    }


async def insert_markets(administrator: Connection) -> None:
    """What the rows need to be there."""
    await insert(administrator, "leaderboard_editions", id=PUBLISHED_EDITION, as_of=NOON, markets_version=0)
    for name in OWNERS.values():
        await insert_market(administrator, f"proposed {name}", MarketState.PROPOSED)
        await insert_market(administrator, f"counted {name}", MarketState.PROPOSED)
        await insert_market(administrator, f"held {name}", MarketState.RESOLVING)
        settling = await insert_market(administrator, f"settling {name}", MarketState.DISPUTED)
        await insert(administrator, "vote_tallies", market_id=settling, kind="dispute", yes=0, no=0)
        disputed = await insert_market(administrator, f"disputed {name}", MarketState.DISPUTED)
        resolving = await insert_market(administrator, f"resolving {name}", MarketState.RESOLVING)
        for market, holder in product((disputed, resolving), OWNERS):
            await insert(administrator, "dispute_electorate", market_id=market, user_wallet=holder, stake=1)

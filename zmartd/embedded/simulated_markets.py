"""The markets of a simulation: their state, and what moves them on where no wallet of theirs can.

Time is moved for them, because a dispute window lasts for days. It passes for all markets on the chain, so it
is moved only while no market of somebody else has a deadline in between.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from zmartd.chain.rpc import Rpc
from zmartd.clock import Clock
from zmartd.embedded.demo.localnet_client import LocalnetClient
from zmartd.embedded.demo.polling import gather_all
from zmartd.embedded.demo.wallet_client import WalletClient
from zmartd.embedded.happening import Happening, Tell
from zmartd.market.iso_time import iso_time

Row = Mapping[str, Any]
"""A market as the API shows it."""

NEWEST = "20"
"""Older markets of a wallet are left alone, so that failed proposals make room for others in the end."""
WATCH_SECONDS = 10.0
"""How long a market is RESOLVING or DISPUTED before the clock is moved for it: to be seen and disputed."""
_OPEN = "PROPOSED,APPROVED,ACTIVE,RESOLVING,DISPUTED"
_MOST_FOREIGN = 100


class SimulatedMarkets:
    """The newest markets of the simulation's wallets. `rows` are as of the last `advance`."""

    def __init__(
        self,
        *,
        wallets: Sequence[str],
        admin: WalletClient,
        rpc: Rpc,
        chain: LocalnetClient,
        windows: Mapping[str, timedelta],
        clock: Clock,
        tell: Tell,
    ) -> None:
        """`windows`: how long after its last change a RESOLVING or DISPUTED market can be settled."""
        self.rows: Sequence[Row] = ()
        self._wallets = frozenset(wallets)
        self._admin = admin
        self._rpc = rpc
        self._chain = chain
        self._windows = windows
        self._clock = clock
        self._tell = tell
        self._states: dict[str, str] = {}
        self._waiting_since: dict[tuple[str, str], float] = {}
        self._is_blocked = False
        self._travelled_to = datetime.fromtimestamp(0, UTC)

    async def advance(self) -> None:
        """Read the markets, tell what tasks have changed, decide what awaits the admin, and move the clock.

        Raises ApiRefused, ChainRefused, RpcUnavailable, or aiohttp's errors.
        """
        pages = await gather_all(
            *(self._admin.get("/api/markets", creator=wallet, limit=NEWEST) for wallet in self._wallets)
        )
        self.rows = [market for page in pages for market in page["markets"]]
        self._tell_changes()
        for market in self.rows:
            if market["awaiting_decision"]:
                await self._decide(market)
        now = datetime.fromtimestamp((await self._rpc.chain_time()).unix_timestamp, UTC)
        now = max(now, self._travelled_to)  # the confirmed clock shows it a slot later
        watched = [market for market in self.rows if self._waits(market) and self._is_watched(market)]
        if due := [deadline for market in watched if (deadline := self._deadline(market)) > now]:
            await self._let_pass(now, min(due))

    def _tell_changes(self) -> None:
        """Of what only tasks do. A wallet tells what it did."""
        for market in self.rows:
            state, before = market["state"], self._states.get(market["id"])
            self._states[market["id"]] = state
            if before != state and state in {"APPROVED", "FINALIZED"} and before is not None:
                detail = f"outcome {market['final_outcome_label']}" if state == "FINALIZED" else ""
                self._say(state.lower(), "the daemon", market, detail)

    async def _decide(self, market: Row) -> None:
        body = {"decision": "keep", "because": "The votes of the simulation settle nothing."}
        await self._admin.post(f"/api/markets/{market['id']}/decisions", body)
        self._say("decided", self._admin.name, market, "keep")

    def _waits(self, market: Row) -> bool:
        """Whether nothing but time keeps the market from its end."""
        return (
            market["state"] in self._windows
            and not market["awaiting_decision"]
            and market["settles_at"] is None
        )

    def _is_watched(self, market: Row) -> bool:
        """Whether it has waited long enough to be seen."""
        now = self._clock.monotonic()
        since = self._waiting_since.setdefault((market["id"], market["state"]), now)
        return now >= since + WATCH_SECONDS

    def _deadline(self, market: Row) -> datetime:
        """When a market that waits can be settled."""
        began = {"RESOLVING": "resolution_proposed_at", "DISPUTED": "dispute_initiated_at"}[market["state"]]
        return datetime.fromisoformat(market[began]) + self._windows[market["state"]]

    async def _let_pass(self, now: datetime, deadline: datetime) -> None:
        """Move the chain's clock to `deadline`, unless that would end something for another's market."""
        foreign = await self._admin.get("/api/markets", state=_OPEN, limit=str(_MOST_FOREIGN))
        held_up_by = self._with_deadline_between(now, deadline, foreign["markets"])
        blocked = held_up_by is not None or foreign["total"] > _MOST_FOREIGN
        if blocked and not self._is_blocked:
            hours = -(-(deadline - now) // timedelta(hours=1))
            detail = f"other markets have deadlines before; `zmartd travel {hours}h` lets them all pass"
            self._say("waiting", "the clock", held_up_by or {"id": "", "question": ""}, detail)
        self._is_blocked = blocked
        if not blocked:
            await self._chain.travel(int(deadline.timestamp()))
            self._travelled_to = deadline
            self._tell(Happening(what="travelled", who="the clock", detail=f"to {iso_time(deadline)}"))

    def _with_deadline_between(self, now: datetime, then: datetime, markets: Sequence[Row]) -> Row | None:
        """One of somebody else's markets that would not stay as it is until `then`, or None."""
        for market in markets:
            if market["creator_wallet"] in self._wallets:
                continue
            end = market["end_date"]
            ends = end is not None and now < datetime.fromisoformat(end) <= then
            if ends or market["state"] in self._windows:
                return market
        return None

    def _say(self, what: str, who: str, market: Row, detail: str) -> None:
        self._tell(
            Happening(what=what, who=who, market_id=market["id"], question=market["question"], detail=detail)
        )

"""Markets that the program refuses to finalize, and what the tasks have recorded of that."""

from __future__ import annotations

import msgspec

from tests.integration.tasks.world import World


async def alter(world: World, market_id: str, **fields: int) -> None:
    """Change a market's account behind the program's back."""
    account = msgspec.structs.replace(await world.account(market_id), **fields)
    data = account.encode().ljust(488, b"\0").hex()
    await world.cheat("surfnet_setAccount", str(world.address(market_id)), {"data": data})


async def ruin(world: World, market_id: str) -> None:
    """Let a market have lost more than the program allows."""
    await alter(world, market_id, initial_liquidity=10**12, current_liquidity=0)


async def save(world: World, market_id: str) -> None:
    await alter(world, market_id, initial_liquidity=10**9, current_liquidity=10**9)


async def problems(world: World) -> list[tuple[str, str, int]]:
    return await world.fetch(
        """
        select market_id, error_code, attempt_count from market_finalization_errors where resolved_at is null
        """
    )

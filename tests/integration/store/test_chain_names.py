"""Which texts Postgres takes for addresses, signatures and ids of markets."""

from __future__ import annotations

import asyncpg
import pytest

_BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"


def _of(alphabet: str, length: int) -> str:
    return (alphabet * 9)[:length]


@pytest.mark.parametrize(
    ("domain", "alphabet", "lengths", "others"),
    [
        ("address", _BASE58, (32, 44), "0OIl +/\nà"),
        ("signature", _BASE58, (64, 88), "0OIl +/\nà"),
        ("market_id", "0123456789abcdef", (64, 64), "gAF -\nà"),
    ],
)
async def test_a_name_of_the_chain_has_its_length_and_its_alphabet(
    database_url: str, domain: str, alphabet: str, lengths: tuple[int, int], others: str
) -> None:
    shortest, longest = lengths
    connection = await asyncpg.connect(database_url)

    async def is_taken(text: str) -> bool:
        try:
            await connection.execute(f"select '{text}'::zmartd.{domain}")
        except asyncpg.CheckViolationError:
            return False
        return True

    try:
        assert await is_taken(_of(alphabet, shortest))
        assert await is_taken(_of(alphabet, longest))
        assert not await is_taken(_of(alphabet, shortest - 1))
        assert not await is_taken(_of(alphabet, longest + 1))
        for other in others:
            assert not await is_taken(_of(alphabet, longest - len(other.encode())) + other), repr(other)
            assert not await is_taken(other + _of(alphabet, longest - len(other.encode()))), repr(other)
    finally:
        await connection.close()

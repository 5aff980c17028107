from __future__ import annotations

import pytest

from zmartd.http.kit.nearest_path import nearest_path
from zmartd.http.routes import OPERATIONS

PATHS = tuple(sorted({operation.path for operation in OPERATIONS}))
BUY, MARKETS, TRADES = "/api/trades/buy", "/api/markets", "/api/markets/{id}/trades"


@pytest.mark.parametrize(
    ("path", "meant"),
    [
        ("/api/trade/buy", BUY),
        ("/api/trades/Buy", BUY),
        ("/api/market", MARKETS),
        ("/markets", MARKETS),
        ("/market", MARKETS),
        ("/api/markets/7/trade", TRADES),
        ("/markets/7/trades", TRADES),
        ("/api/market/7/trades", TRADES),
        ("/doc", "/docs"),
    ],
)
def test_a_path_that_is_nearly_right_is_told_the_right_one(path: str, meant: str) -> None:
    assert nearest_path(path, PATHS) == meant


@pytest.mark.parametrize(
    "path", ["/", "", "/wp-login.php", "/api/x/y/z", "/api/markets/7/zzz", "//", "/" + "a/" * 5_000, "/%00"]
)
def test_any_other_path_is_told_none(path: str) -> None:
    assert nearest_path(path, PATHS) is None

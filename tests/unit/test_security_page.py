"""What SECURITY.md says of limits is what the settings say."""

from __future__ import annotations

import re
from pathlib import Path

from zmartd.config_file import settings_table

PAGE = (Path(__file__).parents[2] / "SECURITY.md").read_text()
LIMITS = dict(re.findall(r"^\| `(\w+\.\w+)` \| ([\d.]+) \|", PAGE, flags=re.MULTILINE))
BOUNDING = re.compile(r"\.(max_|\w*_per_|\w*_seconds$|keep_|\w*quorum|\w*_lamports$|unproven_)")
NOT_OF_STRANGERS = {
    "database.acquire_seconds",
    "database.statement_timeout_seconds",
    "markets.keep_pending_days",
    "network_fees.max_markets_per_transaction",
    "network_fees.max_priority_fee_lamports",
    "realtime.heartbeat_seconds",
    "server.drain_seconds",
    "server.shutdown_seconds",
    "solana.timeout_seconds",
    "transactions.keep_days",
}


def test_every_limit_has_the_default_that_the_page_names() -> None:
    defaults = {setting.name: str(setting.default) for setting in settings_table()}
    assert LIMITS, "the page has a table of limits"
    assert {name: defaults.get(name) for name in LIMITS} == LIMITS


def test_no_limit_of_strangers_is_left_out() -> None:
    bounding = {
        setting.name
        for setting in settings_table()
        if BOUNDING.search(setting.name) and not setting.name.startswith(("tasks.", "alerts."))
    }
    assert bounding - NOT_OF_STRANGERS - LIMITS.keys() == set()

from __future__ import annotations

import msgspec

from zmartd.config import RateLimitSettings
from zmartd.http.kit.rate_limit_policy import rate_limit_policy


def test_the_policy_says_of_each_limit_what_its_setting_says() -> None:
    told = msgspec.to_builtins(
        rate_limit_policy(
            RateLimitSettings(
                enabled=False,
                ip_reads_per_minute=1,
                ip_reads_per_hour=2,
                ip_writes_per_minute=3,
                ip_writes_per_hour=4,
                wallet_reads_per_minute=5,
                wallet_reads_per_hour=6,
                wallet_writes_per_minute=7,
                wallet_writes_per_hour=8,
                signed_in_ip_reads_per_minute=9,
                signed_in_ip_reads_per_hour=10,
                signed_in_ip_writes_per_minute=11,
                signed_in_ip_writes_per_hour=12,
                comments_per_hour=13,
                kept_answers_per_hour=14,
            )
        )
    )
    assert told == {
        "enabled": False,
        "weights": {"from_memory": 0.1, "other": 1.0},
        "reads": {
            "address": {"per_minute": 1, "per_hour": 2},
            "wallet": {"per_minute": 5, "per_hour": 6},
            "signed_in_address": {"per_minute": 9, "per_hour": 10},
        },
        "writes": {
            "address": {"per_minute": 3, "per_hour": 4},
            "wallet": {"per_minute": 7, "per_hour": 8},
            "signed_in_address": {"per_minute": 11, "per_hour": 12},
        },
        "comments_per_hour": 13,
        "idempotency_keys_per_hour": 14,
    }

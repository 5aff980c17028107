from __future__ import annotations

import msgspec

from zmartd.config import RateLimitSettings
from zmartd.http.kit.rate_limit_policy import rate_limit_policy


def test_the_policy_says_of_each_limit_what_its_setting_says() -> None:
    told = msgspec.to_builtins(
        rate_limit_policy(
            RateLimitSettings(
                enabled=False,
                ip_reads_per_minute=11,
                ip_reads_per_hour=12,
                ip_writes_per_minute=13,
                ip_writes_per_hour=14,
                wallet_reads_per_minute=15,
                wallet_reads_per_hour=16,
                wallet_writes_per_minute=17,
                wallet_writes_per_hour=18,
                signed_in_ip_reads_per_minute=19,
                signed_in_ip_reads_per_hour=20,
                signed_in_ip_writes_per_minute=21,
                signed_in_ip_writes_per_hour=22,
                comments_per_hour=1,
                kept_answers_per_hour=2,
            )
        )
    )
    assert told == {
        "enabled": False,
        "weights": {"from_memory": 0.1, "export": 5.0, "other": 1.0},
        "reads": {
            "address": {"per_minute": 11, "per_hour": 12},
            "wallet": {"per_minute": 15, "per_hour": 16},
            "signed_in_address": {"per_minute": 19, "per_hour": 20},
        },
        "writes": {
            "address": {"per_minute": 13, "per_hour": 14},
            "wallet": {"per_minute": 17, "per_hour": 18},
            "signed_in_address": {"per_minute": 21, "per_hour": 22},
        },
        "ipv6_site_clients": 64,
        "comments_per_hour": 1,
        "idempotency_keys_per_hour": 2,
    }

from typing import Any

from zmartd.embedded.localnet.faults import REORDER_SECONDS, FaultPlan, Faults, RpcFaults, WebhookFaults


def delays(**faults: Any) -> list[list[float]]:
    plan = FaultPlan()
    plan.set(Faults(webhook=WebhookFaults(**faults)))
    return [plan.delivery_delays() for _ in range(1_000)]


def test_without_faults_everything_is_sent_once_and_at_once() -> None:
    plan = FaultPlan()
    assert not plan.touches_webhooks
    assert [plan.delivery_delays() for _ in range(100)] == [[0.0]] * 100
    assert plan.request_failure(frozenset({"getSlot"})) is None
    assert not plan.loses_transaction()


def test_the_same_seed_gives_the_same_fate_and_another_seed_another() -> None:
    faults: dict[str, Any] = {"drop": 0.3, "duplicate": 0.3, "reorder": True}
    assert delays(seed=1, **faults) == delays(seed=1, **faults)
    assert delays(seed=1, **faults) != delays(seed=2, **faults)


def test_shares_are_about_what_was_asked_for() -> None:
    copies = [len(one) for one in delays(drop=0.3, duplicate=0.5)]
    assert 250 <= copies.count(0) <= 350
    assert 300 <= copies.count(2) <= 400


def test_delays_add_up() -> None:
    seconds = [delay for one in delays(delay_ms=200, reorder=True) for delay in one]
    assert min(seconds) >= 0.2
    assert max(seconds) <= 0.2 + REORDER_SECONDS


def test_a_number_of_failures_is_used_up_before_the_share_counts() -> None:
    plan = FaultPlan()
    plan.set(Faults(rpc=RpcFaults(fail_next=2, status=429, methods=("getSlot",))))
    assert plan.request_failure(frozenset({"getHealth"})) is None
    assert [plan.request_failure(frozenset({"getSlot", "getHealth"})) for _ in range(3)] == [429, 429, None]
    assert not plan.touches_requests


def test_a_number_of_transactions_is_lost() -> None:
    plan = FaultPlan()
    plan.set(Faults(rpc=RpcFaults(lose_next=2)))
    assert [plan.loses_transaction() for _ in range(3)] == [True, True, False]

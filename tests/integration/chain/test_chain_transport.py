from __future__ import annotations

import asyncio
import gc
import random
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest
from aiohttp import web
from solders.pubkey import Pubkey

from tests.integration.chain.chain_nodes import Node, node_before
from zmartd.chain.rpc import Rpc
from zmartd.chain.transport import RpcRejected, RpcUnavailable, RpcUnusable, endpoint_name
from zmartd.clock import SystemClock

ANSWER_SECONDS = 4


class PausingClock:
    """Does not wait, and remembers for how long it should have."""

    def __init__(self) -> None:
        self.pauses: list[float] = []

    def time(self) -> float:
        return 0.0

    def monotonic(self) -> float:
        return sum(self.pauses)

    async def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)


@pytest.fixture
async def lonely() -> AsyncIterator[Node]:
    """A node that answers only what a test tells it to."""
    async with node_before("http://127.0.0.1:1") as node:
        yield node


@pytest.fixture
def clock() -> PausingClock:
    return PausingClock()


@pytest.fixture
async def impatient(lonely: Node, clock: PausingClock) -> AsyncIterator[Rpc]:
    async with Rpc(
        lonely.address + "?api-key=hush", clock=clock, timeout_seconds=5, rng=random.Random(7)
    ) as rpc:
        yield rpc


@pytest.fixture
def without_searches_for_garbage() -> Iterator[None]:
    """What is in a cycle stays from here on."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def responses_in_memory() -> int:
    return sum(type(one) is httpx.Response for one in gc.get_objects())


def error(code: int, message: str = "no", data: Any = None) -> web.Response:
    body = {"jsonrpc": "2.0", "id": 0, "error": {"code": code, "message": message, "data": data}}
    return web.json_response(body)


@pytest.mark.parametrize("answer", [
    pytest.param(lambda: web.Response(status=429), id="429"),
    pytest.param(lambda: web.Response(status=500), id="500"),
    pytest.param(lambda: web.Response(status=503), id="503"),
    pytest.param(lambda: error(-32005, "Node is behind by 42 slots"), id="behind"),
    pytest.param(lambda: error(429, "slow down"), id="429 in JSON"),
])  # fmt: skip
async def test_a_passing_trouble_is_waited_out(
    answer: Any, lonely: Node, impatient: Rpc, clock: PausingClock
) -> None:
    lonely.instead("getSlot", answer, answer, 17)
    assert await impatient.slot() == 17
    assert lonely.requests["getSlot"] == 3
    first, second = clock.pauses
    assert 0.1 <= first <= 0.2
    assert 0.2 <= second <= 0.4


async def test_an_answer_stays_in_memory_no_longer_than_it_is_read(
    lonely: Node, impatient: Rpc, without_searches_for_garbage: None
) -> None:
    before = responses_in_memory()
    lonely.instead("getSlot", 17, 18)
    assert [await impatient.slot(), await impatient.slot()] == [17, 18]
    assert responses_in_memory() == before


async def test_a_node_that_asks_for_a_pause_gets_it(
    lonely: Node, impatient: Rpc, clock: PausingClock
) -> None:
    lonely.instead("getSlot", lambda: web.Response(status=429, headers={"Retry-After": "3"}), 17)
    assert await impatient.slot() == 17
    assert clock.pauses == [3.0]


@pytest.mark.parametrize("header", ["soon", "-5", "Wed, 21 Oct 2026 07:28:00 GMT", "9" * 400, "1e9"])
async def test_a_pause_that_makes_no_sense_is_not_made(
    header: str, lonely: Node, impatient: Rpc, clock: PausingClock
) -> None:
    lonely.instead("getSlot", lambda: web.Response(status=429, headers={"Retry-After": header}), 17)
    assert await impatient.slot() == 17
    assert clock.pauses[0] <= 0.2


async def test_a_node_that_stays_down_is_unavailable_after_a_few_attempts(
    lonely: Node, impatient: Rpc
) -> None:
    lonely.down = 502
    with pytest.raises(RpcUnavailable, match="did not answer getSlot: HTTP 502") as caught:
        await impatient.slot()
    assert lonely.requests["getSlot"] == 6
    assert "Solana RPC at http://127.0.0.1:" in caught.value.message


async def test_nothing_that_is_said_about_a_node_holds_its_key(lonely: Node, impatient: Rpc) -> None:
    lonely.down = 401
    with pytest.raises(RpcUnavailable) as caught:
        await impatient.slot()
    said = [str(caught.value), repr(caught.value.__cause__)]
    assert "hush" not in "".join(said)
    assert caught.value.__suppress_context__
    assert lonely.requests["getSlot"] == 1


async def test_a_key_that_a_node_repeats_in_an_error_goes_no_further(
    lonely: Node, clock: PausingClock
) -> None:
    key, password = "0f1e+2d3c", "pa5s"
    url = (
        lonely.address.replace("http://", f"http://me-myself:{password}@") + "?api-key=0f1e%2B2d3c&cluster=1"
    )
    said = f"{'x' * 290} no credits for {url}, key {key}, {key.upper()}, user me-myself:{password}"
    async with Rpc(url, clock=clock) as rpc:
        lonely.instead(
            "getSlot", lambda: error(-32003, said, {"err": [said], "logs": [{said: said}, 1, None]})
        )
        with pytest.raises(RpcRejected) as caught:
            await rpc.slot()
        lonely.instead("getSlot", said)
        with pytest.raises(RpcUnusable) as unusable:
            await rpc.slot()
    known = repr(
        [str(caught.value), caught.value.rpc_message, caught.value.data, str(unusable.value)]
    ).lower()
    assert [part for part in (key, key[:6], "%2b2d3c", password, "me-myself") if part in known] == []
    assert caught.value.data["logs"][1:] == [1, None]


async def test_a_node_that_does_not_exist_is_unavailable() -> None:
    async with Rpc("http://127.0.0.1:1/?api-key=hush", clock=PausingClock()) as rpc:
        with pytest.raises(RpcUnavailable, match=r"http://127\.0\.0\.1:1 did not answer .* ConnectError"):
            await rpc.slot()


async def test_a_proxy_of_the_environment_is_not_asked_for_this_machine_s_own_node(
    lonely: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.delenv("NO_PROXY", raising=False)
    lonely.instead("getSlot", 17)
    async with Rpc(lonely.address, clock=PausingClock()) as rpc:
        assert await rpc.slot() == 17


@pytest.mark.parametrize("url", ["not a url", "http://", "ftp://127.0.0.1", "http://[::1"])
async def test_what_is_no_url_is_unavailable(url: str) -> None:
    try:
        rpc = Rpc(url, clock=PausingClock())
    except RpcUnavailable:
        return
    async with rpc:
        with pytest.raises(RpcUnavailable):
            await rpc.slot()


async def test_a_refusal_is_final_and_keeps_its_code_and_data(lonely: Node, impatient: Rpc) -> None:
    lonely.instead("getMultipleAccounts", lambda: error(-32602, "Invalid param", {"why": 1}))
    with pytest.raises(RpcRejected, match="refused getMultipleAccounts: Invalid param") as caught:
        await impatient.account(Pubkey([1] * 32))
    assert (caught.value.rpc_code, caught.value.data) == (-32602, {"why": 1})
    assert lonely.requests["getMultipleAccounts"] == 1


@pytest.mark.parametrize("answer", [
    pytest.param(lambda: web.Response(text="<html>it works</html>"), id="a web page"),
    pytest.param(lambda: web.Response(body=b"\xff\xfe"), id="no text"),
    pytest.param(lambda: web.json_response([]), id="a list"),
    pytest.param(lambda: web.json_response({"result": "seventeen"}), id="another type"),
    pytest.param(lambda: web.json_response({"result": None}), id="null"),
])  # fmt: skip
async def test_an_answer_of_another_shape_is_no_answer(answer: Any, lonely: Node, impatient: Rpc) -> None:
    lonely.instead("getSlot", answer)
    with pytest.raises(RpcUnavailable, match="not what getSlot gives"):
        await impatient.slot()


@pytest.mark.parametrize(("answer", "is_unusable"), [
    pytest.param(lambda: error(-32603, "Internal error"), True, id="internal error"),
    pytest.param(lambda: web.Response(status=500), True, id="500"),
    pytest.param(lambda: web.Response(status=413), True, id="413"),
    pytest.param(lambda: web.Response(text="[" * 100_000), True, id="no end of brackets"),
    pytest.param(lambda: web.Response(text='{"result": ' + "[" * 100_000), True, id="in the result"),
    pytest.param(lambda: web.Response(status=503), False, id="503"),
    pytest.param(lambda: web.Response(status=429), False, id="429"),
    pytest.param(lambda: error(-32005, "Node is behind by 42 slots"), False, id="behind"),
])  # fmt: skip
async def test_a_node_that_answers_and_gives_nothing_is_told_from_one_that_is_away(
    answer: Any, is_unusable: bool, lonely: Node, impatient: Rpc
) -> None:
    lonely.instead("getSlot", *[answer] * 6)
    with pytest.raises(RpcUnavailable) as caught:
        await impatient.slot()
    assert isinstance(caught.value, RpcUnusable) is is_unusable


@pytest.mark.parametrize(("url", "shown"), [
    ("https://mainnet.helius-rpc.com/?api-key=hush", "https://mainnet.helius-rpc.com"),
    ("https://user:hush@node.example:8443/v2/hush", "https://node.example:8443"),
    ("http://127.0.0.1:8899", "http://127.0.0.1:8899"),
    ("http://host:hush/", "an invalid URL"),
])  # fmt: skip
def test_an_endpoint_is_named_without_its_keys(url: str, shown: str) -> None:
    assert endpoint_name(url) == shown


async def test_a_share_that_is_all_taken_leaves_places_for_others(lonely: Node, impatient: Rpc) -> None:
    share, released = impatient.share(2), asyncio.Event()

    async def once_released() -> web.Response:
        await released.wait()
        return web.json_response({"jsonrpc": "2.0", "id": 0, "result": 17})

    lonely.instead("getSlot", *[once_released] * 3)
    slots = [asyncio.create_task(share.slot()) for _ in range(3)]
    async with asyncio.timeout(ANSWER_SECONDS):
        while lonely.requests["getSlot"] < 2:  # noqa: ASYNC110 - it is a number in the node
            await asyncio.sleep(0)
        lonely.instead("getBlockTime", 5)
        assert await impatient.block_time(1) == 5
        assert lonely.requests["getSlot"] == 2
        released.set()
        assert await asyncio.gather(*slots) == [17] * 3
    assert lonely.requests["getSlot"] == 3


async def test_a_client_that_is_led_elsewhere_asks_there_and_so_do_its_shares(lonely: Node) -> None:
    async with Rpc("http://127.0.0.1:1", clock=SystemClock(), timeout_seconds=60) as rpc:
        share = rpc.share(1)
        rpc.lead_to(lonely.address + "?api-key=hush")
        lonely.instead("getSlot", 17, 18)
        assert [await rpc.slot(), await share.slot()] == [17, 18]
        assert share.endpoint == endpoint_name(lonely.address)

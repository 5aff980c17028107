import asyncio
from typing import Any

import pytest
from solders.keypair import Keypair
from solders.pubkey import Pubkey

from tests.integration.embedded.localnet.localnet_client import Chain, wire


def request(method: str, *params: Any, id: Any = 1) -> dict[str, Any]:  # noqa: A002
    return {"jsonrpc": "2.0", "id": id, "method": method, "params": list(params)}


async def test_junk_is_a_parse_error(chain: Chain) -> None:
    assert await chain.post(b"{nonsense") == {
        "jsonrpc": "2.0",
        "error": {"code": -32700, "message": "Parse error"},
        "id": None,
    }


@pytest.mark.parametrize(
    "body", [b"7", b'"getSlot"', b"{}", b'{"jsonrpc":"1.0","id":1,"method":"getSlot"}', b"[]"]
)
async def test_what_is_no_request_is_an_invalid_request(chain: Chain, body: bytes) -> None:
    answer = await chain.post(body)
    assert answer["error"]["code"] == -32600


async def test_an_unknown_method_is_not_found(chain: Chain) -> None:
    assert await chain.error("getWeather") == {"code": -32601, "message": "Method not found"}


@pytest.mark.parametrize(
    ("method", "params", "named"),
    [
        ("getBalance", [], "address"),
        ("getBalance", ["not base58 0OIl"], "address"),
        ("getBalance", ["1" * 32, {"commitment": "maybe"}], "commitment"),
        ("getBalance", ["1" * 32, {}, 3], "at most 2"),
        ("getAccountInfo", ["1" * 32, {"encoding": "rot13"}], "encoding"),
        ("getAccountInfo", ["1" * 32, {"dataSlice": {"offset": -1, "length": 1}}], "dataSlice.offset"),
        ("getMultipleAccounts", [["1" * 32] * 101], "addresses"),
        ("getProgramAccounts", ["1" * 32, {"filters": [{}]}], "filters"),
        ("getProgramAccounts", ["1" * 32, {"filters": [{"dataSize": 1}] * 5}], "filters"),
        ("getBlockTime", ["yesterday"], "slot"),
        ("getSignatureStatuses", [["2" * 87] * 257], "signatures"),
        ("getSignaturesForAddress", ["1" * 32, {"limit": 1001}], "limit"),
        ("getSignaturesForAddress", ["1" * 32, {"before": "x"}], "before"),
        ("getTransaction", ["short"], "signature"),
        ("requestAirdrop", ["1" * 32, 0], "lamports"),
        ("requestAirdrop", ["1" * 32, 2**63], "lamports"),
        ("sendTransaction", ["!!!!"], "base58"),
        ("sendTransaction", ["!!!!", {"encoding": "base64"}], "base64"),
        ("sendTransaction", ["AAAA", {"encoding": "base64"}], "deserialize"),
        ("sendTransaction", ["A" * 4000, {"encoding": "base64"}], "too large"),
        ("simulateTransaction", [7], "transaction"),
        ("surfnet_timeTravel", [{}], "absoluteTimestamp"),
        ("surfnet_timeTravel", [{"absoluteSlot": 10, "absoluteEpoch": 3}], "absoluteTimestamp"),
        ("surfnet_setAccount", ["1" * 32, {"data": "xyz"}], "data"),
        ("zmartd_setFaults", [{"webhook": {"drop": 2}}], "drop"),
        ("zmartd_setFaults", [{"webhok": {}}], "webhok"),
        ("zmartd_addWebhook", [{"url": "http://127.0.0.1:1", "accounts": ["nobody"]}], "accounts"),
    ],
)
async def test_a_wrong_parameter_is_named(chain: Chain, method: str, params: list[Any], named: str) -> None:
    error = await chain.error(method, *params)
    assert error["code"] == -32602
    assert named in error["message"]


async def test_parameters_by_name_are_not_understood(chain: Chain) -> None:
    answer = await chain.post(
        {"jsonrpc": "2.0", "id": 1, "method": "getSlot", "params": {"commitment": "processed"}}
    )
    assert answer["error"]["code"] == -32602


async def test_null_means_left_out(chain: Chain) -> None:
    config = {"commitment": None, "minContextSlot": None, "encoding": None, "dataSlice": None}
    assert (await chain.call("getAccountInfo", "1" * 32, config))["value"]["executable"] is True
    assert await chain.call("getSlot", None) == 0


async def test_a_minimum_context_slot_in_the_future_is_refused_with_the_present_one(chain: Chain) -> None:
    await chain.advance(40)
    address = str(Pubkey.new_unique())
    assert await chain.error("getBalance", address, {"minContextSlot": 10}) == {
        "code": -32016,
        "message": "Minimum context slot has not been reached",
        "data": {"contextSlot": 9},
    }
    assert (await chain.call("getBalance", address, {"minContextSlot": 9}))["value"] == 0


async def test_the_time_of_a_slot_that_never_was_is_unknown(chain: Chain) -> None:
    assert (await chain.error("getBlockTime", 1_000))["code"] == -32004
    await chain.call("surfnet_timeTravel", {"absoluteSlot": 2_000})
    assert (await chain.error("getBlockTime", 1_000))["code"] == -32007


async def test_a_batch_is_answered_in_its_order(chain: Chain) -> None:
    answers = await chain.post(
        [request("getHealth", id="a"), request("getWeather", id=2), request("getSlot", id=None), 7]
    )
    assert [answer.get("result") for answer in answers] == ["ok", None, 0, None]
    assert [answer["id"] for answer in answers] == ["a", 2, None, None]
    assert [answer.get("error", {}).get("code") for answer in answers] == [None, -32601, None, -32600]


async def test_a_batch_has_a_limit(chain: Chain) -> None:
    assert len(await chain.post([request("getHealth")] * 100)) == 100
    assert (await chain.post([request("getHealth")] * 101))["error"]["code"] == -32600


async def test_a_notification_is_not_answered(chain: Chain) -> None:
    body = {"jsonrpc": "2.0", "method": "getHealth"}
    async with chain.session.post(chain.endpoints.rpc_url, json=body) as response:
        assert await response.read() == b""


async def test_a_body_has_a_limit(chain: Chain) -> None:
    async with chain.session.post(chain.endpoints.rpc_url, data=b" " * 2**21) as response:
        assert response.status == 413


async def test_a_browser_may_call_from_anywhere(chain: Chain) -> None:
    async with chain.session.options(chain.endpoints.rpc_url) as response:
        assert response.status == 204
        assert response.headers["Access-Control-Allow-Origin"] == "*"
        assert response.headers["Access-Control-Allow-Headers"] == "*"


async def test_requests_at_the_same_time_do_not_disturb_each_other(chain: Chain) -> None:
    wallets = [await chain.wallet() for _ in range(5)]
    friend = Keypair().pubkey()
    transactions = [await chain.transfer(wallet, friend, 10**9) for wallet in wallets]
    sent = [chain.call("sendTransaction", wire(one), {"encoding": "base64"}) for one in transactions]
    assert await asyncio.gather(*sent) == [str(one.signatures[0]) for one in transactions]
    assert await chain.balance(friend) == 5 * 10**9

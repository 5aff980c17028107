"""What a web page in the developer's browser can do to the localnet: nothing but what a page needs."""

from __future__ import annotations

import json
import socket
from typing import Any

import aiohttp
import pytest
from solders.keypair import Keypair

from tests.integration.embedded.localnet.localnet_client import SOL, Chain, wire
from tests.integration.embedded.localnet.webhook_listener import webhook_listener
from zmartd.embedded.localnet import LocalnetSettings, WebhookTarget, running
from zmartd.embedded.localnet.methods.cheatcodes import CHEATCODE_PREFIXES, CheatcodeMethods
from zmartd.embedded.localnet.server import LocalnetError
from zmartd.embedded.localnet.webhooks import loopback_socket

CHEATS: dict[str, list[Any]] = {
    "surfnet_timeTravel": [{"absoluteSlot": 1_000}],
    "surfnet_setAccount": [str(Keypair().pubkey()), {"lamports": SOL}],
    "zmartd_advanceSlots": [{"slots": 3}],
    "zmartd_rollback": [{}],
    "zmartd_holdFinality": [{}],
    "zmartd_setFaults": [{"rpc": {"failNext": 9}}],
    "zmartd_addWebhook": [{"url": "http://127.0.0.1:1/", "accounts": []}],
    "zmartd_removeWebhook": [{"url": "http://127.0.0.1:1/"}],
}
PAGES = [
    {"Origin": "https://evil.example"},
    {"Origin": "http://localhost:3000"},
    {"Origin": "null"},
    {"Origin": ""},
    {"Origin": "chrome-extension://abcdefgh"},
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
    {"Sec-Fetch-Site": "anything"},
    {"Origin": "https://evil.example", "Content-Type": "text/plain"},
]
FOREIGN_HOSTS = [
    *("evil.example", "evil.example:8899", "localhost.evil.example", "127.0.0.1.evil.example"),
    *(
        "0.0.0.0:8899",
        "192.168.1.2:8899",
        "2130706433",
        "[::ffff:10.0.0.1]:8899",
        "",
        "localhost@evil.example",
    ),
]
OWN_HOSTS = ["localhost:8899", "LOCALHOST", "app.localhost", "127.0.0.1", "127.1.2.3:1", "[::1]:8899"]


GENESIS_SLOT = 1


async def slot(chain: Chain) -> int:
    return int(await chain.call("getSlot", {"commitment": "processed"}))


def request(method: str, *params: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": 1, "method": method, "params": list(params)}


async def ask(chain: Chain, body: Any, headers: dict[str, str]) -> tuple[int, Any]:
    data = json.dumps(body).encode()
    headers = {"Content-Type": "application/json"} | headers
    async with chain.session.post(chain.endpoints.rpc_url, data=data, headers=headers) as response:
        return response.status, await response.json(content_type=None)


def test_every_cheat_is_tried_here() -> None:
    nothing: Any = None
    assert set(CHEATS) == set(CheatcodeMethods(nothing, nothing, nothing).table())
    assert all(name.startswith(CHEATCODE_PREFIXES) for name in CHEATS)


@pytest.mark.parametrize("headers", PAGES)
async def test_no_page_can_cheat(chain: Chain, headers: dict[str, str]) -> None:
    for method, params in CHEATS.items():
        status, answer = await ask(chain, request(method, *params), headers)
        assert (status, answer["error"]["code"]) == (403, -32098)
        assert f"{method} is not for web pages" in answer["error"]["message"]
    assert await slot(chain) == GENESIS_SLOT


@pytest.mark.parametrize("headers", PAGES)
async def test_a_batch_that_cheats_does_nothing_at_all(chain: Chain, headers: dict[str, str]) -> None:
    wallet = Keypair().pubkey()
    batch = [
        request("requestAirdrop", str(wallet), SOL),
        request("zmartd_advanceSlots", {"slots": 1}),
        7,
    ]
    status, answers = await ask(chain, batch, headers)
    assert (status, [one["error"]["code"] for one in answers]) == (403, [-32098] * 3)
    assert await chain.balance(wallet) == 0
    assert await slot(chain) == GENESIS_SLOT


async def test_a_cheat_that_asks_for_no_answer_is_refused_as_well(chain: Chain) -> None:
    body = {"jsonrpc": "2.0", "method": "zmartd_advanceSlots", "params": [{"slots": 3}]}
    status, _ = await ask(chain, body, PAGES[0])
    assert (status, await slot(chain)) == (403, GENESIS_SLOT)


async def test_nothing_is_called_by_an_address_alone(chain: Chain) -> None:
    query = {"method": "zmartd_advanceSlots", "params": '[{"slots": 3}]', "jsonrpc": "2.0", "id": "1"}
    async with chain.session.get(chain.endpoints.rpc_url, params=query) as response:
        assert response.status == 405
    assert await slot(chain) == GENESIS_SLOT


@pytest.mark.parametrize("origin", ["http://localhost:3000", "https://app.example", "null"])
async def test_a_page_may_do_what_wallets_do(chain: Chain, origin: str) -> None:
    wallet = await chain.wallet()
    transaction = await chain.transfer(wallet, Keypair().pubkey(), SOL)
    allowed: dict[str, list[Any]] = {
        "getLatestBlockhash": [],
        "getBalance": [str(wallet.pubkey())],
        "sendTransaction": [wire(transaction), {"encoding": "base64"}],
    }
    for method, params in allowed.items():
        status, answer = await ask(chain, request(method, *params), {"Origin": origin})
        assert (status, "result" in answer) == (200, True)
    async with chain.session.post(
        chain.endpoints.rpc_url, json=request("getSlot"), headers={"Origin": origin}
    ) as response:
        assert response.headers["Access-Control-Allow-Origin"] == "*"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Origin": "http://localhost:3000"}, 200),
        ({"Origin": "http://127.0.0.1:5173", "Sec-Fetch-Site": "cross-site"}, 200),
        ({"Origin": "http://[::1]:3000"}, 200),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "http://localhost.evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
    ],
)
async def test_the_faucet_is_for_this_machine_s_own_pages(
    chain: Chain, headers: dict[str, str], status: int
) -> None:
    body = request("requestAirdrop", str(Keypair().pubkey()), SOL)
    assert (await ask(chain, body, headers))[0] == status


@pytest.mark.parametrize("site", ["", "none", "same-origin"])
async def test_a_program_can_cheat(chain: Chain, site: str) -> None:
    headers = dict.fromkeys(["Sec-Fetch-Site"] if site else [], site)
    status, _ = await ask(chain, request("zmartd_advanceSlots", {"slots": 2}), headers)
    assert (status, await slot(chain)) == (200, GENESIS_SLOT + 2)


@pytest.mark.parametrize("host", FOREIGN_HOSTS)
async def test_another_machine_s_name_leads_nowhere(chain: Chain, host: str) -> None:
    headers = {"Host": host}
    url = chain.endpoints.rpc_url
    for body in (request("getSlot"), request("zmartd_advanceSlots", {"slots": 1})):
        async with chain.session.post(url, json=body, headers=headers) as response:
            assert response.status == 403
            assert "Access-Control-Allow-Origin" not in response.headers
    for path in ("/health", "/nowhere"):
        async with chain.session.get(url + path, headers=headers) as response:
            assert response.status == 403
    for door in (url, chain.endpoints.ws_url):
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await chain.session.ws_connect(door, headers=headers)
        assert refused.value.status == 403
    assert await slot(chain) == GENESIS_SLOT


@pytest.mark.parametrize("host", OWN_HOSTS)
async def test_every_name_of_this_machine_is_answered_to(chain: Chain, host: str) -> None:
    async with chain.session.post(
        chain.endpoints.rpc_url, json=request("getSlot"), headers={"Host": host}
    ) as response:
        assert response.status == 200


async def test_no_cheat_passes_through_a_websocket(chain: Chain) -> None:
    for door in (chain.endpoints.rpc_url, chain.endpoints.ws_url):
        async with chain.session.ws_connect(door, headers={"Origin": "https://evil.example"}) as ws:
            for method, params in CHEATS.items():
                await ws.send_json(request(method, *params))
                assert (await ws.receive_json())["error"]["code"] == -32601
            await ws.send_json(request("slotSubscribe"))
            assert "result" in await ws.receive_json()
    assert await slot(chain) == GENESIS_SLOT


@pytest.mark.parametrize(
    "url",
    [
        "http://192.0.2.1/hook",
        "http://10.0.0.1:80/",
        "http://0.0.0.0:4000/",
        "http://[::]/",
        "http://[::ffff:192.0.2.1]/",
        "http://2130706433/",
        "http://0x7f.1/",
        "http://evil.example/",
        "http://localhost.evil.example/",
        "http://127.0.0.1@evil.example/",
        "http://evil.example#@127.0.0.1/",
        "http://evil.example/@127.0.0.1",
        "http://127.0.0.1,evil.example/",
        "file:///etc/passwd",
        "ftp://127.0.0.1/",
        "127.0.0.1",
        "",
    ],
)
async def test_a_webhook_leads_to_this_machine_only(chain: Chain, still: LocalnetSettings, url: str) -> None:
    error = await chain.error("zmartd_addWebhook", {"url": url, "accounts": []})
    assert (error["code"], "expected http://127.0.0.1:PORT/PATH" in error["message"]) == (-32602, True)
    elsewhere = LocalnetSettings(still.data_directory / "b", rpc_port=0, webhooks=(WebhookTarget(url, ()),))
    with pytest.raises(LocalnetError, match="expected http://127"):
        async with running(elsewhere):
            pass


@pytest.mark.parametrize("address", ["192.0.2.1", "10.0.0.1", "0.0.0.0", "::", "fe80::1", "::ffff:10.0.0.1"])
def test_a_name_that_leads_elsewhere_after_all_is_not_followed(address: str) -> None:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with pytest.raises(OSError, match="this machine only"):
        loopback_socket((family, socket.SOCK_STREAM, 0, "", (address, 80)))


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost"])
async def test_a_webhook_follows_no_redirection(chain: Chain, name: str) -> None:
    wallet = await chain.wallet()
    async with webhook_listener() as elsewhere, webhook_listener() as listener:
        listener.location = elsewhere.url
        listener.statuses = [307, 308, 301, 302]
        url = listener.url.replace("127.0.0.1", name)
        await chain.call("zmartd_addWebhook", {"url": url, "accounts": [str(wallet.pubkey())]})
        await chain.send(await chain.transfer(wallet, Keypair().pubkey(), SOL))
        await chain.advance()
        await listener.until(deliveries=4)
        assert elsewhere.deliveries == []

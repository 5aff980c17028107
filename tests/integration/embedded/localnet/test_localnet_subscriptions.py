import asyncio
from typing import Any

import aiohttp
from solders.keypair import Keypair
from solders.pubkey import Pubkey
from solders.signature import Signature

from tests.integration.embedded.localnet.localnet_client import SOL, Chain
from zmartd.embedded.localnet.websocket import MAX_MESSAGE_BYTES

DEADLINE_SECONDS = 120


class Socket:
    """One WebSocket client; answers and notifications in the order they came."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._notifications: list[dict[str, Any]] = []

    async def call(self, method: str, *params: Any) -> Any:
        await self._socket.send_json({"jsonrpc": "2.0", "id": 1, "method": method, "params": list(params)})
        while True:
            message = await self._receive()
            if "id" in message:
                return message.get("result", message.get("error"))
            self._notifications.append(message)

    async def told(self) -> dict[str, Any]:
        """The next notification: its method and result."""
        message = self._notifications.pop(0) if self._notifications else await self._receive()
        return {"method": message["method"], "result": message["params"]["result"]}

    async def told_nothing(self) -> bool:
        """Whether everything that was said up to now has been heard."""
        await self.call("ping")  # no such method; its answer comes after every earlier notification
        return not self._notifications

    async def _receive(self) -> dict[str, Any]:
        async with asyncio.timeout(DEADLINE_SECONDS):
            return dict(await self._socket.receive_json())


async def test_a_signature_is_told_once_at_its_commitment(chain: Chain) -> None:
    wallet = await chain.wallet()
    transaction = await chain.transfer(wallet, Keypair().pubkey(), SOL)
    signature = str(transaction.signatures[0])
    async with chain.session.ws_connect(chain.endpoints.ws_url) as connection:
        socket = Socket(connection)
        for commitment in ("processed", "confirmed", "finalized"):
            await socket.call("signatureSubscribe", signature, {"commitment": commitment})
        expected = {
            "method": "signatureNotification",
            "result": {"context": {"slot": 2, "apiVersion": "2.2.0"}, "value": {"err": None}},
        }
        await chain.send(transaction)
        assert await socket.told() == expected
        assert await socket.told_nothing()
        await chain.advance()
        assert await socket.told() == expected
        await chain.advance(30)
        assert await socket.told_nothing()
        await chain.advance()
        assert await socket.told() == expected
        await chain.advance(5)
        assert await socket.told_nothing()


async def test_a_signature_that_is_there_already_is_told_at_once(chain: Chain) -> None:
    wallet = await chain.wallet()
    signature = await chain.send(await chain.transfer(wallet, Keypair().pubkey(), SOL))
    await chain.advance()
    async with chain.session.ws_connect(chain.endpoints.ws_url) as connection:
        socket = Socket(connection)
        await socket.call("signatureSubscribe", signature, {"commitment": "confirmed"})
        assert (await socket.told())["result"]["value"] == {"err": None}


async def test_a_failed_transaction_is_told_with_its_error(chain: Chain) -> None:
    wallet = await chain.wallet(SOL)
    transaction = await chain.transfer(wallet, Keypair().pubkey(), 2 * SOL)
    async with chain.session.ws_connect(chain.endpoints.ws_url) as connection:
        socket = Socket(connection)
        await socket.call("signatureSubscribe", str(transaction.signatures[0]), {"commitment": "processed"})
        await socket.call("logsSubscribe", "all", {"commitment": "processed"})
        await chain.send(transaction, skipPreflight=True)
        failure = {"InstructionError": [0, {"Custom": 1}]}
        assert (await socket.told())["result"]["value"] == {"err": failure}
        logs = (await socket.told())["result"]["value"]
        assert logs["err"] == failure
        assert logs["signature"] == str(transaction.signatures[0])
        assert "insufficient lamports" in logs["logs"][1]


async def test_logs_are_told_of_the_address_asked_for(chain: Chain) -> None:
    wallet, friend, stranger = await chain.wallet(), Keypair().pubkey(), Keypair().pubkey()
    async with chain.session.ws_connect(chain.endpoints.ws_url) as connection:
        socket = Socket(connection)
        await socket.call("logsSubscribe", {"mentions": [str(friend)]}, {"commitment": "confirmed"})
        await chain.send(await chain.transfer(wallet, stranger, SOL))
        wanted = await chain.send(await chain.transfer(wallet, friend, SOL))
        await chain.advance()
        assert (await socket.told())["result"]["value"]["signature"] == wanted
        assert await socket.told_nothing()
        error = await socket.call("logsSubscribe", {"mentions": [str(friend), str(stranger)]})
        assert error["code"] == -32602


async def test_an_account_is_told_once_a_slot_when_confirmed(chain: Chain) -> None:
    wallet, friend = await chain.wallet(), Keypair().pubkey()
    async with chain.session.ws_connect(chain.endpoints.ws_url) as connection:
        socket = Socket(connection)
        config = {"commitment": "confirmed", "encoding": "base64"}
        await socket.call("accountSubscribe", str(friend), config)
        await chain.send(await chain.transfer(wallet, friend, SOL))
        await chain.send(await chain.transfer(wallet, friend, SOL + 1))
        await chain.advance()
        told = await socket.told()
        assert told["method"] == "accountNotification"
        assert told["result"]["value"]["lamports"] == 2 * SOL + 1
        assert await socket.told_nothing()


async def test_a_program_is_told_account_by_account_through_its_filters(chain: Chain) -> None:
    program = str(Pubkey.new_unique())
    async with chain.session.ws_connect(chain.endpoints.ws_url) as connection:
        socket = Socket(connection)
        config = {"commitment": "processed", "encoding": "base64", "filters": [{"dataSize": 2}]}
        await socket.call("programSubscribe", program, config)
        for data in ("01", "0102", "010203"):
            update = {"lamports": SOL, "owner": program, "data": data}
            await chain.call("surfnet_setAccount", str(Pubkey.new_unique()), update)
        told = await socket.told()
        assert told["method"] == "programNotification"
        assert told["result"]["value"]["account"]["data"] == ["AQI=", "base64"]
        assert await socket.told_nothing()


async def test_slots_and_roots_are_told(chain: Chain) -> None:
    async with chain.session.ws_connect(chain.endpoints.ws_url) as connection:
        socket = Socket(connection)
        await socket.call("slotSubscribe")
        await chain.advance()
        assert await socket.told() == {
            "method": "slotNotification",
            "result": {"parent": 1, "slot": 2, "root": 0},
        }
        await socket.call("rootSubscribe")
        await chain.advance(30)
        methods = [await socket.told() for _ in range(30)]
        assert {one["method"] for one in methods} == {"slotNotification"}
        await chain.advance()
        assert (await socket.told())["result"] == {"parent": 32, "slot": 33, "root": 1}
        assert await socket.told() == {"method": "rootNotification", "result": 1}


async def test_unsubscribing_ends_it_and_works_once(chain: Chain) -> None:
    async with chain.session.ws_connect(chain.endpoints.ws_url) as connection:
        socket = Socket(connection)
        number = await socket.call("slotSubscribe")
        assert await socket.call("slotUnsubscribe", number) is True
        assert (await socket.call("slotUnsubscribe", number))["code"] == -32602
        await chain.advance()
        assert await socket.told_nothing()


async def test_one_client_cannot_end_the_subscription_of_another(chain: Chain) -> None:
    async with (
        chain.session.ws_connect(chain.endpoints.ws_url) as first_connection,
        chain.session.ws_connect(chain.endpoints.ws_url) as second_connection,
    ):
        first, second = Socket(first_connection), Socket(second_connection)
        number = await first.call("slotSubscribe")
        assert (await second.call("slotUnsubscribe", number))["code"] == -32602
        await chain.advance()
        assert (await first.told())["result"]["slot"] == 2


async def test_a_client_has_at_most_a_thousand_subscriptions(chain: Chain) -> None:
    async with chain.session.ws_connect(chain.endpoints.ws_url) as connection:
        socket = Socket(connection)
        for _ in range(1_000):
            await socket.call("signatureSubscribe", str(Signature.new_unique()))
        assert (await socket.call("slotSubscribe"))["code"] == -32600


async def test_the_rpc_port_takes_websockets_too(chain: Chain) -> None:
    async with chain.session.ws_connect(chain.endpoints.rpc_url) as connection:
        assert isinstance(await Socket(connection).call("slotSubscribe"), int)


async def test_blocks_are_told_with_the_transactions_asked_for(chain: Chain) -> None:
    wallet, friend = await chain.wallet(), Keypair().pubkey()
    config = {"commitment": "confirmed", "maxSupportedTransactionVersion": 0, "showRewards": False}
    async with chain.session.ws_connect(chain.endpoints.ws_url) as connection:
        socket = Socket(connection)
        mentioning = {"mentionsAccountOrProgram": str(friend)}
        first = await socket.call("blockSubscribe", mentioning, config)
        await chain.advance()
        assert await socket.told_nothing(), "no transaction of the block mentions it"
        await chain.send(await chain.transfer(wallet, Keypair().pubkey(), SOL))
        signature = await chain.send(await chain.transfer(wallet, friend, SOL))
        await chain.advance()
        told = await socket.told()
        assert told["method"] == "blockNotification"
        value = told["result"]["value"]
        assert (value["slot"], value["err"]) == (3, None)
        (shown,) = value["block"]["transactions"]
        assert shown["transaction"]["signatures"] == [signature]
        assert "rewards" not in value["block"]
        whole = await chain.call("getBlock", 3, config | {"rewards": False})
        assert value["block"] == whole | {"transactions": [shown]}
        assert await socket.call("blockUnsubscribe", first) is True

        await socket.call("blockSubscribe", "all", {"commitment": "confirmed"})
        await chain.send(await chain.transfer(wallet, friend, SOL))
        await chain.advance()
        value = (await socket.told())["result"]["value"]
        assert value == {"slot": 4, "block": None, "err": {"UnsupportedTransactionVersion": 0}}
        error = await socket.call("blockSubscribe", "all", {"commitment": "processed"})
        assert error["code"] == -32602


async def test_the_stages_of_each_slot_are_told(chain: Chain) -> None:
    await chain.advance(31)
    async with chain.session.ws_connect(chain.endpoints.ws_url) as connection:
        socket = Socket(connection)
        await socket.call("slotsUpdatesSubscribe")
        wallet = await chain.wallet()
        told = [(await socket.told())["result"] for _ in range(4)]
        assert [(one["type"], one["slot"]) for one in told] == [
            ("frozen", 32),
            ("optimisticConfirmation", 32),
            ("createdBank", 33),
            ("root", 1),
        ]
        assert told[0]["stats"]["numSuccessfulTransactions"] == 1
        assert told[2]["parent"] == 32
        assert told[0]["timestamp"] == 1_000 * await chain.call("getBlockTime", 32)
        assert wallet


async def test_there_are_no_votes_to_be_told(chain: Chain) -> None:
    async with chain.session.ws_connect(chain.endpoints.ws_url) as connection:
        error = await Socket(connection).call("voteSubscribe")
    assert error["code"] == -32601
    assert "nobody votes on this localnet" in error["message"]


async def test_a_message_may_be_as_long_as_the_limit_and_no_longer(chain: Chain) -> None:
    request = b'{"jsonrpc":"2.0","id":1,"method":"ping"}'
    async with chain.session.ws_connect(chain.endpoints.ws_url) as connection:
        await connection.send_bytes(request.ljust(MAX_MESSAGE_BYTES))
        assert (await connection.receive_json())["id"] == 1
        await connection.send_bytes(request.ljust(MAX_MESSAGE_BYTES + 1))
        async for _ in connection:
            pass
        assert connection.close_code == aiohttp.WSCloseCode.MESSAGE_TOO_BIG

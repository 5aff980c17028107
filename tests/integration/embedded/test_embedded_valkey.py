from __future__ import annotations

from pathlib import Path

import pytest
from redis.asyncio import Redis

from tests.integration.embedded.processes import exists, is_private, is_running
from zmartd.embedded.server_process import EmbeddedServerError
from zmartd.embedded.valkey import EmbeddedValkey


async def socket_of(client: Redis) -> Path:
    path = (await client.config_get("unixsocket"))["unixsocket"]
    assert path is not None
    return Path(path)


async def test_a_restart_begins_with_nothing(tmp_path: Path) -> None:
    async with EmbeddedValkey(tmp_path) as server, Redis.from_url(server.url) as client:
        await client.set("a count", "1")
    async with EmbeddedValkey(tmp_path) as server, Redis.from_url(server.url) as client:
        assert await client.dbsize() == 0


async def test_a_stopped_server_leaves_no_process_and_no_socket(tmp_path: Path) -> None:
    async with EmbeddedValkey(tmp_path) as server, Redis.from_url(server.url) as client:
        pid = server.pid
        socket = await socket_of(client)
        assert exists(socket)

    assert not is_running(pid)
    assert not exists(socket.parent)


async def test_nobody_else_can_reach_the_socket_and_there_is_no_port(tmp_path: Path) -> None:
    async with EmbeddedValkey(tmp_path) as server, Redis.from_url(server.url) as client:
        socket = await socket_of(client)
        assert is_private(socket.parent)
        assert (await client.config_get("port"))["port"] == "0"


async def test_a_second_server_on_the_same_data_is_refused(tmp_path: Path) -> None:
    async with EmbeddedValkey(tmp_path) as server, Redis.from_url(server.url) as client:
        with pytest.raises(EmbeddedServerError, match="another Valkey is running"):
            await EmbeddedValkey(tmp_path).start()
        assert await client.ping()


async def test_messages_reach_subscribers(tmp_path: Path) -> None:
    async with EmbeddedValkey(tmp_path) as server, Redis.from_url(server.url) as client:
        async with client.pubsub() as subscription:
            await subscription.subscribe("market:x:trade")
            await subscription.get_message(timeout=120)
            await client.publish("market:x:trade", "sold")
            message = await subscription.get_message(timeout=120)
        assert message is not None
        assert message["data"] == b"sold"

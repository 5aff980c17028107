from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import msgspec
from solders.keypair import Keypair
from solders.pubkey import Pubkey

from tests.integration.embedded.localnet.localnet_client import SOL, Chain
from tests.integration.embedded.localnet.webhook_listener import WebhookListener, webhook_listener
from zmartd.embedded.localnet import LocalnetSettings, WebhookTarget, running
from zmartd.embedded.localnet.faults import FaultPlan, Faults, WebhookFaults

FRIEND = Keypair().pubkey()


@asynccontextmanager
async def listening(settings: LocalnetSettings) -> AsyncIterator[tuple[Chain, WebhookListener]]:
    """A localnet that posts whatever mentions FRIEND."""
    async with webhook_listener() as listener:
        target = WebhookTarget(listener.url, (str(FRIEND),), authorization="a secret")
        settings = msgspec.structs.replace(settings, webhooks=(target,))
        async with running(settings) as endpoints, aiohttp.ClientSession() as session:
            yield Chain(endpoints, session), listener


async def test_a_confirmed_transaction_is_delivered_as_it_reads_back(still: LocalnetSettings) -> None:
    async with listening(still) as (chain, listener):
        wallet = await chain.wallet()
        await chain.send(await chain.transfer(wallet, Keypair().pubkey(), SOL))
        signature = await chain.send(await chain.transfer(wallet, FRIEND, SOL))
        assert listener.deliveries == []
        await chain.advance()
        await listener.until(deliveries=1)
        config = {"commitment": "confirmed", "maxSupportedTransactionVersion": 0}
        found = await chain.call("getTransaction", signature, config)
        assert listener.deliveries == [[found | {"indexWithinBlock": 1}]]
        assert listener.authorizations == ["a secret"]


async def test_a_failed_transaction_is_delivered_with_its_error(still: LocalnetSettings) -> None:
    async with listening(still) as (chain, listener):
        wallet = await chain.wallet(SOL)
        await chain.send(await chain.transfer(wallet, FRIEND, 2 * SOL), skipPreflight=True)
        await chain.advance()
        await listener.until(deliveries=1)
        assert listener.deliveries[0][0]["meta"]["err"] == {"InstructionError": [0, {"Custom": 1}]}


async def test_the_transactions_of_a_block_travel_together(still: LocalnetSettings) -> None:
    async with listening(still) as (chain, listener):
        wallet = await chain.wallet(100 * SOL)
        sent = [await chain.send(await chain.transfer(wallet, FRIEND, SOL + number)) for number in range(25)]
        await chain.advance()
        await listener.until(deliveries=2)
        assert sorted(len(body) for body in listener.deliveries) == [5, 20]
        assert sorted(listener.signatures) == sorted(sent)


async def test_a_delivery_is_tried_four_times_and_then_lost(still: LocalnetSettings) -> None:
    async with listening(still) as (chain, listener):
        wallet = await chain.wallet()
        listener.statuses = [503, 500, 429, 502]
        lost = await chain.send(await chain.transfer(wallet, FRIEND, SOL))
        await chain.advance()
        await listener.until(deliveries=4)
        kept = await chain.send(await chain.transfer(wallet, FRIEND, SOL + 1))
        await chain.advance()
        await listener.until(deliveries=5)
        assert listener.signatures == [lost] * 4 + [kept]


async def test_a_forbidden_delivery_is_not_repeated(still: LocalnetSettings) -> None:
    async with listening(still) as (chain, listener):
        wallet = await chain.wallet()
        listener.statuses = [403]
        refused = await chain.send(await chain.transfer(wallet, FRIEND, SOL))
        await chain.advance()
        await listener.until(deliveries=1)
        kept = await chain.send(await chain.transfer(wallet, FRIEND, SOL + 1))
        await chain.advance()
        await listener.until(deliveries=2)
        assert listener.signatures == [refused, kept]


async def test_webhooks_come_and_go_while_the_chain_runs(chain: Chain) -> None:
    wallet, account = await chain.wallet(), str(Pubkey.new_unique())
    async with webhook_listener() as listener:
        webhook = {"url": listener.url, "accounts": [str(wallet.pubkey()), account]}
        await chain.call("zmartd_addWebhook", webhook)
        first = await chain.send(await chain.transfer(wallet, FRIEND, SOL))
        await chain.advance()
        await listener.until(deliveries=1)
        assert await chain.call("zmartd_removeWebhook", {"url": listener.url}) == 1
        assert await chain.call("zmartd_removeWebhook", {"url": listener.url}) == 0
        await chain.send(await chain.transfer(wallet, FRIEND, SOL + 1))
        await chain.advance()
        assert listener.signatures == [first]
        assert listener.authorizations == [None]


async def send_many(chain: Chain, faults: dict[str, object]) -> list[str]:
    await chain.call("zmartd_setFaults", {"webhook": faults})
    wallet = await chain.wallet(100 * SOL)
    sent = []
    for number in range(30):
        sent.append(await chain.send(await chain.transfer(wallet, FRIEND, SOL + number)))
        await chain.advance()
    return sent


async def test_deliveries_are_lost_and_doubled_as_the_seed_says(still: LocalnetSettings) -> None:
    async with listening(still) as (chain, listener):
        sent = await send_many(chain, {"drop": 0.3, "duplicate": 0.3, "seed": 7})
        expected = copies_by_seed(7, 30, drop=0.3, duplicate=0.3)
        assert {0, 1, 2} == set(expected)
        await listener.until(deliveries=sum(expected))
        assert [listener.signatures.count(signature) for signature in sent] == expected


async def test_deliveries_overtake_each_other_when_asked_to(still: LocalnetSettings) -> None:
    async with listening(still) as (chain, listener):
        sent = await send_many(chain, {"reorder": True, "seed": 1})
        await listener.until(deliveries=30)
        assert listener.signatures != sent
        assert sorted(listener.signatures) == sorted(sent)


def copies_by_seed(seed: int, deliveries: int, *, drop: float, duplicate: float) -> list[int]:
    plan = FaultPlan()
    plan.set(Faults(webhook=WebhookFaults(drop=drop, duplicate=duplicate, seed=seed)))
    # The airdrop that gives the sender money mentions nobody of interest, and so meets no fate.
    return [len(plan.delivery_delays()) for _ in range(deliveries)]

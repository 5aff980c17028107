from solders.keypair import Keypair

from tests.integration.embedded.localnet.localnet_client import SOL, Chain


async def test_a_transaction_is_processed_then_confirmed_then_finalized(chain: Chain) -> None:
    wallet, friend = await chain.wallet(), Keypair().pubkey()
    signature = await chain.send(await chain.transfer(wallet, friend, SOL))
    assert await chain.status(signature) == {
        "slot": 2,
        "confirmations": 0,
        "err": None,
        "status": {"Ok": None},
        "confirmationStatus": "processed",
    }
    await chain.advance()
    status = await chain.status(signature)
    assert (status["confirmationStatus"], status["confirmations"]) == ("confirmed", 1)
    await chain.advance(30)
    status = await chain.status(signature)
    assert (status["confirmationStatus"], status["confirmations"]) == ("confirmed", 31)
    await chain.advance()
    status = await chain.status(signature)
    assert (status["confirmationStatus"], status["confirmations"]) == ("finalized", None)


async def test_an_account_is_read_as_it_was_at_the_commitment_asked_for(chain: Chain) -> None:
    wallet, friend = await chain.wallet(), Keypair().pubkey()
    await chain.send(await chain.transfer(wallet, friend, SOL))
    await chain.advance()
    await chain.send(await chain.transfer(wallet, friend, SOL + 1))
    assert await chain.balance(friend, "finalized") == 0
    assert await chain.balance(friend, "confirmed") == SOL
    assert await chain.balance(friend, "processed") == 2 * SOL + 1
    await chain.advance(31)
    assert await chain.balance(friend, "finalized") == SOL
    await chain.advance()
    assert await chain.balance(friend, "finalized") == 2 * SOL + 1


async def test_slots_and_heights_follow_the_commitment(chain: Chain) -> None:
    await chain.advance(40)
    slots = [
        await chain.call("getSlot", {"commitment": name}) for name in ("processed", "confirmed", "finalized")
    ]
    assert slots == [41, 40, 9]
    heights = [
        await chain.call("getBlockHeight", {"commitment": name})
        for name in ("processed", "confirmed", "finalized")
    ]
    assert heights == slots
    assert await chain.call("getSlot") == 9


async def test_a_processed_transaction_has_no_block_yet(chain: Chain) -> None:
    wallet = await chain.wallet()
    signature = await chain.send(await chain.transfer(wallet, Keypair().pubkey(), SOL))
    config = {"maxSupportedTransactionVersion": 0, "commitment": "confirmed"}
    assert await chain.call("getTransaction", signature, config) is None
    await chain.advance()
    assert (await chain.call("getTransaction", signature, config))["slot"] == 2
    assert await chain.call("getTransaction", signature, config | {"commitment": "finalized"}) is None
    error = await chain.error("getTransaction", signature, config | {"commitment": "processed"})
    assert error == {"code": -32602, "message": "Method does not support commitment below `confirmed`"}


async def test_an_old_status_needs_a_search_through_history(chain: Chain) -> None:
    wallet = await chain.wallet()
    signature = await chain.send(await chain.transfer(wallet, Keypair().pubkey(), SOL))
    await chain.advance(302)
    assert await chain.status(signature) is None
    found = await chain.call("getSignatureStatuses", [signature], {"searchTransactionHistory": True})
    assert found["value"][0]["confirmationStatus"] == "finalized"


async def test_every_slot_has_its_own_blockhash(chain: Chain) -> None:
    seen = set()
    for _ in range(10):
        seen.add(await chain.blockhash())
        await chain.advance()
    assert len(seen) == 10


async def test_a_block_lists_what_happened_in_it(chain: Chain) -> None:
    wallet, friend = await chain.wallet(), Keypair().pubkey()
    sent = [await chain.send(await chain.transfer(wallet, friend, SOL + number)) for number in range(3)]
    await chain.advance()
    block = await chain.call("getBlock", 2, {"commitment": "confirmed", "maxSupportedTransactionVersion": 0})
    assert [one["transaction"]["signatures"][0] for one in block["transactions"]] == sent
    assert (block["parentSlot"], block["blockHeight"]) == (1, 2)
    assert block["blockhash"] == str(await chain.blockhash())
    assert await chain.call("getBlocks", 0, 5, {"commitment": "confirmed"}) == [0, 1, 2]


async def test_a_rolled_back_transaction_is_as_if_it_had_never_been(chain: Chain) -> None:
    wallet, friend = await chain.wallet(), Keypair().pubkey()
    kept = await chain.send(await chain.transfer(wallet, friend, SOL))
    await chain.advance()
    transaction = await chain.transfer(wallet, friend, SOL + 1)
    lost = [await chain.send(transaction)]
    await chain.advance(2)
    lost.append(await chain.send(await chain.transfer(wallet, friend, SOL + 2)))
    assert await chain.call("zmartd_rollback", {"slots": 2}) == lost
    assert await chain.balance(friend) == SOL
    assert [await chain.status(signature) for signature in lost] == [None, None]
    assert (await chain.status(kept))["confirmationStatus"] == "confirmed"
    await chain.advance()
    found = await chain.call("getSignaturesForAddress", str(friend), {"commitment": "confirmed"})
    assert [one["signature"] for one in found] == [kept]
    assert await chain.send(transaction) == lost[0]
    assert await chain.balance(friend) == 2 * SOL + 1


async def test_more_blocks_than_there_are_cannot_be_rolled_back(chain: Chain) -> None:
    """Neither all of them nor some: the caller is told how many there are."""
    wallet, friend = await chain.wallet(), Keypair().pubkey()
    sent = [await chain.send(await chain.transfer(wallet, friend, SOL))]
    await chain.advance()
    for slots in (3, 31):
        error = await chain.error("zmartd_rollback", {"slots": slots})
        assert error["code"] == -32602
        assert "2 are complete and not final" in error["message"]
    assert await chain.balance(friend) == SOL
    rolled_back = await chain.call("zmartd_rollback", {"slots": 2})
    assert rolled_back[1:] == sent
    assert len(rolled_back) == 2, "the wallet's money went with the older of the two blocks"
    await chain.advance(40)
    assert await chain.call("zmartd_rollback", {"slots": 31}) == []
    assert (await chain.error("zmartd_rollback", {"slots": 32}))["code"] == -32602


async def test_a_fork_begins_at_a_slot(chain: Chain) -> None:
    wallet, friend = await chain.wallet(), Keypair().pubkey()
    await chain.send(await chain.transfer(wallet, friend, SOL))
    await chain.advance()
    since = await chain.call("getSlot", {"commitment": "processed"})
    lost = []
    for number in range(3):
        lost.append(await chain.send(await chain.transfer(wallet, friend, SOL + number)))
        await chain.advance(number + 1)
    assert (await chain.error("zmartd_rollback", {"fromSlot": since, "slots": 1}))["code"] == -32602
    assert await chain.call("zmartd_rollback", {"fromSlot": since}) == lost
    assert await chain.balance(friend) == SOL
    assert await chain.call("zmartd_rollback", {"fromSlot": since + 1_000}) == [], "the open slot was empty"
    assert (await chain.error("zmartd_rollback", {"fromSlot": 0}))["code"] == -32602


async def test_while_finality_is_held_everything_later_can_be_rolled_back(chain: Chain) -> None:
    wallet, friend = await chain.wallet(), Keypair().pubkey()
    await chain.advance(40)
    finalized = await chain.call("getSlot")
    assert await chain.call("zmartd_holdFinality", {"hold": True}) is True
    since = await chain.call("getSlot", {"commitment": "processed"})
    signature = await chain.send(await chain.transfer(wallet, friend, SOL))
    await chain.advance(100)
    assert await chain.call("getSlot") == finalized
    assert (await chain.status(signature))["confirmationStatus"] == "confirmed"
    assert await chain.balance(friend, "finalized") == 0
    assert await chain.call("zmartd_rollback", {"fromSlot": since}) == [signature]
    kept = await chain.send(await chain.transfer(wallet, friend, 2 * SOL))
    await chain.advance(40)
    assert await chain.call("zmartd_holdFinality", {"hold": False}) is False
    assert (await chain.status(kept))["confirmationStatus"] == "finalized"
    assert await chain.balance(friend, "finalized") == 2 * SOL
    assert (await chain.error("zmartd_rollback", {"slots": 32}))["code"] == -32602


async def test_finality_is_not_held_for_longer_than_a_blockhash_lives(chain: Chain) -> None:
    await chain.call("zmartd_holdFinality", {"hold": True})
    await chain.advance(151)
    assert await chain.call("getSlot") == 1
    assert (await chain.error("zmartd_rollback", {"slots": 151}))["code"] == -32602
    assert await chain.call("zmartd_rollback", {"slots": 150}) == []

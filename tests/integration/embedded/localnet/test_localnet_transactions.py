import base64

import pytest
from based58 import b58encode
from solders.address_lookup_table_account import (
    ID as LOOKUP_TABLES,
)
from solders.address_lookup_table_account import (
    AddressLookupTableAccount,
    derive_lookup_table_address,
)
from solders.compute_budget import set_compute_unit_limit, set_compute_unit_price
from solders.hash import Hash
from solders.instruction import AccountMeta, Instruction
from solders.keypair import Keypair
from solders.message import Message, MessageV0, to_bytes_versioned
from solders.pubkey import Pubkey
from solders.signature import Signature
from solders.system_program import (
    AdvanceNonceAccountParams,
    advance_nonce_account,
    create_nonce_account,
)
from solders.transaction import VersionedTransaction

from tests.integration.embedded.localnet.localnet_client import SOL, Chain, pay, wire

MEMO = Pubkey.from_string("MemoSq4gqABAXKb96qnH8TysNcWxMyWCqXgDLGmfcHr")


async def test_a_transfer_moves_lamports_and_costs_five_thousand_per_signature(chain: Chain) -> None:
    wallet, friend = await chain.wallet(10 * SOL), Keypair().pubkey()
    await chain.send(await chain.transfer(wallet, friend, 3 * SOL))
    assert await chain.balance(friend) == 3 * SOL
    assert await chain.balance(wallet.pubkey()) == 7 * SOL - 5_000


async def test_a_transaction_reads_back_as_it_was_sent(chain: Chain) -> None:
    wallet, friend = await chain.wallet(10 * SOL), Keypair().pubkey()
    transaction = await chain.transfer(wallet, friend, SOL)
    signature = await chain.send(transaction)
    await chain.advance()
    found = await chain.call(
        "getTransaction", signature, {"commitment": "confirmed", "maxSupportedTransactionVersion": 0}
    )
    message = transaction.message
    assert found["slot"] == 2
    assert found["version"] == 0
    assert found["blockTime"] == await chain.call("getBlockTime", 2)
    assert found["transaction"] == {
        "signatures": [signature],
        "message": {
            "header": {
                "numRequiredSignatures": 1,
                "numReadonlySignedAccounts": 0,
                "numReadonlyUnsignedAccounts": 1,
            },
            "accountKeys": [str(wallet.pubkey()), str(friend), "1" * 32],
            "recentBlockhash": str(message.recent_blockhash),
            "instructions": [
                {
                    "programIdIndex": 2,
                    "accounts": [0, 1],
                    "data": b58encode(bytes(message.instructions[0].data)).decode(),
                    "stackHeight": None,
                }
            ],
            "addressTableLookups": [],
        },
    }
    assert found["meta"] == {
        "err": None,
        "status": {"Ok": None},
        "fee": 5_000,
        "preBalances": [10 * SOL, 0, 1],
        "postBalances": [9 * SOL - 5_000, SOL, 1],
        "logMessages": [f"Program {'1' * 32} invoke [1]", f"Program {'1' * 32} success"],
        "innerInstructions": [],
        "preTokenBalances": [],
        "postTokenBalances": [],
        "rewards": [],
        "loadedAddresses": {"writable": [], "readonly": []},
        "computeUnitsConsumed": 150,
    }


async def test_a_transaction_reads_back_in_every_encoding(chain: Chain) -> None:
    wallet, friend = await chain.wallet(), Keypair().pubkey()
    transaction = await chain.transfer(wallet, friend, SOL)
    signature = await chain.send(transaction)
    await chain.advance()

    async def encoded(encoding: str) -> object:
        config = {"commitment": "confirmed", "maxSupportedTransactionVersion": 0, "encoding": encoding}
        return (await chain.call("getTransaction", signature, config))["transaction"]

    assert await encoded("base64") == [wire(transaction), "base64"]
    assert await encoded("base58") == [b58encode(bytes(transaction)).decode(), "base58"]
    parsed = await encoded("jsonParsed")
    assert isinstance(parsed, dict)
    assert parsed["message"]["accountKeys"] == [
        {"pubkey": str(wallet.pubkey()), "signer": True, "writable": True, "source": "transaction"},
        {"pubkey": str(friend), "signer": False, "writable": True, "source": "transaction"},
        {"pubkey": "1" * 32, "signer": False, "writable": False, "source": "transaction"},
    ]
    assert parsed["message"]["instructions"][0]["programId"] == "1" * 32
    assert parsed["message"]["instructions"][0]["accounts"] == [str(wallet.pubkey()), str(friend)]


async def test_a_version_0_transaction_is_shown_only_to_clients_that_know_it(chain: Chain) -> None:
    wallet = await chain.wallet()
    signature = await chain.send(await chain.transfer(wallet, Keypair().pubkey(), SOL))
    await chain.advance()
    error = await chain.error("getTransaction", signature, {"commitment": "confirmed"})
    assert error["code"] == -32015


async def test_a_legacy_transaction_needs_no_version(chain: Chain) -> None:
    wallet = await chain.wallet()
    message = Message.new_with_blockhash(
        [pay(wallet, Keypair().pubkey(), SOL)], wallet.pubkey(), await chain.blockhash()
    )
    signature = await chain.send(VersionedTransaction(message, [wallet]))
    await chain.advance()
    found = await chain.call("getTransaction", signature, {"commitment": "confirmed"})
    assert "version" not in found
    assert "addressTableLookups" not in found["transaction"]["message"]


async def test_base58_is_accepted_and_the_default(chain: Chain) -> None:
    wallet, friend = await chain.wallet(), Keypair().pubkey()
    transaction = await chain.transfer(wallet, friend, SOL)
    await chain.call("sendTransaction", b58encode(bytes(transaction)).decode())
    assert await chain.balance(friend) == SOL


async def test_preflight_refuses_what_would_fail_and_nothing_lands(chain: Chain) -> None:
    wallet = await chain.wallet(SOL)
    transaction = await chain.transfer(wallet, Keypair().pubkey(), 2 * SOL)
    error = await chain.send_error(transaction)
    assert error["code"] == -32002
    assert error["message"] == (
        "Transaction simulation failed: Error processing Instruction 0: custom program error: 0x1"
    )
    assert error["data"] == {
        "err": {"InstructionError": [0, {"Custom": 1}]},
        "logs": [
            f"Program {'1' * 32} invoke [1]",
            f"Transfer: insufficient lamports {SOL - 5_000}, need {2 * SOL}",
            f"Program {'1' * 32} failed: custom program error: 0x1",
        ],
        "accounts": None,
        "unitsConsumed": 150,
        "returnData": None,
        "innerInstructions": None,
        "replacementBlockhash": None,
    }
    assert await chain.balance(wallet.pubkey()) == SOL
    assert await chain.status(str(transaction.signatures[0])) is None


async def test_without_preflight_a_failing_transaction_lands_and_pays_its_fee(chain: Chain) -> None:
    wallet = await chain.wallet(SOL)
    signature = await chain.send(
        await chain.transfer(wallet, Keypair().pubkey(), 2 * SOL), skipPreflight=True
    )
    failure = {"InstructionError": [0, {"Custom": 1}]}
    status = await chain.status(signature)
    assert status["err"] == failure
    assert status["status"] == {"Err": failure}
    await chain.advance()
    found = await chain.call(
        "getTransaction", signature, {"commitment": "confirmed", "maxSupportedTransactionVersion": 0}
    )
    assert found["meta"]["err"] == failure
    assert found["meta"]["fee"] == 5_000
    assert found["meta"]["postBalances"] == [SOL - 5_000, 0, 1]


async def test_an_account_may_not_be_left_below_rent_exemption(chain: Chain) -> None:
    wallet, friend = await chain.wallet(SOL), Keypair().pubkey()
    transaction = await chain.transfer(wallet, friend, 5)
    error = await chain.send_error(transaction)
    assert error["data"]["err"] == {"InsufficientFundsForRent": {"account_index": 1}}
    await chain.send(transaction, skipPreflight=True)
    assert await chain.balance(friend) == 0
    assert await chain.balance(wallet.pubkey()) == SOL - 5_000


async def test_a_wrong_signature_is_refused_and_never_executed(chain: Chain) -> None:
    wallet, friend = await chain.wallet(), Keypair().pubkey()
    genuine = await chain.transfer(wallet, friend, SOL)
    forged = VersionedTransaction.populate(genuine.message, [Signature.new_unique()])
    assert await chain.send_error(forged) == {
        "code": -32003,
        "message": "Transaction signature verification failure",
    }
    await chain.send(forged, skipPreflight=True)
    assert await chain.status(str(forged.signatures[0])) is None
    assert await chain.balance(friend) == 0


async def test_the_same_transaction_counts_once(chain: Chain) -> None:
    wallet, friend = await chain.wallet(), Keypair().pubkey()
    transaction = await chain.transfer(wallet, friend, SOL)
    signature = await chain.send(transaction)
    assert await chain.send(transaction, skipPreflight=True) == signature
    error = await chain.send_error(transaction)
    assert error["code"] == -32002
    assert error["message"] == "Transaction simulation failed: This transaction has already been processed"
    assert error["data"]["err"] == "AlreadyProcessed"
    assert await chain.balance(friend) == SOL


async def test_somebody_without_money_cannot_pay_the_fee(chain: Chain) -> None:
    pauper = Keypair()
    error = await chain.send_error(await chain.transfer(pauper, Keypair().pubkey(), 1))
    assert error["data"]["err"] == "AccountNotFound"
    assert error["data"]["logs"] == []


async def test_logs_are_cut_at_ten_kilobytes(chain: Chain) -> None:
    wallet = await chain.wallet()
    chatter = [Instruction(MEMO, b"hello", []) for _ in range(60)]
    signature = await chain.send(await chain.signed(wallet, chatter))
    await chain.advance()
    found = await chain.call(
        "getTransaction", signature, {"commitment": "confirmed", "maxSupportedTransactionVersion": 0}
    )
    logs = found["meta"]["logMessages"]
    assert logs[-1] == "Log truncated"
    assert sum(map(len, logs)) <= 10_000 + len("Log truncated")


async def test_a_simulation_changes_nothing_and_shows_the_accounts_as_they_would_be(chain: Chain) -> None:
    wallet, friend = await chain.wallet(10 * SOL), Keypair().pubkey()
    transaction = await chain.transfer(wallet, friend, SOL)
    result = await chain.call(
        "simulateTransaction",
        wire(transaction),
        {"encoding": "base64", "accounts": {"addresses": [str(friend)], "encoding": "base64"}},
    )
    assert result["value"]["err"] is None
    assert result["value"]["accounts"][0]["lamports"] == SOL
    assert await chain.balance(friend) == 0


async def test_a_simulation_does_not_ask_for_signatures_unless_told_to(chain: Chain) -> None:
    wallet, friend = await chain.wallet(), Keypair().pubkey()
    unsigned = VersionedTransaction.populate(
        (await chain.transfer(wallet, friend, SOL)).message, [Signature.default()]
    )
    result = await chain.call("simulateTransaction", wire(unsigned), {"encoding": "base64"})
    assert result["value"]["err"] is None
    error = await chain.error(
        "simulateTransaction", wire(unsigned), {"encoding": "base64", "sigVerify": True}
    )
    assert error["code"] == -32003


async def test_a_simulation_can_bring_its_own_blockhash_up_to_date(chain: Chain) -> None:
    wallet = await chain.wallet()
    transaction = await chain.transfer(wallet, Keypair().pubkey(), SOL)
    await chain.advance(152)
    stale = await chain.call("simulateTransaction", wire(transaction), {"encoding": "base64"})
    assert stale["value"]["err"] == "BlockhashNotFound"
    fresh = await chain.call(
        "simulateTransaction",
        wire(transaction),
        {"encoding": "base64", "replaceRecentBlockhash": True, "commitment": "confirmed"},
    )
    assert fresh["value"]["err"] is None
    assert fresh["value"]["replacementBlockhash"]["blockhash"] == str(await chain.blockhash())


async def test_a_blockhash_is_good_for_150_blocks_and_not_for_one_more(chain: Chain) -> None:
    wallet, friend = await chain.wallet(), Keypair().pubkey()
    latest = (await chain.call("getLatestBlockhash", {"commitment": "confirmed"}))["value"]
    in_time = await chain.transfer(wallet, friend, SOL)
    too_late = await chain.transfer(wallet, friend, SOL + 1)
    await chain.advance(149)
    assert await chain.call("getBlockHeight", {"commitment": "processed"}) == latest["lastValidBlockHeight"]
    assert (await chain.call("isBlockhashValid", latest["blockhash"], {"commitment": "processed"}))["value"]
    await chain.send(in_time)
    await chain.advance()
    assert not (await chain.call("isBlockhashValid", latest["blockhash"], {"commitment": "processed"}))[
        "value"
    ]
    error = await chain.send_error(too_late)
    assert error["code"] == -32002
    assert error["message"] == "Transaction simulation failed: Blockhash not found"
    assert error["data"]["err"] == "BlockhashNotFound"
    assert await chain.send(too_late, skipPreflight=True) == str(too_late.signatures[0])
    assert await chain.status(str(too_late.signatures[0])) is None
    assert await chain.balance(friend) == SOL


async def test_signatures_of_an_address_come_newest_first_and_in_pages(chain: Chain) -> None:
    wallet, friend = await chain.wallet(), Keypair().pubkey()
    sent = []
    for number in range(5):
        sent.append(await chain.send(await chain.transfer(wallet, friend, SOL + number)))
        if number % 2:
            await chain.advance()
    await chain.advance()

    async def page(**config: object) -> list[str]:
        found = await chain.call(
            "getSignaturesForAddress", str(friend), {"commitment": "confirmed", **config}
        )
        return [one["signature"] for one in found]

    newest_first = sent[::-1]
    assert await page() == newest_first
    assert await page(limit=2) == newest_first[:2]
    assert await page(limit=2, before=newest_first[1]) == newest_first[2:4]
    assert await page(until=newest_first[3]) == newest_first[:3]
    assert await page(before=newest_first[0], until=newest_first[4]) == newest_first[1:4]
    assert await page(before=str(Signature.new_unique())) == []


async def test_a_signature_is_listed_with_its_error_time_and_memo(chain: Chain) -> None:
    wallet = await chain.wallet(SOL)
    instructions = [Instruction(MEMO, b"for lunch", []), pay(wallet, Keypair().pubkey(), 2 * SOL)]
    signature = await chain.send(await chain.signed(wallet, instructions), skipPreflight=True)
    await chain.advance()
    newest = (await chain.call("getSignaturesForAddress", str(wallet.pubkey()), {"commitment": "confirmed"}))[
        0
    ]
    assert newest == {
        "signature": signature,
        "slot": 2,
        "err": {"InstructionError": [1, {"Custom": 1}]},
        "memo": "[9] for lunch",
        "blockTime": await chain.call("getBlockTime", 2),
        "confirmationStatus": "confirmed",
    }


async def test_two_equal_airdrops_in_one_slot_both_arrive(chain: Chain) -> None:
    friend = Keypair().pubkey()
    first = await chain.call("requestAirdrop", str(friend), SOL)
    second = await chain.call("requestAirdrop", str(friend), SOL)
    assert first != second
    assert await chain.balance(friend) == 2 * SOL


@pytest.mark.parametrize(
    ("budget", "priority_lamports"),
    [
        ([], 0),
        ([set_compute_unit_price(1)], 1),  # rounded up
        ([set_compute_unit_price(1_000_000)], 6_000),  # two built-in instructions
        ([set_compute_unit_price(1_000_000), set_compute_unit_limit(50_000)], 50_000),
        ([set_compute_unit_price(1_000_000), set_compute_unit_limit(2_000_000)], 1_400_000),
    ],
)
async def test_the_fee_of_a_message_is_what_sending_it_costs(
    chain: Chain, budget: list[Instruction], priority_lamports: int
) -> None:
    wallet, friend = await chain.wallet(10 * SOL), Keypair().pubkey()
    transaction = await chain.signed(wallet, [*budget, pay(wallet, friend, SOL)])
    message = base64.b64encode(to_bytes_versioned(transaction.message)).decode()
    fee = (await chain.call("getFeeForMessage", message, {"commitment": "confirmed"}))["value"]
    assert fee == 5_000 + priority_lamports
    await chain.send(transaction)
    assert await chain.balance(wallet.pubkey()) == 9 * SOL - fee


async def test_recent_prioritization_fees_are_the_lowest_that_landed_in_each_of_the_last_150_slots(
    chain: Chain,
) -> None:
    def priced(price: int, to: Pubkey) -> list[Instruction]:
        return [set_compute_unit_price(price), set_compute_unit_limit(10_000), pay(wallet, to, SOL)]

    async def fees(*addresses: Pubkey) -> list[int]:
        found = await chain.call("getRecentPrioritizationFees", [str(address) for address in addresses])
        slots = [one["slot"] for one in found]
        assert slots == sorted(slots)
        return [one["prioritizationFee"] for one in found]

    wallet, hot, cold = await chain.wallet(100 * SOL), Keypair().pubkey(), Keypair().pubkey()
    await chain.advance()
    await chain.send(await chain.signed(wallet, priced(70, hot)))
    await chain.send(await chain.signed(wallet, priced(90, hot)))
    await chain.send(await chain.signed(wallet, priced(5, cold)))
    await chain.advance()
    await chain.send(await chain.signed(wallet, priced(8, hot)))
    unpaid = [set_compute_unit_limit(0), pay(wallet, hot, SOL)]
    await chain.send(await chain.signed(wallet, unpaid), skipPreflight=True)
    await chain.advance()

    assert (await fees())[-2:] == [5, 8]
    assert (await fees(hot))[-2:] == [70, 8]
    assert (await fees(hot, cold))[-2:] == [70, 8]
    assert (await fees(cold))[-2:] == [5, 8]
    assert (await fees(Keypair().pubkey()))[-2:] == [5, 8]
    await chain.advance(150)
    assert await fees(hot) == [0] * 150


async def test_a_failed_transaction_pays_its_priority_too(chain: Chain) -> None:
    wallet = await chain.wallet(SOL)
    budget = [set_compute_unit_price(1_000_000), set_compute_unit_limit(50_000)]
    instructions = [*budget, pay(wallet, Keypair().pubkey(), 2 * SOL)]
    signature = await chain.send(await chain.signed(wallet, instructions), skipPreflight=True)
    assert await chain.balance(wallet.pubkey()) == SOL - 55_000
    await chain.advance()
    config = {"commitment": "confirmed", "maxSupportedTransactionVersion": 0}
    meta = (await chain.call("getTransaction", signature, config))["meta"]
    assert meta["fee"] == sum(meta["preBalances"]) - sum(meta["postBalances"]) == 55_000


async def test_a_priority_that_the_payer_cannot_pay_is_refused_and_free(chain: Chain) -> None:
    wallet = await chain.wallet(SOL)
    budget = [set_compute_unit_price(1_000_000_000), set_compute_unit_limit(1_400_000)]
    transaction = await chain.signed(wallet, [*budget, pay(wallet, Keypair().pubkey(), SOL // 2)])
    error = await chain.send_error(transaction)
    assert error["data"]["err"] == "InsufficientFundsForFee"
    await chain.send(transaction, skipPreflight=True)
    assert await chain.balance(wallet.pubkey()) == SOL


async def test_a_simulation_charges_nothing(chain: Chain) -> None:
    wallet = await chain.wallet(SOL)
    budget = [set_compute_unit_price(1_000_000), set_compute_unit_limit(50_000)]
    transaction = await chain.signed(wallet, [*budget, pay(wallet, Keypair().pubkey(), SOL // 2)])
    config = {"encoding": "base64", "accounts": {"addresses": [str(wallet.pubkey())]}}
    value = (await chain.call("simulateTransaction", wire(transaction), config))["value"]
    assert value["accounts"][0]["lamports"] == SOL // 2 - 55_000
    assert await chain.balance(wallet.pubkey()) == SOL


@pytest.mark.parametrize("paid", [SOL // 2, 2 * SOL])
async def test_a_simulation_says_what_the_transaction_does_to_each_balance(chain: Chain, paid: int) -> None:
    wallet, friend = await chain.wallet(SOL), Keypair().pubkey()
    budget = [set_compute_unit_price(1_000_000), set_compute_unit_limit(50_000)]
    transaction = await chain.signed(wallet, [*budget, pay(wallet, friend, paid)])
    value = (await chain.call("simulateTransaction", wire(transaction), {"encoding": "base64"}))["value"]
    assert value["fee"] == 55_000
    signature = await chain.send(transaction, skipPreflight=True)
    await chain.advance()
    landed = await chain.call(
        "getTransaction", signature, {"commitment": "confirmed", "maxSupportedTransactionVersion": 0}
    )
    for field in ("err", "fee", "preBalances", "postBalances", "preTokenBalances", "postTokenBalances"):
        assert value[field] == landed["meta"][field]


async def test_a_simulation_of_what_cannot_be_executed_says_no_balances(chain: Chain) -> None:
    transaction = await chain.transfer(Keypair(), Keypair().pubkey(), 1)
    value = (await chain.call("simulateTransaction", wire(transaction), {"encoding": "base64"}))["value"]
    assert value["err"] == "AccountNotFound"
    assert "preBalances" not in value


async def nonce_of(chain: Chain, account: Pubkey) -> Hash:
    config = {"commitment": "processed", "encoding": "base64"}
    value = (await chain.call("getAccountInfo", str(account), config))["value"]
    return Hash(base64.b64decode(value["data"][0])[40:72])


async def with_nonce(chain: Chain, wallet: Keypair) -> tuple[Keypair, Instruction]:
    """A nonce account of the wallet's, older than every blockhash, and the instruction that advances it."""
    nonce = Keypair()
    rent = await chain.call("getMinimumBalanceForRentExemption", 80)
    setup = create_nonce_account(wallet.pubkey(), nonce.pubkey(), wallet.pubkey(), rent)
    message = MessageV0.try_compile(wallet.pubkey(), list(setup), [], await chain.blockhash())
    await chain.send(VersionedTransaction(message, [wallet, nonce]))
    await chain.advance(400)
    return nonce, advance_nonce_account(
        AdvanceNonceAccountParams(nonce_pubkey=nonce.pubkey(), authorized_pubkey=wallet.pubkey())
    )


async def test_a_durable_nonce_outlives_every_blockhash_and_is_good_once(chain: Chain) -> None:
    wallet, friend = await chain.wallet(), Keypair().pubkey()
    nonce, advance = await with_nonce(chain, wallet)
    waiting = await nonce_of(chain, nonce.pubkey())
    first = await chain.signed(wallet, [advance, pay(wallet, friend, SOL)], waiting)
    second = await chain.signed(wallet, [advance, pay(wallet, friend, 2 * SOL)], waiting)
    await chain.send(first)
    assert (await chain.send_error(second))["data"]["err"] == "BlockhashNotFound"
    assert await chain.balance(friend) == SOL


async def test_a_failed_transaction_uses_its_durable_nonce_up(chain: Chain) -> None:
    wallet, friend = await chain.wallet(SOL), Keypair().pubkey()
    nonce, advance = await with_nonce(chain, wallet)
    waiting = await nonce_of(chain, nonce.pubkey())
    before = await chain.balance(wallet.pubkey())
    failing = await chain.signed(wallet, [advance, pay(wallet, friend, 2 * SOL)], waiting)
    signature = await chain.send(failing, skipPreflight=True)
    await chain.advance()
    assert (await chain.status(signature))["err"] == {"InstructionError": [1, {"Custom": 1}]}
    assert await chain.balance(wallet.pubkey()) == before - 5_000
    following = await nonce_of(chain, nonce.pubkey())
    assert following != waiting
    late = await chain.signed(wallet, [advance, pay(wallet, friend, SOL // 10)], waiting)
    assert (await chain.send_error(late))["data"]["err"] == "BlockhashNotFound"
    await chain.send(await chain.signed(wallet, [advance, pay(wallet, friend, SOL // 10)], following))
    assert await chain.balance(friend) == SOL // 10
    await chain.advance()
    history = await chain.call("getSignaturesForAddress", str(nonce.pubkey()), {"commitment": "confirmed"})
    assert [one["err"] is None for one in history] == [True, False, True]


async def test_a_failure_leaves_the_nonce_that_a_success_would(chain: Chain) -> None:
    wallet = await chain.wallet(SOL)
    nonce, advance = await with_nonce(chain, wallet)
    waiting = await nonce_of(chain, nonce.pubkey())
    await chain.send(await chain.signed(wallet, [advance], waiting))
    following = await nonce_of(chain, nonce.pubkey())
    await chain.call("zmartd_rollback", {"slots": 0})
    assert await nonce_of(chain, nonce.pubkey()) == waiting
    too_dear = [advance, pay(wallet, Keypair().pubkey(), 2 * SOL)]
    await chain.send(await chain.signed(wallet, too_dear, waiting), skipPreflight=True)
    assert await nonce_of(chain, nonce.pubkey()) == following


async def test_a_failed_transaction_with_a_blockhash_leaves_the_nonce_alone(chain: Chain) -> None:
    wallet = await chain.wallet(SOL)
    nonce, advance = await with_nonce(chain, wallet)
    waiting = await nonce_of(chain, nonce.pubkey())
    failing = await chain.signed(wallet, [advance, pay(wallet, Keypair().pubkey(), 2 * SOL)])
    await chain.send(failing, skipPreflight=True)
    assert await nonce_of(chain, nonce.pubkey()) == waiting


async def test_a_nonce_is_lent_to_its_authority_only(chain: Chain) -> None:
    wallet, stranger = await chain.wallet(), await chain.wallet()
    nonce, _ = await with_nonce(chain, wallet)
    advance = advance_nonce_account(
        AdvanceNonceAccountParams(nonce_pubkey=nonce.pubkey(), authorized_pubkey=stranger.pubkey())
    )
    waiting = await nonce_of(chain, nonce.pubkey())
    theft = await chain.signed(stranger, [advance], waiting)
    assert (await chain.send_error(theft))["data"]["err"] == "BlockhashNotFound"
    await chain.send(theft, skipPreflight=True)
    assert await nonce_of(chain, nonce.pubkey()) == waiting


@pytest.mark.parametrize("unseen", [True, False])
async def test_a_lookup_table_lends_its_addresses(chain: Chain, unseen: bool) -> None:
    """To be created it needs the newest slot's hash, whether or not a simulation needed it before."""
    wallet, friend = await chain.wallet(), Keypair().pubkey()
    slot = await chain.call("getSlot", {"commitment": "confirmed"})
    table, bump = derive_lookup_table_address(wallet.pubkey(), slot)
    create = lookup_table_instruction(
        (0).to_bytes(4, "little") + slot.to_bytes(8, "little") + bytes([bump]), wallet, table
    )
    extend = lookup_table_instruction(
        (2).to_bytes(4, "little") + (1).to_bytes(8, "little") + bytes(friend), wallet, table
    )
    await chain.send(await chain.signed(wallet, [create, extend]), skipPreflight=unseen)
    await chain.advance(2)
    lent = AddressLookupTableAccount(table, [friend])
    message = MessageV0.try_compile(
        wallet.pubkey(), [pay(wallet, friend, SOL)], [lent], await chain.blockhash()
    )
    assert friend not in message.account_keys
    signature = await chain.send(VersionedTransaction(message, [wallet]))
    await chain.advance()
    config = {"commitment": "confirmed", "maxSupportedTransactionVersion": 0}
    found = await chain.call("getTransaction", signature, config)
    assert found["meta"]["loadedAddresses"] == {"writable": [str(friend)], "readonly": []}
    assert found["meta"]["postBalances"][2] == await chain.balance(friend) == SOL
    assert found["transaction"]["message"]["addressTableLookups"] == [
        {"accountKey": str(table), "writableIndexes": [0], "readonlyIndexes": []}
    ]
    parsed = await chain.call("getTransaction", signature, config | {"encoding": "jsonParsed"})
    assert parsed["transaction"]["message"]["accountKeys"][-1] == {
        "pubkey": str(friend),
        "signer": False,
        "writable": True,
        "source": "lookupTable",
    }
    history = await chain.call("getSignaturesForAddress", str(friend), {"commitment": "confirmed"})
    assert [one["signature"] for one in history] == [signature]


def lookup_table_instruction(data: bytes, wallet: Keypair, table: Pubkey) -> Instruction:
    accounts = [
        AccountMeta(table, is_signer=False, is_writable=True),
        AccountMeta(wallet.pubkey(), is_signer=True, is_writable=False),
        AccountMeta(wallet.pubkey(), is_signer=True, is_writable=True),
        AccountMeta(Pubkey.default(), is_signer=False, is_writable=False),
    ]
    return Instruction(LOOKUP_TABLES, data, accounts)

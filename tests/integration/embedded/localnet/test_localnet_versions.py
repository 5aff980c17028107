"""Transactions of versions that this chain does not execute."""

from __future__ import annotations

import base64

import pytest
from solders.hash import Hash
from solders.keypair import Keypair
from solders.message import to_bytes_versioned
from solders.pubkey import Pubkey

from tests.integration.embedded.localnet.localnet_client import SOL, Chain, wire


def version_1_message(payer: Pubkey, friend: Pubkey, blockhash: Hash, memo_bytes: int = 0) -> bytes:
    """A transfer in the wire format of SIMD-0385."""
    memo = Pubkey.from_string("MemoSq4gqABAXKb96qnH8TysNcWxMyWCqXgDLGmfcHr")
    transfer = (2).to_bytes(4, "little") + SOL.to_bytes(8, "little")
    return b"".join(
        (
            bytes([0x81, 1, 0, 2]),
            (0).to_bytes(4, "little"),  # no configuration
            bytes(blockhash),
            bytes([2, 4]),  # instructions, addresses
            *map(bytes, (payer, friend, Pubkey.default(), memo)),
            bytes([2, 2]) + len(transfer).to_bytes(2, "little"),
            bytes([3, 0]) + memo_bytes.to_bytes(2, "little"),
            bytes([0, 1]) + transfer,
            b"m" * memo_bytes,
        )
    )


@pytest.mark.parametrize("memo_bytes", [0, 3_000])
@pytest.mark.parametrize("method", ["sendTransaction", "simulateTransaction"])
async def test_a_version_1_transaction_is_refused_by_its_name(
    chain: Chain, method: str, memo_bytes: int
) -> None:
    wallet, friend = await chain.wallet(), Keypair().pubkey()
    message = version_1_message(wallet.pubkey(), friend, await chain.blockhash(), memo_bytes)
    signed = base64.b64encode(message + bytes(wallet.sign_message(message))).decode()
    for skip in (False, True):
        config = {"encoding": "base64"} | ({"skipPreflight": skip} if method == "sendTransaction" else {})
        error = await chain.error(method, signed, config)
        assert error["code"] == -32602
        assert error["message"].startswith("invalid transaction: Transaction version is unsupported")
        assert "version 1" in error["message"]
        assert "executes legacy and version 0 transactions" in error["message"]
    assert await chain.balance(friend) == 0


async def test_later_versions_are_refused_wherever_they_stand(chain: Chain) -> None:
    wallet = await chain.wallet()
    transaction = await chain.transfer(wallet, Keypair().pubkey(), SOL)
    message = to_bytes_versioned(transaction.message)
    assert message[0] == 0x80
    for version in (1, 2, 127):
        other = bytes([0x80 | version]) + message[1:]
        enveloped = b"\x01" + bytes(transaction.signatures[0]) + other
        for method, body in (("sendTransaction", enveloped), ("getFeeForMessage", other)):
            config = {"encoding": "base64"} if method == "sendTransaction" else {}
            error = await chain.error(method, base64.b64encode(body).decode(), config)
            assert error["code"] == -32602
            assert f"this is version {version}," in error["message"]
    await chain.send(transaction)


async def test_a_transaction_of_a_known_version_is_no_longer_than_a_packet(chain: Chain) -> None:
    wallet = await chain.wallet()
    body = base64.b64decode(wire(await chain.transfer(wallet, Keypair().pubkey(), SOL)))
    long = base64.b64encode(body + bytes(1_233 - len(body))).decode()
    error = await chain.error("sendTransaction", long, {"encoding": "base64"})
    assert error["message"] == "decoded transaction too large: 1233 bytes (max: 1232 bytes)"


async def test_a_client_says_which_versions_it_reads(chain: Chain) -> None:
    wallet = await chain.wallet()
    signature = await chain.send(await chain.transfer(wallet, Keypair().pubkey(), SOL))
    await chain.advance()
    confirmed = {"commitment": "confirmed"}
    error = await chain.error("getTransaction", signature, confirmed)
    assert error["code"] == -32015
    assert error["message"].startswith("Transaction version (0) is not supported by the requesting client.")
    for newest in (0, 1):
        found = await chain.call(
            "getTransaction", signature, confirmed | {"maxSupportedTransactionVersion": newest}
        )
        assert found["version"] == 0

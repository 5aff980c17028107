"""Signing in with other bytes than the text that was asked for, as hardware wallets and others do."""

from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from aiohttp import ClientResponse

from tests.integration.http.auth.test_sign_in import challenge, own_message, refusal
from tests.integration.http.served import Client
from tests.offchain_messages import ENVELOPES, HEAD, Wrap, version_0, version_0_older, version_1
from tests.signing_wallet import FixedClock, SigningWallet
from zmartd.http.auth.siws import SignInMessage

ALICE, BOB = SigningWallet(1), SigningWallet(2)


def plain(text: bytes, _key: bytes) -> bytes:
    return text


ALL = (plain, *ENVELOPES)


async def login(
    client: Client,
    signed: bytes,
    signer: SigningWallet = ALICE,
    *,
    name: str = "signed_message",
    **fields: Any,
) -> ClientResponse:
    body = {name: base64.b64encode(signed).decode(), "signature": signer.sign_base58(signed), **fields}
    return await client.post("/api/auth/login", json=body)


@pytest.mark.parametrize("wrap", ALL)
async def test_a_wallet_signs_in_with_the_bytes_that_it_signed(client: Client, wrap: Wrap) -> None:
    more: tuple[dict[str, Any], ...] = (
        {},
        {"wallet": ALICE.address},
        {"name": "signedMessage"},
        {"message": "-"},
    )
    for fields in more:
        text = (await challenge(client))["message"]
        response = await login(client, wrap(text.encode(), ALICE.public_key), **fields)
        assert response.status == 200
        session = await response.json()
        headers = {"Authorization": f"Bearer {session['token']}"}
        assert await (await client.post("/money", headers=headers)).json() == {"wallet": ALICE.address}


@pytest.mark.parametrize("form", [0, 1, 2])
async def test_whatever_format_and_application_domain_the_wallet_chooses(client: Client, form: int) -> None:
    text = (await challenge(client))["message"].encode()
    signed = version_0(text, ALICE.public_key, b"zmart.example".ljust(32, b"\0"), form)
    assert (await login(client, signed)).status == 200
    text = (await challenge(client))["message"].encode()
    assert (await login(client, version_0_older(text, b"", form))).status == 200


async def test_a_wallet_may_write_the_text_itself(client: Client, clock: FixedClock) -> None:
    nonce = (await challenge(client))["nonce"]
    text = own_message(nonce, clock).encode()
    assert (await login(client, version_1(text, ALICE.public_key))).status == 200


@pytest.mark.parametrize("wrap", ALL)
async def test_the_text_is_held_to_the_same_rules(client: Client, clock: FixedClock, wrap: Wrap) -> None:
    now = datetime.fromtimestamp(clock.time(), UTC)
    right: dict[str, Any] = {"domain": "zmart.example", "address": ALICE.address, "issued_at": now}
    for wrong, code in (
        ({"domain": "evil.example"}, "auth_bad_message"),
        ({"chain_id": "mainnet"}, "auth_bad_message"),
        ({"nonce": None}, "auth_bad_message"),
        ({"nonce": "0123456789abcdef"}, "auth_expired"),
        ({"issued_at": None}, "auth_bad_message"),
        ({"issued_at": now - timedelta(hours=1)}, "auth_expired"),
        ({"issued_at": now + timedelta(hours=1)}, "auth_expired"),
        ({"expiration_time": now}, "auth_expired"),
        ({"not_before": now + timedelta(minutes=1)}, "auth_expired"),
    ):
        nonce = (await challenge(client))["nonce"]
        text = SignInMessage(**{**right, "nonce": nonce, **wrong}).text().encode()
        assert await refusal(await login(client, wrap(text, ALICE.public_key))) == (401, code), wrong


@pytest.mark.parametrize("wrap", ENVELOPES)
async def test_a_nonce_works_once_in_whatever_form(client: Client, wrap: Wrap) -> None:
    text = (await challenge(client))["message"].encode()
    assert (await login(client, wrap(text, ALICE.public_key))).status == 200
    for other in ALL:
        response = await login(client, other(text, ALICE.public_key))
        assert await refusal(response) == (401, "auth_expired")


@pytest.mark.parametrize("wrap", ENVELOPES)
async def test_the_signature_is_over_the_envelope(client: Client, wrap: Wrap) -> None:
    text = (await challenge(client))["message"]
    signed = wrap(text.encode(), ALICE.public_key)
    encoded = base64.b64encode(signed).decode()
    for body in (
        {"signed_message": encoded, "signature": ALICE.sign_base58(text)},
        {"message": text, "signature": ALICE.sign_base58(signed)},
        {"signed_message": encoded, "signature": BOB.sign_base58(signed)},
    ):
        response = await client.post("/api/auth/login", json=body)
        assert await refusal(response) == (401, "auth_bad_signature")
        assert "signed_message" in (await response.json())["message"]
    assert (await login(client, signed)).status == 200


@pytest.mark.parametrize("wrap", [one for one in ENVELOPES if one is not version_0_older])
async def test_the_signer_in_the_envelope_is_the_wallet_in_the_text(client: Client, wrap: Wrap) -> None:
    text = (await challenge(client))["message"].encode()
    for signer in (ALICE, BOB):
        response = await login(client, wrap(text, BOB.public_key), signer, wallet=ALICE.address)
        assert await refusal(response) == (401, "auth_bad_message")


async def test_a_request_names_the_wallet_that_signed(client: Client) -> None:
    text = (await challenge(client))["message"].encode()
    response = await login(client, version_1(text, ALICE.public_key), wallet=BOB.address)
    assert await refusal(response) == (401, "auth_bad_signature")


@pytest.mark.parametrize(
    ("signed", "reason"),
    [
        (HEAD + b"\2\1" + ALICE.public_key + b"text", "version 2; only 0 and 1 are known"),
        (HEAD + b"\1\2" + ALICE.public_key + BOB.public_key + b"text", "names 2 signers"),
        (HEAD + b"\1\1", "ends before its text"),
        (b"\xffsomething else", "begins with the byte 0xff"),
        (b"\x80\1\0\1", "not UTF-8"),
    ],
)
async def test_what_cannot_be_read_says_why(client: Client, signed: bytes, reason: str) -> None:
    response = await login(client, signed, wallet=ALICE.address)
    assert await refusal(response) == (401, "auth_bad_message")
    assert reason in (await response.json())["message"]
    response = await login(client, signed)
    body = await response.json()
    assert (response.status, body["details"][0]["field"]) == (400, "signed_message")
    assert reason in body["message"]


@pytest.mark.parametrize("value", ["", "AAA", "****", "AAAA\n", "A" * 6_000, 5, ["AAAA"], {"data": "AAAA"}])
async def test_signed_bytes_are_base64_of_limited_length(client: Client, value: object) -> None:
    body = {"signed_message": value, "signature": "x", "wallet": ALICE.address}
    response = await client.post("/api/auth/login", json=body)
    refused = await response.json()
    assert (response.status, [one["field"] for one in refused["details"]]) == (400, ["signed_message"])


async def test_something_has_to_be_signed(client: Client) -> None:
    response = await client.post("/api/auth/login", json={"signature": "x", "wallet": ALICE.address})
    refused = await response.json()
    assert (response.status, refused["details"][0]["field"]) == (400, "message")
    assert "signed_message" in refused["message"]

from __future__ import annotations

import string
from contextlib import suppress
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zmartd.http.auth.siws import MalformedMessage, SignInMessage, parse
from zmartd.market.ids import base58_encode

ADDRESS = "FZ5Wc8bmBZ4Jt5BGy8e1CVxXQz2dCcFKQmYLBMBJdMYX"
AT = datetime(2026, 3, 1, 12, 0, 0, 500_000, tzinfo=UTC)
GREETING = "zmart.example wants you to sign in with your Solana account:"

FULL_TEXT = f"""{GREETING}
{ADDRESS}

Sign in, please.

URI: https://zmart.example/login
Version: 1
Chain ID: solana:devnet
Nonce: k3J9x0Qz
Issued At: 2026-03-01T12:00:00.500Z
Expiration Time: 2026-03-01T13:05:00+01:00
Not Before: 2026-03-01T12:00:00Z
Request ID: r-1
Resources:
- https://zmart.example/terms
- ipfs://bafy"""

PLAIN = "".join(sorted({*string.ascii_letters, *string.digits, *"-._~"}))
RESERVED = ":/?#[]@!$&'()*+,;="

uris = st.builds(
    lambda scheme, rest: f"{scheme}:{rest}",
    st.sampled_from(["https", "ipfs", "web+x.y-z"]),
    st.text(alphabet=PLAIN + RESERVED + "%", max_size=20),
)
moments = st.datetimes(timezones=st.just(UTC))
messages = st.builds(
    SignInMessage,
    domain=st.text(alphabet=PLAIN + ":[]@", min_size=1, max_size=40),
    address=st.binary(min_size=32, max_size=32).map(base58_encode),
    statement=st.none() | st.text(alphabet=PLAIN + RESERVED + " ", min_size=1, max_size=60),
    uri=st.none() | uris,
    version=st.none() | st.just("1"),
    chain_id=st.none() | st.sampled_from(["mainnet", "testnet", "devnet", "localnet", "solana:mainnet"]),
    nonce=st.none() | st.text(alphabet=string.ascii_letters + string.digits, min_size=8, max_size=40),
    issued_at=st.none() | moments,
    expiration_time=st.none() | moments,
    not_before=st.none() | moments,
    request_id=st.none() | st.text(alphabet=PLAIN + "!$&'()*+,;=%:@", max_size=20),
    resources=st.none() | st.lists(uris, max_size=3).map(tuple),
)


@given(messages)
def test_a_message_that_is_written_is_read_as_it_was_meant(message: SignInMessage) -> None:
    assert parse(message.text()) == message


@given(messages, st.data())
def test_a_message_with_one_character_changed_is_never_read_as_the_same(
    message: SignInMessage, data: st.DataObject
) -> None:
    text = message.text()
    place = data.draw(st.integers(0, len(text) - 1))
    other = data.draw(st.characters().filter(lambda one: one != text[place]))
    try:
        changed = parse(text[:place] + other + text[place + 1 :])
    except MalformedMessage:
        return
    # RFC 3339 writes one moment in two ways with `T` and `t`, `Z` and `z`.
    if text[place].lower() != other.lower():
        assert changed != message


@given(st.text(max_size=300))
def test_any_text_is_either_read_or_refused_as_malformed(text: str) -> None:
    for candidate in (text, f"{GREETING}\n{ADDRESS}{text}", f"{GREETING}\n{ADDRESS}\n\n{text}"):
        with suppress(MalformedMessage):
            assert parse(parse(candidate).text()) == parse(candidate)


def test_every_field_is_read() -> None:
    assert parse(FULL_TEXT) == SignInMessage(
        domain="zmart.example",
        address=ADDRESS,
        statement="Sign in, please.",
        uri="https://zmart.example/login",
        version="1",
        chain_id="solana:devnet",
        nonce="k3J9x0Qz",
        issued_at=AT,
        expiration_time=datetime(2026, 3, 1, 13, 5, tzinfo=timezone(timedelta(hours=1))),
        not_before=datetime(2026, 3, 1, 12, tzinfo=UTC),
        request_id="r-1",
        resources=("https://zmart.example/terms", "ipfs://bafy"),
    )
    assert parse(FULL_TEXT).cluster == "devnet"


def test_only_the_greeting_and_the_address_have_to_be_there() -> None:
    assert parse(f"{GREETING}\n{ADDRESS}") == SignInMessage(domain="zmart.example", address=ADDRESS)


def test_without_a_statement_one_or_two_empty_lines_precede_the_fields() -> None:
    expected = SignInMessage(domain="zmart.example", address=ADDRESS, nonce="k3J9x0Qz")
    assert parse(f"{GREETING}\n{ADDRESS}\n\nNonce: k3J9x0Qz") == expected
    assert parse(f"{GREETING}\n{ADDRESS}\n\n\nNonce: k3J9x0Qz") == expected


def test_a_statement_cannot_pass_for_a_field() -> None:
    message = parse(f"{GREETING}\n{ADDRESS}\n\nNonce: 12345678\n\nNonce: k3J9x0Qz")
    assert (message.statement, message.nonce) == ("Nonce: 12345678", "k3J9x0Qz")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("zmart.example wants", "zmart example wants"),
        ("zmart.example wants", " wants"),
        ("Solana account:", "Solana account"),
        ("Solana account:", "Ethereum account:"),
        (ADDRESS, ADDRESS[:-10]),
        (ADDRESS, ADDRESS + " "),
        (ADDRESS, "0x" + "ab" * 20),
        ("\n\nSign in", "\nSign in"),
        ("\n\nSign in", "\n\n\nSign in"),
        ("Sign in, please.", "Sign in,\nplease."),
        ("Sign in, please.", "Sign in — please."),
        ("Version: 1", "Version: 2"),
        ("Version: 1", "Version:1"),
        ("Version: 1", "version: 1"),
        ("Version: 1", "Version: 1\nVersion: 1"),
        ("Version: 1", "Version: 1\nSomething: else"),
        ("Chain ID: solana:devnet", "Chain ID: ethereum"),
        ("Nonce: k3J9x0Qz", "Nonce: short"),
        ("Nonce: k3J9x0Qz", "Nonce: k3J9x0Qz!"),
        ("2026-03-01T12:00:00.500Z", "2026-02-30T12:00:00Z"),
        ("2026-03-01T12:00:00.500Z", "2026-03-01T12:00:60Z"),
        ("2026-03-01T12:00:00.500Z", "2026-03-01T12:00:00"),
        ("2026-03-01T12:00:00.500Z", "2026-03-01 12:00:00Z"),
        ("2026-03-01T12:00:00.500Z", "2026-03-01T12:00:00+24:00"),
        ("2026-03-01T12:00:00.500Z", "٢٠٢٦-03-01T12:00:00Z"),
        ("- ipfs://bafy", "ipfs://bafy"),
        ("- ipfs://bafy", "- no uri"),
        ("- ipfs://bafy", "- ipfs://bafy\n"),
        ("\n", "\r\n"),
    ],
)
def test_text_outside_the_format_is_refused(before: str, after: str) -> None:
    assert before in FULL_TEXT
    changed = FULL_TEXT.replace(before, after, 1)
    with pytest.raises(MalformedMessage):
        parse(changed)


def test_fields_out_of_order_are_refused() -> None:
    with pytest.raises(MalformedMessage, match="out of order"):
        parse(f"{GREETING}\n{ADDRESS}\n\nNonce: k3J9x0Qz\nVersion: 1")


def test_a_message_of_endless_length_is_refused() -> None:
    with pytest.raises(MalformedMessage, match="longer"):
        parse(f"{GREETING}\n{ADDRESS}\n\n{'a' * 5_000}")

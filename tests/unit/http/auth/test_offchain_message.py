from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from solders.hash import Hash
from solders.keypair import Keypair
from solders.message import Message, MessageV0, from_bytes_versioned, to_bytes_versioned
from solders.system_program import TransferParams, transfer

from tests.offchain_messages import ENVELOPES, HEAD, Wrap, version_0, version_0_older, version_1
from zmartd.chain.assemble import MAX_TRANSACTION_BYTES
from zmartd.http.auth import siws
from zmartd.http.auth.offchain_message import MalformedEnvelope, SignedText, read_signed_text
from zmartd.http.auth.signatures import SIGNATURE_BYTES, decode_signature, require_signature
from zmartd.market.ids import base58_decode

KEY = bytes(range(100, 132))
ADDRESS = "8DpKDisipx6f76cEmuGvCX9TrA3SjeR76HaTRePxHBDe"
TEXT = f"""zmart.example wants you to sign in with your Solana account:
{ADDRESS}

Nonce: k3J9x0Qz""".encode()
LONGEST = TEXT + b"\nRequest ID: " + b"r" * (siws.MAX_LENGTH - len(TEXT) - 13)


@pytest.mark.parametrize("wrap", ENVELOPES)
@pytest.mark.parametrize("text", [TEXT, LONGEST])
def test_the_text_in_each_envelope_is_read_with_its_signer(wrap: Wrap, text: bytes) -> None:
    signer = None if wrap is version_0_older else KEY
    assert read_signed_text(wrap(text, KEY)) == SignedText(text.decode(), signer)


def test_text_without_an_envelope_has_no_signer() -> None:
    assert read_signed_text(TEXT) == SignedText(TEXT.decode(), None)


@pytest.mark.parametrize("form", [0, 1, 2])
def test_each_format_and_application_domain_is_read(form: int) -> None:
    for domain in (b"\0" * 32, b"zmart.example".ljust(32, b"\0"), b"\xff" * 32):
        assert read_signed_text(version_0(TEXT, KEY, domain, form)) == SignedText(TEXT.decode(), KEY)
    assert read_signed_text(version_0_older(TEXT, KEY, form)) == SignedText(TEXT.decode(), None)


def test_it_is_read_as_others_write_it() -> None:
    """Ledger Live's message `hello`, the Solana CLI's `testmessage`, and Kit's first signer."""
    ledger = (
        HEAD.hex() + "00" + "00" * 32 + "00" + "01" + base58_decode(ADDRESS).hex() + "0500" + "68656c6c6f"
    )
    assert read_signed_text(bytes.fromhex(ledger)) == SignedText("hello", base58_decode(ADDRESS))

    cli = HEAD + bytes.fromhex("00000b00") + b"testmessage"
    assert read_signed_text(cli) == SignedText("testmessage", None)
    signature = "4gfuYetd6g7ktB8i6LVVziyKjnFC85fabTHVD9CV5tREoHvZMQxBvdNQcBB1wnUqe1e1HZ9CMaVqreNdWxhaGuvD"
    require_signature("EW8XHqffXwryUnRCdtWY2P85a3QEACMZuh8R8PumG4uM", cli, decode_signature(signature))

    domain = "0d3b730b9e889b4b661ed2a3ce191f68d37da7443206a182b946891e00000000"
    signer = "0cfe2cc952550e94c725639a4bd11d4ea5a6383651c308b718c3aef286bca1af"
    kit_0 = HEAD.hex() + "00" + domain + "00" + "01" + signer + "0b00" + b"Hello\nworld".hex()
    kit_1 = HEAD.hex() + "01" + "01" + signer + b"Hello\nworld".hex()
    for message in (kit_0, kit_1):
        assert read_signed_text(bytes.fromhex(message)) == SignedText("Hello\nworld", bytes.fromhex(signer))
    assert base58_decode("signerAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA").hex() == signer


LONG = version_0(TEXT, KEY)
SHORT = version_0_older(TEXT, KEY)


@pytest.mark.parametrize(
    ("signed", "reason"),
    [
        (b"\xff", "not with"),
        (b"\xffSolana offchain\0\0\1\0a", "not with"),
        (HEAD, "ends before its text"),
        (HEAD + b"\2" + version_1(TEXT, KEY)[17:], "version 2; only 0 and 1"),
        (HEAD + b"\xff" + version_1(TEXT, KEY)[17:], "version 255; only 0 and 1"),
        (HEAD + b"\0", "ends before its text"),
        (HEAD + b"\1", "ends before its text"),
        (version_1(TEXT, KEY)[:40], "ends before its text"),
        (LONG[:80], "ends before its text"),
        (LONG[:-1], f"{len(TEXT)} bytes of text and has {len(TEXT) - 1}"),
        (LONG + b"\n", f"{len(TEXT)} bytes of text and has {len(TEXT) + 1}"),
        (SHORT[:-1], f"{len(TEXT)} bytes of text and has {len(TEXT) - 1}"),
        (SHORT + b"\n", f"{len(TEXT)} bytes of text and has {len(TEXT) + 1}"),
        (version_0_older(TEXT, KEY, form=3), "format 3; only 0, 1 and 2"),
        (HEAD + b"\1\0" + TEXT, "names 0 signers"),
        (HEAD + b"\1\2" + KEY + KEY + TEXT, "names 2 signers"),
        (HEAD + b"\0" + bytes(33) + b"\2" + KEY + KEY + b"\1\0a", "names 2 signers"),
        (HEAD + b"\0" + bytes(33) + b"\0\1\0a", "names 0 signers"),
        (version_1(b"\xff" + TEXT, KEY), "not UTF-8"),
        (version_1(LONG, KEY), "not UTF-8"),
        (b"zmart.example\xff", "not UTF-8"),
        (b"\x80" + TEXT, "not UTF-8"),
    ],
)
def test_what_is_not_an_envelope_around_a_text_of_one_signer_is_refused(signed: bytes, reason: str) -> None:
    with pytest.raises(MalformedEnvelope, match=reason):
        read_signed_text(signed)


@given(
    st.binary(max_size=200), st.sampled_from([b"", HEAD, HEAD + b"\0", HEAD + b"\1", HEAD + b"\1\1" + KEY])
)
def test_any_bytes_are_either_read_or_refused(rest: bytes, start: bytes) -> None:
    with suppress(MalformedEnvelope):
        found = read_signed_text(start + rest)
        assert (start + rest).endswith(found.text.encode())


@pytest.mark.parametrize("wrap", ENVELOPES)
def test_no_signature_over_an_envelope_or_a_text_is_one_of_a_transaction(wrap: Wrap) -> None:
    with pytest.raises(ValueError, match="off-chain messages are not accepted"):
        from_bytes_versioned(wrap(TEXT, KEY))
    # A transaction's message begins with the number of its signatures, a text with a visible character.
    assert TEXT[0] > 0x20
    assert 0x21 * SIGNATURE_BYTES > MAX_TRANSACTION_BYTES


def test_no_signature_over_a_transaction_is_one_of_a_message() -> None:
    payer = Keypair.from_bytes(bytes(Keypair.from_seed(KEY)))
    paid = transfer(TransferParams(from_pubkey=payer.pubkey(), to_pubkey=payer.pubkey(), lamports=1))
    legacy = Message.new_with_blockhash([paid], payer.pubkey(), Hash.default())
    versioned = MessageV0.try_compile(payer.pubkey(), [paid], [], Hash.default())
    for message in (bytes(legacy), to_bytes_versioned(versioned), b"\x81" + bytes(versioned)):
        with pytest.raises((MalformedEnvelope, siws.MalformedMessage)):
            siws.parse(read_signed_text(message).text)

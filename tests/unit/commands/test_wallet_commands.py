"""What `zmartd token` and `zmartd sign` say where there is no session to get and nothing to sign."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from solders.hash import Hash
from solders.instruction import Instruction
from solders.keypair import Keypair
from solders.message import Message
from solders.transaction import Transaction

from zmartd.chain.idl import default_idl
from zmartd.cli import main
from zmartd.private_file import write_private

PROGRAM = default_idl().program_id


@pytest.fixture
def wallet(tmp_path: Path) -> Keypair:
    keypair = Keypair()
    write_private(tmp_path / "wallet.json", keypair.to_json())
    return keypair


def run(*arguments: str, given: str | bytes = "", **environment: str) -> Result:
    return CliRunner(env=environment).invoke(main, arguments, input=given)


def unsigned(payer: Keypair) -> str:
    message = Message.new_with_blockhash([Instruction(PROGRAM, b"", [])], payer.pubkey(), Hash.default())
    return base64.b64encode(bytes(Transaction.new_unsigned(message))).decode()


def test_what_is_no_text_is_not_signed_and_no_error_moves_the_cursor(tmp_path: Path, wallet: Keypair) -> None:
    result = run("sign", str(tmp_path / "wallet.json"), given=b"\xff\xfe")
    assert (result.exit_code, "the input is no text" in result.stderr) == (1, True)
    result = run("token", str(tmp_path / "\x1b[2J.json"))
    assert (result.exit_code, r"\x1b[2J.json" in result.stderr) == (1, True)


def test_a_session_needs_a_daemon_and_a_key(tmp_path: Path) -> None:
    result = run("token", ZMARTD_SERVER_PORT="1")
    assert result.exit_code == 1
    assert "no daemon answers at http://127.0.0.1:1: start `zmartd dev`" in result.stderr
    assert "say which one" in run("token", "--new").stderr
    missing = tmp_path / "missing.json"
    assert f"there is no file {missing}: --new makes it" in run("token", str(missing)).stderr
    assert not missing.exists()


@pytest.mark.parametrize("form", ["answer", "base64"])
def test_the_signed_transaction_is_printed_as_the_api_takes_it(
    tmp_path: Path, wallet: Keypair, form: str
) -> None:
    transaction = unsigned(wallet)
    given = (
        json.dumps({"market_id": "1", "transaction": transaction}) if form == "answer" else f"{transaction}\n"
    )
    result = run("sign", str(tmp_path / "wallet.json"), given=given)
    assert result.exit_code == 0, result.stderr
    [name] = body = json.loads(result.stdout)
    assert name == "transaction"
    Transaction.from_bytes(base64.b64decode(body[name])).verify()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (
            '{"code": "unauthorized", "message": "Sign in."}',
            "refused the request: 'Sign in.' ('unauthorized')",
        ),
        (
            '{"transaction": null}',
            "nothing to sign: `transaction` is null, because the market is on the chain",
        ),
        ('{"signature": "5"}', "the input has no `transaction`: give it the API's whole answer"),
        (" \n", "the input is empty: give it the API's whole answer"),
        ("{", "the input is no JSON"),
        ("AAAA", "this is not a transaction in base64"),
        (unsigned(Keypair()), "is not the payer and only signer of this transaction"),
    ],
)
def test_what_is_not_for_this_wallet_is_not_signed(
    tmp_path: Path, wallet: Keypair, given: str, said: str
) -> None:
    result = run("sign", str(tmp_path / "wallet.json"), given=given)
    assert (result.exit_code, result.stdout) == (1, "")
    assert said in result.stderr

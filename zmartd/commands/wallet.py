"""`zmartd token` and `zmartd sign`: what a wallet does, for those who try the API from a shell."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click
import msgspec

from zmartd.commands.options import config_option, json_option, operator_settings
from zmartd.commands.output import print_result
from zmartd.commands.running import run
from zmartd.errors import ZmartdError

if TYPE_CHECKING:
    from solders.keypair import Keypair

    from zmartd.config import Settings

_MAX_INPUT: Final = 100_000
"""Bytes: more than any answer with a transaction has."""
_TIMEOUT_SECONDS: Final = 15.0

_keypair_type = click.Path(path_type=Path, dir_okay=False)


class DaemonUnreachable(ZmartdError):
    """The daemon of this configuration does not answer."""

    code = "daemon_unreachable"


class NothingToSign(ZmartdError):
    """There is no transaction in the input."""

    code = "nothing_to_sign"


@click.command()
@click.argument("keypair", metavar="[KEYPAIR]", required=False, type=_keypair_type)
@click.option("--new", is_flag=True, help="Make the keypair file where there is none.")
@config_option
@json_option
def token(keypair: Path | None, new: bool, config_path: Path | None, as_json: bool) -> None:
    """Sign in to the daemon as the wallet in the file KEYPAIR, and print the session's token.

    Without KEYPAIR it is a new wallet, whose key nobody keeps: enough to vote or to comment. Send the token
    as `Authorization: Bearer TOKEN`. It is the only thing on stdout.
    """
    if new and keypair is None:
        raise click.UsageError("--new makes a keypair file: say which one")
    settings = operator_settings(config_path)
    wallet = _wallet(keypair, new)
    session = run(lambda: _sign_in(settings, wallet))
    result = {
        "token": session["token"],
        "wallet": str(wallet.pubkey()),
        "expires_at": session["expires_at"],
        "api": settings.server.url,
    }
    kept = "a new wallet that nobody keeps" if keypair is None else str(keypair)
    click.echo(f"{wallet.pubkey()} ({kept}) is signed in until {session['expires_at']}", err=True)
    print_result(as_json, result, session["token"])


@click.command()
@click.argument("keypair", metavar="KEYPAIR", type=_keypair_type)
@config_option
def sign(keypair: Path, config_path: Path | None) -> None:
    """Sign the transaction in the API's answer on stdin as the wallet in the file KEYPAIR.

    Prints the body for POST /api/transactions, with the `protection` that came with a trade. The input is an
    answer with a `transaction`, or only that, in base64. It is not signed unless the wallet is its payer and
    only signer, and it calls the market's program once and nothing else.
    """
    from solders.pubkey import Pubkey

    from zmartd.dependencies import read_keypair
    from zmartd.embedded.demo.signing import sign_call

    settings = operator_settings(config_path)
    unsigned, protection = _transaction(_input())
    program = Pubkey.from_string(settings.solana.program_id)
    signed = sign_call(unsigned, read_keypair(keypair), program)
    print_result(True, {"transaction": signed} | protection, "")


def _wallet(file: Path | None, new: bool) -> Keypair:
    from solders.keypair import Keypair

    from zmartd.dependencies import UnusableKeypair, read_keypair
    from zmartd.private_file import write_private

    if file is None:
        return Keypair()
    if not file.exists():
        if not new:
            raise UnusableKeypair(f"there is no file {file}: --new makes it")
        write_private(file, Keypair().to_json())
    return read_keypair(file)


async def _sign_in(settings: Settings, wallet: Keypair) -> Mapping[str, Any]:
    from aiohttp import ClientError, ClientSession, ClientTimeout
    from solders.pubkey import Pubkey

    from zmartd.embedded.demo.wallet_client import WalletClient

    api, program = settings.server.url, Pubkey.from_string(settings.solana.program_id)
    async with ClientSession(timeout=ClientTimeout(_TIMEOUT_SECONDS)) as session:
        try:
            return await WalletClient("the wallet", wallet, session, api, program).open_session()
        except (ClientError, TimeoutError) as error:
            raise DaemonUnreachable(
                f"no daemon answers at {api}: start `zmartd dev` in this folder, or name the zmartd.toml of "
                "one that runs with --config"
            ) from error


def _input() -> str:
    """What is on stdin. Raises NothingToSign where that is no text."""
    if sys.stdin.isatty():
        click.echo("paste the API's answer, then press Ctrl-D on a line of its own", err=True)
    try:
        return sys.stdin.buffer.read(_MAX_INPUT).decode()
    except UnicodeDecodeError as error:
        raise NothingToSign("the input is no text: give it the API's whole answer") from error


def _transaction(text: str) -> tuple[str, dict[str, str]]:
    """The transaction in base64 in an answer of the API, or the text itself; and the `protection` beside it.

    Raises NothingToSign.
    """
    if not text.strip():
        raise NothingToSign(
            "the input is empty: give it the API's whole answer; if a request before it failed, mend that one"
        )
    if not text.lstrip().startswith("{"):
        return text.strip(), {}
    try:
        answer = msgspec.json.decode(text)
    except msgspec.MsgspecError as error:
        raise NothingToSign(f"the input is no JSON: {error}") from error
    transaction = answer.get("transaction")
    if isinstance(transaction, str):
        return transaction, {"protection": answer["protection"]} if "protection" in answer else {}
    if "transaction" in answer:
        raise NothingToSign(
            "there is nothing to sign: `transaction` is null, because the market is on the chain already"
        )
    refusal = answer.get("message")
    if isinstance(refusal, str):
        raise NothingToSign(f"the API refused the request: {refusal!r} ({answer.get('code')!r})")
    raise NothingToSign("the input has no `transaction`: give it the API's whole answer")

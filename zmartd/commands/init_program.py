"""`zmartd init-program`: the program's first configuration."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from zmartd.commands.options import config_option, json_option, operator_settings
from zmartd.commands.output import print_result, table
from zmartd.commands.parameters import wallet_address
from zmartd.commands.running import run

if TYPE_CHECKING:
    from solders.keypair import Keypair
    from solders.pubkey import Pubkey

    from zmartd.config import Settings


def _optional_address(context: click.Context, option: click.Parameter, text: str | None) -> str | None:
    return None if text is None else wallet_address(context, option, text)


@click.command("init-program")
@click.option(
    "--admin",
    "admin_file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The keypair file of who becomes the program's admin, and pays. By default the authority's key.",
)
@click.option(
    "--backend-authority",
    callback=_optional_address,
    help="The address that counts votes and finalizes. By default that of the authority's key.",
)
@click.option(
    "--fee-wallet",
    callback=wallet_address,
    required=True,
    help="The address that receives the protocol's fees. It cannot be changed.",
)
@click.option("--yes", is_flag=True, help="Send it without asking for a confirmation; --json needs it.")
@config_option
@json_option
def init_program(  # noqa: PLR0917 - one for each option
    admin_file: Path | None,
    backend_authority: str | None,
    fee_wallet: str,
    yes: bool,
    config_path: Path | None,
    as_json: bool,
) -> None:
    """Send the program's first configuration, on a chain where it has none.

    Whoever sends it first is the program's admin, so send it directly after the deployment. Where the program
    has this configuration already nothing is sent; where it has another one, the exit status is 1.
    """
    from solders.pubkey import Pubkey

    from zmartd.dependencies import authority_of, read_keypair

    if not yes and (as_json or not sys.stdin.isatty()):
        raise click.UsageError("there is nobody to confirm it: give --yes")
    settings = operator_settings(config_path)
    authority = authority_of(settings.solana)
    admin = read_keypair(admin_file) if admin_file is not None else authority
    if admin is None:
        raise click.UsageError("there is no key to sign with: give --admin, or set the authority's key")
    if backend_authority is None:
        if authority is None:
            raise click.UsageError("give --backend-authority, or set the authority's key")
        backend_authority = str(authority.pubkey())
    rows = [
        ("program", settings.solana.program_id),
        ("cluster", settings.solana.cluster),
        ("admin, who pays", str(admin.pubkey())),
        ("backend authority", backend_authority),
        ("fee wallet", fee_wallet),
    ]
    if not as_json:
        click.echo(table(rows))
    if not yes:
        click.confirm("The admin and the fee wallet cannot be changed later. Send it?", abort=True)
    addresses = Pubkey.from_string(backend_authority), Pubkey.from_string(fee_wallet)
    signature = run(lambda: _initialize(settings, admin, *addresses))
    said = "the program has this configuration already" if signature is None else f"confirmed: {signature}"
    print_result(as_json, {**dict(rows[:2]), "signature": signature, "sent": signature is not None}, said)


async def _initialize(
    settings: Settings, admin: Keypair, backend_authority: Pubkey, fee_wallet: Pubkey
) -> str | None:
    from zmartd.chain.initialization import differences, initialize
    from zmartd.chain.rpc import Rpc
    from zmartd.clock import SystemClock
    from zmartd.dependencies import idl_of, require_program
    from zmartd.errors import ZmartdError

    clock, solana = SystemClock(), settings.solana
    idl = idl_of(solana)
    async with Rpc(solana.rpc_url.reveal(), clock=clock, timeout_seconds=solana.timeout_seconds) as rpc:
        found = await require_program(rpc, idl.program_id)
        signature = None
        if found is None:
            signature = await initialize(
                rpc,
                idl,
                clock,
                admin=admin,
                backend_authority=backend_authority,
                fee_wallet=fee_wallet,
            )
            found = await require_program(rpc, idl.program_id)
    if found is None:
        raise ZmartdError("the configuration is confirmed, and the node does not show it yet: ask again")
    others = differences(
        found, admin=admin.pubkey(), backend_authority=backend_authority, fee_wallet=fee_wallet
    )
    if others:
        raise ZmartdError(f"{idl.program_id} has another configuration: {'; '.join(others)}")
    return signature

"""`zmartd dev` and `zmartd localnet`: servers on this machine, for developers."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from zmartd.commands import instance
from zmartd.commands.instance import AlreadyRunning, Claim, Instance
from zmartd.commands.options import DATA_DIRECTORY, data_option, rpc_port_option
from zmartd.commands.output import print_result, shown
from zmartd.commands.running import run_until_stopped
from zmartd.commands.start_up import begin_quickly

if TYPE_CHECKING:
    import asyncio

    from zmartd.embedded.happening import Happening
    from zmartd.embedded.localnet.settings import Endpoints
    from zmartd.embedded.stack import Stack

events_option = click.option(
    "--json", "as_json", is_flag=True, help="Print JSON for machines, as where stdout is no terminal."
)


@click.command()
@data_option(DATA_DIRECTORY)
@click.option(
    "--port",
    type=click.IntRange(0, 65_535),
    show_default="server.port, which is 4000",
    help="The API's port; 0 is any free one.",
)
@rpc_port_option
@click.option("--reset", is_flag=True, help="Delete the data of earlier runs first; dev.toml is kept.")
@click.option("--demo", "with_demo", is_flag=True, help="Let wallets trade for as long as it runs.")
@events_option
def dev(
    *, data_dir: Path, port: int | None, rpc_port: int, reset: bool, with_demo: bool, as_json: bool
) -> None:
    """Run everything on this machine: Postgres, Valkey, a Solana chain and the daemon.

    Prints its URLs when it is ready: one line of JSON with --json, or where stdout is no terminal. Settings
    come from the environment, then from dev.toml in the data directory.

    The exit status is 3 when a `zmartd dev` is already running on this data directory.
    """
    directory, as_json = data_dir.resolve(), as_json or not sys.stdout.isatty()
    try:
        with instance.claimed(directory) as claim:
            _run(claim, port, rpc_port, reset=reset, with_demo=with_demo, as_json=as_json)
    except AlreadyRunning as error:
        if as_json:
            print_event("already_running", msgspec.to_builtins(error.instance or {}))
        raise


def _run(
    claim: Claim, port: int | None, rpc_port: int, *, reset: bool, with_demo: bool, as_json: bool
) -> None:
    """Run the system in the claimed directory until it is stopped."""
    begin_quickly()

    from zmartd import log
    from zmartd.commands import dev_settings, dev_stack
    from zmartd.embedded.simulation import simulate_trading

    if reset:
        dev_stack.reset(claim)
    file = dev_settings.settings_file(claim.directory)
    settings = dev_settings.load(claim.directory, file)
    if port is not None:
        settings = dev_settings.with_port(settings, port)
    log.configure(settings.log.level, settings.log.format)
    show_step(f"using {shown(file)}")

    async def run_stack(stop: asyncio.Event) -> None:
        async with dev_stack.running(claim.directory, settings, rpc_port, show_step) as stack:
            running = Instance(os.getpid(), stack.api, str(stack.configuration))
            claim.say(running)
            print_ready(as_json, _facts(stack, running), _welcome(stack, file))
            if with_demo:
                await simulate_trading(stack, stop, partial(print_happening, as_json))
            else:
                await stop.wait()
            show_step("stopping")

    run_until_stopped(run_stack)


@click.command()
@data_option(DATA_DIRECTORY / instance.LOCALNET)
@rpc_port_option
@click.option(
    "--slot-ms", type=click.IntRange(10, 10_000), default=400, show_default=True, help="A slot's length."
)
@events_option
def localnet(data_dir: Path, rpc_port: int, slot_ms: int, as_json: bool) -> None:
    """Run a Solana chain with the zmart_core program behind the usual JSON-RPC and WebSocket.

    Prints its URLs when it is ready: one line of JSON with --json, or where stdout is no terminal.
    """
    from zmartd import log
    from zmartd.embedded.chain import chain_settings
    from zmartd.embedded.localnet.server import serve

    log.configure("info", "console")
    settings = chain_settings(data_dir.resolve(), rpc_port, slot_milliseconds=slot_ms)

    def ready(endpoints: Endpoints) -> None:
        urls = {"rpc": endpoints.rpc_url, "ws": endpoints.ws_url}
        text = f"The chain is ready.\n\n  RPC        {urls['rpc']}\n  WebSocket  {urls['ws']}\n"
        print_ready(as_json or not sys.stdout.isatty(), urls, text)

    run_until_stopped(lambda stop: serve(settings, ready=ready, stop=stop))


def print_ready(as_json: bool, facts: Mapping[str, object], text: str) -> None:
    """Print that all is ready: `text`, or with `as_json` the line that whoever started the command waits for.

    People may watch then, too: `text` goes to stderr.
    """
    if as_json:
        print_event("ready", facts)
    click.echo(text, err=as_json)


def print_happening(as_json: bool, happening: Happening) -> None:
    """Print what happened in the simulation, as a line for people or for machines."""
    if as_json:
        print_event("demo", msgspec.to_builtins(happening))
        return
    # repr: a stranger's text must not move the terminal's cursor.
    about = f"  {happening.question!r}" if happening.question else ""
    click.echo(
        f"{datetime.now().astimezone():%H:%M:%S}  {happening.who:<10} {happening.what:<9} "
        f"{happening.detail}{about}".rstrip()
    )


def print_event(event: str, facts: Mapping[str, object]) -> None:
    """Print one line of JSON, and pass it on at once."""
    print_result(True, {"event": event, **facts}, "")
    sys.stdout.flush()


def show_step(step: str) -> None:
    """Print on stderr what is being done."""
    click.echo(click.style(f"  {step} …", dim=True), err=True)


def _facts(stack: Stack, running: Instance) -> dict[str, object]:
    return {
        "docs": f"{stack.api}/docs",
        "page": f"{stack.api}/",
        "api": stack.api,
        "ws": stack.ws,
        "operator": stack.operator,
        "rpc": stack.rpc,
        "authority": str(stack.authority),
        "configuration": str(stack.configuration),
        "pid": running.pid,
    }


def _welcome(stack: Stack, settings_file: Path) -> str:
    return f"""
zmartd is ready.

  API docs    {stack.api}/docs
  first page  {stack.api}/

  API         {stack.api}/api/markets
  WebSocket   {stack.ws}
  operator    {stack.operator}/health and {stack.operator}/metrics
  Solana      {stack.rpc}
  settings    {shown(settings_file)}

Try next, in another terminal in this folder:
  curl {stack.api}/api/markets
  zmartd token               sign in with a new wallet, and print the token for `Authorization: Bearer`
  zmartd airdrop WALLET 10   give a wallet 10 SOL
  zmartd travel 72h          move the chain's clock: deadlines pass at once
  zmartd check               look at everything that the daemon depends on
  zmartd dev --demo          instead of this one, so stop it first: with wallets that trade
  zmartd demo                four markets from proposal to payout, checked against the chain

docs/quickstart.md takes five minutes. Ctrl-C stops everything; the data is kept for the next start, --reset
deletes it."""

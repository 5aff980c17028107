"""`zmartd dev` and `zmartd localnet`: servers on this machine, for developers."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from zmartd.commands.options import DATA_DIRECTORY, data_option, rpc_port_option
from zmartd.commands.output import print_result
from zmartd.commands.running import run_until_stopped

if TYPE_CHECKING:
    import asyncio

    from zmartd.embedded.localnet.settings import Endpoints
    from zmartd.embedded.stack import Stack


@click.command()
@data_option(DATA_DIRECTORY)
@click.option(
    "--port", type=click.IntRange(0, 65_535), default=4000, show_default=True, help="The API's port."
)
@rpc_port_option
@click.option("--reset", is_flag=True, help="Delete the data of earlier runs first.")
@click.option("--demo", "with_demo", is_flag=True, help="Let wallets trade for as long as it runs.")
def dev(data_dir: Path, port: int, rpc_port: int, reset: bool, with_demo: bool) -> None:
    """Run everything on this machine: Postgres, Valkey, a Solana chain and the daemon.

    Prints one line of JSON with its URLs when it is ready.
    """
    from zmartd import log
    from zmartd.commands import dev_stack
    from zmartd.embedded.simulation import simulate_trading

    log.configure("warning", "console")
    options = dev_stack.StackOptions(data_dir.resolve(), port, rpc_port)
    if reset:
        dev_stack.reset(options.directory)

    async def run_stack(stop: asyncio.Event) -> None:
        async with dev_stack.running(options, progress=show_step) as stack:
            print_ready(_urls(stack))
            click.echo(_welcome(stack), err=True)
            if with_demo:
                await simulate_trading(stack, stop)
            else:
                await stop.wait()
            show_step("stopping")

    run_until_stopped(run_stack)


@click.command()
@data_option(DATA_DIRECTORY / "chain")
@rpc_port_option
@click.option(
    "--slot-ms", type=click.IntRange(10, 10_000), default=400, show_default=True, help="A slot's length."
)
def localnet(data_dir: Path, rpc_port: int, slot_ms: int) -> None:
    """Run a Solana chain with the zmart_core program behind the usual JSON-RPC and WebSocket.

    Prints one line of JSON with its URLs when it is ready.
    """
    from zmartd import log
    from zmartd.embedded.chain import chain_settings
    from zmartd.embedded.localnet.server import serve

    log.configure("info", "console")
    settings = chain_settings(data_dir.resolve(), rpc_port, slot_milliseconds=slot_ms)

    def ready(endpoints: Endpoints) -> None:
        print_ready({"rpc": endpoints.rpc_url, "ws": endpoints.ws_url})

    run_until_stopped(lambda stop: serve(settings, ready=ready, stop=stop))


def print_ready(facts: dict[str, str]) -> None:
    """Print the line that whoever started the command waits for, and pass it on at once."""
    print_result(True, {"event": "ready", **facts}, "")
    sys.stdout.flush()


def show_step(step: str) -> None:
    """Print on stderr what is being done."""
    click.echo(click.style(f"  {step} …", dim=True), err=True)


def _urls(stack: Stack) -> dict[str, str]:
    return {
        "api": stack.api,
        "ws": stack.ws,
        "operator": stack.operator,
        "rpc": stack.rpc,
        "authority": str(stack.authority),
    }


def _welcome(stack: Stack) -> str:
    configuration = stack.authority.with_name("zmartd.toml")
    return f"""
zmartd is ready.

  API        {stack.api}/api/markets
  its docs   {stack.api}/docs
  WebSocket  {stack.ws}
  operator   {stack.operator}/health and {stack.operator}/metrics
  Solana     {stack.rpc}

Try next:
  curl {stack.api}/api/markets
  zmartd check --config {configuration}
  zmartd tick --config {configuration}
  zmartd dev --demo     the same, with wallets that trade
  zmartd demo           four markets from proposal to payout, checked against the chain

Ctrl-C stops everything. The data is kept for the next start; --reset deletes it."""

"""`zmartd demo`: four markets on a fresh system, with a line for each step as it happens, and a verdict."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from zmartd.commands.dev import show_step
from zmartd.commands.options import json_option
from zmartd.commands.output import print_result, table
from zmartd.commands.running import run

if TYPE_CHECKING:
    from zmartd.embedded.demo.report import DemoResult, Step

_SIGNATURE_END = 6


@click.command()
@json_option
def demo(as_json: bool) -> None:
    """Run four markets from proposal to payout on a fresh system, and compare the result with the chain."""
    import tempfile

    from zmartd import log
    from zmartd.clock import SystemClock
    from zmartd.commands import dev_settings, dev_stack
    from zmartd.embedded.demo.report import Report
    from zmartd.embedded.demo.scenario import run_demo

    log.configure("error", "console")
    report = Report(SystemClock(), None if as_json else print_step)

    async def run_on_fresh_system() -> DemoResult:
        with tempfile.TemporaryDirectory(prefix="zmartd-demo-") as name:
            directory = Path(name)
            settings = dev_settings.with_port(dev_settings.defaults(directory), dev_stack.ANY_FREE_PORT)
            async with dev_stack.running(directory, settings, dev_stack.ANY_FREE_PORT, show_step) as stack:
                return await run_demo(stack, report)

    result = run(run_on_fresh_system)
    print_result(as_json, result, verdict(result))
    sys.exit(0 if result.ok else 1)


def print_step(seconds: float, step: Step) -> None:
    """Print one step, `seconds` after the beginning."""
    click.echo(step_line(seconds, step))


def step_line(seconds: float, step: Step) -> str:
    """One step in columns of fixed widths, since it is printed before the next one is known."""
    mark = click.style("✓", fg="green") if step.ok else click.style("✗", fg="red", bold=True)
    signature = step.signature or ""
    if signature:
        signature = f"{signature[:_SIGNATURE_END]}…{signature[-_SIGNATURE_END:]}"
    line = f"{seconds:6.1f} s  {mark}  {step.market:<2} {step.step:<32} {signature:<13}  {step.detail or ''}"
    return line.rstrip()


def verdict(result: DemoResult) -> str:
    """The sums, and whether everything held."""
    sums = {
        "steps": len(result.steps),
        "steps that failed": sum(not step.ok for step in result.steps),
        "frames over the WebSocket": result.ws_frames,
        "markets compared with the chain": result.audit.markets,
        "positions compared with the chain": result.audit.positions,
        "differences": result.audit.differences,
    }
    rows = table(((f"  {name}", str(number)) for name, number in sums.items()), right={1})
    said = (
        click.style("Everything held.", fg="green", bold=True)
        if result.ok
        else click.style("SOMETHING DID NOT HOLD: see the lines marked ✗.", fg="red", bold=True)
    )
    return f"\n{rows}\n\n  {said} {result.seconds:.1f} seconds."

"""A demonstration as people like to read it: a line for each step as it happens, and a verdict."""

from __future__ import annotations

import click

from zmartd.embedded.demo.report import DemoResult, Step

_SIGNATURE_END = 6


def show(seconds: float, step: Step) -> None:
    """Print one step."""
    click.echo(line(seconds, step))


def line(seconds: float, step: Step) -> str:
    """One step; colours are for terminals, and click.echo leaves them out elsewhere."""
    mark = click.style("✓", fg="green") if step.ok else click.style("✗", fg="red", bold=True)
    signature = step.signature or ""
    if signature:
        signature = f"{signature[:_SIGNATURE_END]}…{signature[-_SIGNATURE_END:]}"
    name = f"{seconds:6.1f} s  {mark}  {step.market:<2} {step.step:<32} {signature:<13}  {step.detail or ''}"
    return name.rstrip()


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
    lines = [f"  {name:<34} {number:>5}" for name, number in sums.items()]
    said = (
        click.style("Everything held.", fg="green", bold=True)
        if result.ok
        else click.style("SOMETHING DID NOT HOLD: see the lines marked ✗.", fg="red", bold=True)
    )
    return "\n".join(["", *lines, "", f"  {said} {result.seconds:.1f} seconds."])

"""`zmartd webhook`: the webhook that Helius sends to, by its API."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from zmartd.commands.groups import Group
from zmartd.commands.options import config_option, json_option, operator_settings
from zmartd.commands.output import print_result, table
from zmartd.commands.running import run

if TYPE_CHECKING:
    from zmartd.chain.helius import HeliusWebhooks, Webhook
    from zmartd.config import Settings

Result = TypeVar("Result")


@click.group(cls=Group)
def webhook() -> None:
    """Register the webhook at Helius, list those that there are, or delete one.

    These need helius.api_key. Each change costs credits at Helius.
    """


@webhook.command("register")
@config_option
@json_option
@click.option(
    "--again",
    is_flag=True,
    help="Send it also where nothing differs, as after helius.authorization was changed.",
)
def register(config_path: Path | None, as_json: bool, again: bool) -> None:
    """Have Helius send the program's transactions to helius.webhook_url, with helius.authorization.

    Where there is such a webhook nothing is changed; one at that URL that differs is corrected, and what else
    it watches stays.
    """
    from zmartd.chain.helius import wanted_of

    settings = operator_settings(config_path)
    wanted = wanted_of(settings)
    found, change = _with_helius(settings, lambda helius: helius.register(wanted, again=again))
    result = {**_shown(found), "change": change.value}
    print_result(as_json, result, f"{change.value}: {found.id}, {found.kind}, to {found.url}")


@webhook.command("list")
@config_option
@json_option
def list_webhooks(config_path: Path | None, as_json: bool) -> None:
    """List the webhooks of the API key, and in what those at helius.webhook_url are not what is needed."""
    settings = operator_settings(config_path)
    found = _with_helius(settings, lambda helius: helius.all())
    rows = [
        (
            one.id,
            one.kind,
            "on" if one.is_active else "off",
            str(len(one.addresses)),
            one.url,
            "; ".join(_lacks(settings, one)),
        )
        for one in found
    ]
    result = [{**_shown(one), "lacks": _lacks(settings, one)} for one in found]
    text = table(rows, header=("ID", "TYPE", "STATE", "ADDRESSES", "URL", "LACKS"), right={3})
    print_result(as_json, result, text or "there are none")


@webhook.command("delete")
@click.argument("webhook_id", metavar="ID")
@config_option
@json_option
def delete(webhook_id: str, config_path: Path | None, as_json: bool) -> None:
    """Delete the webhook ID. The exit status is 1 where there is no such webhook."""
    if not webhook_id.replace("-", "").isalnum() or not webhook_id.isascii():
        raise click.UsageError("an ID has letters, digits and hyphens: `zmartd webhook list` shows them")
    settings = operator_settings(config_path)
    was_there = _with_helius(settings, lambda helius: helius.delete(webhook_id))
    said = f"deleted: {webhook_id}" if was_there else f"there is no webhook {webhook_id}"
    print_result(as_json, {"id": webhook_id, "deleted": was_there}, said)
    sys.exit(0 if was_there else 1)


def _lacks(settings: Settings, one: Webhook) -> list[str]:
    from zmartd.chain.helius import wanted_of
    from zmartd.errors import ZmartdError

    if not settings.helius.webhook_url or one.url != settings.helius.webhook_url:
        return []
    try:
        return wanted_of(settings).lacks(one)
    except ZmartdError:
        return []


def _shown(one: Webhook) -> dict[str, Any]:
    """All of it but the secret."""
    return {
        "id": one.id,
        "url": one.url,
        "type": one.kind,
        "active": one.is_active,
        "addresses": one.addresses,
        "transaction_types": one.transaction_types,
    }


def _with_helius(settings: Settings, work: Callable[[HeliusWebhooks], Awaitable[Result]]) -> Result:
    from zmartd.chain.helius import HeliusWebhooks
    from zmartd.clock import SystemClock
    from zmartd.config_values import ConfigError

    if not settings.helius.api_key:
        raise ConfigError(["helius.api_key: set it to the API key of Helius' dashboard"])

    async def main() -> Result:
        helius = settings.helius
        async with HeliusWebhooks(helius.api_url, helius.api_key, SystemClock()) as webhooks:
            return await work(webhooks)

    return run(main)

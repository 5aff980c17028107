"""Settings as texts for people: a complete file, a reference, and where each value in force comes from."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from itertools import groupby
from types import NoneType, UnionType
from typing import Any, Final, Literal, Union, get_args, get_origin

import msgspec
from msgspec import Meta, Struct

from zmartd import __version__, endpoint
from zmartd.config_file import VERSION_KEY, Reading, Setting, settings_table
from zmartd.config_values import PostgresUrl, RedisUrl, Secret, SharedSecret, Url, WebhookSecret

DEFAULT_ORIGIN: Final = "default"
HIDDEN: Final = "***"

_WIDTH = 120
_PLAIN_OPTIONS = frozenset(
    {"host", "port", "dbname", "sslmode", "sslrootcert", "sslcert", "sslkey", "sslnegotiation"}
    | {"ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_cert_reqs", "ssl_check_hostname", "db", "protocol"}
)
"""The options of a URL that are shown; of all others only that they are there."""
_PLAIN_VALUE = re.compile(
    r"/[^?&#\s]*|[a-z0-9]+([.-][a-z0-9]+)*\.[a-z]+(:[0-9]+)?|[0-9.]{1,15}|localhost|zmartd|postgres"
    r"|disable|allow|prefer|require|verify-ca|verify-full|direct|none|optional|required|true|false|yes|no",
    re.IGNORECASE,
)
"""What they may have as a value to be shown: a path, a host, a number or a word that one of them takes.

All else may have been meant for another place.
"""
_INTRODUCTION = """\
zmartd.toml: every setting with its meaning and its default.

A setting can also be given in the environment, which takes precedence: \
server.port is ZMARTD_SERVER_PORT. There, commas separate the members of a list.
Secrets are better given in the environment. The keys and passwords of helius and auth need at least \
32 characters; `openssl rand -hex 32` makes one.
"""
_VERSION_NOTE = (
    "The version of zmartd that this file is for. An older one warns of settings that it does not know, "
    "instead of refusing them."
)
_PLUGIN_NOTE = (
    "A task of another package has its settings in a table [tasks.<name>], too: those that the package names."
)
_NOTES = {
    "realtime.max_messages_per_minute": (
        "One frame more than this or the next setting allows closes the connection with code 1008."
    ),
    "transactions.companions": (
        "List only what can move nothing that is the wallet's. By default: Memo (both versions), and the "
        "assertions of Lighthouse (both versions) with which Phantom and Solflare guard transactions, not "
        "its memory writes."
    ),
}
_NAMES = {int: "whole number", float: "number", bool: "`true` or `false`", str: "text"}


class Effective(Struct, frozen=True):
    """A setting in force. `value` is fit for JSON, and shows no secret."""

    name: str
    value: Any
    origin: str
    is_usable: bool


def effective(reading: Reading) -> list[Effective]:
    """All settings with where their values come from; of tasks of other packages those that were given.

    A value that does not fit is the default, and marked as not usable.
    """
    found = []
    for setting in settings_table():
        value: Any = reading.settings
        for part in setting.name.split("."):
            value = getattr(value, part)
        origin = reading.origins.get(setting.name, DEFAULT_ORIGIN)
        found.append(Effective(setting.name, masked(value), origin, setting.name not in reading.unusable))
    known = {one.name for one in found}
    # What a package's settings mean is not known here: any may be a secret.
    found += [
        Effective(name, HIDDEN, origin, is_usable=True)
        for name, origin in sorted(reading.origins.items())
        if name not in known
    ]
    return found


def masked(value: Any) -> Any:
    """A setting's value, fit for JSON, without any secret in it."""
    if isinstance(value, Url):
        return _masked_url(value)
    if isinstance(value, Secret):
        return HIDDEN if value else ""
    return msgspec.to_builtins(value)


def _masked_url(url: Url) -> str:
    if not url:
        return ""
    text = url.reveal()
    where = endpoint.read(text, url.schemes)
    authority = text.partition("://")[2].partition("/")[0]
    user = f"{HIDDEN}@" if "@" in authority else ""
    shown = f"{where.scheme}://{user}{','.join(map(str, where.addresses))}"
    if isinstance(url, PostgresUrl | RedisUrl):
        shown += f"/{where.path}" if where.path else ""
    elif where.path:
        shown += f"/{HIDDEN}"  # it may be a key
    options = [
        f"{key}={value}"
        for key, value in where.query.items()
        if key in _PLAIN_OPTIONS and _PLAIN_VALUE.fullmatch(value)
    ]
    if len(options) < len(where.query):
        options.append(HIDDEN)
    return f"{shown}?{'&'.join(options)}" if options else shown


def defaults_toml() -> str:
    """The text of a zmartd.toml with every setting, its meaning and its default."""
    blocks = [
        _comment(_INTRODUCTION),
        f'{_comment(_VERSION_NOTE)}{VERSION_KEY} = "{__version__}"\n',
    ]
    for section, settings in _sections():
        if section == "tasks.vote_aggregator":
            blocks.append(_comment(_PLUGIN_NOTE))
        lines = [f"[{section}]\n"]
        for setting in settings:
            lines.append(_comment(_sentence(setting.description)))
            lines.append(_comment(_NOTES.get(setting.name, "")))
            lines.append(f"{setting.name.rpartition('.')[2]} = {_toml(setting.default)}\n")
        blocks.append("".join(lines))
    return "\n".join(blocks)


def reference() -> str:
    """All settings as tables in Markdown, one for each section."""
    tables = []
    for section, settings in _sections():
        rows = [
            f"| `{setting.name.rpartition('.')[2]}` | {_cell(_meaning(setting))} | "
            f"{_cell(values_of(setting))} | {_cell(_shown_default(setting))} |"
            for setting in settings
        ]
        head = f"### `[{section}]`\n\n| setting | meaning | values | default |\n|---|---|---|---|\n"
        tables.append(head + "\n".join(rows) + "\n")
    return "\n".join(tables)


def values_of(setting: Setting) -> str:
    """Which values a setting takes, for people."""
    bounds = [meta for meta in getattr(setting.type, "__metadata__", ()) if isinstance(meta, Meta)]
    return _values(setting.kind, bounds)


def _values(kind: Any, bounds: list[Meta]) -> str:
    origin = get_origin(kind)
    if origin is Literal:
        return ", ".join(f"`{one}`" for one in get_args(kind))
    if origin in {Union, UnionType}:
        return " or ".join(_values(one, bounds) for one in get_args(kind) if one is not NoneType)
    if origin is tuple:
        return "list of texts" + _bounds(bounds, "min_length", "max_length", " members")
    if isinstance(kind, type) and issubclass(kind, Url):
        return f"secret: {kind.form}"
    if isinstance(kind, type) and issubclass(kind, WebhookSecret):
        return f"secret: {WebhookSecret.PREFIX} and base64"
    if isinstance(kind, type) and issubclass(kind, SharedSecret):
        return "secret of 32 characters or more"
    if isinstance(kind, type) and issubclass(kind, Secret):
        return "secret"
    return _NAMES.get(kind, str(kind)) + _bounds(bounds, "ge", "le")


def _bounds(metas: list[Meta], low: str, high: str, unit: str = "") -> str:
    least = next((_digits(getattr(one, low)) for one in metas if getattr(one, low) is not None), None)
    most = next((_digits(getattr(one, high)) for one in metas if getattr(one, high) is not None), None)
    above = next((f"above {_digits(one.gt)}" for one in metas if one.gt is not None), None)
    parts = [above or (f"from {least}" if least else None), f"up to {most}" if most else None]
    found = " ".join(part for part in parts if part)
    return f", {found}{unit}" if found else ""


def _digits(number: float) -> str:
    return str(int(number)) if number == int(number) else f"{number:g}"


def _sections() -> Iterator[tuple[str, list[Setting]]]:
    for section, settings in groupby(settings_table(), lambda one: one.name.rpartition(".")[0]):
        yield section, list(settings)


def _meaning(setting: Setting) -> str:
    return f"{_sentence(setting.description)} {_NOTES.get(setting.name, '')}".strip()


def _sentence(description: str) -> str:
    text = description[:1].upper() + description[1:]
    return text if text.endswith(".") else f"{text}."


def _comment(text: str) -> str:
    lines = []
    for paragraph in text.splitlines():
        lines += textwrap.wrap(paragraph, _WIDTH - 2, break_long_words=False, break_on_hyphens=False) or [""]
    return "".join(f"# {line}".rstrip() + "\n" for line in lines)


def _toml(value: Any) -> str:
    """A value in TOML, where a JSON text, number, boolean or array is the same thing."""
    plain = value.reveal() if isinstance(value, Secret) else value
    if isinstance(plain, tuple):
        members = [msgspec.json.encode(one).decode() for one in plain]
        line = f"[{', '.join(members)}]"
        if len(line) > _WIDTH - 30:
            return "[\n" + "".join(f"    {one},\n" for one in members) + "]"
        return line
    return msgspec.json.encode(plain).decode()


def _shown_default(setting: Setting) -> str:
    value = setting.default
    plain = value.reveal() if isinstance(value, Secret) else value
    if plain in ("", ()):
        return ""
    if isinstance(plain, tuple):
        return ", ".join(f"`{one}`" for one in plain)
    return f"`{msgspec.json.encode(plain).decode()}`" if not isinstance(plain, str) else f"`{plain}`"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;").strip() or "—"

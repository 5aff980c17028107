"""The AsyncAPI document as a page, without scripts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

from zmartd.http.openapi.schemas import Json

_HEAD = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>zmartd WebSocket</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="/page/style.css">
</head>
<body>
<header>
<h1>zmartd WebSocket</h1>
<nav aria-label="Where to go"><a href="/">First page</a> <a href="/docs">REST API</a> \
<a href="/docs/guide">Guide</a> \
<a href="/api/asyncapi.json">AsyncAPI</a></nav>
</header>
<main>
"""
_TAIL = "</main>\n</body>\n</html>\n"
_SCHEMAS = "#/components/schemas/"


def page(document: Json) -> str:
    """The page about an AsyncAPI document of `zmartd.http.asyncapi.document`, as HTML."""
    return "".join((_HEAD, *_sections(document), _TAIL))


def _sections(document: Json) -> Iterator[str]:
    messages, schemas = document["components"]["messages"], document["components"]["schemas"]
    yield _text(document["info"]["description"])
    shown: dict[str, None] = {}
    for channel in document["channels"].values():
        yield f"<h2>{escape(channel['title'])}: <code>{escape(channel['address'])}</code></h2>\n"
        yield _text(channel["description"])
    yield "<h2>What a client sends</h2>\n"
    for operation in document["operations"].values():
        if operation["action"] == "receive":
            for name in map(_last, operation["messages"]):
                yield from _message(messages[name], operation, shown)
    yield "<h2>What the daemon sends</h2>\n"
    received = {
        _last(one)
        for op in document["operations"].values()
        if op["action"] == "receive"
        for one in op["messages"]
    }
    for name, message in messages.items():
        if name not in received:
            yield from _message(message, {}, shown)
    yield "<h2>Types</h2>\n"
    waiting = list(shown)
    while waiting:
        name = waiting.pop(0)
        more: dict[str, None] = {}
        yield f'<h3 id="{escape(name)}">{escape(name)}</h3>\n'
        yield _text(schemas[name].get("description", ""))
        yield _fields(schemas[name], more)
        waiting += [one for one in more if one not in shown]
        shown |= more


def _message(message: Json, operation: Json, shown: dict[str, None]) -> Iterator[str]:
    yield f'<h3 id="{escape(message["name"])}">{escape(message["title"])}</h3>\n'
    yield f"<p>{escape(message['summary'])}.</p>\n"
    yield _fields(message["payload"], shown)
    if reply := operation.get("reply"):
        names = (_last(one) for one in reply["messages"])
        answers = " or ".join(f'<a href="#{name}"><code>{name}</code></a>' for name in names)
        yield f"<p>The answer is {answers}.</p>\n"
    if errors := operation.get("x-errors"):
        yield _pairs(errors)


def _fields(schema: Json, shown: dict[str, None]) -> str:
    """The table of the fields of an object, and in `shown` the types that it names."""
    required = set(schema.get("required", ()))
    rows = []
    for name, field in schema.get("properties", {}).items():
        optional = "" if name in required else " <small>optional</small>"
        kind, meaning = _type(field, shown), _code(field.get("description", ""))
        rows.append(
            f'<tr><td class="name"><code>{escape(name)}</code>{optional}<td>{kind}<td>{meaning}</tr>\n'
        )
    head = '<tr><th scope="col">Field<th scope="col">Type<th scope="col">What it is</tr>\n'
    return f"<table><thead>{head}</thead><tbody>\n{''.join(rows)}</tbody></table>\n" if rows else ""


def _type(schema: Json, shown: dict[str, None]) -> str:
    if reference := schema.get("$ref"):
        name = reference.removeprefix(_SCHEMAS)
        shown[name] = None
        return f'<a href="#{escape(name)}">{escape(name)}</a>'
    if choices := schema.get("anyOf"):
        return " or ".join(_type(one, shown) for one in choices)
    if "const" in schema:
        return f"<code>{escape(str(schema['const']))}</code>"
    if values := schema.get("enum"):
        return ", ".join(f"<code>{escape(str(value))}</code>" for value in values)
    if schema.get("type") == "array":
        return f"list of {_type(schema.get('items', {}), shown)}"
    return escape(str(schema.get("type", "anything")))


def _pairs(pairs: Mapping[str, Any]) -> str:
    lines = "".join(f"<dt><code>{escape(name)}</code><dd>{_code(text)}" for name, text in pairs.items())
    return f"<dl>{lines}</dl>\n"


def _text(text: str) -> str:
    """Paragraphs and lists of the document's Markdown."""
    html = ""
    for paragraph in text.strip().split("\n\n"):
        if paragraph.startswith("* "):
            points = " ".join(line.strip() for line in paragraph.splitlines()).removeprefix("* ").split(" * ")
            html += "<ul>" + "".join(f"<li>{_code(point)}" for point in points) + "</ul>\n"
        elif paragraph:
            html += f"<p>{_code(' '.join(paragraph.split()))}</p>\n"
    return html


def _code(text: str) -> str:
    parts = escape(text).split("`")
    return "".join(f"<code>{part}</code>" if place % 2 else part for place, part in enumerate(parts))


def _last(reference: Json) -> str:
    """The name at the end of a reference."""
    name: str = reference["$ref"].rpartition("/")[2]
    return name

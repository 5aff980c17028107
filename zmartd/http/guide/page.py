"""A chapter as a page, without scripts."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape

from zmartd.http.guide.chapters import CONTENTS, chapters, path_of, resolve, source
from zmartd.http.guide.markdown import Heading, Rendered, render

_LISTED_LEVELS = (2, 3)
_HEAD = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}: zmartd</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="/page/style.css">
<link rel="stylesheet" href="/page/guide.css">
</head>
<body>
<nav aria-label="Where to go"><a href="/docs/guide">Contents</a> <a href="/">First page</a> \
<a href="/docs">REST API</a> <a href="/docs/websocket">WebSocket</a></nav>
"""
_TAIL = "</body>\n</html>\n"


def page(name: str) -> str:
    """The page of the chapter `name`, as HTML."""
    rendered = render(source(name), resolve)
    return "".join((_HEAD.format(title=escape(rendered.title)), *_body(name, rendered), _TAIL))


def _body(name: str, rendered: Rendered) -> Iterator[str]:
    title, end, rest = rendered.html.partition("</h1>\n")
    yield f"<main>\n{title}{end}"
    listed = [one for one in rendered.headings if one.level in _LISTED_LEVELS]
    if name != CONTENTS and listed:
        yield from _list_of(listed)
    yield f"{rest}</main>\n"
    yield from _neighbours(name)


def _list_of(headings: list[Heading]) -> Iterator[str]:
    yield "<details>\n<summary>On this page</summary>\n<ul>\n"
    for one in headings:
        yield f'<li class="level{one.level}"><a href="#{escape(one.anchor)}">{escape(one.text)}</a></li>\n'
    yield "</ul>\n</details>\n"


def _neighbours(name: str) -> Iterator[str]:
    order = (CONTENTS, *chapters())
    place = order.index(name)
    yield '<nav aria-label="Chapters">'
    if place:
        yield f'<a rel="prev" href="{path_of(order[place - 1])}">Back: {_title(order[place - 1])}</a> '
    if place + 1 < len(order):
        yield f'<a rel="next" href="{path_of(order[place + 1])}">Next: {_title(order[place + 1])}</a>'
    yield "</nav>\n"


def _title(name: str) -> str:
    """The title of another chapter, which is its first line."""
    return escape(source(name).partition("\n")[0].removeprefix("# "))

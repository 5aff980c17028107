"""Markdown as HTML without markup of its own: raw HTML is shown as text, comments are left out."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from html import escape
from typing import Any, Final

from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.token import Token
from msgspec import Struct

Resolve = Callable[[str], str | None]
"""Returns where a link of a document leads on the pages; None where it leads to nothing there."""

NUMBER: Final = "number"
"""The class of cells that are aligned to the right. A style attribute would be against the content security
policy."""


class Heading(Struct, frozen=True):
    """A heading of a document, and the id that it has on the page."""

    level: int
    anchor: str
    text: str


class Rendered(Struct, frozen=True):
    """A document as HTML, and its headings in order."""

    html: str
    headings: tuple[Heading, ...]

    @property
    def title(self) -> str:
        """The text of the first heading; empty where there is none."""
        return next((one.text for one in self.headings), "")


def render(text: str, resolve: Resolve) -> Rendered:
    """The HTML of `text`, in CommonMark with tables. A link that leads nowhere is its text alone."""
    tokens = _MARKDOWN.parse(text)
    headings = tuple(_with_anchors(tokens))
    for token in tokens:
        if token.children:
            token.children = _with_links(token.children, resolve)
        if "text-align:right" in str(token.attrs.pop("style", "")):
            token.attrSet("class", NUMBER)
    return Rendered(_MARKDOWN.renderer.render(tokens, _MARKDOWN.options, {}), headings)


def _with_anchors(tokens: Sequence[Token]) -> Iterable[Heading]:
    """Gives each heading an id, made of its text as GitHub does it."""
    seen: Counter[str] = Counter()
    for opening, inline, closing in zip(tokens, tokens[1:], tokens[2:], strict=False):
        if opening.type != "heading_open":
            continue
        text = "".join(one.content for one in inline.children or () if one.type in {"text", "code_inline"})
        slug = re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-")
        anchor = f"{slug}-{seen[slug]}" if seen[slug] else slug
        seen[slug] += 1
        opening.attrSet("id", anchor)
        closing.meta = {"anchor": anchor}
        yield Heading(int(opening.tag[1:]), anchor, text)


def _with_links(tokens: Iterable[Token], resolve: Resolve) -> list[Token]:
    kept: list[Token] = []
    leads = True
    for token in tokens:
        if token.type == "link_open":
            target = resolve(str(token.attrs["href"]))
            leads = target is not None
            if target is not None:
                token.attrSet("href", target)
        if leads or token.type not in {"link_open", "link_close"}:
            kept.append(token)
    return kept


def _raw_html(_: RendererHTML, tokens: Sequence[Token], place: int, *__: Any) -> str:
    content = tokens[place].content.strip()
    is_comment = content.startswith("<!--") and content.endswith("-->")
    return "" if is_comment else escape(tokens[place].content)


def _end_of_heading(_: RendererHTML, tokens: Sequence[Token], place: int, *__: Any) -> str:
    token = tokens[place]
    anchor = escape(token.meta["anchor"])
    return f' <a class="anchor" href="#{anchor}" aria-label="Link to this section">#</a></{token.tag}>\n'


def _table(_: RendererHTML, tokens: Sequence[Token], place: int, *__: Any) -> str:
    """A table that is wider than the screen scrolls by itself, also by keys."""
    return '<div class="wide" tabindex="0"><table>\n' if tokens[place].nesting == 1 else "</table></div>\n"


def _markdown() -> MarkdownIt:
    markdown = MarkdownIt("commonmark").enable("table").disable("image")
    for name, rule in (
        ("html_block", _raw_html),
        ("html_inline", _raw_html),
        ("heading_close", _end_of_heading),
        ("table_open", _table),
        ("table_close", _table),
    ):
        markdown.add_render_rule(name, rule)
    return markdown


_MARKDOWN: Final = _markdown()

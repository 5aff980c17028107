"""The guide: every chapter of docs/ as a page whose links lead somewhere, without markup of its own."""

from __future__ import annotations

import re
from collections import Counter
from html import unescape
from html.parser import HTMLParser
from pathlib import Path

import pytest

from zmartd.http.guide.chapters import CONTENTS, PATH, chapters, path_of, resolve, source
from zmartd.http.guide.markdown import Rendered, render
from zmartd.http.guide.page import page
from zmartd.http.routes import OPERATIONS

DOCUMENTS = Path(__file__).parents[3] / "docs"
NAMES = (CONTENTS, *chapters())
SERVED = {operation.path for operation in OPERATIONS if operation.method == "GET"}
TAGS = {
    *("html", "head", "meta", "title", "link", "body", "nav", "main", "details", "summary", "div", "p", "a"),
    *("h1", "h2", "h3", "h4", "ul", "ol", "li", "blockquote", "code", "pre", "em", "strong", "br", "hr"),
    *("table", "thead", "tbody", "tr", "th", "td"),
}
ATTRIBUTES = {
    *("lang", "charset", "name", "content", "rel", "href", "aria-label", "id", "class", "tabindex", "start"),
}


class Tags(HTMLParser):
    """What a browser finds on a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.names: set[str] = set()
        self.attributes: set[str] = set()
        self.ids: Counter[str] = Counter()
        self.links: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.add(tag)
        for name, value in attrs:
            self.attributes.add(name)
            if name == "id":
                self.ids[value or ""] += 1
            if tag == "a" and name == "href":
                self.links.append(value or "")


PAGES = {path_of(name): Tags(page(name)) for name in NAMES}


def rendered(text: str) -> Rendered:
    return render(text, resolve)


def test_every_document_is_a_chapter_that_the_contents_list() -> None:
    listed = re.findall(r"\]\(([\w-]+)\.md\)", source(CONTENTS))
    assert sorted(listed) == sorted(file.stem for file in DOCUMENTS.glob("*.md") if file.stem != CONTENTS)
    assert list(chapters()) == listed


@pytest.mark.parametrize("name", NAMES)
def test_every_chapter_is_a_page_of_known_markup_without_anything_inline(name: str) -> None:
    found = PAGES[path_of(name)]
    assert found.names <= TAGS
    assert found.attributes <= ATTRIBUTES
    assert "<title>: zmartd" not in page(name)
    assert [one for one, times in found.ids.items() if times > 1] == []


@pytest.mark.parametrize("name", NAMES)
def test_every_link_and_anchor_of_a_chapter_leads_somewhere(name: str) -> None:
    here = path_of(name)
    lost = []
    for link in PAGES[here].links:
        if link.startswith("http"):
            continue
        path, _, anchor = unescape(link).partition("#")
        target = PAGES.get(path or here)
        if (target is None and path not in SERVED) or (anchor and (target is None or not target.ids[anchor])):
            lost.append(link)
    assert lost == []


def test_the_contents_and_the_neighbours_lead_to_every_chapter() -> None:
    assert {path_of(name) for name in chapters()} <= set(PAGES[PATH].links)
    reached, here = [PATH], re.search(r'rel="next" href="([^"]+)"', page(CONTENTS))
    while here is not None:
        reached.append(here[1])
        here = re.search(r'rel="next" href="([^"]+)"', page(here[1].removeprefix(f"{PATH}/")))
    assert reached == [path_of(name) for name in NAMES]


def test_a_link_to_a_file_that_the_daemon_does_not_have_is_its_text() -> None:
    html = rendered("See [reports](../SECURITY.md), [limits](limits.md) and [this](#here).").html
    assert html == (
        '<p>See reports, <a href="/docs/guide/limits">limits</a> and <a href="#here">this</a>.</p>\n'
    )


@pytest.mark.parametrize(
    "markup",
    [
        "<script>alert(1)</script>",
        'a <img src=x onerror="alert(1)"> b',
        "<!-- a --><script>alert(1)</script>",
        "<div onclick='x'>\n\n# a\n\n</div>",
        "[a](javascript:alert(1))",
        "[a](data:text/html,x)",
        "![a](https://elsewhere.example/x.png)",
        "| a |\n|---|\n| <svg onload=x> |",
        "```html\n<script>alert(1)</script>\n```",
    ],
)
def test_no_markup_of_a_document_becomes_markup_of_the_page(markup: str) -> None:
    found = Tags(rendered(markup).html)
    assert found.names <= TAGS
    assert {"src", "style", "onclick", "onerror", "onload"}.isdisjoint(found.attributes)
    assert [link for link in found.links if link.startswith(("javascript", "data"))] == []


def test_raw_html_is_read_as_text_and_comments_are_not_shown() -> None:
    assert "&lt;b&gt;now&lt;/b&gt;" in rendered("do it <b>now</b>").html
    assert rendered("<!-- for those who edit this -->\n\nseen").html == "<p>seen</p>\n"


def test_columns_to_the_right_need_no_inline_style() -> None:
    html = rendered("| a | b |\n|---|---:|\n| x | 1 |").html
    assert '<td class="number">1</td>' in html
    assert "style" not in html


def test_headings_have_the_anchors_that_links_on_github_have() -> None:
    found = rendered("# What `it` is, and why\n\n## `[alerts.webhook]`\n\n## Twice\n\n## Twice\n")
    assert [one.anchor for one in found.headings] == [
        *("what-it-is-and-why", "alertswebhook", "twice", "twice-1"),
    ]
    assert '<h2 id="twice-1">Twice <a class="anchor" href="#twice-1"' in found.html
    assert found.title == "What it is, and why"

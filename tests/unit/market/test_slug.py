from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zmartd.market.slug import MAX_LENGTH, slug_base


@pytest.mark.parametrize(
    ("question", "slug"),
    [
        ("Will it rain in Zürich tomorrow?", "will-it-rain-in-zurich-tomorrow"),
        ("  Ist die Straße – morgen – naß?  ", "ist-die-strasse-morgen-nass"),  # noqa: RUF001
        ("Won’t Łódź's BTC reach $100,000?!", "wont-lodzs-btc-reach-100-000"),  # noqa: RUF001
        ("明日は雨が降りますか？はいいいえ", "market"),  # noqa: RUF001
        ("Ｗｉｌｌ　ｉｔ ①?", "will-it-1"),  # noqa: RUF001
        ("𝐖𝐢𝐥𝐥 the ㎒ №1 beat SMITH™?", "will-the-mhz-no1-beat-smithtm"),  # noqa: RUF001
        ("a" * 200, "a" * 80),
        ("word " * 40, "-".join(["word"] * 16)),
    ],
)
def test_a_question_becomes_a_part_of_a_url(question: str, slug: str) -> None:
    assert slug_base(question) == slug


@given(st.text(max_size=200))
def test_every_text_gives_a_slug_that_the_database_takes(question: str) -> None:
    slug = slug_base(question)
    assert re.fullmatch("[a-z0-9]+(-[a-z0-9]+)*", slug)
    assert len(slug) <= MAX_LENGTH

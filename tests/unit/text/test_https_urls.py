from __future__ import annotations

import re
from string import printable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from zmartd.http.kit.fields import HttpsUrl
from zmartd.http.wallets.profiles import AvatarUrl
from zmartd.text.https_urls import CHARACTERS, require_https_url
from zmartd.text.readable import Unreadable


@pytest.mark.parametrize(
    "url",
    [
        "https://gauge.example",
        "https://gauge.example:8443/a;b=1/(c)!$&'*+,=@~?q=%5B1%5D#top",
        "https://[2001:db8::1]:443/rain",
        "https://xn--zrich-kva.example/%F0%9F%8C%A7",
    ],
)
def test_what_rfc_3986_allows_is_a_url(url: str) -> None:
    require_https_url(url)


@pytest.mark.parametrize("one", sorted({*printable, "\x00", "ü", "\u202e", "\uff0f"} - {*CHARACTERS}))
def test_a_character_that_no_url_has_is_named_with_its_place(one: str) -> None:
    with pytest.raises(
        Unreadable, match=rf"^U\+{ord(one):04X}, character 20 of the text, cannot be in a URL"
    ):
        require_https_url(f"https://rain.exampl{one}e/")


@pytest.mark.parametrize(
    ("url", "place", "why"),
    [
        ("https://rain.example/100%", 25, "two hexadecimal digits"),
        ("https://rain.example/%2", 22, "two hexadecimal digits"),
        ("https://rain.example/%zz", 22, "two hexadecimal digits"),
        ("https://rain.example/a[0]", 23, "IPv6"),
        ("https://rain.example?a=]", 24, "IPv6"),
        ("https://rain.example/#a#b", 24, "second fragment"),
    ],
)
def test_so_is_one_that_is_in_the_wrong_place(url: str, place: int, why: str) -> None:
    with pytest.raises(Unreadable, match=f"character {place} of the text, .*{why}"):
        require_https_url(url)


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            "rain",
            "//rain.example",
            "http://rain.example",
            "https:rain.example",
            "https://",
            "https:///a",
        ),
        *("https://user@rain.example", "https://rain.example:99999", "https://rain.example:http"),
        *("https://[half", "https://[1::g]/", "https://:443/", "https://rain.example:0/"),
    ],
)
def test_other_texts_are_no_https_urls(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        require_https_url(text)


@given(st.text(CHARACTERS + '"<>\\^`{|} ä', max_size=40))
@example("rain.example/<script>")
def test_a_client_that_keeps_to_the_schema_learns_of_wrong_characters_itself(rest: str) -> None:
    url = f"https://{rest}"
    for kind in (HttpsUrl, AvatarUrl):
        if not re.search(kind.schema["pattern"], url):
            with pytest.raises(ValueError, match=r"."):
                kind.parse(url)

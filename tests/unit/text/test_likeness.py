from __future__ import annotations

import hashlib
import unicodedata

import pytest

from zmartd.text.likeness import likeness, skeleton


def are_alike(one: str, other: str) -> bool:
    return not set(likeness(one)).isdisjoint(likeness(other))


@pytest.mark.parametrize(
    ("text", "looks_like"),
    [
        ("\u0440\u0430\u0443\u0440\u0430l", "paypal"),  # Cyrillic
        ("\u2131\u022f\u03bf1", "F\u022fol"),
        ("\U0001d4f9\u0430\u1ef3\U0001d4f9al", "pa\u1ef3pal"),  # mathematical letters
        ("m0dern", "rnOdern"),
        ("pay\u200bp\u3164al", "paypal"),
        ("\u2167", "VIII"),
    ],
)
def test_skeletons_are_those_of_the_standard(text: str, looks_like: str) -> None:
    assert skeleton(text) == skeleton(looks_like)


def test_the_skeleton_of_every_character_is_that_of_icu() -> None:
    """All characters of Unicode 3.2, which every Python knows, against uspoof_getSkeleton of ICU 78.3."""
    digest = hashlib.sha256()
    for character in map(chr, range(0x110000)):
        if unicodedata.ucd_3_2_0.category(character) not in {"Cn", "Cs"}:
            digest.update(skeleton(character).encode() + b"\n")
    assert digest.hexdigest() == "2ffc1ce701b6ba85828484497f90ef880560b8a624a6a1881c23e251aa070a58"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Will AI win in 2028?", "will ai win, in 2028"),
        ("Will it rain?", "W\u0456ll \u0456t r\u0430\u0456n?"),
        ("How high?", "\u0397ow high?"),  # a capital Eta
        ("\u0397\u03a4\u03a4\u0391", "\u03b7\u03c4\u03c4\u03b1"),  # Greek in two cases
        ("Will it rain", "Wi11 it rain"),
        ("PAYPAL", "paypaI"),
        ("GOOGLE 100", "G00GLE lOO"),
        ("\uff37\uff49\uff4c\uff4c it?", "Will it?"),  # full width
        ("2028\u5e74 \u5927\u9009", "2028\u5e74\u5927\u9009"),
        ("Will it ra\u200din?", "Will it rain?"),
        ("Above 150,000?", "Above 150000"),
        ("\u0661\u0660 goals", "10 goals"),
        ("2024-2028", "2024\u20132028"),
        ("It\u2019s \u201cover\u201d", 'Its "over"'),
        ("modern art", "modem art"),
        ("Will Bj\u00f8rn win?", "Will Bjo\u0338rn win?"),
        ("Above 1,000?", "Above 1\u0335,0\u033200?"),
        ("Will \U0001f44d\U0001f3fb win?", "Will \U0001f44d\U0001f3ff win?"),
        ("Will \u00b9\u2070 win?", "Will 10 win?"),
        ("Above 10\u00b2?", "Above 10^2?"),
        ("Will ETH/BTC rise?", "will eth / btc rise"),
        ("Will ETH/BTC rise?", "Will ETH\u2215BTC rise?"),
        ("Will ETH/BTC rise?", "Will ETH\uff0fBTC rise?"),
        ("on 12/31/2028", "on 12-31-2028"),
        ("on 12\u204431 \u2044 2028", "on 12-31-2028"),
    ],
)
def test_questions_that_look_the_same_are_alike(one: str, other: str) -> None:
    assert are_alike(one, other)


@pytest.mark.parametrize("one", "\u2800\U0001d159\U00016fe4\U00013441\ufffc\u0332\u0335\u20dd\U0001f3fb")
def test_what_shows_nothing_or_decorates_makes_no_other_question(one: str) -> None:
    question = "Will Walter climb 5 hills?"
    for twin in (f"Will W{one}alter climb 5 hills?", question.replace(" ", one), question + one):
        assert are_alike(question, twin), twin


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Above $1.5?", "Above $15?"),
        ("Above -5 degrees?", "Above 5 degrees?"),
        ("More than 5%?", "More than 5?"),
        ("> 5 goals", "< 5 goals"),
        ("\u0661\u0660 goals", "\u0661 goals"),
        ("in 2027?", "in 2028?"),
        ("Above 10\u00b2?", "Above 102?"),
        ("Is x = y?", "Is x \u2260 y?"),
        ("A\u00f1o nuevo", "Ano nuevo"),
        ("by 10 5", "by 105"),
        ("Will ETH/BTC rise?", "Will ETHBTC rise?"),
        ("Will A/B win?", "Will AB win?"),
        ("Will \U0001f1eb\U0001f1f7 win?", "Will \U0001f1e9\U0001f1ea win?"),
        ("Will Ivan win?", "Will Evan win?"),
        ("\u9009\u4e3e", "\u9009\u624b"),
    ],
)
def test_questions_that_differ_in_what_they_ask_are_not(one: str, other: str) -> None:
    assert not are_alike(one, other)

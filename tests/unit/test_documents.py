"""What the documents name is there, and what a reader should find is named."""

from __future__ import annotations

import re
from configparser import ConfigParser
from pathlib import Path

import pytest
from msgspec import Struct, structs

from zmartd.http.kit.operation import Access
from zmartd.http.kit.path_variables import path_template
from zmartd.http.routes import OPERATIONS
from zmartd.market.fees import INITIAL_RATES
from zmartd.market.next_steps import EXPECTED, Action, Actor
from zmartd.realtime.close_codes import CloseCode
from zmartd.realtime.frame_data import ChannelData, MarketData, Post
from zmartd.realtime.frame_kinds import FRAME_KINDS
from zmartd.realtime.wallet_frames import PositionData

REPOSITORY = Path(__file__).parents[2]
DOCUMENTS = [
    path
    for path in (*REPOSITORY.glob("*.md"), *(REPOSITORY / "docs").glob("*.md"))
    if path.name != "CHANGELOG.md"
]
ARCHITECTURE = (REPOSITORY / "docs" / "architecture.md").read_text()
CONTRIBUTING = (REPOSITORY / "CONTRIBUTING.md").read_text()
ROOMS = ("zmartd", "zmartd/http")

_PATH = re.compile(r"`((?:zmartd|tests|bench|sql|programs|systemd|nginx|scripts|docs|\.ci)/[\w./-]*)`")
_LINK = re.compile(r"\]\(([^)#:]+)\)")
_MODULE = re.compile(r"python -m ((?:bench|tests|zmartd)[\w.]*)")


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_file_that_a_document_names_is_there(document: Path) -> None:
    text = document.read_text()
    missing = [path for path in _PATH.findall(text) if not (REPOSITORY / path).exists()]
    missing += [link for link in _LINK.findall(text) if not (document.parent / link).exists()]
    for module in _MODULE.findall(text):
        path = REPOSITORY / module.replace(".", "/")
        if not (path.is_dir() or path.with_suffix(".py").exists()):
            missing.append(module)
    assert missing == []


@pytest.mark.parametrize("room", ROOMS)
def test_the_architecture_names_every_room(room: str) -> None:
    packages = {path.parent for path in (REPOSITORY / room).glob("*/__init__.py")}
    assert packages
    assert [one.name for one in packages if f"`{room}/{one.name}/`" not in ARCHITECTURE] == []


def test_the_architecture_names_what_the_layers_do() -> None:
    setup = ConfigParser()
    setup.read(REPOSITORY / "setup.cfg")
    layers = re.findall(r"\w+", setup["importlinter:contract:rooms"]["layers"])
    small = {"__main__", "plaintext", "endpoint", "private_file", "instruction_pattern", "toml_lines"}
    unnamed = [
        layer
        for layer in layers
        if layer not in small and not re.search(rf"`zmartd/{layer}(\.py|/)`", ARCHITECTURE)
    ]
    assert unnamed == []


def test_the_glossary_has_each_word_once_in_order() -> None:
    glossary = ARCHITECTURE[ARCHITECTURE.index("## Glossary") :]
    words = re.findall(r"^\| ([^|]+) \|", glossary, re.MULTILINE)[1:]
    assert words[0] == "account"
    assert words == sorted(set(words))


def test_the_life_of_a_market_has_every_action_and_no_request_that_is_not_there() -> None:
    guide = (REPOSITORY / "docs" / "life-of-a-market.md").read_text()
    rows = {
        action: (states.split(", "), re.findall(r"`(\w+)`", actors))
        for action, states, actors in re.findall(
            r"^\| `(\w+)` \| ([\w, ]+) \| ([^|]+) \|", guide, re.MULTILINE
        )
    }
    assert list(rows) == [action.value for action in Action]
    for action, expected in EXPECTED.items():
        assert rows[action][0] == [state.name for state in expected]
    assert {actor for _, actors in rows.values() for actor in actors} == set(Actor)
    named = set(re.findall(r"`(GET|POST) (/api/[^`]+)`", guide))
    served = {(operation.method, path_template(operation.path)) for operation in OPERATIONS}
    assert named
    assert named <= served


def test_llms_txt_says_who_may_read_what_it_names() -> None:
    text = (REPOSITORY / "zmartd" / "http" / "pages" / "llms.txt").read_text()
    read = text[text.index("## Read") : text.index("## On a machine")]
    anybody, wallet, admin = (set(re.findall(r"/api/[\w/{}-]+", line)) for line in read.split("\n- ")[1:])
    access = {path_template(one.path): one.access for one in OPERATIONS if one.method == "GET"}
    assert {access[path] for path in anybody} == {Access.PUBLIC}
    assert {access[path] for path in wallet} == {Access.OWNER}
    assert {access[path] for path in admin} == {Access.SESSION}


@pytest.mark.parametrize("page", ["README.md", "docs/quickstart.md", "docs/life-of-a-market.md"])
def test_newcomers_read_what_is_taken_from_a_trade_and_who_earns_it(page: str) -> None:
    text = (REPOSITORY / page).read_text()
    shares = [bps // 100 for bps in (INITIAL_RATES.total_bps, *structs.astuple(INITIAL_RATES))]
    told = text.index(f"{shares[0]} %")
    assert [share for share in shares if f" {share} %" not in text[told - 10 : told + 1_500]] == []
    assert "/withdraw" in text or "life-of-a-market.md" in text


def test_the_fields_of_every_frame_are_listed() -> None:
    guide = (REPOSITORY / "docs" / "frames.md").read_text()
    data = guide[guide.index("## Data") : guide.index("## The stream")]
    rows = re.findall(r"^\| `(\w+)`( in it| of a wallet)? \| (.*) \| (.*)\|$", data, re.MULTILINE)
    listed = {
        name + part: (re.findall(r"`(\w+)`", own), re.findall(r"`(\w+)`", kept))
        for name, part, own, kept in rows
    }
    kinds: dict[str, type[Struct]] = {
        key if key == kind.name else f"{kind.name} of a wallet": kind.data
        for key, kind in FRAME_KINDS.items()
    }
    kinds |= {
        "market in it": MarketData,
        "discussion in it": Post,
        "position in it": PositionData,
        "channels in it": ChannelData,
    }
    assert set(listed) == set(kinds)
    for name, kind in kinds.items():
        own, kept = listed[name]
        assert sorted(own + kept) == sorted(field.encode_name for field in structs.fields(kind)), name
        assert [one for one in own if one != one.lower()] == [], name


def test_every_close_code_is_listed() -> None:
    guide = (REPOSITORY / "docs" / "frames.md").read_text()
    assert re.findall(r"^\| (1\d{3}) \|", guide, re.MULTILINE) == [str(code.value) for code in CloseCode]


def test_what_is_installed_to_contribute_exists() -> None:
    setup = ConfigParser()
    setup.read(REPOSITORY / "setup.cfg")
    (extras,) = re.findall(r'pip install -e "\.\[([\w,]+)\]"', CONTRIBUTING)
    assert set(extras.split(",")) <= set(setup["options.extras_require"])

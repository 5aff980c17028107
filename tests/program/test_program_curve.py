"""Every pricing case, to the unit: in the program's own C on this machine, and in the built program."""

from __future__ import annotations

import ctypes
import importlib.util
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from solders.account import Account
from solders.keypair import Keypair

from tests.program.program_chain import IDL, PROGRAM, SOL, Refused
from tests.program.program_world import World
from zmartd.chain.accounts import UserPosition
from zmartd.market import lmsr

HERE = Path(__file__).parent
REPOSITORY = HERE.parents[1]
IDL_FILE = REPOSITORY / "zmartd" / "chain" / "idl" / "zmart_core.json"
SOURCES = REPOSITORY / "programs" / "zmart_core" / "src"
CASES = [json.loads(line) for line in (HERE.parent / "vectors" / "lmsr.jsonl").read_text().splitlines()]
ERROR_NAMES = {error.code: error.name for error in IDL.errors}
U64 = st.integers(0, lmsr.U64_MAX)

COMPUTE_UNIT_LIMIT = 200_000
"""What an instruction may use without asking for more."""

HELD_LAMPORTS = 2**62
"""More than any case pays."""


class _Curve(ctypes.Structure):
    _fields_ = [(name, ctypes.c_uint64) for name in ("yes", "no", "b")]


def compiler() -> list[str] | None:
    """A C compiler for this machine."""
    if importlib.util.find_spec("ziglang"):
        return [sys.executable, "-m", "ziglang", "cc"]
    found = next(filter(None, map(shutil.which, ("cc", "gcc", "clang"))), None)
    return [found] if found else None


@pytest.fixture(scope="module")
def curve(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    command = compiler()
    if command is None:
        pytest.skip("there is neither ziglang nor another C compiler")
    directory = tmp_path_factory.mktemp("curve")
    header = subprocess.run(
        [sys.executable, SOURCES.parent / "idl_headers.py"],
        input=IDL_FILE.read_bytes(),
        capture_output=True,
        check=True,
    )
    (directory / "interface.h").write_bytes(header.stdout)
    library = directory / "curve.so"
    flags = ("-std=c17", "-O2", "-shared", "-fPIC", "-I", SOURCES, "-I", directory)
    subprocess.run(
        [*command, *flags, HERE / "curve_library.c", "-o", library],
        check=True,
        capture_output=True,
    )
    loaded = ctypes.CDLL(str(library))
    for name in ("ratio", "price_yes", "cost", "buy", "sell", "fees"):
        getattr(loaded, f"native_{name}").restype = ctypes.c_uint64
    return loaded


def asked(function: Callable[..., int], *arguments: object, results: int = 1) -> dict[str, Any]:
    """What a function of the library answers, as a case has it."""
    out = (ctypes.c_uint64 * results)()
    error = function(*arguments, ctypes.byref(out))
    if error:
        return {"err": ERROR_NAMES[error]}
    return {"ok": out[0] if results == 1 else list(out)}


def natively(library: ctypes.CDLL, case: dict[str, Any]) -> dict[str, Any]:
    function = getattr(library, "native_" + {"price": "price_yes"}.get(case["fn"], case["fn"]))
    if case["fn"] == "fees":
        rates = (ctypes.c_uint64 * 3)(case["protocol_bps"], case["resolver_bps"], case["lp_bps"])
        return asked(function, ctypes.c_uint64(case["amount"]), ctypes.byref(rates), results=4)
    at = ctypes.byref(_Curve(case["q_yes"], case["q_no"], case["b"]))
    match case["fn"]:
        case "buy":
            target = ctypes.c_uint64(case["target_cost"])
            return asked(function, at, ctypes.c_bool(case["outcome"]), target, results=2)
        case "sell":
            return asked(function, at, ctypes.c_bool(case["outcome"]), ctypes.c_uint64(case["shares"]))
        case _:
            return asked(function, at)


def expected(case: dict[str, Any]) -> dict[str, Any]:
    return {key: case[key] for key in ("ok", "err") if key in case}


@pytest.mark.parametrize("function", ["price", "cost", "buy", "sell", "fees"])
def test_the_programs_arithmetic_answers_every_case(curve: ctypes.CDLL, function: str) -> None:
    cases = [case for case in CASES if case["fn"] == function]
    assert len(cases) > 300
    assert [(case, got) for case in cases if (got := natively(curve, case)) != expected(case)] == []


@given(a=U64, b=U64, divisor=st.one_of(U64, st.integers(0, 2**33)))
@example(2**64 - 1, 2**64 - 1, 2**64 - 1)
@example(2**64 - 1, 2**63, 2**63 + 1)
@example(2**63, 2**32 + 1, 2**63 + 2**32 - 1)
def test_products_and_quotients_of_128_bits_are_exact(
    curve: ctypes.CDLL, a: int, b: int, divisor: int
) -> None:
    got = asked(curve.native_ratio, *map(ctypes.c_uint64, (a, b, divisor)))
    if divisor == 0:
        assert got == {"err": "DivisionByZero"}
    elif a * b // divisor > lmsr.U64_MAX:
        assert got == {"err": "OverflowError"}
    else:
        assert got == {"ok": a * b // divisor}


@pytest.fixture
def trader(world: World) -> Keypair:
    return world.chain.wallet(HELD_LAMPORTS)


class Stage:
    """A market in which nobody pays fees, put to any point of the curve."""

    def __init__(self, world: World, trader: Keypair) -> None:
        self._world, self._trader = world, trader
        world.set_fees(0, 0, 0)
        self._market = world.market()
        world.buy(self._market, trader, True, SOL)
        self._position = PROGRAM.pdas.position(self._market.address, trader.pubkey())
        self._runtime = world.chain.runtime

    def put(self, case: dict[str, Any]) -> None:
        self._world.change(
            self._market,
            shares_yes=case["q_yes"],
            shares_no=case["q_no"],
            b_parameter=case["b"],
            current_liquidity=HELD_LAMPORTS // 2,
            total_volume=0,
        )
        account = self._world.chain.account(self._market.address)
        self._runtime.set_account(self._market.address, Account(HELD_LAMPORTS, account.data, account.owner))
        position = self._world.position_of(self._market, self._trader)
        held = {"shares_yes": case["q_yes"], "shares_no": case["q_no"], "total_invested": 0}
        fields = {name: getattr(position, name) for name in UserPosition.__struct_fields__} | held
        self._world.chain.write(self._position, UserPosition(**fields))
        self._world.chain.give(self._trader.pubkey(), HELD_LAMPORTS)

    def buy(self, outcome: bool, target_cost: int) -> dict[str, Any]:
        return self._answer(
            lambda: self._world.buy(self._market, self._trader, outcome, target_cost), ("cost", "shares")
        )

    def sell(self, outcome: bool, shares: int) -> dict[str, Any]:
        return self._answer(
            lambda: self._world.sell(self._market, self._trader, outcome, shares), ("proceeds",)
        )

    def _answer(self, trade: Callable[[], Any], fields: Sequence[str]) -> dict[str, Any]:
        try:
            landed = trade()
        except Refused as refused:
            return {"err": ERROR_NAMES[int(refused.code)]}
        assert landed.compute_units < COMPUTE_UNIT_LIMIT
        answer: dict[str, Any] = {name: getattr(landed.event, name) for name in fields}
        return answer | {"price": landed.event.new_price_yes}


def charged(case: dict[str, Any], target_cost: int) -> dict[str, Any]:
    """What a purchase without fees must answer, given the case's own answer."""
    if target_cost < 10_000:
        return {"err": "TradeTooSmall"}
    if "err" in case:
        return {"err": case["err"]}
    cost, shares = case["ok"]
    if cost > target_cost:
        return {"err": "SlippageExceeded"}
    return {"cost": cost, "shares": shares, "price": _price_after(case, shares)}


def paid(case: dict[str, Any]) -> dict[str, Any]:
    """What a sale without fees must answer, given the case's own answer."""
    if "err" in case:
        return {"err": case["err"]}
    if case["ok"] < 10_000:
        return {"err": "TradeTooSmall"}
    return {"proceeds": case["ok"], "price": _price_after(case, -case["shares"])}


def _price_after(case: dict[str, Any], change: int) -> int:
    yes, no = (change, 0) if case["outcome"] else (0, change)
    return lmsr.price_yes(case["q_yes"] + yes, case["q_no"] + no, case["b"])


def test_the_built_program_sells_as_every_case_says(world: World, trader: Keypair) -> None:
    stage = Stage(world, trader)
    wrong = []
    for case in (case for case in CASES if case["fn"] == "buy"):
        # The program looks for shares with ten elevenths of what the buyer offers.
        target_cost = -(-case["target_cost"] * 11_000 // 10_000)
        assert target_cost * 10_000 // 11_000 == case["target_cost"]
        stage.put(case)
        got = stage.buy(case["outcome"], target_cost)
        if got != charged(case, target_cost):
            wrong.append((case, got))
    assert wrong == []


def test_the_built_program_buys_back_as_every_case_says(world: World, trader: Keypair) -> None:
    stage = Stage(world, trader)
    wrong = []
    for case in (case for case in CASES if case["fn"] == "sell"):
        stage.put(case)
        got = stage.sell(case["outcome"], case["shares"])
        if got != paid(case):
            wrong.append((case, got))
    assert wrong == []


def test_the_longest_search_stays_within_the_compute_budget(world: World, trader: Keypair) -> None:
    """All fifty rounds, with a divisor that needs the longest division."""
    stage = Stage(world, trader)
    b = 5 * 10**17 + 1
    stage.put({"q_yes": b // 3, "q_no": b // 2, "b": b})
    cost, shares = lmsr.quote_buy(b // 3, b // 2, b, True, 10**17)
    answer = stage.buy(True, 11 * 10**16)
    assert (answer["cost"], answer["shares"]) == (cost, shares)

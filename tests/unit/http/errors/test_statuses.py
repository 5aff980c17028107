from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator

import pytest
from msgspec import to_builtins

import zmartd.http.app  # noqa: F401 - so that every error of the room is known
from zmartd.chain.admins import NotTheAdmin
from zmartd.chain.failures import (
    ProgramFailure,
    ProgramRefused,
    explain_failure,
    failure_named,
    refusal_names,
)
from zmartd.chain.idl import default_idl
from zmartd.chain.transport import RpcUnusable
from zmartd.errors import AboutMarket, ZmartdError
from zmartd.http.errors import statuses, websocket
from zmartd.http.errors.requests import BalanceTooLow, InvalidRequest, NotTheCreator, NotYours, Problem
from zmartd.http.errors.statuses import STATUS, error_body, program_code
from zmartd.realtime import subscription_errors
from zmartd.store.discussions import CommentDetails, NotTheAuthor
from zmartd.store.dispute_requests import DisputeRequestRefused
from zmartd.store.postgres.errors import DatabaseUnavailable
from zmartd.store.votes import NotAHolder
from zmartd.transactions.admission import TransactionRefused

MARKET = AboutMarket("m")

ELSEWHERE = {
    "zmartd.http.auth.siws",  # told as another error
    "zmartd.http.errors.websocket",  # told in WebSocket frames, but for those that the table has
}


def subclasses(kind: type[ZmartdError] = ZmartdError) -> Iterator[type[ZmartdError]]:
    for subclass in kind.__subclasses__():
        yield subclass
        yield from subclasses(subclass)


def test_every_error_of_the_http_room_has_a_status() -> None:
    missing = [
        kind.__name__
        for kind in subclasses()
        if kind.__module__.startswith("zmartd.http")
        and kind.__module__ not in ELSEWHERE
        and not any(ancestor in STATUS for ancestor in kind.__mro__)
    ]
    assert missing == []


def test_every_error_that_callers_see_has_a_code_and_words_of_its_own() -> None:
    codes = Counter(kind.code for kind in STATUS)
    assert [code for code, times in codes.items() if times > 1] == []
    assert [kind.__name__ for kind in STATUS if not kind.__doc__] == []


def test_every_message_that_a_docstring_gives_is_one_line() -> None:
    broken = []
    for kind in subclasses():
        error = kind.__new__(kind)
        ZmartdError.__init__(error)
        if error.message != " ".join(error.message.split()):
            broken.append(kind.__name__)
    assert broken == []


def test_a_docstring_of_several_lines_is_one_message() -> None:
    assert DisputeRequestRefused(MARKET).message == (
        "Only wallets that held shares of a market when its outcome was proposed can ask for its dispute, "
        "and only while the market is RESOLVING; sign in with one that did."
    )


NAMED_BY_EACH = {InvalidRequest, ProgramRefused, TransactionRefused}
"""Errors whose every message is made where they are raised."""


def test_every_error_that_callers_see_says_what_to_do() -> None:
    kinds = {kind for kind in subclasses() if any(ancestor in STATUS for ancestor in kind.__mro__)}
    kinds |= {
        one for one in subclasses() if one.__module__ in {websocket.__name__, subscription_errors.__name__}
    }
    assert len(kinds) > 60
    silent = {kind for kind in kinds if not re.search(r"[;:,.] [a-zA-Z]", kind.meaning())}
    assert silent <= NAMED_BY_EACH
    assert all(kind.meaning().endswith(".") for kind in kinds)


@pytest.mark.parametrize(
    ("error", "who"),
    [
        (NotTheCreator("m", "Creator111"), "creator of this market, Creator111, or a trusted resolver"),
        (NotTheCreator("m", None), "Only the creator of this market or a trusted resolver may propose"),
        (NotTheAdmin("Admin111"), "the program's admin, Admin111,"),
        (BalanceTooLow(5, 50), "hold at least 50 lamports, may vote on a proposal, and this one holds 5"),
        (NotYours(), "sign in with the wallet that the path names"),
        (NotTheAuthor(CommentDetails("c")), "Only the wallet that wrote a comment"),
        (NotAHolder(MARKET), "Only wallets that held shares"),
        (DisputeRequestRefused(MARKET), "Only wallets that held shares"),
    ],
)
def test_who_may_not_is_told_who_may(error: ZmartdError, who: str) -> None:
    assert statuses.status_of(type(error)) == 403
    assert who in error.message


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("SlippageExceeded", "slippage_exceeded"),
        ("InvalidBParameter", "invalid_b_parameter"),
        ("InvalidIpfsHash", "invalid_ipfs_hash"),
        ("NoWinnings", "no_winnings"),
        ("RPCDown", "rpc_down"),
        ("AlreadyVoted", "program_already_voted"),
    ],
)
def test_the_programs_names_become_stable_codes(name: str, code: str) -> None:
    assert program_code(name) == code


def test_a_refusal_of_the_program_carries_its_name_and_number() -> None:
    refused = ProgramRefused(
        ProgramFailure(6018, "TradeTooSmall", "At least 10000 lamports.", 1), signature="s"
    )
    body = error_body(refused, "id")
    assert (body.error, body.code, body.status) == ("TradeTooSmall", "trade_too_small", 422)
    assert to_builtins(body.details) == {"program_error": 6018, "signature": "s"}


@pytest.mark.parametrize(
    ("failure", "code"),
    [
        (explain_failure("ComesWithTheNextRelease", (), default_idl()), "unknown_error"),
        (explain_failure({"InstructionError": [0, {"Custom": 6018}]}, (), default_idl()), "trade_too_small"),
        (
            explain_failure({"InstructionError": [0, {"Custom": 99}]}, (), default_idl()),
            "custom_program_error",
        ),
        (explain_failure("BlockhashNotFound", (), default_idl()), "blockhash_not_found"),
        (failure_named("TradeTooLarge", default_idl()), "trade_too_large"),
    ],
)
def test_every_refusal_has_a_code_that_is_listed(failure: ProgramFailure, code: str) -> None:
    body = error_body(ProgramRefused(failure), "id")
    assert (body.error, body.code) == (failure.name, code)
    assert code in {program_code(name) for name in refusal_names(default_idl())}


def test_an_error_without_a_code_of_its_own_is_named_as_the_one_that_has_it() -> None:
    body = error_body(RpcUnusable("the node says nothing that can be used"), "id")
    assert (body.error, body.code) == ("RpcUnavailable", "rpc_unavailable")


def test_an_outage_tells_nothing_about_where_things_are() -> None:
    body = error_body(DatabaseUnavailable("Postgres at db.internal:5432 is down"), "id")
    assert (body.status, body.message) == (503, "The database cannot be reached; try again in a moment.")
    assert "internal:" not in str(body)


def test_an_error_without_a_status_is_ours_to_repair() -> None:
    body = error_body(ZmartdError("secret"), "id")
    assert (body.error, body.code, body.status) == ("Unexpected", "internal_error", 500)
    assert "secret" not in str(body)


def test_failing_fields_are_the_details_of_an_invalid_request() -> None:
    body = error_body(
        InvalidRequest(Problem("limit", "must be small"), Problem("offset", "must be whole")), "id"
    )
    assert body.message == "limit must be small; offset must be whole."
    assert body.details == (Problem("limit", "must be small"), Problem("offset", "must be whole"))
    assert statuses.status_of(InvalidRequest) == 400

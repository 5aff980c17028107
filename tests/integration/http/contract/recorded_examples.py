"""Makes examples of the OpenAPI document of the answers on a tour: with made-up values in place of those that
are others each time, so that a new recording differs only where the API does.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from solders.keypair import Keypair

from tests.integration.http.contract.example_tour import Tour
from tests.integration.http.rest.rest_api import IDL, PROGRAM
from tests.integration.http.rest.rest_stage import ALICE, AUTHORITY, BOB, CREATOR, POOR, TREASURY
from zmartd.http.openapi.examples import MARKET_ID
from zmartd.market.ids import cid_v0
from zmartd.market.iso_time import iso_time

BEGINS = datetime(2027, 5, 26, 12, tzinfo=UTC)
"""When the tour begins in the examples."""
_MINUTE = timedelta(minutes=1)
_STEP = 5 * _MINUTE
_CANDLE, _CANDLE_AFTER = {"open", "high", "low", "close"}, 70 * _MINUTE
"""The fields of a candle, and how long after the tour it begins in the examples: really at a whole minute."""
_LONG = {"transaction": 12, "token": 20, "next_cursor": 12}
"""Texts that are cut, with the length of their beginnings."""
_OF_THE_MOMENT = {
    "slot": 312_000_040,
    "last_valid_block_height": 290_000_150,
    "units_consumed": 7_524,
    "retry_after_seconds": 24,
    "protection": "q7mLr4W2xT0c...AAA=",
    "request_id": "4c5ce9ca6cda-00000012",
    "blockhash": "EkSnNWid2cvwEVnVx9aBqawnmiCNiDgp3gUdkDPTKN1N",
}
"""Fields that are others each time, with what stands in their place."""
_ALWAYS_THE_SAME = {
    *(str(one.pubkey()) for one in (AUTHORITY, CREATOR, ALICE, BOB, POOR)),
    *(str(TREASURY), str(IDL.program_id), str(PROGRAM.pdas.global_config())),
}
_BASE58 = "[1-9A-HJ-NP-Za-km-z]"
_SIGNER = Keypair.from_seed(bytes([7] * 32))
_MADE_UP: dict[str, tuple[str, Callable[[int], str]]] = {
    "id": ("[0-9a-f]{64}", lambda n: hashlib.sha256(b"%d" % n).hexdigest()),
    "nonce": ("[0-9a-f]{72}", lambda n: hashlib.sha512(b"%d" % n).hexdigest()[:72]),
    "uuid": ("[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", lambda n: str(uuid5(NAMESPACE_URL, str(n)))),
    "signature": (_BASE58 + "{86,88}", lambda n: str(_SIGNER.sign_message(b"%d" % n))),
    "address": (_BASE58 + "{43,44}", lambda n: str(Keypair.from_seed(n.to_bytes(32)).pubkey())),
    "cid": ("Qm" + _BASE58 + "{44}", lambda n: cid_v0(b"%d" % n)),
}
"""The names that are made by the moment, and what is made up in the place of the nth of all of them."""
_NAMES = re.compile("|".join(rf"\b(?P<{kind}>{form})(?![0-9A-Za-z])" for kind, (form, _) in _MADE_UP.items()))
_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]+(?:Z|\+00:00)")


def recording(tour: Tour) -> dict[str, Any]:
    """The answers of the tour, by operation and status, and its errors, by class."""
    normal = _Normalizer(tour.made_up, _beginning(tour))
    return {
        "answers": {
            name: {str(status): normal.of(body) for status, body in sorted(by_status.items())}
            for name, by_status in sorted(tour.answers.items())
        },
        "errors": {kind: normal.of(body) for kind, body in sorted(tour.errors.items())},
    }


def fields(value: Any, path: str = "") -> Iterator[str]:
    """The path of every value in `value` that is no object and no list; items of a list share one."""
    if isinstance(value, dict):
        for name, part in value.items():
            yield from fields(part, f"{path}.{name}")
    elif isinstance(value, list):
        for part in value:
            yield from fields(part, f"{path}[]")
    else:
        yield path


def _beginning(tour: Tour) -> datetime:
    return datetime.fromisoformat(tour.answers["create_market"][201]["market"]["created_at"])


class _Normalizer:
    """Each new value of a kind gets the next made-up one, so that those that were equal still are."""

    def __init__(self, made_up: dict[str, str], begins: datetime) -> None:
        self._known = {real: known for known, real in made_up.items()}
        market = bytes.fromhex(made_up[MARKET_ID])
        self._known |= {address: address for address in _ALWAYS_THE_SAME}
        self._known[str(PROGRAM.pdas.market(market))] = str(PROGRAM.pdas.market(bytes.fromhex(MARKET_ID)))
        self._begins = begins

    def of(self, value: Any, name: str = "") -> Any:
        if isinstance(value, dict):
            if value.keys() >= _CANDLE:
                value = value | {"timestamp": self._unmoved(_CANDLE_AFTER)}
            return {self._text(key): self.of(part, key) for key, part in value.items()}
        if isinstance(value, list):
            return [self.of(part, name) for part in value]
        if name in _OF_THE_MOMENT and value is not None:
            return _OF_THE_MOMENT[name]
        if name in _LONG and isinstance(value, str) and len(value) > _LONG[name]:
            return f"{value[: _LONG[name]]}...AAA="
        if isinstance(value, str):
            return self._text(value)
        if name == "timestamp" and isinstance(value, int):
            return int(self._moved(datetime.fromtimestamp(value, UTC)).timestamp())
        return value

    def _text(self, text: str) -> str:
        return _NAMES.sub(self._renamed, _TIME.sub(self._retimed, text))

    def _renamed(self, found: re.Match[str]) -> str:
        real = found[0]
        if real not in self._known:
            assert found.lastgroup is not None, "every kind has a group"
            self._known[real] = _MADE_UP[found.lastgroup][1](len(self._known))
        return self._known[real]

    def _retimed(self, found: re.Match[str]) -> str:
        return iso_time(self._moved(datetime.fromisoformat(found[0])))

    def _unmoved(self, after: timedelta) -> str:
        """The time that `_moved` makes `after` the beginning of."""
        return iso_time(self._begins + after)

    def _moved(self, time: datetime) -> datetime:
        """As long after the beginning of the examples, in whole steps, as `time` is after the tour's: so that
        it is the same whether a tour takes seconds or minutes.
        """
        return BEGINS + (time - self._begins + _MINUTE) // _STEP * _STEP

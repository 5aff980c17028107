"""A synthetic history of the program: raw transactions of many markets, priced by the program's curve.

The same seed gives the same history, so that the sending and the receiving process need not exchange it.
"""

from __future__ import annotations

import base64
import random
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import msgspec
from msgspec import Struct
from solders.pubkey import Pubkey

from zmartd.chain import events
from zmartd.chain.codec import Codec
from zmartd.chain.discriminators import discriminator
from zmartd.chain.events import ProgramEvent, SharesBought, SharesSold
from zmartd.chain.idl import default_idl
from zmartd.chain.pdas import Pdas
from zmartd.market import fees, ids, lmsr

IDL = default_idl()
PROGRAM = IDL.address
INITIAL_LIQUIDITY = 10 * lmsr.SCALE
B = 500 * lmsr.SCALE

GENESIS_TIME = 1_760_000_000
GENESIS_SLOT = 300_000_000
TRANSACTIONS_PER_SLOT = 25
OPENINGS = 3
_RATES = (300, 200, 500)
_FEE_LAMPORTS = 5_000
_SYSTEM = "1" * 32
_BUDGET = "ComputeBudget111111111111111111111111111111"
_CREATE_MARKET = discriminator("global", "create_market")
_BUY_SHARES = discriminator("global", "buy_shares")
_SELL_SHARES = discriminator("global", "sell_shares")


class Rhythm(Struct, frozen=True):
    """How fast transactions follow one another, and how much of the trading is concentrated."""

    seconds: int = 1
    transactions: int = 3 * TRANSACTIONS_PER_SLOT
    """So many transactions take `seconds`."""
    busiest_share: float = 0.0
    """This share of all trades, or a little more, is in the first market, and as much by the first wallet."""


_USUAL = Rhythm()


class PlacedTrade(Struct, frozen=True):
    """The event of a trade, which is the only one of its transaction, and its place on the chain."""

    event: SharesBought | SharesSold
    signature: str
    slot: int
    index_in_block: int
    block_time: int
    """Unix seconds."""


@dataclass
class _Market:
    market_id: bytes
    address: str
    creator: Pubkey
    yes: int = B // 1000
    no: int = B // 1000


class SyntheticHistory:
    """Transactions in the order of the chain, as JSON of a raw webhook or of getTransaction."""

    def __init__(
        self, seed: int, markets: int, wallets: int, rhythm: Rhythm = _USUAL, before: int = 0
    ) -> None:
        """`before`: so many transactions are before GENESIS_SLOT and GENESIS_TIME; usually none is."""
        self._random = random.Random(seed)
        self._balances = random.Random(seed)
        self._rhythm = rhythm
        self._codec = Codec(IDL)
        self._wallets = [self._wallet() for _ in range(wallets)]
        self._markets = [self._market() for _ in range(markets)]
        self._held: dict[tuple[int, Pubkey], tuple[bool, int]] = {}
        self._number = -before

    def openings(self) -> list[bytes]:
        """The transactions that create, approve and activate every market, OPENINGS for each."""
        transactions = []
        for market in self._markets:
            created = events.MarketCreated(market.market_id, market.creator, B, 0, self._now)
            arguments = struct.pack("<32sQQ46s", market.market_id, B, INITIAL_LIQUIDITY, b"Qm" + b"a" * 44)
            transactions.append(
                self._transaction(market, market.creator, _CREATE_MARKET + arguments, created)
            )
            approved = events.ProposalApproved(market.market_id, market.creator, self._now)
            transactions.append(self._transaction(market, market.creator, b"approve!", approved))
            activated = events.MarketActivated(market.market_id, market.creator, INITIAL_LIQUIDITY, self._now)
            transactions.append(self._transaction(market, market.creator, b"activate", activated))
        return transactions

    def trades(self, count: int) -> Iterator[bytes]:
        """Buys and sells, one in each transaction, most of them in a few markets."""
        for _ in range(count):
            market, wallet, event = self._trade()
            if isinstance(event, SharesBought):
                data = _BUY_SHARES + struct.pack("<?Q", event.outcome, event.cost)
            else:
                data = _SELL_SHARES + struct.pack("<?QQ", event.outcome, event.shares, 1)
            yield self._transaction(market, wallet, data, event)

    def placed_trades(self, count: int) -> Iterator[PlacedTrade]:
        """What `trades` tells, without the transactions around it."""
        for _ in range(count):
            _, _, event = self._trade()
            yield PlacedTrade(event, *self._place())

    def _trade(self) -> tuple[_Market, Pubkey, SharesBought | SharesSold]:
        number = int(self._random.expovariate(4 / len(self._markets))) % len(self._markets)
        wallet = self._random.choice(self._wallets)
        if share := self._rhythm.busiest_share:
            number = 0 if self._random.random() < share else number
            wallet = self._wallets[0] if self._random.random() < share else wallet
        market = self._markets[number]
        held = self._held.pop((number, wallet), None)
        if held is not None and self._random.random() < 0.6:
            return market, wallet, self._sale(market, wallet, *held)
        bought = self._purchase(market, wallet)
        self._held[number, wallet] = bought.outcome, bought.shares
        return market, wallet, bought

    def _place(self) -> tuple[str, int, int, int]:
        """Signature, slot, index in the block and time of the next transaction."""
        time, position, self._number = self._now, self._number, self._number + 1
        slot, index_in_block = divmod(position, TRANSACTIONS_PER_SLOT)
        return ids.base58_encode(self._random.randbytes(64)), GENESIS_SLOT + slot, index_in_block, time

    @property
    def _now(self) -> int:
        return GENESIS_TIME + self._number * self._rhythm.seconds // self._rhythm.transactions

    def _wallet(self) -> Pubkey:
        return Pubkey.from_bytes(self._random.randbytes(32))

    def _market(self) -> _Market:
        market_id = self._random.randbytes(32)
        return _Market(market_id, str(Pdas(IDL.program_id).market(market_id)), self._wallet())

    def _purchase(self, market: _Market, wallet: Pubkey) -> SharesBought:
        outcome = market.yes <= market.no if self._random.random() < 0.7 else market.yes > market.no
        shares = self._random.randint(10**9, 10**10)  # fewer can cost 0: the program's curve has a kink
        before = lmsr.cost(market.yes, market.no, B)
        self._move(market, outcome, shares)
        amount = lmsr.cost(market.yes, market.no, B) - before
        *_, charged = fees.split(amount, *_RATES)
        return SharesBought(
            market.market_id, wallet, outcome, shares, amount + charged, self._price(market), self._now
        )

    def _sale(self, market: _Market, wallet: Pubkey, outcome: bool, shares: int) -> SharesSold:
        amount = lmsr.quote_sell(market.yes, market.no, B, outcome, shares)
        self._move(market, outcome, -shares)
        *_, charged = fees.split(amount, *_RATES)
        return SharesSold(
            market.market_id, wallet, outcome, shares, amount - charged, self._price(market), self._now
        )

    @staticmethod
    def _move(market: _Market, outcome: bool, shares: int) -> None:
        if outcome:
            market.yes += shares
        else:
            market.no += shares

    @staticmethod
    def _price(market: _Market) -> int:
        return lmsr.price_yes(market.yes, market.no, B)

    def _transaction(self, market: _Market, signer: Pubkey, data: bytes, event: ProgramEvent) -> bytes:
        signature, slot, index_in_block, time = self._place()
        raw = {
            "blockTime": time,
            "indexWithinBlock": index_in_block,
            "meta": self._meta(event),
            "slot": slot,
            "transaction": {
                "message": {
                    "accountKeys": [
                        str(signer),
                        market.address,
                        str(market.creator),
                        PROGRAM,
                        _SYSTEM,
                        _BUDGET,
                    ],
                    "addressTableLookups": [],
                    "header": {
                        "numReadonlySignedAccounts": 0,
                        "numReadonlyUnsignedAccounts": 3,
                        "numRequiredSignatures": 1,
                    },
                    "instructions": [
                        {"accounts": [], "data": "K1FDJ7", "programIdIndex": 5, "stackHeight": 1},
                        {
                            "accounts": [0, 1, 2, 4],
                            "data": ids.base58_encode(data),
                            "programIdIndex": 3,
                            "stackHeight": 1,
                        },
                    ],
                    "recentBlockhash": str(signer),
                },
                "signatures": [signature],
            },
            "version": 0,
        }
        return msgspec.json.encode(raw)

    def _meta(self, event: ProgramEvent) -> dict[str, Any]:
        balances = [self._balances.randrange(10**12) for _ in range(3)] + [1, 1, 1]
        transfer = {"accounts": [0, 1], "data": "3Bxs4h24hBtQy9rw", "programIdIndex": 4, "stackHeight": 2}
        return {
            "computeUnitsConsumed": 61_204,
            "err": None,
            "fee": _FEE_LAMPORTS,
            "innerInstructions": [{"index": 1, "instructions": [transfer, transfer]}],
            "loadedAddresses": {"readonly": [], "writable": []},
            "logMessages": [
                *_frame(_BUDGET),
                f"Program {PROGRAM} invoke [1]",
                f"Program log: Instruction: {type(event).__name__}",
                *_frame(_SYSTEM, depth=2),
                *_frame(_SYSTEM, depth=2),
                "Program data: " + base64.b64encode(self._codec.encode_event(event)).decode(),
                f"Program {PROGRAM} consumed 61054 of 199850 compute units",
                f"Program {PROGRAM} success",
            ],
            "postBalances": balances,
            "postTokenBalances": [],
            "preBalances": [balances[0] + _FEE_LAMPORTS, *balances[1:]],
            "preTokenBalances": [],
            "rewards": [],
        }


def delivery(transactions: list[bytes]) -> bytes:
    """The body of a webhook delivery."""
    return b"[" + b",".join(transactions) + b"]"


def _frame(program: str, depth: int = 1) -> list[str]:
    return [f"Program {program} invoke [{depth}]", f"Program {program} success"]

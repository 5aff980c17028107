"""Calls a daemon with the client that openapi-python-client generates, and prints what it got.

Runs beside that client, and is checked with it: `customer.py URL MARKET_ID SEED`.
"""

from __future__ import annotations

import base64
import json
import sys
from typing import TypeVar

from solders.keypair import Keypair
from solders.transaction import Transaction
from zmartd_client import AuthenticatedClient, Client
from zmartd_client.api.auth import get_nonce, sign_in
from zmartd_client.api.markets import get_market, list_market_trades, list_markets
from zmartd_client.api.trades import buy_shares, estimate_trade
from zmartd_client.api.transactions import get_transaction, send_transaction
from zmartd_client.models import (
    BuyBody,
    Confirmed,
    Estimate,
    InvalidRequest,
    LoginRequest,
    MarketList,
    MarketNotFound,
    NonceBody,
    PurchaseForCost,
    RelayRequest,
    SessionBody,
    Submitted,
    TradeList,
)

Body = TypeVar("Body")

UNKNOWN = "0" * 64


def sent(kind: type[Body], answer: object) -> Body:
    """`answer`, which is to be a `kind`."""
    if not isinstance(answer, kind):
        raise TypeError(f"not a {kind.__name__}: {answer!r}")
    return answer


def main(url: str, market_id: str, seed: str) -> None:
    wallet = Keypair.from_seed(bytes([int(seed)] * 32))
    anybody = Client(url, raise_on_unexpected_status=True)
    listed = sent(MarketList, list_markets.sync(client=anybody, state="ACTIVE"))
    estimate = sent(
        Estimate,
        estimate_trade.sync(client=anybody, market_id=market_id, outcome=True, target_cost="1000000000"),
    )
    unknown = sent(MarketNotFound, get_market.sync(UNKNOWN, client=anybody))
    wrong = sent(InvalidRequest, list_market_trades.sync(market_id, client=anybody, limit=100_000))

    nonce = sent(NonceBody, get_nonce.sync(client=anybody, wallet=str(wallet.pubkey())))
    message = sent(str, nonce.message)
    signature = str(wallet.sign_message(message.encode()))
    session = sent(
        SessionBody,
        sign_in.sync(client=anybody, body=LoginRequest(message=message, signature=signature)),
    )

    trader = AuthenticatedClient(url, token=session.token, raise_on_unexpected_status=True)
    purchase = PurchaseForCost(market_id=market_id, outcome=True, target_cost="1000000000")
    unsigned = sent(BuyBody, buy_shares.sync(client=trader, body=purchase))
    to_sign = Transaction.from_bytes(base64.b64decode(unsigned.transaction)).message
    signed = Transaction([wallet], to_sign, to_sign.recent_blockhash)
    wire = base64.b64encode(bytes(signed)).decode()
    to_relay = RelayRequest(transaction=wire, protection=unsigned.protection)
    relayed: object = send_transaction.sync(client=trader, body=to_relay)
    while isinstance(relayed, Submitted):
        relayed = get_transaction.sync(relayed.signature, client=trader)
    landed = sent(Confirmed, relayed)
    trades = sent(TradeList, list_market_trades.sync(market_id, client=trader))

    print(
        json.dumps(
            {
                "markets": [market.id for market in listed.markets],
                "estimated": estimate.shares,
                "unknown": unknown.code,
                "problems": [problem.field for problem in wrong.details],
                "wallet": session.wallet,
                "quoted": unsigned.quote.shares,
                "signature": landed.signature,
                "trades": [[trade.tx_signature, trade.shares, trade.user_wallet] for trade in trades.trades],
            }
        )
    )


if __name__ == "__main__":
    main(*sys.argv[1:])

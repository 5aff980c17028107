"""The parts of fees in the JSON of the API."""

from __future__ import annotations

from msgspec import Struct

from zmartd.http.kit.fields import Amount, amount
from zmartd.store.platform import ChargedFees


class FeeBody(Struct, frozen=True, kw_only=True):
    """The fee of a trade, or the fees of many, in lamports by whom the parts go to."""

    protocol: Amount
    """Lamports for the protocol."""
    resolver: Amount
    """Lamports for the wallet that proposes the market's outcome."""
    lp: Amount
    """Lamports for the market's creator, as liquidity provider."""
    total: Amount
    """protocol + resolver + lp, in lamports."""


def fee_body(fees: ChargedFees) -> FeeBody:
    """The JSON of the fees of many trades."""
    return FeeBody(
        protocol=amount(fees.protocol),
        resolver=amount(fees.resolver),
        lp=amount(fees.lp),
        total=amount(fees.total),
    )

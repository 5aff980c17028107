"""The scalar types of what the API tells, with their JSON schemas: annotations of JSON types."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from zmartd.market.lifecycle import MarketState

Amount = Annotated[str, Meta(pattern="^[0-9]+$", description="a whole number of units, in decimal digits")]
SignedAmount = Annotated[
    str, Meta(pattern="^-?[0-9]+$", description="a whole number of units, maybe negative")
]
Price = Annotated[float, Meta(ge=0, le=1, description="a price in SOL a share, from 0 to 1")]
PriceChange = Annotated[
    float,
    Meta(
        ge=-1,
        le=1,
        description="change of the price of YES in the last 24 hours, in SOL a share, from -1 to 1",
    ),
]
Time = Annotated[
    str,
    Meta(description="a UTC time with milliseconds, ISO 8601", extra_json_schema={"format": "date-time"}),
]
MarketKey = Annotated[str, Meta(description="the market's id, 64 hexadecimal digits")]
StateName = Annotated[
    str,
    Meta(
        description="a market's state",
        extra_json_schema={"enum": [state.name for state in MarketState]},
    ),
]
Commitment = Annotated[
    str,
    Meta(
        description="how far the chain has settled on it",
        extra_json_schema={"enum": ["confirmed", "finalized"]},
    ),
]

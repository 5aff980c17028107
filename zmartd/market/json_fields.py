"""The scalar types of what the API tells, with their JSON schemas: annotations of JSON types."""

from __future__ import annotations

from typing import Annotated, Final

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
CLOCK: Final = "x-clock"
"""In the schema of a time: the clock that it is by."""


def _time(schema: dict[str, str]) -> Meta:
    text = "a UTC time with milliseconds, ISO 8601"
    return Meta(description=text, extra_json_schema={"format": "date-time", **schema})


Time = Annotated[str, _time({CLOCK: "chain"})]
"""A time by the chain's clock, and so every deadline."""
ServerTime = Annotated[str, _time({CLOCK: "server"})]
"""A time by the clock of the daemon or its database, of what the chain does not know."""
EitherTime = Annotated[str, _time({})]
"""A time by the clock that its description names."""
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

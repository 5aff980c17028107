"""POST /api/markets: registers the texts of a market, and builds the transaction that creates it."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from msgspec import Meta, Struct
from solders.pubkey import Pubkey

from zmartd.chain.program_accounts import find_market
from zmartd.errors import AboutMarket
from zmartd.http.errors.requests import InvalidRequest, MarketIdTaken, Problem
from zmartd.http.kit import keys
from zmartd.http.kit.fields import U64, Amount, Category, DateTime, HttpsUrl, Line, MarketId, Text, amount
from zmartd.http.kit.operation import Access, Call, JsonResponse, Operation
from zmartd.http.markets.bodies import body_of
from zmartd.http.markets.evidence import Sources
from zmartd.http.markets.schemas import MarketDetail, market_detail
from zmartd.market import ids
from zmartd.market.iso_time import utc_from_unix
from zmartd.market.lmsr import MIN_B, SCALE, SEARCH_SPAN_IN_B, U64_MAX
from zmartd.market.proposal import Proposal, ResolutionTexts, largest_covered_b, max_loss_lamports
from zmartd.store import markets, metadata
from zmartd.store.metadata import (
    MarketMetadata,
    PendingLimits,
    PendingTextsTooLarge,
    Registration,
    SimilarMarketExists,
    TooManyPendingMarkets,
)
from zmartd.transactions import unsigned
from zmartd.transactions.unsigned import Simulated, UnsignedTransaction

MAX_LIFE_SECONDS = 365 * 86_400


class Question(Line):
    min_length: ClassVar[int] = 10
    max_length: ClassVar[int] = 200


class Description(Text):
    max_length: ClassVar[int] = 2_000


class ResolutionRules(Text):
    max_length: ClassVar[int] = 10_000


class Tag(Line):
    min_length: ClassVar[int] = 1
    max_length: ClassVar[int] = 30


class Liquidity(U64):
    minimum: ClassVar[int] = SCALE // 10
    maximum: ClassVar[int] = 100 * SCALE


class LiquidityParameter(U64):
    minimum: ClassVar[int] = MIN_B
    # The program searches up to 20·b shares, which has to fit 64 bits.
    maximum: ClassVar[int] = U64_MAX // SEARCH_SPAN_IN_B


class CreateMarketRequest(Struct, frozen=True, kw_only=True):
    question: Annotated[Question, Meta(description="a text of 10 to 200 characters")]
    """What is to be answered with YES or NO."""
    description: Annotated[Description | None, Meta(description="a text of at most 2000 characters")] = None
    """What the question is about."""
    resolution_rules: Annotated[
        ResolutionRules | None, Meta(description="a text of at most 10000 characters")
    ] = None
    """How the outcome is found, and what is done in doubt."""
    resolution_sources: Sources = ()
    """Where the outcome is looked for."""
    image_url: Annotated[HttpsUrl | None, Meta(description="an https URL of at most 500 characters")] = None
    """A picture to show with the market."""
    category: Annotated[Category, Meta(description=f"one of {', '.join(Category.ALL)}")]
    """Where the market is listed."""
    tags: Annotated[
        tuple[Tag, ...], Meta(max_length=10, description="at most 10 texts of 1 to 30 characters")
    ] = ()
    """Words to find the market by."""
    end_date: Annotated[
        DateTime, Meta(description="a time with its offset from UTC, as in 2030-01-01T12:00:00Z")
    ]
    """When the answer is expected, by the chain's clock. Trading goes on until an outcome is proposed."""
    initial_liquidity: Annotated[
        Liquidity,
        Meta(description="a whole number of lamports from 100000000 (0.1 SOL) to 100000000000 (100 SOL)"),
    ]
    """What the creator puts in."""
    b_parameter: Annotated[
        LiquidityParameter | None,
        Meta(description="a whole number from 100000000000 (100.0) to 922337203685477580"),
    ] = None
    """The liquidity parameter with nine decimals: the higher, the less a trade moves the price. Without it
    the largest whose maximum loss the initial liquidity covers, but at least the program's minimum."""
    market_id: Annotated[MarketId | None, Meta(description="64 hexadecimal digits")] = None
    """An id of the creator's choice; without it one that follows from the wallet and the texts."""
    allow_similar: Annotated[bool, Meta(description="true or false")] = False
    """Whether to register the market although an open one asks the same question: with letters that look the
    same, in another case, or with other spaces or punctuation. `similar_market_exists` names that market in
    `details`: its `market_id`, `question` and `state`. While it is not on the chain yet, its `state` is null
    and `pending` is true.
    """


class LiquidityTerms(Struct, frozen=True, kw_only=True):
    """The market's liquidity, and the most that it can lose to traders.

    `b_parameter` defaults to the largest value whose maximum loss the initial liquidity covers, but at least
    100.0, the program's minimum. A winning share pays no fixed amount: the winners divide everything that the
    market holds, including the creator's liquidity, in proportion to their shares.
    """

    b_parameter: Amount
    """The liquidity parameter with nine decimals."""
    initial_liquidity: Amount
    """Lamports that the creator puts in."""
    max_loss: Amount
    """The most lamports that the market can lose to traders."""
    covered: bool
    """Whether the initial liquidity is at least max_loss."""


class CreateMarketBody(Struct, frozen=True, kw_only=True):
    """The registered market and, while it is not on the chain, the transaction for its creator to sign."""

    market: MarketDetail
    """The market as it is on the chain; a pending market as it is registered."""
    question_cid: str
    """The IPFS content id (version 0) of `document`. The transaction puts it on the chain."""
    document: str
    """The canonical JSON of the market's texts, as a string. The content id of its UTF-8 bytes is
    `question_cid`."""
    terms: LiquidityTerms
    """The market's liquidity and maximum loss."""
    transaction: str | None = None
    """The unsigned create_market transaction in base64; null where the market is on the chain."""
    last_valid_block_height: int | None = None
    """The last block height at which the chain accepts the transaction; null without a transaction."""
    blockhash: str | None = None
    """The recent blockhash in the transaction, base58; null without a transaction."""
    simulated: Simulated | None = None
    """The result of simulating the transaction; null without a transaction."""


async def create_market(call: Call[CreateMarketRequest]) -> JsonResponse:
    """201 for a new registration, 200 for a repeated one."""
    body = call.input
    wallet = call.session.wallet
    await _check_end_date(call, body)
    wanted = _metadata(call, body, wallet)
    on_chain = await _is_on_chain(call, wanted)
    if on_chain:
        await _require_texts_of_the_chain(call, wanted)
    unsigned = None if on_chain else await _transaction(call, wanted)
    registration = await _register(call, wanted, on_chain, allow_similar=on_chain or body.allow_similar)
    answer = CreateMarketBody(
        market=await _market(call, registration, on_chain),
        question_cid=wanted.cid,
        document=wanted.document.decode(),
        terms=_terms(wanted),
        transaction=unsigned.transaction if unsigned else None,
        last_valid_block_height=unsigned.last_valid_block_height if unsigned else None,
        blockhash=unsigned.blockhash if unsigned else None,
        simulated=unsigned.simulated if unsigned else None,
    )
    return JsonResponse(answer, 201 if registration.is_new else 200)


async def _check_end_date(call: Call[Any], body: CreateMarketRequest) -> None:
    now = (await call.app[keys.RPC].chain_time()).unix_timestamp
    if not 0 < body.end_date.timestamp() - now <= MAX_LIFE_SECONDS:
        raise InvalidRequest(
            Problem("end_date", "must be in the future, by the chain's clock, and within 365 days")
        )


def _metadata(call: Call[Any], body: CreateMarketRequest, wallet: str) -> MarketMetadata:
    proposal = Proposal(
        question=body.question,
        description=body.description or "",
        category=body.category,
        tags=body.tags,
        end_date=body.end_date,
        resolution_rules=body.resolution_rules or "",
        resolution_sources=body.resolution_sources,
        image_url=body.image_url,
    )
    cid = proposal.cid()
    market_id = body.market_id or ids.derive_market_id(wallet, cid)
    address = call.app[keys.PROGRAM].pdas.market(bytes.fromhex(market_id))
    return MarketMetadata(
        market_id=market_id,
        creator_wallet=wallet,
        on_chain_address=str(address),
        question=proposal.question,
        description=proposal.description,
        category=proposal.category,
        tags=proposal.tags,
        end_date=proposal.end_date,
        cid=cid,
        document=proposal.document(),
        b_parameter=body.b_parameter or largest_covered_b(body.initial_liquidity),
        initial_liquidity=body.initial_liquidity,
        image_url=proposal.image_url,
    )


async def _is_on_chain(call: Call[Any], wanted: MarketMetadata) -> bool:
    """Whether the market is on the chain. Raises MarketIdTaken when another wallet created it."""
    address, program = Pubkey.from_string(wanted.on_chain_address), call.app[keys.PROGRAM]
    market = await find_market(call.app[keys.RPC], program.program_id, address)
    if market is None:
        return False
    if str(market.account.creator) != wanted.creator_wallet:
        raise MarketIdTaken(AboutMarket(wanted.market_id))
    return True


async def _require_texts_of_the_chain(call: Call[Any], wanted: MarketMetadata) -> None:
    """Raises MarketIdTaken where the chain names other texts for the market than these."""
    async with call.app[keys.DATABASE].reader(call.caller) as connection:
        market = await markets.find(connection, wanted.market_id)
    cid = None if market is None else market.ipfs_question_hash
    if cid is not None and cid != wanted.cid:
        raise MarketIdTaken(
            AboutMarket(wanted.market_id),
            f"This market is on the chain with texts of the content id {cid}, and these have {wanted.cid}; "
            "register it with exactly the texts that it was created with.",
        )


async def _transaction(call: Call[Any], wanted: MarketMetadata) -> UnsignedTransaction:
    instruction = call.app[keys.PROGRAM].create_market(
        creator=Pubkey.from_string(wanted.creator_wallet),
        market_id=bytes.fromhex(wanted.market_id),
        b_parameter=wanted.b_parameter,
        initial_liquidity=wanted.initial_liquidity,
        ipfs_question_hash=wanted.cid,
    )
    return await call.app[keys.TRANSACTION_BUILDER].build(wanted.creator_wallet, instruction)


async def _register(
    call: Call[Any], wanted: MarketMetadata, on_chain: bool, *, allow_similar: bool
) -> Registration:
    """Register the market."""
    database, settings = call.app[keys.DATABASE], call.app[keys.MARKET_SETTINGS]
    pending = PendingLimits(settings.max_pending_per_wallet, settings.max_pending_bytes_per_wallet)
    limits = None if on_chain else pending
    no_twin_at = None if allow_similar else utc_from_unix(await call.app[keys.CHAIN_TIME]())
    async with database.caller(call.caller) as connection:
        registration = await metadata.register(connection, wanted, limits, no_twin_at=no_twin_at)
    if registration.metadata != wanted:
        raise MarketIdTaken(
            AboutMarket(wanted.market_id),
            "You have registered this market with other texts or terms; give a market_id of your own "
            "and set allow_similar to true to register another one.",
        )
    return registration


async def _market(call: Call[Any], registration: Registration, on_chain: bool) -> MarketDetail:
    texts = ResolutionTexts.of(registration.metadata.document)
    if on_chain:
        async with call.app[keys.DATABASE].service_reader() as connection:
            market = await markets.find(connection, registration.metadata.market_id)
        if market is not None:
            return market_detail(await body_of(call.app, market), texts)
    return market_detail(await body_of(call.app, registration), texts)


def _terms(wanted: MarketMetadata) -> LiquidityTerms:
    loss = max_loss_lamports(wanted.b_parameter)
    return LiquidityTerms(
        b_parameter=amount(wanted.b_parameter),
        initial_liquidity=amount(wanted.initial_liquidity),
        max_loss=amount(loss),
        covered=loss <= wanted.initial_liquidity,
    )


OPERATIONS: tuple[Operation[Any], ...] = (
    Operation(
        method="POST",
        path="/api/markets",
        handler=create_market,
        summary="Register a market, and get the transaction that creates it",
        tag="markets",
        body=CreateMarketRequest,
        responses={201: CreateMarketBody, 200: CreateMarketBody},
        errors=(
            MarketIdTaken,
            SimilarMarketExists,
            TooManyPendingMarkets,
            PendingTextsTooLarge,
            *unsigned.ERRORS,
        ),
        access=Access.SESSION,
    ),
)

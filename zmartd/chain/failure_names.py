"""What errors of the program and of what it runs on mean to somebody who sent a transaction, and what to do.

Numbers and names are theirs: our program's, Anchor's `ErrorCode` (100-4999), the system program's
`SystemError`, the runtime's `TransactionError` and `InstructionError`. Each text says what happened and,
after a semicolon, what to do next. Where it says no remedy, that is to build another transaction: see
`in_full`.
"""

from __future__ import annotations

from typing import Final

REMEDY: Final = "build the transaction anew with this API"


def in_full(text: str) -> str:
    """One of the texts below as the sentence that people read."""
    return f"{text}." if ";" in text else f"{text}; {REMEDY}."


_WRONG_STATE = (
    "The market is not in a state in which this can be done; read its `next`, which says what can be done"
)

PROGRAM: dict[str, str] = {
    "InvalidFeeConfiguration": (
        "These fees are not ones that the program takes; choose others, in whole basis points"
    ),
    "InvalidThreshold": "A threshold is more than 10000 basis points; choose a whole number from 0 to 10000",
    "InvalidTimeLimit": "A time limit is not greater than zero; choose a whole number of seconds, 1 or more",
    "AlreadyInitialized": "This has been set up already; read what is there instead of creating it again",
    "InvalidFeeStructure": (
        "The fees together are more than 10000 basis points, which is everything; lower one of them"
    ),
    "InvalidGlobalConfig": "The transaction was made for another deployment of the program",
    "InvalidStateTransition": _WRONG_STATE,
    "InvalidMarketState": _WRONG_STATE,
    "MarketPaused": "The market is paused; try again when it goes on",
    "MarketCancelled": (
        "The market was cancelled, so nothing can be traded or decided in it; choose another one"
    ),
    "ProtocolPaused": (
        "The admin has paused all markets, and nothing is lost meanwhile; try again when they go on"
    ),
    "CannotCancelMarket": (
        "The market has been opened, and only a proposed or approved one can be cancelled; wait for its "
        "resolution"
    ),
    "MarketAlreadyCancelled": "The market has been cancelled already; leave it as it is",
    "ZeroAmount": "The amount is zero; choose a whole number, 1 or more",
    "InsufficientShares": (
        "There are fewer shares than this sale asks for; sell at most what the wallet holds, in whole units"
    ),
    "SlippageExceeded": (
        "The price has moved past the limit that was set; get a new quote, or set a wider limit"
    ),
    "InsufficientLiquidity": (
        "The market does not hold enough lamports for this; choose a smaller sale, or for a withdrawal wait "
        "until the market holds more than it owes to others"
    ),
    "InvalidLiquidity": "The market's liquidity is zero; put in a whole number of lamports, 1 or more",
    "TradeTooSmall": "The trade is worth less than 10000 lamports (0.00001 SOL); choose a larger amount",
    "ResolutionPeriodNotEnded": (
        "It is too early to decide about this outcome; wait until the time for it has come"
    ),
    "DisputePeriodEnded": (
        "The time in which this outcome could be disputed is over; wait until it is final, then claim "
        "what is yours"
    ),
    "NoResolutionProposed": "Nobody has proposed an outcome of this market yet; wait until somebody does",
    "AlreadyClaimed": (
        "This wallet has been paid for its position already; look for the payment among its transactions"
    ),
    "NoWinnings": "This wallet holds nothing in this market that is paid out; look at its other positions",
    "NoVotesRecorded": "Votes on this market have not been counted on the chain yet; wait until they are",
    "InsufficientVotes": "Too small a share of the votes is in favour; wait for more votes",
    "AlreadyResolved": (
        "An outcome of this market has been proposed already; wait until it is final, or ask for its dispute"
    ),
    "DisputePeriodNotEnded": "The outcome can still be disputed; wait until the time for that is over",
    "AlreadyDisputed": "The outcome is disputed already; vote on the dispute instead",
    "Unauthorized": (
        "Only the wallet with the right to this may do it: the market's creator, the admin or the "
        "backend, each for their own; sign with that one"
    ),
    "InvalidAdmin": "Only the program's admin may do this; sign with the admin's wallet",
    "InvalidResolver": "The wallet given is not the one that resolved the market",
    "InsufficientReputation": (
        "The wallet's reputation is too low for this; have another wallet resolve the market"
    ),
    "OverflowError": "A calculation gave too large a number; choose a smaller amount",
    "UnderflowError": (
        "This market's price curve gives no price for this amount; choose another, larger if this is small"
    ),
    "DivisionByZero": (
        "A calculation cannot be made with these amounts; choose others, in whole numbers greater than zero"
    ),
    "InvalidFixedPoint": "A calculation cannot be made with these amounts; choose a smaller amount",
    "InvalidLogarithm": "A calculation cannot be made with these amounts; choose a smaller amount",
    "ExponentialOverflow": "The trade is larger than this market's price curve goes; choose a smaller amount",
    "ExponentTooLarge": "The trade is larger than this market's price curve goes; choose a smaller amount",
    "InvalidInput": "The program cannot use one of the values",
    "BoundedLossExceeded": "The market has lost more than it ever should; tell the operator",
    "InvalidBParameter": (
        "The liquidity parameter, which decides how slowly prices move, is too small; choose a larger whole "
        "number"
    ),
    "InvalidMarketId": "The market's id is not valid; leave it out to get a new one",
    "InvalidTimestamp": "It is too early for this by the chain's clock; try again in a moment",
    "InvalidIpfsHash": (
        "The address of the document is not one of IPFS; send a content id of version 0: Qm and 44 more "
        "characters"
    ),
    "InsufficientFunds": (
        "The wallet holds fewer lamports than this needs; add SOL to it, or choose a smaller amount"
    ),
    "WouldBreakRentExemption": (
        "The market would be left with less than the chain's least balance; choose a smaller amount"
    ),
    "Reentrant": "The market is being changed by another instruction; try again in a moment",
    "InvalidReservedField": "A part that has to be empty is not",
    "AlreadyVoted": "This wallet has voted already, and a vote cannot be changed; wait for the count",
    "InvalidStateForVoting": (
        "The market takes no such votes now: proposed ones take votes on the proposal, disputed ones on "
        "the dispute; read its state"
    ),
}
"""The errors of our program by their name in its IDL."""

ANCHOR: dict[int, tuple[str, str]] = {
    100: ("InstructionMissing", "The instruction has no data"),
    101: (
        "InstructionFallbackNotFound",
        "The deployed program has no such instruction; tell the operator: program and API differ in version",
    ),
    102: ("InstructionDidNotDeserialize", "The program could not read the instruction's arguments"),
    103: ("InstructionDidNotSerialize", "The program could not write an instruction"),
    2000: ("ConstraintMut", "An account must be writable"),
    2001: ("ConstraintHasOne", "An account does not belong to the other one it was given with"),
    2002: ("ConstraintSigner", "An account must have signed"),
    2003: ("ConstraintRaw", "An account does not meet the program's condition"),
    2004: ("ConstraintOwner", "An account belongs to another program"),
    2005: (
        "ConstraintRentExempt",
        "An account must hold enough lamports to be exempt from rent; put in more",
    ),
    2006: ("ConstraintSeeds", "An account is not at the address that its seeds give"),
    2007: ("ConstraintExecutable", "An account must be a program"),
    2011: ("ConstraintClose", "An account cannot be closed into itself"),
    2012: ("ConstraintAddress", "An account is not the one whose address is required"),
    2013: ("ConstraintZero", "An account was expected to be empty"),
    2019: ("ConstraintSpace", "An account has another size than required"),
    2020: ("ConstraintAccountIsNone", "An account that is required was left out"),
    2500: ("RequireViolated", "The program's condition does not hold"),
    2501: ("RequireEqViolated", "Two values that must be equal differ"),
    2502: ("RequireKeysEqViolated", "Two addresses that must be equal differ"),
    2503: ("RequireNeqViolated", "Two values that must differ are equal"),
    2504: ("RequireKeysNeqViolated", "Two addresses that must differ are equal"),
    2505: ("RequireGtViolated", "A value is too small; send a greater whole number"),
    2506: ("RequireGteViolated", "A value is too small; send a greater whole number"),
    3000: (
        "AccountDiscriminatorAlreadySet",
        "This has been set up already; read what is there instead of creating it again",
    ),
    3001: ("AccountDiscriminatorNotFound", "An account holds no data of the program"),
    3002: ("AccountDiscriminatorMismatch", "An account is of another kind than required"),
    3003: ("AccountDidNotDeserialize", "The program could not read an account"),
    3004: ("AccountDidNotSerialize", "The program could not write an account"),
    3005: ("AccountNotEnoughKeys", "The instruction was given too few accounts"),
    3006: ("AccountNotMutable", "An account that the program changes must be writable"),
    3007: ("AccountOwnedByWrongProgram", "An account belongs to another program"),
    3008: ("InvalidProgramId", "An account is not the program that is required"),
    3009: ("InvalidProgramExecutable", "An account that must be a program is none"),
    3010: ("AccountNotSigner", "An account must have signed"),
    3011: (
        "AccountNotSystemOwned",
        "An account must be an ordinary wallet; sign with one that is not a program's",
    ),
    3012: (
        "AccountNotInitialized",
        "Something that this needs is not on the chain yet; check the market and the wallet",
    ),
    3013: ("AccountNotProgramData", "An account must be a program's data"),
    3015: ("AccountSysvarMismatch", "An account is not the one of the chain that is required"),
    3016: ("AccountReallocExceedsLimit", "An account cannot grow by so much at once; do it in several steps"),
    3017: ("AccountDuplicateReallocs", "An account cannot be resized twice in one instruction"),
    4100: (
        "DeclaredProgramIdMismatch",
        "The program runs at another address than it was built for; tell the operator",
    ),
    4101: ("TryingToInitPayerAsProgramAccount", "The payer cannot be made an account of the program"),
    4102: ("InvalidNumericConversion", "A number is too large; send a smaller whole number"),
}

SYSTEM: dict[int, tuple[str, str]] = {
    0: (
        "AccountAlreadyInUse",
        "This has been done before, and doing it again changes nothing; read what is there",
    ),
    1: (
        "InsufficientFunds",
        "The wallet holds fewer lamports than this needs; add SOL to it, or choose a smaller amount",
    ),
    2: ("InvalidProgramId", "An account cannot be given to this program"),
    3: ("InvalidAccountDataLength", "An account cannot have this size"),
    4: ("MaxSeedLengthExceeded", "A seed is longer than the system program allows"),
    5: ("AddressWithSeedMismatch", "An address is not the one that its seed gives"),
    6: ("NonceNoRecentBlockhashes", "There is no recent block to go on from; try again in a moment"),
    7: ("NonceBlockhashNotExpired", "The nonce can be advanced only in a later block; try again in a moment"),
    8: ("NonceUnexpectedBlockhashValue", "The nonce holds another blockhash than given"),
}
"""Number 1, ResultWithNegativeLamports, is named as the runtime and our program name a lack of lamports."""

TRANSACTION: dict[str, str] = {
    "AccountInUse": "An account is being used by another transaction; try again in a moment",
    "AccountNotFound": "The wallet that pays the fee holds no lamports on this cluster; add SOL to it",
    "ProgramAccountNotFound": (
        "A program that the transaction calls is not deployed on this cluster; check that the wallet uses "
        "the same cluster as this API"
    ),
    "InsufficientFundsForFee": "The wallet cannot pay the network's fee; add SOL to it",
    "InsufficientFundsForRent": (
        "An account would be left with less than the chain's least balance; leave more lamports in it, or "
        "add SOL to the wallet"
    ),
    "InvalidAccountForFee": (
        "The fee must be paid by an ordinary wallet; sign with one that is not a program's"
    ),
    "AlreadyProcessed": "The chain has this transaction already; ask for its result by its signature",
    "BlockhashNotFound": (
        "The transaction is too old, or was made for another cluster; build the transaction anew with "
        "this API, and sign and send it within a minute"
    ),
    "SignatureFailure": (
        "A signature does not fit the transaction; sign exactly the bytes that you were given"
    ),
    "MissingSignatureForFee": (
        "The signature of the wallet that pays is missing; sign the transaction with it"
    ),
    "SanitizeFailure": "The transaction is not well formed",
    "InvalidProgramForExecution": "An account that the transaction calls is not a program",
    "TooManyAccountLocks": "The transaction uses too many accounts; split it into several",
    "MaxLoadedAccountsDataSizeExceeded": "The transaction reads more data than it may; split it into several",
    "WouldExceedMaxBlockCostLimit": "The block is full; try again in a moment",
    "WouldExceedMaxAccountCostLimit": "An account is in too much demand in this block; try again in a moment",
    "ClusterMaintenance": "The cluster is under maintenance; try again later",
}

INSTRUCTION: dict[str, str] = {
    "ComputationalBudgetExceeded": (
        "The transaction takes more computing than it may; raise its compute limit, or build the "
        "transaction anew with this API"
    ),
    "ProgramFailedToComplete": (
        "The program crashed or took more computing than it may; raise the transaction's compute limit, "
        "or build the transaction anew with this API"
    ),
    "MissingRequiredSignature": (
        "A signature is missing; sign the transaction with every wallet that it needs"
    ),
    "InsufficientFunds": (
        "The wallet holds fewer lamports than this needs; add SOL to it, or choose a smaller amount"
    ),
    "NotEnoughAccountKeys": "The instruction was given too few accounts",
    "InvalidAccountData": "An account does not hold what the program expects",
    "InvalidAccountOwner": "An account belongs to another program",
    "InvalidInstructionData": "The program cannot read the instruction's arguments",
    "InvalidArgument": "An argument of the instruction is not valid",
    "InvalidSeeds": "An address is not the one that its seeds give",
    "IncorrectProgramId": "The instruction is meant for another program",
    "UninitializedAccount": (
        "Something that this needs is not on the chain yet; create it first, or check the market and the "
        "wallet"
    ),
    "AccountAlreadyInitialized": (
        "This has been set up already; read what is there instead of creating it again"
    ),
    "UnsupportedProgramId": (
        "The program that the instruction calls is not deployed on this cluster; check that the wallet "
        "uses the same cluster as this API"
    ),
    "PrivilegeEscalation": "A program used an account in a way that nobody signed for",
    "ReadonlyLamportChange": "A program changed the balance of a read-only account",
    "UnbalancedInstruction": "A program made or lost lamports",
    "CallDepth": "Programs called each other too deeply",
    "ArithmeticOverflow": "A calculation gave too large a number; choose a smaller amount",
}

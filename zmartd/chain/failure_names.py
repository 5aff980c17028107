"""What the runtime's, Anchor's and the system program's errors mean to somebody who sent a transaction.

Numbers and names are theirs: Anchor's `ErrorCode` (100-4999), the system program's `SystemError`, the
runtime's `TransactionError` and `InstructionError`. Where a name means the same as another one, or nothing to
a caller, ours stands for it: what the system program calls ResultWithNegativeLamports is InsufficientFunds.
"""

from __future__ import annotations

_NO_PRICE = "The market's price curve has no price for a trade of this size: try a smaller or a larger one."

CURVE: dict[str, str] = {
    "OverflowError": _NO_PRICE,
    "UnderflowError": _NO_PRICE,
    "DivisionByZero": _NO_PRICE,
    "InvalidFixedPoint": _NO_PRICE,
    "InvalidLogarithm": _NO_PRICE,
    "ExponentialOverflow": _NO_PRICE,
    "ExponentTooLarge": "This trade is larger than the market can take; POST /api/trades/buy and /sell say "
    "which is the largest here.",
}
"""What the program's errors of arithmetic mean to who trades, by their names in its IDL."""

ANCHOR: dict[int, tuple[str, str]] = {
    100: ("InstructionMissing", "The instruction has no data."),
    101: ("InstructionFallbackNotFound", "The deployed program has no such instruction."),
    102: ("InstructionDidNotDeserialize", "The program could not read the instruction's arguments."),
    103: ("InstructionDidNotSerialize", "The program could not write an instruction."),
    2000: ("ConstraintMut", "An account must be writable."),
    2001: ("ConstraintHasOne", "An account does not belong to the other one it was given with."),
    2002: ("ConstraintSigner", "An account must have signed."),
    2003: ("ConstraintRaw", "An account does not meet the program's condition."),
    2004: ("ConstraintOwner", "An account belongs to another program."),
    2005: ("ConstraintRentExempt", "An account must hold enough lamports to be exempt from rent."),
    2006: ("ConstraintSeeds", "An account is not at the address that its seeds give."),
    2007: ("ConstraintExecutable", "An account must be a program."),
    2011: ("ConstraintClose", "An account cannot be closed into itself."),
    2012: ("ConstraintAddress", "An account is not the one whose address is required."),
    2013: ("ConstraintZero", "An account was expected to be empty."),
    2019: ("ConstraintSpace", "An account has another size than required."),
    2020: ("ConstraintAccountIsNone", "An account that is required was left out."),
    2500: ("RequireViolated", "The program's condition does not hold."),
    2501: ("RequireEqViolated", "Two values that must be equal differ."),
    2502: ("RequireKeysEqViolated", "Two addresses that must be equal differ."),
    2503: ("RequireNeqViolated", "Two values that must differ are equal."),
    2504: ("RequireKeysNeqViolated", "Two addresses that must differ are equal."),
    2505: ("RequireGtViolated", "A value must be greater than it is."),
    2506: ("RequireGteViolated", "A value must not be as small as it is."),
    3000: ("AccountDiscriminatorAlreadySet", "An account is initialized already."),
    3001: ("AccountDiscriminatorNotFound", "An account holds no data of the program."),
    3002: ("AccountDiscriminatorMismatch", "An account is of another kind than required."),
    3003: ("AccountDidNotDeserialize", "The program could not read an account."),
    3004: ("AccountDidNotSerialize", "The program could not write an account."),
    3005: ("AccountNotEnoughKeys", "The instruction was given too few accounts."),
    3006: ("AccountNotMutable", "An account that the program changes must be writable."),
    3007: ("AccountOwnedByWrongProgram", "An account belongs to another program."),
    3008: ("InvalidProgramId", "An account is not the program that is required."),
    3009: ("InvalidProgramExecutable", "An account that must be a program is none."),
    3010: ("AccountNotSigner", "An account must have signed."),
    3011: ("AccountNotSystemOwned", "An account must be an ordinary wallet."),
    3012: ("AccountNotInitialized", "An account that is required does not exist yet."),
    3013: ("AccountNotProgramData", "An account must be a program's data."),
    3015: ("AccountSysvarMismatch", "An account is not the sysvar that is required."),
    3016: ("AccountReallocExceedsLimit", "An account cannot grow by so much at once."),
    3017: ("AccountDuplicateReallocs", "An account cannot be resized twice in one instruction."),
    4100: ("DeclaredProgramIdMismatch", "The program runs at another address than it was built for."),
    4101: ("TryingToInitPayerAsProgramAccount", "The payer cannot be made an account of the program."),
    4102: ("InvalidNumericConversion", "A number does not fit."),
}

SYSTEM: dict[int, tuple[str, str]] = {
    0: ("AccountAlreadyInUse", "The account exists already: this has been done before."),
    1: ("InsufficientFunds", "A wallet holds fewer lamports than this needs."),
    2: ("InvalidProgramId", "An account cannot be given to this program."),
    3: ("InvalidAccountDataLength", "An account cannot have this size."),
    4: ("MaxSeedLengthExceeded", "A seed is longer than the system program allows."),
    5: ("AddressWithSeedMismatch", "An address is not the one that its seed gives."),
    6: ("NonceNoRecentBlockhashes", "There is no recent blockhash to advance the nonce with."),
    7: ("NonceBlockhashNotExpired", "The nonce can be advanced only in a later block."),
    8: ("NonceUnexpectedBlockhashValue", "The nonce holds another blockhash than given."),
}

TRANSACTION: dict[str, str] = {
    "AccountInUse": "An account is being used by another transaction; try again.",
    "AccountNotFound": "The fee payer's wallet holds no lamports on this cluster.",
    "ProgramAccountNotFound": "A program that the transaction calls is not deployed on this cluster.",
    "InsufficientFundsForFee": "The fee payer's wallet cannot pay the transaction fee.",
    "InsufficientFundsForRent": "An account would fall below its rent-exempt balance.",
    "InvalidAccountForFee": "The fee payer must be an ordinary wallet.",
    "AlreadyProcessed": "The chain has this transaction already.",
    "BlockhashNotFound": "The transaction's blockhash is not valid on this cluster, or not any more.",
    "SignatureFailure": "A signature does not fit the transaction.",
    "MissingSignatureForFee": "The fee payer's signature is missing.",
    "SanitizeFailure": "The transaction is not well formed.",
    "InvalidProgramForExecution": "An account that the transaction calls is not a program.",
    "TooManyAccountLocks": "The transaction locks too many accounts.",
    "MaxLoadedAccountsDataSizeExceeded": "The transaction loads more account data than it may.",
    "WouldExceedMaxBlockCostLimit": "The block is full; try again.",
    "WouldExceedMaxAccountCostLimit": "An account is used too much in this block; try again.",
    "ClusterMaintenance": "The cluster is under maintenance; try again later.",
}

INSTRUCTION: dict[str, str] = {
    "ComputationalBudgetExceeded": "The transaction needs more compute units than it may use.",
    "ProgramFailedToComplete": "The program crashed or used up its compute units.",
    "MissingRequiredSignature": "An account must have signed.",
    "InsufficientFunds": "A wallet holds fewer lamports than this needs.",
    "NotEnoughAccountKeys": "The instruction was given too few accounts.",
    "InvalidAccountData": "An account does not hold what the program expects.",
    "InvalidAccountOwner": "An account belongs to another program.",
    "InvalidInstructionData": "The program cannot read the instruction's arguments.",
    "InvalidArgument": "An argument of the instruction is not valid.",
    "InvalidSeeds": "An address is not the one that its seeds give.",
    "IncorrectProgramId": "The instruction is meant for another program.",
    "UninitializedAccount": "An account that is required does not exist yet.",
    "AccountAlreadyInitialized": "An account is initialized already.",
    "UnsupportedProgramId": "The program that the instruction calls is not deployed on this cluster.",
    "PrivilegeEscalation": "A program used an account in a way that nobody signed for.",
    "ReadonlyLamportChange": "A program changed the balance of a read-only account.",
    "UnbalancedInstruction": "A program made or lost lamports.",
    "CallDepth": "Programs called each other too deeply.",
    "ArithmeticOverflow": "A calculation does not fit its number type.",
}

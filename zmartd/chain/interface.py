"""The instructions that zmartd sends and reads: their arguments and accounts, to be compared with an IDL."""

from __future__ import annotations

from msgspec import Struct
from solders.pubkey import Pubkey

from zmartd.chain.idl import Idl, IdlError
from zmartd.chain.wire import I64, U16, U32, U64, Bytes32, Bytes46, layout_of


class Instruction(Struct, frozen=True, gc=False):
    """The arguments of one instruction, with the IDL's names and order."""


class ActivateMarket(Instruction, frozen=True, gc=False):
    pass


class AggregateDisputeVotes(Instruction, frozen=True, gc=False):
    final_agrees: U32
    final_disagrees: U32


class AggregateProposalVotes(Instruction, frozen=True, gc=False):
    final_likes: U32
    final_dislikes: U32


class ApproveProposal(Instruction, frozen=True, gc=False):
    pass


class BuyShares(Instruction, frozen=True, gc=False):
    """A purchase for at most `target_cost` lamports, fees included."""

    outcome: bool
    target_cost: U64


class CancelMarket(Instruction, frozen=True, gc=False):
    pass


class ClaimWinnings(Instruction, frozen=True, gc=False):
    pass


class CreateMarket(Instruction, frozen=True, gc=False):
    market_id: Bytes32
    b_parameter: U64
    initial_liquidity: U64
    ipfs_question_hash: Bytes46


class EmergencyPause(Instruction, frozen=True, gc=False):
    pass


class FinalizeMarket(Instruction, frozen=True, gc=False):
    dispute_agree: U32 | None
    dispute_disagree: U32 | None


class InitializeGlobalConfig(Instruction, frozen=True, gc=False):
    backend_authority: Pubkey


class InitiateDispute(Instruction, frozen=True, gc=False):
    pass


class ResolveMarket(Instruction, frozen=True, gc=False):
    proposed_outcome: bool
    ipfs_evidence_hash: Bytes46


class SellShares(Instruction, frozen=True, gc=False):
    outcome: bool
    shares_to_sell: U64
    min_proceeds: U64


class SubmitDisputeVote(Instruction, frozen=True, gc=False):
    vote: bool


class SubmitProposalVote(Instruction, frozen=True, gc=False):
    vote: bool


class UpdateGlobalConfig(Instruction, frozen=True, gc=False):
    """A time that is None stays as it is."""

    protocol_fee_bps: U16
    resolver_reward_bps: U16
    liquidity_provider_fee_bps: U16
    proposal_approval_threshold: U16
    dispute_success_threshold: U16
    min_resolution_delay: I64 | None
    dispute_period: I64 | None


class WithdrawLiquidity(Instruction, frozen=True, gc=False):
    pass


class Form(Struct, frozen=True):
    """One instruction: the type of its arguments, and the names of its accounts in order."""

    arguments: type[Instruction]
    accounts: tuple[str, ...]


_TRADE = ("global_config", "market", "position", "user", "protocol_fee_wallet", "system_program")
_VOTE = ("market", "vote_record", "user", "system_program")
_COUNT = ("market", "global_config", "backend_authority")

INTERFACE: dict[str, Form] = {
    "activate_market": Form(ActivateMarket, ("authority", "market", "global_config")),
    "aggregate_dispute_votes": Form(AggregateDisputeVotes, _COUNT),
    "aggregate_proposal_votes": Form(AggregateProposalVotes, _COUNT),
    "approve_proposal": Form(ApproveProposal, ("admin", "market", "global_config")),
    "buy_shares": Form(BuyShares, _TRADE),
    "cancel_market": Form(CancelMarket, ("admin", "market", "global_config")),
    "claim_winnings": Form(
        ClaimWinnings, ("global_config", "market", "position", "user", "resolver", "system_program")
    ),
    "create_market": Form(CreateMarket, ("creator", "market", "global_config", "system_program")),
    "emergency_pause": Form(EmergencyPause, ("admin", "global_config")),
    "finalize_market": Form(FinalizeMarket, ("global_config", "market", "backend_authority")),
    "initialize_global_config": Form(
        InitializeGlobalConfig, ("admin", "global_config", "protocol_fee_wallet", "system_program")
    ),
    "initiate_dispute": Form(InitiateDispute, ("global_config", "market", "initiator")),
    "resolve_market": Form(ResolveMarket, ("global_config", "market", "resolver")),
    "sell_shares": Form(SellShares, _TRADE),
    "submit_dispute_vote": Form(SubmitDisputeVote, _VOTE),
    "submit_proposal_vote": Form(SubmitProposalVote, _VOTE),
    "update_global_config": Form(UpdateGlobalConfig, ("admin", "global_config")),
    "withdraw_liquidity": Form(WithdrawLiquidity, ("market", "creator")),
}


def check_interface(idl: Idl) -> None:
    """Raise IdlError, naming the instruction, where the IDL wants something else than zmartd sends."""
    given = {instruction.name: instruction for instruction in idl.instructions}
    for name, form in INTERFACE.items():
        instruction = given.get(name)
        if instruction is None:
            raise IdlError(f"instructions.{name}: is missing from the IDL; zmartd cannot work without it")
        accounts = tuple(account.name for account in instruction.accounts)
        if accounts != form.accounts:
            raise IdlError(
                f"instructions.{name}.accounts: must be {', '.join(form.accounts)}; "
                f"the IDL has {', '.join(accounts)}"
            )
        arguments = [(argument.name, idl.words(argument.type)) for argument in instruction.args]
        expected = list(layout_of(form.arguments).types.items())
        if arguments != expected:
            raise IdlError(
                f"instructions.{name}.args: must be {_listed(expected)}; the IDL has {_listed(arguments)}"
            )


def _listed(arguments: list[tuple[str, str]]) -> str:
    return ", ".join(f"{name}: {kind}" for name, kind in arguments) or "none"

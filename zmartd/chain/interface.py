"""The instructions that zmartd sends: the accounts and arguments it passes, to be compared with an IDL."""

from __future__ import annotations

from msgspec import Struct

from zmartd.chain.idl import Idl, IdlError


class Form(Struct, frozen=True):
    """One instruction: the names of its accounts in order, and its arguments with their wire types."""

    accounts: tuple[str, ...]
    arguments: dict[str, str] = {}


INTERFACE: dict[str, Form] = {
    "activate_market": Form(("authority", "market", "global_config")),
    "aggregate_dispute_votes": Form(
        ("market", "global_config", "backend_authority"),
        {"final_agrees": "u32", "final_disagrees": "u32"},
    ),
    "aggregate_proposal_votes": Form(
        ("market", "global_config", "backend_authority"),
        {"final_likes": "u32", "final_dislikes": "u32"},
    ),
    "approve_proposal": Form(("admin", "market", "global_config")),
    "buy_shares": Form(
        ("global_config", "market", "position", "user", "protocol_fee_wallet", "system_program"),
        {"outcome": "bool", "target_cost": "u64"},
    ),
    "cancel_market": Form(("admin", "market", "global_config")),
    "claim_winnings": Form(("global_config", "market", "position", "user", "resolver", "system_program")),
    "create_market": Form(
        ("creator", "market", "global_config", "system_program"),
        {
            "market_id": "[u8; 32]",
            "b_parameter": "u64",
            "initial_liquidity": "u64",
            "ipfs_question_hash": "[u8; 46]",
        },
    ),
    "emergency_pause": Form(("admin", "global_config")),
    "finalize_market": Form(
        ("global_config", "market", "backend_authority"),
        {"dispute_agree": "option<u32>", "dispute_disagree": "option<u32>"},
    ),
    "initialize_global_config": Form(
        ("admin", "global_config", "protocol_fee_wallet", "system_program"),
        {"backend_authority": "pubkey"},
    ),
    "initiate_dispute": Form(("global_config", "market", "initiator")),
    "resolve_market": Form(
        ("global_config", "market", "resolver"),
        {"proposed_outcome": "bool", "ipfs_evidence_hash": "[u8; 46]"},
    ),
    "sell_shares": Form(
        ("global_config", "market", "position", "user", "protocol_fee_wallet", "system_program"),
        {"outcome": "bool", "shares_to_sell": "u64", "min_proceeds": "u64"},
    ),
    "submit_dispute_vote": Form(("market", "vote_record", "user", "system_program"), {"vote": "bool"}),
    "submit_proposal_vote": Form(("market", "vote_record", "user", "system_program"), {"vote": "bool"}),
    "update_global_config": Form(
        ("admin", "global_config"),
        {
            "protocol_fee_bps": "u16",
            "resolver_reward_bps": "u16",
            "liquidity_provider_fee_bps": "u16",
            "proposal_approval_threshold": "u16",
            "dispute_success_threshold": "u16",
            "min_resolution_delay": "option<i64>",
            "dispute_period": "option<i64>",
        },
    ),
    "withdraw_liquidity": Form(("market", "creator")),
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
        if arguments != list(form.arguments.items()):
            raise IdlError(
                f"instructions.{name}.args: must be {_listed(list(form.arguments.items()))}; "
                f"the IDL has {_listed(arguments)}"
            )


def _listed(arguments: list[tuple[str, str]]) -> str:
    return ", ".join(f"{name}: {kind}" for name, kind in arguments) or "none"

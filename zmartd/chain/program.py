"""The program's instructions, built through anchorpy. No other module imports it."""

from __future__ import annotations

from typing import Any

from anchorpy.coder.instruction import InstructionCoder
from anchorpy_core.idl import Idl as AnchorIdl
from construct import ConstructError
from solders.instruction import AccountMeta, Instruction
from solders.pubkey import Pubkey
from solders.system_program import ID as SYSTEM_PROGRAM_ID

from zmartd.chain.idl import Idl
from zmartd.chain.interface import check_interface
from zmartd.chain.legacy_idl import legacy_idl
from zmartd.chain.pdas import Pdas
from zmartd.market.lifecycle import VoteKind

CID_BYTES = 46


class Program:
    """One deployment of zmart_core. Each method gives the instruction of its name, to be signed elsewhere.

    Amounts are lamports, shares and `b_parameter` fixed point with nine decimals. A value that does not fit
    its argument raises ValueError. The constructor raises IdlError when the IDL wants anything else.
    """

    def __init__(self, idl: Idl, program_id: Pubkey) -> None:
        check_interface(idl)
        self.idl = idl
        self.program_id = program_id
        self.pdas = Pdas(program_id)
        self._forms = {instruction.name: instruction for instruction in idl.instructions}
        self._coder = InstructionCoder(AnchorIdl.from_json(legacy_idl(idl)))
        self._common = {"global_config": self.pdas.global_config(), "system_program": SYSTEM_PROGRAM_ID}

    def initialize_global_config(
        self, *, admin: Pubkey, protocol_fee_wallet: Pubkey, backend_authority: Pubkey
    ) -> Instruction:
        return self._build(
            "initialize_global_config",
            {"admin": admin, "protocol_fee_wallet": protocol_fee_wallet},
            {"backend_authority": backend_authority},
        )

    def update_global_config(
        self,
        *,
        admin: Pubkey,
        protocol_fee_bps: int,
        resolver_reward_bps: int,
        liquidity_provider_fee_bps: int,
        proposal_approval_threshold: int,
        dispute_success_threshold: int,
        min_resolution_delay: int | None = None,
        dispute_period: int | None = None,
    ) -> Instruction:
        """Fees and thresholds are basis points, the two times seconds; None leaves a time as it is."""
        return self._build(
            "update_global_config",
            {"admin": admin},
            {
                "protocol_fee_bps": protocol_fee_bps,
                "resolver_reward_bps": resolver_reward_bps,
                "liquidity_provider_fee_bps": liquidity_provider_fee_bps,
                "proposal_approval_threshold": proposal_approval_threshold,
                "dispute_success_threshold": dispute_success_threshold,
                "min_resolution_delay": min_resolution_delay,
                "dispute_period": dispute_period,
            },
        )

    def emergency_pause(self, *, admin: Pubkey) -> Instruction:
        """Toggles the pause: sent twice, the protocol runs again."""
        return self._build("emergency_pause", {"admin": admin})

    def create_market(
        self,
        *,
        creator: Pubkey,
        market_id: bytes,
        b_parameter: int,
        initial_liquidity: int,
        ipfs_question_hash: str,
    ) -> Instruction:
        """`ipfs_question_hash` is the CIDv0 of the question's document."""
        return self._build(
            "create_market",
            {"creator": creator, "market": self.pdas.market(market_id)},
            {
                "market_id": list(market_id),
                "b_parameter": b_parameter,
                "initial_liquidity": initial_liquidity,
                "ipfs_question_hash": _cid_bytes(ipfs_question_hash),
            },
        )

    def submit_proposal_vote(self, *, user: Pubkey, market: Pubkey, vote: bool) -> Instruction:
        record = self.pdas.vote(market, user, VoteKind.PROPOSAL)
        return self._build(
            "submit_proposal_vote",
            {"market": market, "vote_record": record, "user": user},
            {"vote": vote},
        )

    def submit_dispute_vote(self, *, user: Pubkey, market: Pubkey, vote: bool) -> Instruction:
        record = self.pdas.vote(market, user, VoteKind.DISPUTE)
        return self._build(
            "submit_dispute_vote", {"market": market, "vote_record": record, "user": user}, {"vote": vote}
        )

    def aggregate_proposal_votes(
        self, *, backend_authority: Pubkey, market: Pubkey, final_likes: int, final_dislikes: int
    ) -> Instruction:
        """Records the counts; `approve_proposal` in the same transaction acts on them."""
        return self._build(
            "aggregate_proposal_votes",
            {"market": market, "backend_authority": backend_authority},
            {"final_likes": final_likes, "final_dislikes": final_dislikes},
        )

    def aggregate_dispute_votes(
        self, *, backend_authority: Pubkey, market: Pubkey, final_agrees: int, final_disagrees: int
    ) -> Instruction:
        """Prefer `finalize_market` with both counts: this leaves a finalized market without an outcome."""
        return self._build(
            "aggregate_dispute_votes",
            {"market": market, "backend_authority": backend_authority},
            {"final_agrees": final_agrees, "final_disagrees": final_disagrees},
        )

    def approve_proposal(self, *, admin: Pubkey, market: Pubkey) -> Instruction:
        return self._build("approve_proposal", {"admin": admin, "market": market})

    def activate_market(self, *, authority: Pubkey, market: Pubkey) -> Instruction:
        """`authority` is the market's creator or the admin."""
        return self._build("activate_market", {"authority": authority, "market": market})

    def buy_shares(
        self,
        *,
        user: Pubkey,
        market: Pubkey,
        protocol_fee_wallet: Pubkey,
        outcome: bool,
        target_cost: int,
    ) -> Instruction:
        """`target_cost` is the most that the user pays, fees included."""
        return self._build(
            "buy_shares",
            {
                "market": market,
                "position": self.pdas.position(market, user),
                "user": user,
                "protocol_fee_wallet": protocol_fee_wallet,
            },
            {"outcome": outcome, "target_cost": target_cost},
        )

    def sell_shares(
        self,
        *,
        user: Pubkey,
        market: Pubkey,
        protocol_fee_wallet: Pubkey,
        outcome: bool,
        shares_to_sell: int,
        min_proceeds: int,
    ) -> Instruction:
        """`min_proceeds` is the least that the user accepts, after fees."""
        return self._build(
            "sell_shares",
            {
                "market": market,
                "position": self.pdas.position(market, user),
                "user": user,
                "protocol_fee_wallet": protocol_fee_wallet,
            },
            {"outcome": outcome, "shares_to_sell": shares_to_sell, "min_proceeds": min_proceeds},
        )

    def resolve_market(
        self, *, resolver: Pubkey, market: Pubkey, proposed_outcome: bool, ipfs_evidence_hash: str
    ) -> Instruction:
        """`ipfs_evidence_hash` is the CIDv0 of the evidence."""
        return self._build(
            "resolve_market",
            {"market": market, "resolver": resolver},
            {
                "proposed_outcome": proposed_outcome,
                "ipfs_evidence_hash": _cid_bytes(ipfs_evidence_hash),
            },
        )

    def initiate_dispute(self, *, initiator: Pubkey, market: Pubkey) -> Instruction:
        return self._build("initiate_dispute", {"market": market, "initiator": initiator})

    def finalize_market(
        self,
        *,
        backend_authority: Pubkey,
        market: Pubkey,
        dispute_agree: int | None = None,
        dispute_disagree: int | None = None,
    ) -> Instruction:
        """Both counts for a disputed market, neither for an undisputed one."""
        return self._build(
            "finalize_market",
            {"market": market, "backend_authority": backend_authority},
            {"dispute_agree": dispute_agree, "dispute_disagree": dispute_disagree},
        )

    def claim_winnings(self, *, user: Pubkey, market: Pubkey, resolver: Pubkey) -> Instruction:
        """`resolver` is the market account's resolver, whose fees the first claim pays."""
        return self._build(
            "claim_winnings",
            {
                "market": market,
                "position": self.pdas.position(market, user),
                "user": user,
                "resolver": resolver,
            },
        )

    def withdraw_liquidity(self, *, creator: Pubkey, market: Pubkey) -> Instruction:
        return self._build("withdraw_liquidity", {"market": market, "creator": creator})

    def cancel_market(self, *, admin: Pubkey, market: Pubkey) -> Instruction:
        return self._build("cancel_market", {"admin": admin, "market": market})

    def _build(
        self, name: str, accounts: dict[str, Pubkey], arguments: dict[str, Any] | None = None
    ) -> Instruction:
        """Which accounts sign and are writable, and their order, is the IDL's to say."""
        addresses = self._common | accounts
        try:
            data = self._coder.encode(name, arguments or {})
        except (ConstructError, TypeError, ValueError) as error:
            raise ValueError(f"{name}: an argument does not fit: {error}") from error
        metas = [
            AccountMeta(addresses[account.name], account.signer, account.writable)
            for account in self._forms[name].accounts
        ]
        return Instruction(self.program_id, data, metas)


def _cid_bytes(cid: str) -> list[int]:
    raw = cid.encode()
    if len(raw) != CID_BYTES:
        raise ValueError(f"an IPFS content id must be a CIDv0 of {CID_BYTES} characters, not {len(raw)}")
    return list(raw)

"""The program on the chain, its fee wallet, and the authority that signs for this daemon."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from solders.pubkey import Pubkey

from zmartd.chain.accounts import GlobalConfig
from zmartd.chain.rpc import Rpc
from zmartd.dependencies import authority_of, idl_of, next_authority_of, require_program
from zmartd.doctor.check import Check, Outcome, failed, ok, warning
from zmartd.doctor.patient import Patient

MIN_LAMPORTS: Final = 10_000_000
"""Enough for two thousand transactions; the check fails below this."""

_RENT_LAMPORTS_PER_BYTE = 6_960
_ACCOUNT_OVERHEAD_BYTES = 128
"""An account is exempt from rent with two years' rent of its data and of this overhead."""
_LAMPORTS = 1_000_000_000
_USES = ("solana.rpc_url", "solana.program_id", "solana.idl_path")


async def _program(patient: Patient) -> Sequence[Outcome]:
    assert patient.rpc is not None, "set by the check `rpc`"
    patient.idl = idl_of(patient.settings.solana)
    program_id = patient.idl.program_id
    patient.configuration = await require_program(patient.rpc, program_id)
    if patient.configuration is None:
        return [
            failed(
                f"{program_id} has no configuration yet, without which nothing works",
                "its admin runs `zmartd init-program`",
            )
        ]
    found = [ok(f"{program_id}, dispute period {patient.configuration.dispute_period} s")]
    if patient.configuration.is_paused:
        found.append(
            warning("the program is paused: it refuses trades", "its admin ends that with emergency_pause")
        )
    return found


def _opened(patient: Patient) -> tuple[Rpc, GlobalConfig]:
    assert patient.rpc is not None, "set by the check `rpc`"
    assert patient.configuration is not None, "set by the check `program`"
    return patient.rpc, patient.configuration


async def _fee_wallet(patient: Patient) -> Sequence[Outcome]:
    rpc, configuration = _opened(patient)
    wallet = configuration.protocol_fee_wallet
    account = await rpc.account(wallet)
    data_bytes, lamports = (0, 0) if account is None else (len(account.data), account.lamports)
    needed = (_ACCOUNT_OVERHEAD_BYTES + data_bytes) * _RENT_LAMPORTS_PER_BYTE
    if lamports < needed:
        return [
            failed(
                f"{wallet} has {lamports} lamports, and Solana refuses trades whose fee leaves it below "
                f"{needed}",
                f"send it at least {needed - lamports}: `solana transfer {wallet} "
                f"{(needed - lamports) / _LAMPORTS:.9f} --allow-unfunded-recipient`",
            )
        ]
    return [ok(f"{wallet} takes the protocol's fees")]


async def _authority(patient: Patient) -> Sequence[Outcome]:
    rpc, configuration = _opened(patient)
    solana = patient.settings.solana
    present, coming = authority_of(solana), next_authority_of(solana)
    keys = [key.pubkey() for key in (present, coming) if key is not None]
    if not keys:
        return [
            warning(
                "there is no key: this daemon leaves the authority's transactions to others",
                "set solana.authority_keypair_path or solana.authority_secret_key where it should",
            )
        ]
    address = configuration.backend_authority
    if address not in keys:
        return [
            failed(
                f"the key is {' or '.join(map(str, keys))}, but the program's backend authority is {address}",
                "give that key in solana.authority_keypair_path",
            )
        ]
    found = []
    least = patient.settings.alerts.authority_min_lamports
    balances = await rpc.balances_at_once(keys)
    lamports = balances.get(address, 0)
    sends = f"`solana transfer {address} {max(least, MIN_LAMPORTS) / _LAMPORTS:g} --allow-unfunded-recipient`"
    if lamports < MIN_LAMPORTS:
        found.append(
            failed(
                f"{address} has {lamports} lamports, and fees need {MIN_LAMPORTS} at least",
                f"send it at least {MIN_LAMPORTS} for fees: {sends}",
            )
        )
    elif lamports < least:
        found.append(
            warning(
                f"{address} has {lamports} lamports, below alerts.authority_min_lamports ({least})",
                f"send it more: {sends}",
            )
        )
    if configuration.admin != address:
        found.append(
            ok(f"{address} may count votes; proposals are approved by the admin {configuration.admin}")
        )
    else:
        found.append(ok(f"{address} may count votes and approve proposals"))
    if coming is not None:
        found.append(_coming(coming.pubkey(), address, balances.get(coming.pubkey(), 0)))
    return found


def _coming(address: Pubkey, named: Pubkey, lamports: int) -> Outcome:
    """What there is to say of the next authority, where the program names the one in `named`."""
    if address == named:
        return warning(
            f"the program has the next authority, {address}",
            "give its key in solana.authority_keypair_path, and empty solana.authority_next_keypair_path",
        )
    if lamports < MIN_LAMPORTS:
        return warning(
            f"the next authority, {address}, has {lamports} lamports, and fees need {MIN_LAMPORTS}",
            f"`solana transfer {address} {MIN_LAMPORTS / _LAMPORTS:g} --allow-unfunded-recipient`, before "
            "the program names it",
        )
    return ok(f"{address} signs as soon as the program names it")


CHECKS = (
    Check(
        name="program",
        look=_program,
        about="the program is where solana.program_id says, fits the IDL, and has its configuration",
        uses=_USES,
        needs=("rpc",),
    ),
    Check(
        name="fee wallet",
        look=_fee_wallet,
        about="the wallet that takes the protocol's fees has what Solana demands of an account",
        uses=_USES,
        needs=("program",),
    ),
    Check(
        name="authority",
        look=_authority,
        about="the authority's key is the one that the program knows, what it may do, and that it can pay "
        "fees; the same of the next one",
        uses=(
            *_USES,
            "solana.authority_keypair_path",
            "solana.authority_secret_key",
            "solana.authority_next_keypair_path",
        ),
        needs=("program",),
    ),
)

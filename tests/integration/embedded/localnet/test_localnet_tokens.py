"""Token accounts, made by the real token programs."""

from __future__ import annotations

import pytest
from solders.keypair import Keypair
from solders.message import MessageV0
from solders.pubkey import Pubkey
from solders.system_program import CreateAccountParams, create_account
from solders.transaction import VersionedTransaction
from spl.token import instructions as spl

from tests.integration.embedded.localnet.localnet_client import Chain

TOKEN = Pubkey.from_string("TokenkegQfeZyiNwAJbNbGKPFXCWuBvf9Ss623VQ5DA")
TOKEN_2022 = Pubkey.from_string("TokenzQdBNbLqP5VEhdkAS6EPFLC1PHnBqCXEpPxuEb")
PROCESSED = {"commitment": "processed"}
MINT_BYTES = 82


async def a_mint(chain: Chain, authority: Keypair, program: Pubkey, decimals: int) -> Pubkey:
    mint = Keypair()
    rent = await chain.call("getMinimumBalanceForRentExemption", MINT_BYTES)
    make = create_account(
        CreateAccountParams(
            from_pubkey=authority.pubkey(),
            to_pubkey=mint.pubkey(),
            lamports=rent,
            space=MINT_BYTES,
            owner=program,
        )
    )
    initialize = spl.initialize_mint(
        spl.InitializeMintParams(decimals, program, mint.pubkey(), authority.pubkey())
    )
    message = MessageV0.try_compile(authority.pubkey(), [make, initialize], [], await chain.blockhash())
    await chain.send(VersionedTransaction(message, [authority, mint]))
    return mint.pubkey()


async def a_holding(
    chain: Chain, authority: Keypair, mint: Pubkey, program: Pubkey, owner: Pubkey, amount: int
) -> Pubkey:
    holding = spl.get_associated_token_address(owner, mint, program)
    make = spl.create_associated_token_account(authority.pubkey(), owner, mint, program)
    fill = spl.mint_to(spl.MintToParams(program, mint, holding, authority.pubkey(), amount))
    await chain.send(await chain.signed(authority, [make, fill]))
    return holding


@pytest.mark.parametrize("program", [TOKEN, TOKEN_2022], ids=["token", "token-2022"])
async def test_token_accounts_are_found_by_owner_mint_and_delegate(chain: Chain, program: Pubkey) -> None:
    authority, friend, delegate = await chain.wallet(), Keypair().pubkey(), Keypair().pubkey()
    mint = await a_mint(chain, authority, program, decimals=6)
    other = await a_mint(chain, authority, program, decimals=0)
    mine = await a_holding(chain, authority, mint, program, authority.pubkey(), 1_500_000)
    theirs = await a_holding(chain, authority, mint, program, friend, 2_000_000)
    mine_too = await a_holding(chain, authority, other, program, authority.pubkey(), 7)
    approve = spl.approve(spl.ApproveParams(program, mine, delegate, authority.pubkey(), 5))
    await chain.send(await chain.signed(authority, [approve]))

    async def found(by: str, whose: Pubkey, **which: Pubkey) -> set[str]:
        config = PROCESSED | {"encoding": "base64"}
        chosen = {name: str(address) for name, address in which.items()}
        value = (await chain.call(f"getTokenAccountsBy{by}", str(whose), chosen, config))["value"]
        assert all(one["account"]["owner"] == str(program) for one in value)
        return {one["pubkey"] for one in value}

    assert await found("Owner", authority.pubkey(), mint=mint) == {str(mine)}
    assert await found("Owner", authority.pubkey(), programId=program) == {str(mine), str(mine_too)}
    assert await found("Owner", friend, programId=program) == {str(theirs)}
    assert await found("Delegate", delegate, programId=program) == {str(mine)}
    assert await found("Delegate", delegate, mint=other) == set()

    balance = (await chain.call("getTokenAccountBalance", str(mine), PROCESSED))["value"]
    assert balance == {"amount": "1500000", "decimals": 6, "uiAmount": 1.5, "uiAmountString": "1.5"}
    supply = (await chain.call("getTokenSupply", str(mint), PROCESSED))["value"]
    assert supply == {"amount": "3500000", "decimals": 6, "uiAmount": 3.5, "uiAmountString": "3.5"}
    largest = (await chain.call("getTokenLargestAccounts", str(mint), PROCESSED))["value"]
    assert [(one["address"], one["amount"]) for one in largest] == [
        (str(theirs), "2000000"),
        (str(mine), "1500000"),
    ]
    assert (await chain.call("getTokenSupply", str(other), PROCESSED))["value"]["uiAmountString"] == "7"


async def test_what_is_no_token_account_is_named(chain: Chain) -> None:
    wallet, nobody = await chain.wallet(), str(Pubkey.new_unique())
    holder = str(wallet.pubkey())

    async def message(method: str, *params: object) -> str:
        error = await chain.error(method, *params, PROCESSED)
        assert error["code"] == -32602
        return str(error["message"])

    assert await message("getTokenAccountBalance", nobody) == "Invalid param: could not find account"
    assert await message("getTokenAccountBalance", holder) == "Invalid param: not a Token account"
    assert await message("getTokenSupply", nobody) == "Invalid param: could not find mint"
    assert await message("getTokenLargestAccounts", holder) == "Invalid param: not a Token mint"
    by_owner = "getTokenAccountsByOwner"
    assert await message(by_owner, holder, {"mint": nobody}) == "Invalid param: could not find mint"
    assert await message(by_owner, holder, {"programId": nobody}) == (
        "Invalid param: unrecognized Token program id"
    )
    assert "one of mint, programId" in await message(by_owner, holder, {})

"""The program's accounts, read from the node: here their owner is checked and their data decoded."""

from __future__ import annotations

from typing import TypeVar

from msgspec import Struct
from solders.pubkey import Pubkey

from zmartd.chain.accounts import GlobalConfig, MarketAccount, UserPosition, VoteRecord
from zmartd.chain.answers import ChainAccount
from zmartd.chain.pdas import Pdas
from zmartd.chain.rpc import Rpc
from zmartd.errors import DetailedError

Kind = TypeVar("Kind", GlobalConfig, MarketAccount, UserPosition, VoteRecord)


class ProgramDetails(Struct, frozen=True):
    """The program that an error is about."""

    program_id: str
    """The program's address, base58."""


class ProtocolNotInitialized(DetailedError[ProgramDetails]):
    """The program is not set up on this cluster yet; its admin has to do that before anything else works."""

    code = "protocol_not_initialized"

    def __init__(self, program_id: Pubkey) -> None:
        super().__init__(ProgramDetails(str(program_id)))


class ChainMarket(Struct, frozen=True):
    """A market's account as it was at `slot`."""

    address: Pubkey
    account: MarketAccount
    slot: int

    @property
    def id(self) -> str:
        """The market's id as 64 hexadecimal digits."""
        return self.account.market_id.hex()


def decode_account(kind: type[Kind], account: ChainAccount | None, program_id: Pubkey) -> Kind | None:
    """The account's content; None where there is no account, or one that the program does not own.

    Raises UndecodableData when the program's account is of another kind.
    """
    if account is None or account.owner != program_id:
        return None
    return kind.decode(account.data)


def decode_market(account: ChainAccount | None, program_id: Pubkey) -> ChainMarket | None:
    """`decode_account` for a market, with its address and slot."""
    content = decode_account(MarketAccount, account, program_id)
    if account is None or content is None:
        return None
    return ChainMarket(account.address, content, account.slot)


async def find_config(rpc: Rpc, program_id: Pubkey) -> GlobalConfig | None:
    """The program's configuration; None before its admin has made it.

    This and what follows raise RpcUnavailable, RpcRejected and UndecodableData.
    """
    return decode_account(GlobalConfig, await rpc.account(Pdas(program_id).global_config()), program_id)


async def read_config(rpc: Rpc, program_id: Pubkey) -> GlobalConfig:
    """The program's configuration. Raises ProtocolNotInitialized where there is none."""
    config = await find_config(rpc, program_id)
    if config is None:
        raise ProtocolNotInitialized(program_id)
    return config


async def find_market(rpc: Rpc, program_id: Pubkey, address: Pubkey) -> ChainMarket | None:
    """The market at `address`; None where there is none."""
    return decode_market(await rpc.account(address), program_id)


async def read_config_and_market(
    rpc: Rpc, program_id: Pubkey, address: Pubkey
) -> tuple[GlobalConfig, ChainMarket | None]:
    """The configuration and the market at `address`, if there is one, both of the same slot.

    Raises ProtocolNotInitialized.
    """
    pdas = Pdas(program_id)
    return _config_and_market(await rpc.accounts([pdas.global_config(), address]), program_id)


async def read_position_and_market(
    rpc: Rpc, program_id: Pubkey, address: Pubkey, wallet: Pubkey
) -> tuple[UserPosition | None, GlobalConfig, ChainMarket | None]:
    """As `read_config_and_market`, with the wallet's position in the market, if it has one."""
    pdas = Pdas(program_id)
    position, *others = await rpc.accounts([pdas.position(address, wallet), pdas.global_config(), address])
    return decode_account(UserPosition, position, program_id), *_config_and_market(others, program_id)


def _config_and_market(
    accounts: list[ChainAccount | None], program_id: Pubkey
) -> tuple[GlobalConfig, ChainMarket | None]:
    config_account, market_account = accounts
    config = decode_account(GlobalConfig, config_account, program_id)
    if config is None:
        raise ProtocolNotInitialized(program_id)
    return config, decode_market(market_account, program_id)

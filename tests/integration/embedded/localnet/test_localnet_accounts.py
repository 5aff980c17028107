import base64

from based58 import b58encode
from solders.keypair import Keypair
from solders.pubkey import Pubkey

from tests.integration.embedded.localnet.localnet_client import SOL, Chain

PROGRAM = Pubkey.new_unique()


async def put(chain: Chain, data: bytes, owner: Pubkey = PROGRAM) -> str:
    """An account with `data`, confirmed."""
    address = str(Keypair().pubkey())
    await chain.call(
        "surfnet_setAccount", address, {"lamports": SOL, "data": data.hex(), "owner": str(owner)}
    )
    await chain.advance()
    return address


async def test_an_account_is_shown_in_the_encoding_asked_for(chain: Chain) -> None:
    address = await put(chain, b"hello")

    async def shown(**config: object) -> object:
        found = await chain.call("getAccountInfo", address, {"commitment": "confirmed", **config})
        return found["value"]["data"]

    assert await shown(encoding="base64") == [base64.b64encode(b"hello").decode(), "base64"]
    assert await shown(encoding="base58") == [b58encode(b"hello").decode(), "base58"]
    assert await shown() == b58encode(b"hello").decode()
    assert await shown(encoding="jsonParsed") == [base64.b64encode(b"hello").decode(), "base64"]
    assert await shown(encoding="base64", dataSlice={"offset": 1, "length": 3}) == [
        base64.b64encode(b"ell").decode(),
        "base64",
    ]


async def test_an_account_is_shown_whole(chain: Chain) -> None:
    address = await put(chain, bytes(10))
    found = await chain.call("getAccountInfo", address, {"commitment": "confirmed", "encoding": "base64"})
    assert found == {
        "context": {"slot": 1, "apiVersion": "2.2.0"},
        "value": {
            "lamports": SOL,
            "owner": str(PROGRAM),
            "data": [base64.b64encode(bytes(10)).decode(), "base64"],
            "executable": False,
            "rentEpoch": 0,
            "space": 10,
        },
    }


async def test_base58_is_refused_for_more_than_128_bytes(chain: Chain) -> None:
    address = await put(chain, bytes(129))
    config = {"commitment": "confirmed", "encoding": "base58"}
    error = await chain.error("getAccountInfo", address, config)
    assert error["code"] == -32600
    sliced = {**config, "dataSlice": {"offset": 0, "length": 128}}
    assert (await chain.call("getAccountInfo", address, sliced))["value"]["data"] == ["1" * 128, "base58"]


async def test_an_account_that_does_not_exist_is_null_and_has_no_balance(chain: Chain) -> None:
    address = str(Keypair().pubkey())
    assert (await chain.call("getAccountInfo", address))["value"] is None
    assert (await chain.call("getBalance", address))["value"] == 0


async def test_several_accounts_come_in_the_order_asked_for(chain: Chain) -> None:
    first, second, absent = await put(chain, b"1"), await put(chain, b"2"), str(Keypair().pubkey())
    found = await chain.call("getMultipleAccounts", [second, absent, first], {"commitment": "confirmed"})
    data = [one and base64.b64decode(one["data"][0]) for one in found["value"]]
    assert data == [b"2", None, b"1"]


async def test_the_accounts_of_a_program_can_be_filtered(chain: Chain) -> None:
    short, long_a, long_b = await put(chain, b"AB"), await put(chain, b"ABC-a"), await put(chain, b"ABC-b")
    await put(chain, b"ABC-a", owner=Pubkey.new_unique())

    async def addresses(*filters: object) -> set[str]:
        config = {"commitment": "confirmed", "encoding": "base64", "filters": list(filters)}
        return {one["pubkey"] for one in await chain.call("getProgramAccounts", str(PROGRAM), config)}

    at_4 = b58encode(b"b").decode()
    assert await addresses() == {short, long_a, long_b}
    assert await addresses({"dataSize": 5}) == {long_a, long_b}
    assert await addresses({"memcmp": {"offset": 0, "bytes": b58encode(b"ABC").decode()}}) == {
        long_a,
        long_b,
    }
    assert await addresses({"dataSize": 5}, {"memcmp": {"offset": 4, "bytes": at_4}}) == {long_b}
    in_base64 = {"offset": 4, "bytes": base64.b64encode(b"a").decode(), "encoding": "base64"}
    assert await addresses({"memcmp": in_base64}) == {long_a}
    assert await addresses({"memcmp": {"offset": 4, "bytes": list(b"a")}}) == {long_a}
    assert await addresses({"memcmp": {"offset": 99, "bytes": at_4}}) == set()


async def test_the_accounts_of_a_program_come_with_a_context_when_asked(chain: Chain) -> None:
    address = await put(chain, b"x")
    config = {"commitment": "confirmed", "encoding": "base64", "withContext": True}
    found = await chain.call("getProgramAccounts", str(PROGRAM), config)
    assert found["context"]["slot"] == 1
    assert [one["pubkey"] for one in found["value"]] == [address]


async def test_an_account_that_changes_hands_moves_to_the_other_program(chain: Chain) -> None:
    address, other = await put(chain, b"x"), Pubkey.new_unique()
    await chain.call("surfnet_setAccount", address, {"owner": str(other)})
    config = {"commitment": "processed", "encoding": "base64"}
    assert await chain.call("getProgramAccounts", str(PROGRAM), config) == []
    assert len(await chain.call("getProgramAccounts", str(other), config)) == 1


async def test_rent_exemption_is_solanas(chain: Chain) -> None:
    assert await chain.call("getMinimumBalanceForRentExemption", 0) == 890_880
    assert await chain.call("getMinimumBalanceForRentExemption", 165) == 2_039_280


async def test_an_overwritten_account_keeps_what_is_not_mentioned(chain: Chain) -> None:
    address = await put(chain, b"keep me")
    await chain.call("surfnet_setAccount", address, {"lamports": 5 * SOL})
    found = await chain.call("getAccountInfo", address, {"commitment": "processed", "encoding": "base64"})
    assert found["value"]["lamports"] == 5 * SOL
    assert base64.b64decode(found["value"]["data"][0]) == b"keep me"
    assert found["value"]["owner"] == str(PROGRAM)


async def test_the_sysvar_of_slot_hashes_has_the_blocks_before_the_open_one(chain: Chain) -> None:
    async def newest() -> tuple[int, str]:
        sysvar = "SysvarS1otHashes111111111111111111111111111"
        found = await chain.call("getAccountInfo", sysvar, {"encoding": "base64"})
        data = base64.b64decode(found["value"]["data"][0])
        return int.from_bytes(data[8:16], "little"), b58encode(data[16:48]).decode()

    for slots in (1, 3):
        await chain.advance(slots)
        block = await chain.call("getLatestBlockhash", {"commitment": "confirmed"})
        assert await newest() == (block["context"]["slot"], block["value"]["blockhash"])

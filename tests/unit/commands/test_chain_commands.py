"""What `zmartd airdrop` and `zmartd travel` take, and what they say where the chain does not offer it."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from solders.keypair import Keypair

from zmartd.cli import main
from zmartd.commands.parameters import lamports_of_sol, seconds_of_duration
from zmartd.private_file import write_private

WALLET = str(Keypair().pubkey())


def run(*arguments: str, **environment: str) -> Result:
    settings = {"ZMARTD_SOLANA_RPC_URL": "http://127.0.0.1:1", "ZMARTD_SOLANA_TIMEOUT_SECONDS": "0.2"}
    return CliRunner(env=settings | environment).invoke(main, arguments)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("72h", 259_200),
        ("2d", 172_800),
        ("90m", 5_400),
        ("30s", 30),
        ("1d12h", 129_600),
        ("1d1h1m1s", 90_061),
    ],
)
def test_a_length_of_time_has_units(text: str, seconds: int) -> None:
    assert seconds_of_duration(None, None, text) == seconds  # type: ignore[arg-type]  # it reads neither


@pytest.mark.parametrize(
    ("text", "lamports"), [("10", 10**10), ("0.5", 5 * 10**8), ("0.000000001", 1), ("1000000", 10**15)]
)
def test_an_amount_of_sol_is_exact(text: str, lamports: int) -> None:
    assert lamports_of_sol(None, None, text) == lamports  # type: ignore[arg-type]  # it reads neither


@pytest.mark.parametrize(
    "text", ["", "72", "h", "0h", "1h1d", "-1h", "1.5h", "72 h", "999999999d", "1H", "1h\n"]
)
def test_another_length_of_time_is_refused_with_an_example(text: str) -> None:
    result = run("travel", "--", text)
    assert result.exit_code == 2
    assert "write one like 72h, 2d, 90m, 30s or 1d12h" in " ".join(result.stderr.split())


@pytest.mark.parametrize(
    "text", ["", "0", "-1", "1e9", "0.0000000001", "1000001", "ten", "1,5", "NaN", "1_0"]
)
def test_another_amount_of_sol_is_refused_with_an_example(text: str) -> None:
    result = run("airdrop", WALLET, "--", text)
    assert result.exit_code == 2
    assert "write a number like 10 or 0.5" in " ".join(result.stderr.split())


def test_a_wallet_is_an_address_or_a_keypair_file_that_is_private(tmp_path: Path) -> None:
    result = run("airdrop", "nobody", "1")
    assert result.exit_code == 2
    assert "neither an address, 32 bytes in base58, nor a keypair file" in " ".join(result.stderr.split())
    result = run("airdrop", "nofile.json", "1")
    assert result.exit_code == 2
    assert "there is no file 'nofile.json'" in " ".join(result.stderr.split())
    file = tmp_path / "wallet.json"
    write_private(file, Keypair().to_json())
    file.chmod(0o644)
    assert "chmod 600" in run("airdrop", str(file), "1").stderr


@pytest.mark.parametrize(
    ("arguments", "cluster", "said"),
    [
        (("travel", "1h"), "devnet", "solana.cluster is devnet, where time passes by itself."),
        (("travel", "1h"), "mainnet", "solana.cluster is mainnet, where time passes by itself."),
        (("airdrop", WALLET, "1"), "mainnet", "solana.cluster is mainnet, which gives no SOL away."),
        (("airdrop", WALLET, "1"), "localnet", "http://127.0.0.1:1 did not answer"),
        (("travel", "1h"), "localnet", "http://127.0.0.1:1 did not answer"),
    ],
)
def test_where_it_is_not_to_be_had_the_cluster_is_named_and_what_to_do(
    arguments: tuple[str, ...], cluster: str, said: str
) -> None:
    result = run(*arguments, ZMARTD_SOLANA_CLUSTER=cluster)
    assert result.exit_code == 1
    assert said in result.stderr
    assert "Start `zmartd dev` in this folder" in result.stderr

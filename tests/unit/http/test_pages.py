"""What the pages have on a development chain, and nowhere else."""

from __future__ import annotations

import msgspec
import pytest

from zmartd.config import ServerSettings, Settings, SolanaSettings
from zmartd.config_values import RpcUrl
from zmartd.http.kit.development_chain import DevelopmentChain, development_chain
from zmartd.http.openapi import routes as openapi
from zmartd.http.openapi.routes import PageFacts, content_security_policy
from zmartd.http.pages import routes as pages

PRODUCTION = PageFacts("production", "mainnet", "1" * 32, None)
DEVELOPMENT = PageFacts("development", "localnet", "1" * 32, DevelopmentChain("http://127.0.0.1:8899"))
FILES = {file.path: file for file in (*openapi.FILES, *pages.FILES)}
ONLY_IN_DEVELOPMENT = (
    b"requestAirdrop",
    b"throw-away",
    b"DEVELOPMENT_RPC",
    b"127.0.0.1",
    b"generateKey",
    b"zmartd travel",
)


def settings(environment: str, cluster: str, rpc_url: str) -> Settings:
    server = msgspec.convert({"environment": environment}, ServerSettings)
    solana = msgspec.structs.replace(
        msgspec.convert({"cluster": cluster}, SolanaSettings, dec_hook=lambda kind, value: kind(value)),
        rpc_url=RpcUrl(rpc_url),
    )
    return Settings(server=server, solana=solana)


@pytest.mark.parametrize(
    ("environment", "cluster", "rpc_url", "shown"),
    [
        ("development", "localnet", "http://127.0.0.1:8899", "http://127.0.0.1:8899"),
        (
            "development",
            "localnet",
            "http://me:secret@localhost:8899/key?api-key=secret",
            "http://localhost:8899",
        ),
        ("production", "localnet", "http://127.0.0.1:8899", None),
        ("development", "devnet", "http://127.0.0.1:8899", None),
        ("development", "localnet", "https://node.example/secret", None),
    ],
)
def test_a_development_chain_is_on_this_machine_and_shown_without_secrets(
    environment: str, cluster: str, rpc_url: str, shown: str | None
) -> None:
    chain = development_chain(settings(environment, cluster, rpc_url))
    assert (chain and chain.rpc_url) == shown


def test_nothing_of_the_try_out_is_in_production() -> None:
    for path, file in FILES.items():
        if "swagger-ui" in path or path == "/llms.txt":
            continue
        content = file.read(PRODUCTION)
        assert [word for word in ONLY_IN_DEVELOPMENT if word in content] == [], path
    assert "127.0.0.1" not in content_security_policy(None)


def test_on_a_development_chain_the_documentation_has_a_wallet_and_the_page_says_what_to_try() -> None:
    script = FILES["/docs/start.js"].read(DEVELOPMENT)
    assert b'const DEVELOPMENT_RPC = "http://127.0.0.1:8899";' in script
    assert b"requestAirdrop" in script
    page = FILES["/"].read(DEVELOPMENT)
    assert b"zmartd travel 72h" in page
    assert b"throw-away wallet" in page
    policy = content_security_policy(DEVELOPMENT.chain)
    assert "connect-src 'self' http://127.0.0.1:8899; " in policy
    assert FILES["/"].response(DEVELOPMENT).headers["Content-Security-Policy"] == policy


def test_the_facts_on_the_page_are_text() -> None:
    hostile = PageFacts("<script>", '&amp;"', "$program</code>", None)
    page = FILES["/"].read(hostile).decode()
    assert "&lt;script&gt;" in page
    assert "&amp;amp;&quot;" in page
    assert "$program&lt;/code&gt;" in page

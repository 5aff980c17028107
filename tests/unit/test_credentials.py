"""Settings that systemd gives the daemon as credentials."""

from __future__ import annotations

from pathlib import Path

import pytest
from solders.keypair import Keypair

from tests.shared_secrets import shared_secret
from zmartd.config import Settings
from zmartd.config_file import load
from zmartd.config_values import ConfigError
from zmartd.dependencies import authority_of

JWT = shared_secret("jwt")
URL = "postgresql://zmartd:wonderful@db.example.com/zmartd"


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    directory = tmp_path / "credentials"
    directory.mkdir()
    return {"CREDENTIALS_DIRECTORY": str(directory)}


def give(environ: dict[str, str], **credentials: str) -> None:
    for name, text in credentials.items():
        file = Path(environ["CREDENTIALS_DIRECTORY"]) / name.replace("__", ".")
        file.write_text(text)
        file.chmod(0o440)  # as systemd's access control list looks


def test_a_credential_is_the_setting_that_it_is_named_after(environ: dict[str, str]) -> None:
    give(environ, database__url=URL, auth__jwt_secret=f"{JWT}\n")
    settings = load(None, environ)
    assert settings.database.url.reveal() == URL
    assert settings.auth.jwt_secret.reveal() == JWT


def test_the_environment_wins_over_a_credential_and_a_credential_over_the_file(
    environ: dict[str, str], tmp_path: Path
) -> None:
    file = tmp_path / "zmartd.toml"
    file.write_text(f'[auth]\njwt_secret = "{shared_secret("file")}"\n[redis]\nurl = "redis://file:1/0"\n')
    give(environ, auth__jwt_secret=JWT, database__url=URL)
    settings = load(file, environ | {"ZMARTD_DATABASE_URL": "postgresql://other/zmartd"})
    assert settings.auth.jwt_secret.reveal() == JWT
    assert settings.redis.url.reveal() == "redis://file:1/0"
    assert settings.database.url.reveal() == "postgresql://other/zmartd"


def test_an_empty_credential_gives_nothing(environ: dict[str, str]) -> None:
    give(environ, database__url="", solana__authority_keypair_path="", auth__jwt_secret_previous="\n")
    assert load(None, environ) == Settings()


def test_the_credential_of_a_path_is_the_file_itself(
    environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    key = Keypair()
    give(environ, solana__authority_keypair_path=key.to_json())
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", environ["CREDENTIALS_DIRECTORY"])
    assert authority_of(load(None, environ).solana) == key


def test_a_misspelt_credential_is_refused_and_a_foreign_one_is_not(environ: dict[str, str]) -> None:
    give(environ, tls_key="something of another program", auth__jwt_secert=JWT)
    with pytest.raises(ConfigError) as caught:
        load(None, environ)
    [problem] = caught.value.problems
    assert problem.startswith(
        "credential auth.jwt_secert: there is no such setting; did you mean auth.jwt_secret?"
    )


@pytest.mark.parametrize("text", [b"\xff\xfe", b"short"])
def test_a_bad_credential_is_named_and_not_quoted(environ: dict[str, str], text: bytes) -> None:
    (Path(environ["CREDENTIALS_DIRECTORY"]) / "auth.jwt_secret").write_bytes(text)
    with pytest.raises(ConfigError, match=r"credential auth\.jwt_secret: ") as caught:
        load(None, environ)
    assert "short" not in caught.value.message


def test_a_directory_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        load(None, {"CREDENTIALS_DIRECTORY": str(tmp_path / "nowhere")})


def test_a_setting_that_is_fixed_is_no_credential_s_to_give(environ: dict[str, str]) -> None:
    give(environ, database__url=URL)
    with pytest.raises(ConfigError, match=r"credential database\.url: it is our own"):
        load(None, environ, fixed={"database.url": "it is our own"})

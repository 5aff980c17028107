from __future__ import annotations

import json
import random
import tomllib
from base64 import b64encode
from pathlib import Path

import pytest

from zmartd.config import AuthSettings, ServerSettings, Settings
from zmartd.config_file import load, settings_table, to_toml
from zmartd.config_values import ConfigError, Secret, SharedSecret, Url
from zmartd.task_settings import ReconcilerSettings, TaskSettings

REPOSITORY = Path(__file__).parents[2]
KEY = "0f1e2d3c4b5a69788796a5b4c3d2e1f0"


def written(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "zmartd.toml"
    file.write_text(text)
    return file


def test_the_shipped_file_shows_every_setting_with_its_default_and_meaning() -> None:
    file = REPOSITORY / "zmartd.toml"
    assert load(file, {}) == Settings()
    flat = " ".join(line.lstrip("# ") for line in file.read_text().splitlines())
    for setting in settings_table():
        section, _, key = setting.name.rpartition(".")
        table = tomllib.loads(file.read_text())
        for part in section.split("."):
            table = table[part]
        assert key in table, setting.name
        assert setting.description[1:] in flat, setting.name


def test_the_environment_wins_over_the_file_and_the_file_over_the_default(tmp_path: Path) -> None:
    file = written(tmp_path, "[server]\nport = 5000\nhost = '::1'\n")
    settings = load(file, {"ZMARTD_SERVER_PORT": "6000"})
    assert (settings.server.port, settings.server.host) == (6000, "::1")
    assert settings.server.max_body_bytes == Settings().server.max_body_bytes


def test_values_from_the_environment_are_trimmed_and_unquoted() -> None:
    environ = {"ZMARTD_AUTH_JWT_SECRET": f' "{KEY}"\n', "ZMARTD_SERVER_CORS_ORIGINS": "http://a, http://b,"}
    settings = load(None, environ)
    assert settings.auth.jwt_secret == SharedSecret(KEY)
    assert settings.server.cors_origins == ("http://a", "http://b")


def test_a_misspelt_setting_names_the_one_that_was_meant_and_its_meaning(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load(written(tmp_path, "[database]\nulr = 'x'\n"), {})
    [problem] = caught.value.problems
    assert "database.ulr" in problem
    assert "did you mean database.url? It is the URL of Postgres" in problem


def test_every_problem_is_reported_at_once_with_its_rule(tmp_path: Path) -> None:
    file = written(tmp_path, "[server]\nport = 'abc'\n[tasks.reconciler]\nenabled = 3\n[nonsense]\nx = 1\n")
    with pytest.raises(ConfigError) as caught:
        load(file, {"ZMARTD_LOG_LEVEL": "loud", "ZMARTD_SERVER_PROT": "1"})
    text = caught.value.message
    for part in (
        "server.port: 'abc'",
        "tasks.reconciler.enabled: 3",
        "nonsense",
        "$ZMARTD_LOG_LEVEL: 'loud'",
        "$ZMARTD_SERVER_PROT: there is no such setting; did you mean $ZMARTD_SERVER_PORT?",
    ):
        assert part in text
    assert len(caught.value.problems) == 5


def test_a_secret_shows_in_no_error_and_no_representation(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load(written(tmp_path, "[auth]\njwt_secret = 12345\n"), {})
    assert "12345" not in caught.value.message
    assert KEY not in repr(load(None, {"ZMARTD_AUTH_JWT_SECRET": KEY}))


SHARED_SECRETS = [
    setting
    for setting in settings_table()
    if isinstance(setting.default, Secret) and not setting.default and not isinstance(setting.default, Url)
]
"""Every secret that has no default."""
GIVEN_BY_OTHERS = {
    "redis.sentinel_password",
    "helius.api_key",
    "solana.authority_secret_key",
    "tasks.ipfs_snapshot.service_token",
}
BYTES = {"alerts.webhook.secret", "alerts.webhook.secret_previous"}
"""Those that are bytes in base64."""


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("x", "it has 1 of the 32 characters that it needs"),
        (KEY[:31], "it has 31 of the 32 characters that it needs"),
        (f"{KEY[:20]}{' ' * 20}", "it has 20 of the 32 characters that it needs"),
        ("s" * 32, "it repeats itself and could be guessed"),
        ("change-me-" * 4, "it repeats itself and could be guessed"),
        ("0123456789" * 4, "it repeats itself and could be guessed"),
    ],
)
def test_every_shared_secret_that_could_be_guessed_is_refused_and_not_shown(value: str, said: str) -> None:
    checked = [one for one in SHARED_SECRETS if one.name not in GIVEN_BY_OTHERS | BYTES]
    assert [one.name for one in checked] == [
        "helius.authorization",
        "helius.authorization_previous",
        "helius.hmac_secret",
        "helius.hmac_secret_previous",
        "auth.jwt_secret",
        "auth.jwt_secret_previous",
    ]
    for setting in checked:
        with pytest.raises(ConfigError) as caught:
            load(None, {setting.environment_variable: value})
        [problem] = caught.value.problems
        assert problem.startswith(f"${setting.environment_variable}: ")
        assert f"{said}; `openssl rand -hex 32` makes a good one" in problem
        assert len(value) == 1 or value not in problem
    assert load(None, {checked[0].environment_variable: ""}) == Settings()


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("x", "write whsec_ and 24 to 64 bytes in base64"),
        (b64encode(bytes(range(32))).decode(), "write whsec_ and 24 to 64 bytes in base64"),
        ("whsec_" + b64encode(bytes(range(23))).decode(), "write whsec_ and 24 to 64 bytes in base64"),
        ("whsec_" + b64encode(bytes(range(65))).decode(), "write whsec_ and 24 to 64 bytes in base64"),
        ("whsec_not base64 at all, not at all", "write whsec_ and 24 to 64 bytes in base64"),
        ("whsec_" + b64encode(b"change-me-" * 4).decode(), "it repeats itself and could be guessed"),
    ],
)
def test_a_key_of_signed_webhooks_is_as_the_specification_has_it_and_not_shown(value: str, said: str) -> None:
    for name in BYTES:
        variable = f"ZMARTD_{name.replace('.', '_').upper()}"
        with pytest.raises(ConfigError) as caught:
            load(None, {variable: value})
        [problem] = caught.value.problems
        assert problem.startswith(f"${variable}: the value given does not fit: {said}")
        assert len(value) == 1 or value.removeprefix("whsec_") not in problem
    good = "whsec_" + b64encode(random.Random(7).randbytes(24)).decode()
    taken = load(None, {"ZMARTD_ALERTS_WEBHOOK_SECRET": good}).alerts.webhook.secret
    assert len(taken.key) == 24
    assert good not in repr(taken)


def test_what_openssl_makes_is_taken() -> None:
    rng = random.Random(7)
    values = [rng.randbytes(16).hex() for _ in range(1_000)]
    assert [SharedSecret(value).reveal() for value in values] == values
    taken = load(None, {"ZMARTD_HELIUS_HMAC_SECRET": values[0]})
    assert taken.helius.hmac_secret.reveal() == values[0]


WALLET = "7h3gXfBfYFueFVLYyfL5Qo1QGsf4GQUfW96FKVgnUsJS"


@pytest.mark.parametrize(
    ("setting", "text", "expected"),
    [
        ("voting.trusted_resolvers", '["abc"]', "write an address: 32 bytes in base58"),
        ("voting.trusted_resolvers", f'["{WALLET}"]', "write an address: 32 bytes in base58"),
        ("voting.trusted_resolvers", f"{WALLET},{WALLET[:-2]}", "write an address: 32 bytes in base58"),
        ("auth.domains", "[]", "write host or host:port"),
        ("auth.domains", "https://app.example", "write host or host:port"),
        ("auth.domains", "app.example/", "write host or host:port"),
        ("auth.domains", "", "length >= 1"),
        ("server.cors_origins", '["foo"]', "write scheme://host or scheme://host:port"),
        ("server.cors_origins", "app.example", "write scheme://host or scheme://host:port"),
        ("server.cors_origins", "https://app.example/", "write scheme://host or scheme://host:port"),
        ("server.cors_origins", "https://App.example", "write scheme://host or scheme://host:port"),
        ("server.cors_origins", "*", "write scheme://host or scheme://host:port"),
        ("server.trusted_proxies", "foo", "write an IP address, or a network"),
        ("server.trusted_proxies", "127.0.0.1,10.0.0.0/33", "write an IP address, or a network"),
        ("transactions.companions", "Memo", "write PROGRAM, PROGRAM:HEX, PROGRAM:HEX-HEX or PROGRAM:none"),
        ("transactions.companions", f"{WALLET}:", "write PROGRAM, PROGRAM:HEX"),
        ("transactions.companions", f"{WALLET}:2", "write PROGRAM, PROGRAM:HEX"),
        ("transactions.companions", f"{WALLET}:0A", "write PROGRAM, PROGRAM:HEX"),
        ("transactions.companions", f"{WALLET}:" + "00" * 9, "write PROGRAM, PROGRAM:HEX"),
        ("transactions.companions", f"{WALLET}:02-1", "write PROGRAM, PROGRAM:HEX"),
        ("transactions.companions", f"{WALLET}:02-0111", "the second HEX of a range is as long as the first"),
        ("transactions.companions", f"{WALLET}:11-02", "and not below it"),
        ("transactions.companions", ",".join([WALLET] * 101), "length <= 100"),
    ],
)
def test_a_list_with_a_member_that_does_not_fit_is_refused_where_it_is_read(
    tmp_path: Path, setting: str, text: str, expected: str
) -> None:
    meaning = {one.name: one.description for one in settings_table()}[setting]
    variable = f"ZMARTD_{setting.replace('.', '_').upper()}"
    section, _, key = setting.partition(".")
    file = written(tmp_path, f"[{section}]\n{key} = {json.dumps([one for one in text.split(',') if one])}\n")
    for path, environ, name in ((None, {variable: text}, variable), (file, {}, setting)):
        with pytest.raises(ConfigError) as caught:
            load(path, environ)
        [problem] = caught.value.problems
        assert f"{name}: " in problem
        assert expected in problem
        assert meaning in problem


def test_lists_whose_members_fit_are_taken() -> None:
    settings = load(
        None,
        {
            "ZMARTD_VOTING_TRUSTED_RESOLVERS": WALLET,
            "ZMARTD_AUTH_DOMAINS": "app.example, localhost:4000, [::1]:4000",
            "ZMARTD_SERVER_CORS_ORIGINS": "https://app.example, http://[::1]:3000",
            "ZMARTD_SERVER_TRUSTED_PROXIES": "127.0.0.1, 10.0.0.0/8, fd00::/8",
            "ZMARTD_TRANSACTIONS_COMPANIONS": f"{WALLET}, {WALLET}:02-11, {WALLET}:none",
        },
    )
    assert settings.transactions.companions == (WALLET, f"{WALLET}:02-11", f"{WALLET}:none")
    assert settings.voting.trusted_resolvers == (WALLET,)
    assert settings.auth.domains == ("app.example", "localhost:4000", "[::1]:4000")
    assert settings.server.cors_origins == ("https://app.example", "http://[::1]:3000")
    assert settings.server.trusted_proxies == ("127.0.0.1", "10.0.0.0/8", "fd00::/8")


def test_a_file_that_is_named_but_missing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no such file"):
        load(None, {"ZMARTD_CONFIG": str(tmp_path / "absent.toml")})


def test_settings_written_as_toml_are_read_back_the_same(tmp_path: Path) -> None:
    settings = Settings(
        server=ServerSettings(port=4321, cors_origins=("http://a", "http://b")),
        auth=AuthSettings(
            jwt_secret=SharedSecret('a long one with "quotes" and \\ in it'), legacy_signature_header=True
        ),
        tasks=TaskSettings(reconciler=ReconcilerSettings(every_seconds=1.5)),
    )
    text = to_toml(settings)
    assert "[database]" not in text
    assert load(written(tmp_path, text), {}) == settings


def test_broken_toml_says_where(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"not valid TOML.*line 1"):
        load(written(tmp_path, "[server\n"), {})


def test_the_tables_of_installed_tasks_of_other_packages_are_theirs_to_read(tmp_path: Path) -> None:
    own = "[tasks.reconciler]\nenabled = false\n"
    file = written(tmp_path, f"[tasks.greeter]\ngreeting = 'hello'\n[tasks.greeter.more]\nx = 1\n{own}")
    settings = load(file, {"ZMARTD_TASKS_GREETER_TIMES": " '3' "}, plugins=["greeter"])
    assert settings.plugins == {"greeter": {"greeting": "hello", "more": {"x": 1}, "times": "3"}}
    assert not settings.tasks.reconciler.enabled
    again = tmp_path / "again.toml"
    again.write_text(to_toml(settings))
    assert load(again, {}, plugins=["greeter"]) == settings

    with pytest.raises(ConfigError) as caught:
        load(file, {"ZMARTD_TASKS_GREETER_TIMES": "3"}, plugins=[])
    assert [problem.partition(": there is no such setting")[0] for problem in caught.value.problems] == [
        f"{file}: tasks.greeter",
        "$ZMARTD_TASKS_GREETER_TIMES",
    ]


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (
            "cron = '61 * * * *'",
            "write five fields, minute, hour, day of the month, month and day of the week",
        ),
        ("time_zone = 'Mars/Olympus'", "write the name of a time zone, like UTC or Europe/Berlin"),
        ("every_seconds = 0", "Expected `float` >= 0.1"),
    ],
)
def test_a_schedule_that_is_none_is_refused_with_what_is_expected(
    tmp_path: Path, line: str, problem: str
) -> None:
    with pytest.raises(ConfigError, match=r"tasks\.leaderboard") as caught:
        load(written(tmp_path, f"[tasks.leaderboard]\n{line}\n"), {})
    assert problem in caught.value.message


def test_a_task_runs_by_a_cron_expression_where_there_is_one(tmp_path: Path) -> None:
    file = written(tmp_path, "[tasks.leaderboard]\ncron = '0 3 * * *'\ntime_zone = 'Europe/Berlin'\n")
    assert load(file, {}).tasks.leaderboard.schedule.timing.text == "0 3 * * * Europe/Berlin"
    assert Settings().tasks.leaderboard.schedule.timing.text == "every 30 s"


@pytest.mark.parametrize("url", ["ftp://ipfs.example", "https://a@b@ipfs.example", "ipfs.example:5001"])
@pytest.mark.parametrize("name", ["service_url", "node_url", "gateway_url"])
def test_the_url_of_a_service_is_one_or_empty_and_is_not_shown(name: str, url: str) -> None:
    variable = f"ZMARTD_TASKS_IPFS_SNAPSHOT_{name.upper()}"
    with pytest.raises(ConfigError, match="write https://host/path") as caught:
        load(None, {variable: url})
    assert "ipfs.example" not in caught.value.message
    assert not getattr(load(None, {variable: ""}).tasks.ipfs_snapshot, name)
    good = getattr(load(None, {variable: "https://key@ipfs.example/psa"}).tasks.ipfs_snapshot, name)
    assert good.reveal() == "https://key@ipfs.example/psa"
    assert "key" not in repr(good)


def test_the_addresses_of_a_node_are_multiaddresses() -> None:
    variable = "ZMARTD_TASKS_IPFS_SNAPSHOT_NODE_ADDRESSES"
    with pytest.raises(ConfigError, match="write /ip4/ADDRESS/tcp/PORT/p2p/PEER"):
        load(None, {variable: "198.51.100.7:4001"})
    good = "/ip4/198.51.100.7/tcp/4001/p2p/12D3KooWA,/dns/node.example/tcp/443/wss"
    assert load(None, {variable: good}).tasks.ipfs_snapshot.node_addresses == tuple(good.split(","))

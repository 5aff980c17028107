"""nginx/: what holds for its files as they are shipped, without nginx."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from zmartd.config import HeliusSettings, RealtimeSettings, ServerSettings
from zmartd.daemon import CONFIRMATION_PATIENCE_SECONDS
from zmartd.http.routes import OPERATIONS
from zmartd.realtime.beats import BEAT_SECONDS

REPOSITORY = Path(__file__).parents[2]
NGINX = REPOSITORY / "nginx"
FILES = sorted(NGINX.rglob("*.conf"))
SITE = (NGINX / "zmartd.conf").read_text()
PROXY = (NGINX / "snippets/zmartd-proxy.conf").read_text()
GUIDE = (REPOSITORY / "docs" / "nginx.md").read_text()
LOCATIONS = re.findall(r"^    location ([^{]+) \{\n(.*?)^    \}", SITE, re.MULTILINE | re.DOTALL)
SERVER = ServerSettings()


def value(directive: str, text: str) -> str:
    """The value of a directive that is there once."""
    [found] = re.findall(rf"^\s*{directive} ([^;]+);", text, re.MULTILINE)
    assert isinstance(found, str)
    return found


def seconds(directive: str, text: str) -> int:
    return int(value(directive, text).removesuffix("s"))


def test_no_location_has_headers_of_its_own() -> None:
    """One of these in a location takes all that it would inherit from the server."""
    assert len(LOCATIONS) == 8
    for name, text in LOCATIONS:
        assert not re.search(r"proxy_set_header|add_header|limit_conn |error_page|_log ", text), name


def test_locations_that_hide_headers_hide_all_that_others_do() -> None:
    hidden = set(re.findall(r"proxy_hide_header ([^;]+);", PROXY))
    assert hidden == {"X-Request-Id"}
    for _, text in LOCATIONS:
        own = set(re.findall(r"proxy_hide_header ([^;]+);", text))
        assert not own or own > hidden


def test_what_nginx_may_send_twice_is_what_the_guide_says() -> None:
    """It repeats all methods but POST and PATCH."""
    repeated = [one for one in OPERATIONS if one.method not in {"GET", "POST", "PATCH"}]
    assert [(one.method, one.name) for one in repeated] == [("DELETE", "delete_comment")]
    assert "DELETE, of which the API has one: a comment" in GUIDE


def test_every_server_logs_without_queries() -> None:
    servers = SITE.split("\nserver {")[1:]
    assert len(servers) == 3
    assert all("include snippets/zmartd-log.conf;" in server for server in servers)
    [log_format] = re.findall(r"^log_format zmartd .*?;$", SITE, re.MULTILINE | re.DOTALL)
    forbidden = {"$request", "$request_uri", "$args", "$query_string", "$http_referer"}
    assert forbidden.isdisjoint(re.findall(r"\$\w+", log_format))
    log = (NGINX / "snippets/zmartd-log.conf").read_text()
    assert value("access_log", log).endswith(" zmartd")
    assert value("error_log", log).endswith(" emerg")


def test_limits_and_times_go_with_the_daemon_s_own() -> None:
    site = SITE[SITE.index("server_tokens off;\n    include snippets/zmartd-tls") :]
    sizes = re.findall(r"client_max_body_size (\d+)([km]);", site)
    bytes_each = [int(number) * {"k": 1024, "m": 1024 * 1024}[unit] for number, unit in sizes]
    assert bytes_each == [SERVER.max_body_bytes, HeliusSettings().max_body_bytes]
    assert value("limit_conn", site) == f"zmartd_clients {SERVER.max_connections_per_ip}"
    assert seconds("client_header_timeout", site) == SERVER.head_seconds
    assert 1 <= SERVER.drain_seconds - seconds("keepalive_timeout", SITE) <= 2
    longest = max(RealtimeSettings().heartbeat_seconds, BEAT_SECONDS, CONFIRMATION_PATIENCE_SECONDS)
    assert seconds("proxy_read_timeout", PROXY) >= 2 * longest


def test_the_upstream_is_two_daemons_of_the_documented_installation() -> None:
    units = (REPOSITORY / "docs/operations-systemd.md").read_text()
    assert value("zone", SITE) == "zmartd_turns 64k"
    daemons = re.findall(r"server 127\.0\.0\.1:(\d+) max_fails=0;", SITE)
    assert f"systemctl enable --now {' '.join(f'zmartd@{port}.service' for port in daemons)}" in units


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_the_guide_says_where_every_file_goes(file: Path) -> None:
    assert f"| `{file.relative_to(NGINX)}` | " in GUIDE


def test_the_guide_has_every_error_of_nginx_itself() -> None:
    [problems] = re.findall(r"map \$status \$zmartd_problem \{(.*?)^\}", SITE, re.MULTILINE | re.DOTALL)
    named = dict(re.findall(r"^    (\S+) .*?\"code\":\"(\w+)\"", problems, re.MULTILINE))
    rows = dict(re.findall(r"^\| (\d{3}(?:, \d{3})*) \| `(\w+)` \|", GUIDE, re.MULTILINE))
    assert {rows.pop("502, 503")} == {named.pop("default")}
    assert rows == named
    answered = {*named, "502", "503"}
    assert set(value("error_page", SITE).split(" @")[0].split()) == answered


def test_the_shipped_address_is_the_one_that_the_guide_says_to_keep_up_to_date() -> None:
    allowed = (NGINX / "snippets/zmartd-webhook-allow.conf").read_text()
    assert re.findall(r"^allow (.*);$", allowed, re.MULTILINE) == ["52.89.214.238"]
    [webhook] = [text for name, text in LOCATIONS if name == "^~ /helius"]
    assert webhook.index("include snippets/zmartd-webhook-allow.conf;") < webhook.index("deny all;")

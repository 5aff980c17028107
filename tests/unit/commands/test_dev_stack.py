from __future__ import annotations

import pytest

from zmartd.commands.dev_stack import sign_in_domains


@pytest.mark.parametrize("port", [4000, 4321])
def test_each_domain_of_a_development_system_is_named_once(port: int) -> None:
    domains = sign_in_domains(port)
    assert len(set(domains)) == len(domains)
    assert {f"localhost:{port}", f"127.0.0.1:{port}", "localhost:3000"} <= set(domains)

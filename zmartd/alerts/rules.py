"""All rules of alerts."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from zmartd.alerts import daemon_rules, index_rules, market_rules
from zmartd.alerts.rule import Rule

RULES: Final[Mapping[str, Rule]] = MappingProxyType(
    {rule.name: rule for rule in (*daemon_rules.RULES, *index_rules.RULES, *market_rules.RULES)}
)

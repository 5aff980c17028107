"""All metrics that zmartd has, as the registry declares them: whether they have values yet or not."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator

from msgspec import Struct
from prometheus_client import REGISTRY
from prometheus_client.core import Metric

import zmartd
from zmartd.alerts.system_gauges import PREFIX

OWN = "zmartd_"
_UNITS = ("seconds", "bytes", "lamports", "slots")


class Declared(Struct, frozen=True, order=True):
    """One metric, by the name with which queries begin."""

    name: str
    kind: str
    labels: tuple[str, ...]
    documentation: str

    @property
    def is_of_the_system(self) -> bool:
        return self.name.startswith(PREFIX)

    @property
    def unit(self) -> str:
        name = self.name.removesuffix("_total")
        if name.endswith("_timestamp_seconds"):
            return "unix seconds"
        return next((unit for unit in _UNITS if name.endswith(f"_{unit}")), "number")

    @property
    def series(self) -> tuple[str, ...]:
        """The names of its samples."""
        if self.kind == "histogram":
            return tuple(f"{self.name}_{part}" for part in ("bucket", "sum", "count"))
        return (self.name,)


def declared() -> list[Declared]:
    """Those of zmartd, and those of its process that prometheus_client adds, in the order of their names."""
    for module in pkgutil.walk_packages(zmartd.__path__, "zmartd."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    return sorted(_found())


def _found() -> Iterator[Declared]:
    for collector in list(REGISTRY._collector_to_names):
        describe = getattr(collector, "describe", collector.collect)
        for family in describe():
            if family.name.startswith((OWN, "process_")):
                name = family.name + ("_total" if family.type == "counter" else "")
                yield Declared(name, family.type, _labels(collector, family), family.documentation)


def _labels(collector: object, family: Metric) -> tuple[str, ...]:
    owner = family if hasattr(family, "_labelnames") else collector
    return tuple(getattr(owner, "_labelnames", ()))

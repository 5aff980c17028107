from __future__ import annotations

import resource

from zmartd.alerts.vitals import open_descriptors


def test_a_process_without_a_descriptor_left_has_all_of_them_open() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        found = open_descriptors()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert found == (3, 3)

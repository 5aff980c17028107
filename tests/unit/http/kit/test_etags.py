"""Entity tags: of what lasts in an answer."""

from __future__ import annotations

import msgspec

from zmartd.http.kit.etags import TaggedResponse


def tag(**body: object) -> str:
    return TaggedResponse.of(msgspec.json.encode(body)).etag


def test_seconds_that_run_do_not_change_the_tag_and_make_it_weak() -> None:
    waiting = [tag(open=False, missing_seconds=seconds) for seconds in (1, 86_400)]
    assert waiting[0] == waiting[1]
    assert waiting[0].startswith('W/"')
    assert tag(open=True, missing_seconds=1) != waiting[0]


def test_all_else_has_a_strong_tag_of_every_byte() -> None:
    tags = [tag(missing_seconds=None), tag(text='"missing_seconds":5'), tag(text='"missing_seconds":6')]
    assert len(set(tags)) == 3
    assert all(one.startswith('"') for one in tags)

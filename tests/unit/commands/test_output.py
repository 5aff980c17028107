from __future__ import annotations

import json

import pytest

from zmartd.commands.output import json_line, table


def test_columns_are_as_wide_as_their_widest_cell_and_lines_have_no_trailing_spaces() -> None:
    rows = [("a", "bbbb", ""), ("aaa", "b", "c")]
    assert table(rows).splitlines() == ["a    bbbb", "aaa  b     c"]
    assert table(rows, header=("", "NUMBER", "X"), right={1}).splitlines() == [
        "     NUMBER  X",
        "a      bbbb",
        "aaa       b  c",
    ]


def test_the_words_of_strangers_move_no_cursor_and_break_no_row() -> None:
    assert table([("a\x1b[2J", "b\nc", "\u202eé 選\t")]) == r"a\x1b[2J  b c  \u202eé 選\t"


def test_the_words_of_strangers_are_escaped_in_json_too() -> None:
    said = {"question": "\u202eé \U000e0041\x1b[2J選\n"}
    line = json_line(said)
    assert line == r'{"question":"\u202eé \udb40\udc41\u001b[2J選\n"}'
    assert json.loads(line) == said


def test_a_table_without_rows_is_empty() -> None:
    assert table([], header=("A", "B")) == ""


def test_a_row_of_another_length_is_refused() -> None:
    with pytest.raises(ValueError, match="shorter"):
        table([("a", "b"), ("c",)])

"""What a migration does to tables that are in use: which locks it takes, how much it reads and writes, and
what it takes away from daemons of the release before.

It goes by the text of the statements. What it cannot read, as a DO block, it says so. The locks are those of
PostgreSQL's documentation (Explicit Locking, and ALTER TABLE); tests compare them with `pg_locks`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from enum import Enum
from typing import Final

from msgspec import Struct


class Lock(Enum):
    """The locks of tables, the weakest first."""

    ROW_EXCLUSIVE = "row exclusive"
    """Readers and writers go on."""
    SHARE_UPDATE_EXCLUSIVE = "share update exclusive"
    """Readers and writers go on."""
    SHARE = "share"
    """Readers go on, writers wait."""
    SHARE_ROW_EXCLUSIVE = "share row exclusive"
    """Readers go on, writers wait."""
    ACCESS_EXCLUSIVE = "access exclusive"
    """Everybody waits."""
    UNKNOWN = "unknown"
    """It has to be read by a person."""

    @property
    def strength(self) -> int:
        return list(Lock).index(self)


class Work(Enum):
    """What is done to the rows that a table has, and how long that takes for each, in microseconds."""

    NOTHING = 0.0
    SCAN = 0.3
    INDEX = 2.0
    REWRITE = 5.0
    WRITE = 20.0
    STEPS = 100.0
    """In many transactions, one after the other."""


class Effect(Struct, frozen=True):
    """What one statement does to one table."""

    table: str
    lock: Lock
    work: Work = Work.NOTHING
    breaks: str = ""
    """What a daemon of the release before cannot do any more; empty: it goes on as it was."""


_TOKENS = re.compile(r"--[^\n]*|/\*.*?\*/|'(?:[^']|'')*'|\"[^\"]*\"|(\$\w*\$).*?\1|;", re.DOTALL)
_SPACES = re.compile(r"\s+")
_DIRECTIVE = re.compile(r"^-- zmartd: (\w+)(?:: (.+))?$", re.MULTILINE)
_NAME: Final = r"(?:only )?(?:if exists )?(?:if not exists )?(?:public\.)?([\w.]+)"
_REFERENCES = re.compile(rf"\breferences {_NAME}")
_TABLE_MADE = re.compile(rf"create (?:unlogged )?table {_NAME}")
_INDEX_MADE = re.compile(rf"create (unique )?index (concurrently )?(?:if not exists )?(?:\w+ )?on {_NAME}")
_TABLE_CHANGED = re.compile(rf"alter table {_NAME} (.*)")
_POLICY_OR_TRIGGER = re.compile(
    rf"(?:(?:create|alter|drop) policy|drop trigger) (?:if exists )?\w+ on {_NAME}"
)
_TRIGGER = re.compile(rf"create (?:or replace )?(?:constraint )?trigger .*? on {_NAME}")
_COMMENT = re.compile(rf"comment on table {_NAME}")
_LOCKS: Final = {
    _POLICY_OR_TRIGGER: Lock.ACCESS_EXCLUSIVE,
    _TRIGGER: Lock.SHARE_ROW_EXCLUSIVE,
    _COMMENT: Lock.SHARE_UPDATE_EXCLUSIVE,
}
_LOCKED = re.compile(rf"lock table {_NAME} in ([a-z ]+) mode")
_WRITTEN = re.compile(rf"\b(?:update|insert into|delete from) {_NAME}")
_DROPPED = re.compile(
    rf"drop (table|view|materialized view|function|routine|type|domain|sequence|schema) {_NAME}"
)
_INDEX_DROPPED = re.compile(rf"drop index (concurrently )?{_NAME}")
_REVOKED = re.compile(rf"revoke .*? on (?:table |sequence |function |schema )?{_NAME}")
_HARMLESS = re.compile(
    r"(select|set|reset|grant|comment|analyze|"
    r"create (or replace )?(function|view|type|domain|sequence|schema|aggregate|extension|collation)|"
    r"alter (function|sequence|default privileges|index|aggregate))\b"
)
_STABLE_DEFAULT = re.compile(r"\bdefault (now\(\)|'[^']*'(::\w+)?|[\w.]+(?!\w*\())(?= |$)")


def directive(sql: str, name: str) -> str | None:
    """What a migration declares with a line `-- zmartd: name: text`: the text, "" without one, or None."""
    for found in _DIRECTIVE.finditer(sql):
        if found[1] == name:
            return found[2] or ""
    return None


def statements(sql: str) -> list[str]:
    """The statements of a file, without comments and with single spaces outside of quotes."""
    bare = _TOKENS.sub(lambda token: " " if token[0].startswith(("--", "/*")) else token[0], sql)
    found, parts, end = [], [], 0
    for token in _TOKENS.finditer(bare):
        parts += [_SPACES.sub(" ", bare[end : token.start()]), token[0]]
        end = token.end()
        if token[0] == ";":
            found.append("".join(parts[:-1]).strip())
            parts = []
    found.append("".join([*parts, _SPACES.sub(" ", bare[end:])]).strip())
    return [one for one in found if one]


def effects(sql: str) -> list[Effect]:
    """What a file does to tables that were there before it."""
    made: set[str] = set()
    found: list[Effect] = []
    for statement in statements(sql):
        folded = statement.lower()
        if table := _TABLE_MADE.match(folded):
            made.add(table[1])
        found += [effect for effect in _effects_of(folded) if effect.table not in made]
    return found


def _effects_of(statement: str) -> Iterator[Effect]:
    if _TABLE_MADE.match(statement):
        yield from _referenced(statement)
    elif one := _INDEX_MADE.match(statement):
        refuses = f"{one[3]} refuses rows that it took before" if one[1] else ""
        lock = Lock.SHARE_UPDATE_EXCLUSIVE if one[2] else Lock.SHARE
        yield Effect(one[3], lock, Work.INDEX, refuses)
    elif one := _TABLE_CHANGED.match(statement):
        for action in _split(one[2]):
            yield from _altered(one[1], action)
    elif effect := _lock_alone(statement):
        yield effect
    elif one := _DROPPED.match(statement):
        yield Effect(one[2], Lock.ACCESS_EXCLUSIVE, breaks=f"the {one[1]} {one[2]} is gone")
    elif one := _INDEX_DROPPED.match(statement):
        yield Effect(one[2], Lock.SHARE_UPDATE_EXCLUSIVE if one[1] else Lock.ACCESS_EXCLUSIVE)
    elif one := _REVOKED.match(statement):
        yield Effect(one[1], Lock.ROW_EXCLUSIVE, breaks=f"rights on {one[1]} are gone")
    elif statement.startswith(("update", "insert", "delete", "with")) and (one := _WRITTEN.search(statement)):
        yield Effect(one[1], Lock.ROW_EXCLUSIVE, Work.WRITE)
    elif not _HARMLESS.match(statement):
        yield Effect("?", Lock.UNKNOWN, breaks=f"nobody can tell what this does: {statement[:40]}")


def _lock_alone(statement: str) -> Effect | None:
    """The effect of a statement that takes a lock, and touches no row."""
    for pattern, lock in _LOCKS.items():
        if one := pattern.match(statement):
            return Effect(one[1], lock)
    one = _LOCKED.match(statement)
    return Effect(one[1], Lock(one[2])) if one else None


def _altered(table: str, action: str) -> Iterator[Effect]:
    words = action.split()
    begins = " ".join(words[:2])
    everybody = Lock.ACCESS_EXCLUSIVE
    if begins in {"enable row", "force row", "disable row", "no force", "drop constraint", "owner to"}:
        yield Effect(table, everybody)
    elif words[0] == "rename":
        yield Effect(table, everybody, breaks=f"{table}: {action}")
    elif begins == "validate constraint":
        yield Effect(table, Lock.SHARE_UPDATE_EXCLUSIVE, Work.SCAN)
    elif words[0] in {"set", "reset"}:
        yield Effect(table, Lock.SHARE_UPDATE_EXCLUSIVE)
    elif words[0] == "drop":
        yield Effect(table, everybody, breaks=f"{table}: {action}")
    elif words[0] == "alter":
        yield _column_changed(table, action)
    elif words[0] == "add" and words[1] in {"constraint", "check", "unique", "primary", "foreign", "exclude"}:
        yield from _constrained(table, action)
    elif words[0] == "add":
        yield from _column_added(table, action)
    else:
        yield Effect(table, everybody, breaks=f"{table}: {action}")


def _column_changed(table: str, action: str) -> Effect:
    everybody = Lock.ACCESS_EXCLUSIVE
    if re.search(r"\b(drop not null|set default|set statistics|set storage)\b", action):
        light = Lock.SHARE_UPDATE_EXCLUSIVE if "statistics" in action else everybody
        return Effect(table, light)
    if " type " in action:
        return Effect(table, everybody, Work.REWRITE, f"{table}: {action}")
    return Effect(table, everybody, Work.SCAN, f"{table}: {action}")


def _constrained(table: str, action: str) -> Iterator[Effect]:
    waits_for_nothing = "not valid" in action
    work = Work.NOTHING if waits_for_nothing else Work.SCAN
    refuses = f"{table} refuses rows that it took before: {action}"
    if _REFERENCES.search(action):
        yield Effect(table, Lock.SHARE_ROW_EXCLUSIVE, work, refuses)
        yield from _referenced(action)
    elif " using index " in action:
        yield Effect(table, Lock.ACCESS_EXCLUSIVE, Work.NOTHING, refuses)
    elif re.search(r"\b(unique|primary key|exclude)\b", action):
        yield Effect(table, Lock.ACCESS_EXCLUSIVE, Work.INDEX, refuses)
    else:
        yield Effect(table, Lock.ACCESS_EXCLUSIVE, work, refuses)


def _column_added(table: str, action: str) -> Iterator[Effect]:
    work = Work.NOTHING
    if re.search(r"\b(unique|primary key)\b", action):
        work = Work.INDEX
    elif " check " in action:
        work = Work.SCAN
    has_default = " default " in action or " generated " in action
    if has_default and not _STABLE_DEFAULT.search(action):
        work = Work.REWRITE
    breaks = ""
    if " not null" in action and not has_default:
        breaks = f"{table} refuses rows without the new column: {action}"
    yield Effect(table, Lock.ACCESS_EXCLUSIVE, work, breaks)
    yield from _referenced(action)


def _referenced(text: str) -> Iterator[Effect]:
    for name in dict.fromkeys(_REFERENCES.findall(text)):
        yield Effect(name, Lock.SHARE_ROW_EXCLUSIVE)


def _split(actions: str) -> list[str]:
    """The actions of an ALTER TABLE, at the commas that are in no parenthesis."""
    parts, depth, begin = [], 0, 0
    for place, letter in enumerate(actions):
        depth += {"(": 1, ")": -1}.get(letter, 0)
        if letter == "," and not depth:
            parts.append(actions[begin:place].strip())
            begin = place + 1
    return [*parts, actions[begin:].strip()]

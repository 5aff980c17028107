"""Reads settings from the environment (`ZMARTD_<SECTION>_<NAME>`), the credentials of systemd, the TOML
file, or their defaults: the first that has a setting gives it.

Problems are reported all at once, each with the setting's description.
"""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence, Set
from functools import cache, cached_property
from importlib.metadata import entry_points
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_args, get_origin

import msgspec
from msgspec import Meta, Struct

from zmartd import __version__
from zmartd.config import Settings
from zmartd.config_values import REQUIRE_MEMBER, REQUIRE_TEXT, ConfigError, Secret
from zmartd.credentials import credentials
from zmartd.private_file import exposure
from zmartd.task_settings import TaskSettings
from zmartd.toml_lines import key_lines

AnyStruct = TypeVar("AnyStruct", bound=Struct)

ENVIRONMENT_PREFIX = "ZMARTD_"
CONFIG_VARIABLE = "ZMARTD_CONFIG"
VERSION_KEY = "zmartd_version"
_VERSION = re.compile(r"(\d+)\.(\d+)\.(\d+)")
_TASKS = "tasks."
TASK_PLUGINS = "zmartd.tasks"
"""The group of the entry points of periodic tasks."""
SEARCH_PATH = (Path("zmartd.toml"), Path("/etc/zmartd/zmartd.toml"))


class Setting(Struct, frozen=True):
    """One setting: its dotted name, type, default and description."""

    name: str
    type: Any
    default: Any
    description: str

    @property
    def kind(self) -> Any:
        """The type without what is annotated."""
        return get_args(self.type)[0] if get_origin(self.type) is Annotated else self.type

    @property
    def environment_variable(self) -> str:
        return ENVIRONMENT_PREFIX + self.name.replace(".", "_").upper()

    def require_member(self, member: str) -> None:
        """Raises ValueError with what is expected unless `member` is a valid member of this list."""
        self._require(REQUIRE_MEMBER, member)

    def require_text(self, value: Any) -> None:
        """Raises ValueError with what is expected where `value` is a text with a rule, and breaks it."""
        self._require(REQUIRE_TEXT, value)

    def _require(self, rule: str, value: Any) -> None:
        for meta in _metas(self.type):
            if meta.extra and rule in meta.extra:
                meta.extra[rule](value)


@cache
def settings_table(section: type[Struct] = Settings) -> tuple[Setting, ...]:
    """All settings, in the order of the file."""
    return tuple(_settings_of(section, ""))


def _settings_of(section: type[Struct], prefix: str) -> Iterator[Setting]:
    for field in msgspec.structs.fields(section):
        annotation = field.type
        if isinstance(annotation, type) and issubclass(annotation, Struct):
            yield from _settings_of(annotation, f"{prefix}{field.name}.")
            continue
        if section is Settings:
            continue  # the tables of plugins
        yield Setting(f"{prefix}{field.name}", annotation, field.default, _description(annotation))


def _description(annotation: Any) -> str:
    """What an annotation says of a setting; "" where it says nothing, as a plugin's may."""
    found = (meta.description for meta in _metas(annotation) if meta.description)
    return next(found, "")


def _metas(annotation: Any) -> list[Meta]:
    if get_origin(annotation) is not Annotated:
        return []
    return [meta for meta in get_args(annotation)[1:] if isinstance(meta, Meta)]


class Reading(Struct, frozen=True, kw_only=True):
    """What was read, also where something is wrong with it."""

    settings: Settings
    """With the defaults in the place of what cannot be used."""
    file: Path | None
    origins: Mapping[str, str]
    """Where each setting that was given comes from, as `zmartd.toml:12` or `$ZMARTD_SERVER_PORT`.

    Of a task of another package each of its settings, too.
    """
    problems: Sequence[str]
    warnings: Sequence[str]
    """What is ignored without harm."""
    unusable: Set[str]
    """The names of settings whose value is not known, since what was given does not fit or cannot be read."""

    def usable(self) -> Settings:
        """The settings. Raises ConfigError with all problems."""
        if self.problems:
            raise ConfigError(list(self.problems))
        return self.settings


def load(
    path: Path | None = None,
    environ: Mapping[str, str] | None = None,
    *,
    defaults: Settings = Settings(),  # noqa: B008 - it is frozen
    fixed: Mapping[str, str] = {},
    plugins: Collection[str] | None = None,
) -> Settings:
    """The settings that `read` gives. Raises ConfigError with all problems."""
    return read(path, environ, defaults=defaults, fixed=fixed, plugins=plugins).usable()


def read(
    path: Path | None = None,
    environ: Mapping[str, str] | None = None,
    *,
    defaults: Settings = Settings(),  # noqa: B008 - it is frozen
    fixed: Mapping[str, str] = {},
    plugins: Collection[str] | None = None,
) -> Reading:
    """Read the settings from `path` (else $ZMARTD_CONFIG, else ./zmartd.toml, else /etc/zmartd/zmartd.toml).

    The file is optional. Settings that are nowhere are those of `defaults`. Those in `fixed` may be nowhere:
    where one is given, its text there is the problem. `plugins` are tasks of other packages, by default those
    that are installed: their tables are for them to read, with `read_table`.

    A file says in `zmartd_version` for which version it was written. What is unknown in one for a newer
    version than this is a warning.
    """
    environ = os.environ if environ is None else environ
    intake = _Intake(fixed, plugins)
    file: Path | None = None
    try:
        file = find(path, environ)
        if file is not None:
            intake.take_file(file)
    except ConfigError as error:
        intake.give_up(error)
    try:
        intake.take_credentials(environ)
    except ConfigError as error:
        intake.give_up(error)
    intake.take_environment(environ)
    settings: Settings = _build(defaults, intake.values)
    return Reading(
        settings=msgspec.structs.replace(settings, plugins=intake.tables),
        file=file,
        origins=intake.origins,
        problems=intake.problems,
        warnings=intake.warnings,
        unusable=intake.unusable,
    )


class _Intake:
    """What the sources give, taken from one after the other; what a later one gives wins."""

    def __init__(self, fixed: Mapping[str, str], plugins: Collection[str] | None) -> None:
        self.known = {setting.name: setting for setting in settings_table()}
        self.values: dict[str, Any] = {}
        self.tables: dict[str, dict[str, Any]] = {}
        self.origins: dict[str, str] = {}
        self.problems: list[str] = []
        self.warnings: list[str] = []
        self.unusable: set[str] = set()
        self._fixed = fixed
        self._given_plugins = plugins

    @cached_property
    def _plugins(self) -> Collection[str]:
        """Asked for only where something is for one: to find those installed reads a file of each package."""
        return plugin_names() if self._given_plugins is None else self._given_plugins

    def give_up(self, error: ConfigError) -> None:
        """Note that a source cannot be read, so that only what later ones give is usable."""
        self.problems += error.problems
        self.unusable |= self.known.keys()

    def take(self, name: str, raw: Any, origin: str, where: str) -> None:
        """Take the value of a known setting. A problem with it begins with `where`."""
        before = len(self.problems)
        self.unusable.discard(name)
        self.origins[name] = origin
        if name in self._fixed:
            self.problems.append(f"{where}: {self._fixed[name]}")
        else:
            _take(self.known[name], raw, self.values, self.problems, where)
        if len(self.problems) > before:
            self.unusable.add(name)
            self.values.pop(name, None)

    def take_file(self, file: Path) -> None:
        """Raises ConfigError where the file cannot be read."""
        text = _text(file)
        table, lines = _parsed(file, text), key_lines(text)

        def origin(name: str) -> str:
            return f"{file}:{lines[name]}" if name in lines else str(file)

        is_newer = _is_newer(table.pop(VERSION_KEY, None), file, self.problems)
        for name, raw in _leaves(table, self.known):
            if name in self.known:
                self.take(name, raw, origin(name), f"{file}: {name}")
            elif isinstance(raw, dict) and name.startswith(_TASKS) and name[len(_TASKS) :] in self._plugins:
                self.tables[name.removeprefix(_TASKS)] = raw
                self.origins.update((one, origin(one)) for one in _paths(raw, f"{name}."))
            else:
                unknown = self.warnings if is_newer else self.problems
                unknown.append(f"{file}: {name}: {_unknown(name, self.known)}")

    def take_credentials(self, environ: Mapping[str, str]) -> None:
        """Take the credentials of systemd. One that is not named like a setting may be for something else.

        Raises ConfigError where they cannot be read.
        """
        sections = {name.rpartition(".")[0] for name in self.known}
        for name, text in credentials(environ).items():
            if name in self.known:
                self.take(name, text, f"credential {name}", f"credential {name}")
            elif name.rpartition(".")[0] in sections:
                self.problems.append(f"credential {name}: {_unknown(name, self.known)}")

    def take_environment(self, environ: Mapping[str, str]) -> None:
        variables = {setting.environment_variable: setting.name for setting in self.known.values()}
        for variable, name in variables.items():
            if variable in environ:
                self.take(name, _unquoted(environ[variable]), f"${variable}", f"${variable}")
        for variable in environ:
            if not variable.startswith(ENVIRONMENT_PREFIX) or variable in {*variables, CONFIG_VARIABLE}:
                continue
            plugin = _take_variable_of_plugin(variable, environ[variable], self._plugins, self.tables)
            if plugin is not None:
                self.origins[plugin] = f"${variable}"
                continue
            close = difflib.get_close_matches(variable, variables, n=1)
            hint = f"did you mean ${close[0]}?" if close else "unset it"
            self.problems.append(f"${variable}: there is no such setting; {hint}")


def _paths(table: Mapping[str, Any], prefix: str) -> Iterator[str]:
    for key, value in table.items():
        if isinstance(value, dict):
            yield from _paths(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}"


def _is_newer(version: Any, file: Path, problems: list[str]) -> bool:
    """Whether a file says that it is for a newer version than this."""
    if version is None:
        return False
    found = _VERSION.match(version) if isinstance(version, str) else None
    if found is None:
        form = f'{VERSION_KEY} = "{__version__}"'
        problems.append(f"{file}: {VERSION_KEY}: write the version that the file is for, as {form}")
        return False
    own = _VERSION.match(__version__)
    assert own is not None, "the version of this package is three numbers"
    return [int(one) for one in found.groups()] > [int(one) for one in own.groups()]


def plugin_names() -> list[str]:
    """The names of the installed tasks of other packages."""
    own = TaskSettings.__struct_fields__
    return sorted({plugin.name for plugin in entry_points(group=TASK_PLUGINS)}.difference(own))


def read_table(kind: type[AnyStruct], table: Mapping[str, Any], section: str) -> AnyStruct:
    """The settings of a plugin from the table `section`, by the rules of this package's own.

    Raises ConfigError with all problems.
    """
    known = {setting.name: setting for setting in settings_table(kind)}
    values: dict[str, Any] = {}
    problems: list[str] = []
    for name, raw in _leaves(table, known):
        if name in known:
            _take(known[name], raw, values, problems, f"{section}.{name}")
        else:
            close = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {close[0]}?" if close else f"there are: {', '.join(known) or 'none'}"
            problems.append(f"{section}.{name}: there is no such setting; {hint}")
    if problems:
        raise ConfigError(problems)
    return _made(kind, values, section)


def _made(kind: type[AnyStruct], values: Mapping[str, Any], section: str, prefix: str = "") -> AnyStruct:
    given: dict[str, Any] = {}
    for field in msgspec.structs.fields(kind):
        name, annotation = f"{prefix}{field.name}", field.type
        if isinstance(annotation, type) and issubclass(annotation, Struct):
            given[field.name] = _made(annotation, values, section, f"{name}.")
        elif name in values:
            given[field.name] = values[name]
        elif field.required:
            setting = Setting(name, annotation, None, _description(annotation))
            raise ConfigError([f"{section}.{name}: it has to be given.{_it_is(setting)}"])
    try:
        return kind(**given)
    except (ValueError, TypeError) as error:
        raise ConfigError([f"{section}: {error}"]) from error


def _take_variable_of_plugin(
    variable: str, text: str, plugins: Iterable[str], tables: dict[str, dict[str, Any]]
) -> str | None:
    """The name of the plugin's setting that the variable is, which is then in its table; or None."""
    for name in plugins:
        prefix = f"{ENVIRONMENT_PREFIX}{_TASKS}{name}.".replace(".", "_").upper()
        if variable.startswith(prefix) and variable != prefix:
            key = variable.removeprefix(prefix).lower()
            tables.setdefault(name, {})[key] = _unquoted(text)
            return f"{_TASKS}{name}.{key}"
    return None


def exposed_secrets(path: Path | None = None, environ: Mapping[str, str] | None = None) -> str | None:
    """A warning when other users may read the file that `load` reads secrets from, or None."""
    file = find(path, os.environ if environ is None else environ)
    if file is None:
        return None
    problem = exposure(file, file.stat())
    if problem is None:
        return None
    defaults = {one.name: one.default.reveal() for one in settings_table() if _is_secret(one)}
    try:
        table = _parsed(file, _text(file))
    except ConfigError:
        return None
    leaves = _leaves(table, {one.name: one for one in settings_table()})
    secret = [name for name, value in leaves if value != defaults.get(name, value)]
    if not secret:
        return None
    return f"{problem}; it gives {', '.join(secret)}, which the environment can give instead"


def to_toml(settings: Settings) -> str:
    """The text of a zmartd.toml with these settings: those that differ from the defaults, also secrets."""
    lines: list[str] = []
    last = ""
    for setting in settings_table():
        section, _, key = setting.name.rpartition(".")
        value: Any = settings
        for part in setting.name.split("."):
            value = getattr(value, part)
        if value == setting.default:
            continue
        if section != last:
            lines += ["", f"[{section}]"] if lines else [f"[{section}]"]
            last = section
        plain = value.reveal() if isinstance(value, Secret) else value
        # A JSON string, number, boolean or array of strings is the same thing in TOML.
        lines.append(f"{key} = {msgspec.json.encode(plain).decode()}")
    for name, table in settings.plugins.items():
        lines += _table_lines(f"{_TASKS}{name}", table)
    return "\n".join(lines) + "\n"


def _table_lines(name: str, table: Mapping[str, Any]) -> Iterator[str]:
    yield f"\n[{name}]"
    for key, value in table.items():
        if not isinstance(value, dict):
            yield f"{key} = {msgspec.json.encode(value).decode()}"
    for key, value in table.items():
        if isinstance(value, dict):
            yield from _table_lines(f"{name}.{key}", value)


def find(path: Path | None, environ: Mapping[str, str]) -> Path | None:
    """The file that `load` reads, or None. Raises ConfigError where one is named that is not there."""
    named = path or (Path(environ[CONFIG_VARIABLE]) if environ.get(CONFIG_VARIABLE) else None)
    if named is not None:
        if not named.is_file():
            raise ConfigError([f"{named}: there is no such file; give the path of a zmartd.toml"])
        return named
    return next((candidate for candidate in SEARCH_PATH if candidate.is_file()), None)


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ConfigError([f"{file}: this is not valid TOML: it is not UTF-8"]) from error
    except OSError as error:
        raise ConfigError([f"{file}: the file cannot be read: {error.strerror}"]) from error


def _parsed(file: Path, text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError([f"{file}: this is not valid TOML: {error}"]) from error


def _leaves(
    table: Mapping[str, Any], known: Mapping[str, Setting], prefix: str = ""
) -> Iterator[tuple[str, Any]]:
    for key, value in table.items():
        name = prefix + key
        is_section = any(other.startswith(f"{name}.") for other in known)
        if isinstance(value, dict) and is_section:
            yield from _leaves(value, known, f"{name}.")
        else:
            yield name, value


def _take(setting: Setting, raw: Any, values: dict[str, Any], problems: list[str], where: str) -> None:
    value = raw.strip() if isinstance(raw, str) else raw
    is_list = get_origin(setting.kind) is tuple
    if is_list and isinstance(value, str):
        value = [item.strip() for item in value.split(",") if item.strip()]
    try:
        taken = msgspec.convert(value, setting.type, strict=False, dec_hook=_decode_secret)
        setting.require_text(taken)
    except ValueError as error:  # a ValidationError is one
        shown = "the value given" if _is_secret(setting) else repr(raw)
        problems.append(f"{where}: {shown} does not fit: {error}.{_it_is(setting)}")
        return
    values[setting.name] = taken
    if not is_list:
        return
    hint = "; commas alone separate a list's members here" if isinstance(raw, str) else ""
    for member in taken:
        try:
            setting.require_member(member)
        except ValueError as error:
            problems.append(f"{where}: {member!r} does not fit: {error}{hint}.{_it_is(setting)}")


def _decode_secret(kind: type, value: Any) -> Any:
    if not isinstance(value, str):
        raise msgspec.ValidationError("Expected `str`")
    return kind(value)


def _is_secret(setting: Setting) -> bool:
    return isinstance(setting.kind, type) and issubclass(setting.kind, Secret)


def _unknown(name: str, known: Mapping[str, Setting]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    if not close:
        return "there is no such setting; zmartd.toml in the root of the repository lists all of them"
    return f"there is no such setting; did you mean {close[0]}?{_it_is(known[close[0]])}"


def _it_is(setting: Setting) -> str:
    return f" It is {setting.description}." if setting.description else ""


def _unquoted(text: str) -> str:
    text = text.strip()
    if len(text) >= 2 and text[0] == text[-1] and text[0] in "\"'":
        return text[1:-1]
    return text


def _build(section: Any, values: Mapping[str, Any], prefix: str = "") -> Any:
    """`section` with the values of its settings replaced by `values`, by their dotted names."""
    given: dict[str, Any] = {}
    for field in section.__struct_fields__:
        name = f"{prefix}{field}"
        old = getattr(section, field)
        if isinstance(old, Struct):
            given[field] = _build(old, values, f"{name}.")
        elif name in values:
            given[field] = values[name]
    return msgspec.structs.replace(section, **given)

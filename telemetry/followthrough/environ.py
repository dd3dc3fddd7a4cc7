"""Settings: each is declared once, with its environment name, type, default and one sentence.

A settings class is a frozen dataclass whose fields come from `setting()`. `load()` reads them from
an environment and reports every wrong value at once.
"""

from __future__ import annotations

import dataclasses
import os
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

T = TypeVar("T")

TRUE = frozenset({"1", "true", "yes", "on"})
FALSE = frozenset({"0", "false", "no", "off"})
MASK = "********"


class SettingsError(ValueError):
    """Raised with every wrong setting at once; `problems` has one sentence each."""

    def __init__(self, problems: list[str]) -> None:
        self.problems = problems
        super().__init__("; ".join(problems))


@dataclass(frozen=True)
class Spec:
    """What a setting is: its environment name, its sentence and how it is read."""

    env: str
    doc: str
    secret: bool
    aliases: tuple[str, ...]
    minimum: float


def setting(
    env: str,
    default: Any,
    doc: str,
    *,
    secret: bool = False,
    aliases: tuple[str, ...] = (),
    minimum: float = 0,
) -> Any:
    """Declare a setting; a callable default is given the values before it and the environment."""
    spec = Spec(env, doc, secret, aliases, minimum)
    return dataclasses.field(metadata={"spec": spec, "default": default})


@dataclass(frozen=True)
class Row:
    """One line of the settings table."""

    env: str
    value: str
    source: str
    doc: str


def load(cls: type[T], environ: Mapping[str, str] | None = None) -> T:
    """Read `cls` from an environment (default: the process's).

    Raises SettingsError naming every wrong value; `cls.problems(self)` adds contradictions.
    """
    values, problems = read(cls, os.environ if environ is None else environ)
    instance = cls(**values)
    check: Callable[[], list[str]] = getattr(instance, "problems", list)
    if problems := [*problems, *check()]:
        raise SettingsError(problems)
    return instance


def read(cls: type[Any], env: Mapping[str, str]) -> tuple[dict[str, Any], list[str]]:
    """The values of the settings in `cls`, and a sentence for each that can't be read.

    The default stands in for what can't be read, so that contradictions can still be found.
    """
    values: dict[str, Any] = {}
    problems: list[str] = []
    hints = typing.get_type_hints(cls)
    for field in _fields(cls):
        try:
            values[field.name] = _read(field, hints[field.name], values, env)
        except ValueError as error:
            problems.append(f"{field.metadata['spec'].env}: {error}")
            values[field.name] = _default(field, values, env)
    return values, problems


def _fields(cls: Any) -> list[dataclasses.Field[Any]]:
    return [field for field in dataclasses.fields(cls) if "spec" in field.metadata]


def describe(instance: Any, environ: Mapping[str, str] | None = None) -> list[Row]:
    """The settings as table rows, with where each value came from and secrets masked."""
    env = os.environ if environ is None else environ
    return [_row(instance, field, env) for field in _fields(instance)]


def environment(instance: Any, environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """The variables by which another process reads the same settings, where `environ` says else."""
    found, _ = read(type(instance), os.environ if environ is None else environ)
    return {
        field.metadata["spec"].env: _text(getattr(instance, field.name))
        for field in _fields(instance)
        if getattr(instance, field.name) != found[field.name]
    }


def _text(value: Any) -> str:
    """A value as `parse` reads it; an empty one counts as not set."""
    if value is None:
        return ""
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return str(value)


def _row(instance: Any, field: dataclasses.Field[Any], env: Mapping[str, str]) -> Row:
    spec: Spec = field.metadata["spec"]
    name = _name_in(spec, env)
    source = "default" if name is None else f"environment ({name})"
    return Row(spec.env, _shown(getattr(instance, field.name), spec), source, spec.doc)


def _shown(value: Any, spec: Spec) -> str:
    if value is None or value == ():
        return ""
    if spec.secret:
        return MASK
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return without_password(str(value))


def without_password(text: str) -> str:
    """A URL with its password masked; any other text unchanged."""
    try:
        password = urlsplit(text).password
    except ValueError:
        return text
    return text.replace(f":{password}@", f":{MASK}@", 1) if password else text


def _name_in(spec: Spec, env: Mapping[str, str]) -> str | None:
    # As OpenTelemetry does, an empty value counts as not set.
    return next((name for name in (spec.env, *spec.aliases) if env.get(name)), None)


def _read(
    field: dataclasses.Field[Any], kind: Any, values: dict[str, Any], env: Mapping[str, str]
) -> Any:
    name = _name_in(field.metadata["spec"], env)
    if name is None:
        return _default(field, values, env)
    return _at_least(field.metadata["spec"].minimum, parse(kind, env[name].strip()))


def _default(field: dataclasses.Field[Any], values: dict[str, Any], env: Mapping[str, str]) -> Any:
    default = field.metadata["default"]
    return default(values, env) if callable(default) else default


def _at_least(minimum: float, value: Any) -> Any:
    if isinstance(value, int | float) and value < minimum:
        raise ValueError(f"{value} is less than {minimum}")
    return value


def parse(kind: Any, text: str) -> Any:
    """`text` as `kind`: str, int, float, bool, Path, a Literal, tuple[T, ...] or T | None."""
    origin = typing.get_origin(kind)
    if origin in (types.UnionType, typing.Union):
        return parse(next(k for k in typing.get_args(kind) if k is not types.NoneType), text)
    if origin is typing.Literal:
        return _choice(typing.get_args(kind), text)
    if origin is tuple:
        of = typing.get_args(kind)[0]
        return tuple(parse(of, part.strip()) for part in text.split(",") if part.strip())
    return _PARSERS[kind](text)


def _choice(choices: tuple[str, ...], text: str) -> str:
    if text.lower() not in choices:
        raise ValueError(f"{text!r} is none of {', '.join(choices)}")
    return text.lower()


def _bool(text: str) -> bool:
    if text.lower() in TRUE:
        return True
    if text.lower() in FALSE:
        return False
    raise ValueError(f"{text!r} is neither true nor false")


def _int(text: str) -> int:
    try:
        value = int(text)
    except ValueError:
        raise ValueError(f"{text!r} is not a whole number") from None
    if value < 0:
        raise ValueError(f"{value} is negative")
    return value


def _float(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise ValueError(f"{text!r} is not a number") from None
    if not 0 <= value < float("inf"):
        raise ValueError(f"{text} is not a finite number of at least 0")
    return value


_PARSERS: dict[Any, Callable[[str], Any]] = {
    str: str,
    int: _int,
    float: _float,
    bool: _bool,
    Path: lambda text: Path(text).expanduser().absolute(),
}


def port_problems(**ports: int) -> list[str]:
    """One sentence for each port out of range and each pair of settings with the same port."""
    problems = [
        f"{env}: {port} is not a port (1 to 65535)"
        for env, port in ports.items()
        if not 1 <= port <= 65535  # noqa: PLR2004
    ]
    seen: dict[int, str] = {}
    for env, port in ports.items():
        if port in seen:
            problems.append(f"{env}: {port} is taken by {seen[port]}; give each its own port")
        seen.setdefault(port, env)
    return problems


def url_problems(**urls: str | None) -> list[str]:
    """One sentence for each address that is no http:// or https:// one, or has a bad port.

    The address itself is left out: its user, path or query may be a secret.
    """
    return [
        f"{env}: is not an http:// or https:// address with a host and, if any, a port "
        "from 1 to 65535"
        for env, url in urls.items()
        if url is not None and not _is_web_address(url)
    ]


def _is_web_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False

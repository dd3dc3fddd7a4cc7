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
from urllib.parse import unquote, urlsplit

T = TypeVar("T")

TRUE = frozenset({"1", "true", "yes", "on"})
FALSE = frozenset({"0", "false", "no", "off"})
PROTOCOL = "http/protobuf"
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


def _named_service(values: Mapping[str, Any], _env: Mapping[str, str]) -> str | None:
    pairs = [pair.partition("=") for pair in values["resource_attributes"]]
    names = [value for key, _, value in pairs if key.strip() == "service.name"]
    return unquote(names[-1].strip()) or None if names else None


def _general_protocol(values: Mapping[str, Any], _env: Mapping[str, str]) -> str:
    return str(values["otlp_protocol"])


def _state_dir(_values: Mapping[str, Any], env: Mapping[str, str]) -> Path:
    home = env.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(home) / "followthrough"


@dataclass(frozen=True)
class Settings:
    """The kit's settings; standard OpenTelemetry names keep their standard meaning."""

    state_dir: Path = setting(
        "FOLLOWTHROUGH_STATE_DIR", _state_dir, "Directory the processes of a host share."
    )
    strict: bool = setting(
        "FOLLOWTHROUGH_STRICT", False, "Raise errors inside telemetry instead of counting them."
    )
    sdk_disabled: bool = setting("OTEL_SDK_DISABLED", False, "Turn all tracing off.")
    resource_attributes: tuple[str, ...] = setting(
        "OTEL_RESOURCE_ATTRIBUTES", (), "What every span says of its origin, as name=value pairs."
    )
    service_name: str | None = setting(
        "OTEL_SERVICE_NAME",
        _named_service,
        "Service name; default: service.name in OTEL_RESOURCE_ATTRIBUTES, else the program's own.",
    )
    traces_exporters: tuple[typing.Literal["otlp", "console", "none"], ...] = setting(
        "OTEL_TRACES_EXPORTER", ("otlp",), "Where spans go: otlp, console, both, or none."
    )
    otlp_protocol: str = setting(
        "OTEL_EXPORTER_OTLP_PROTOCOL", PROTOCOL, "OTLP's protocol: http/protobuf, the only one."
    )
    otlp_traces_protocol: str = setting(
        "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL",
        _general_protocol,
        "OTLP's protocol for spans alone: http/protobuf, the only one.",
    )
    # The SDK's five seconds feel broken to someone who waits for a trace to appear.
    bsp_schedule_delay: int = setting(
        "OTEL_BSP_SCHEDULE_DELAY", 1000, "Milliseconds that ended spans wait to be sent together."
    )
    otlp_endpoint: str | None = setting(
        "OTEL_EXPORTER_OTLP_ENDPOINT",
        None,
        "Collector's OTLP/HTTP address; set, the embedded receiver and store are off.",
    )
    otlp_traces_endpoint: str | None = setting(
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
        None,
        "Full address for spans alone; set, the embedded receiver and store are off.",
    )
    host: str = setting(
        "FOLLOWTHROUGH_HOST", "127.0.0.1", "Address the agent's receiver and pages listen on."
    )
    otlp_port: int = setting(
        "FOLLOWTHROUGH_OTLP_PORT", 4318, "Port of the embedded OTLP/HTTP receiver."
    )
    console_port: int = setting(
        "FOLLOWTHROUGH_CONSOLE_PORT", 16686, "Port of the trace pages and Jaeger's query API."
    )
    metrics_host: str = setting(
        "OTEL_EXPORTER_PROMETHEUS_HOST", "127.0.0.1", "Address of the host's /metrics."
    )
    metrics_port: int = setting(
        "OTEL_EXPORTER_PROMETHEUS_PORT", 9464, "Port of the host's /metrics."
    )
    traces_max_age: float = setting(
        "FOLLOWTHROUGH_TRACES_MAX_AGE", 86400.0, "Seconds the embedded store keeps a trace."
    )
    traces_max_bytes: int = setting(
        "FOLLOWTHROUGH_TRACES_MAX_BYTES", 256 * 1024**2, "Size of the embedded store in bytes."
    )
    log_format: typing.Literal["auto", "json", "console"] = setting(
        "FOLLOWTHROUGH_LOG_FORMAT", "auto", "json, console, or auto: console on a terminal."
    )
    log_level: typing.Literal["debug", "info", "warning", "error"] = setting(
        "FOLLOWTHROUGH_LOG_LEVEL", "info", "Lowest level that is logged."
    )
    critical_tasks: tuple[str, ...] = setting(
        "FOLLOWTHROUGH_CRITICAL_TASKS",
        (),
        "Task name patterns (as in tasks.pay*) whose failure alerts, beside critical=True.",
    )
    notifiers: tuple[str, ...] = setting(
        "FOLLOWTHROUGH_ALERT_NOTIFIERS", ("log",), "Notifiers that deliver alerts: log, webhook."
    )
    webhook_url: str | None = setting(
        "FOLLOWTHROUGH_ALERT_WEBHOOK_URL", None, "Address the webhook notifier posts to."
    )
    webhook_secret: str | None = setting(
        "FOLLOWTHROUGH_ALERT_WEBHOOK_SECRET",
        None,
        "Standard Webhooks secret (whsec_...) that signs each alert.",
        secret=True,
    )

    @property
    def embedded(self) -> bool:
        """Whether the agent is the collector: no address was given."""
        return self.otlp_endpoint is None and self.otlp_traces_endpoint is None

    @property
    def traces_endpoint(self) -> str:
        """The full address that spans are sent to, by the rules of OTLP's exporter settings."""
        base = self.otlp_endpoint or f"http://{self.host}:{self.otlp_port}"
        return self.otlp_traces_endpoint or f"{base.rstrip('/')}/v1/traces"

    def problems(self) -> list[str]:
        """Values out of range and contradictions, one sentence each.

        Notifiers' names and secrets are the notifiers' to judge: `alerts.build.problems`.
        """
        return [
            *port_problems(
                FOLLOWTHROUGH_OTLP_PORT=self.otlp_port,
                FOLLOWTHROUGH_CONSOLE_PORT=self.console_port,
                OTEL_EXPORTER_PROMETHEUS_PORT=self.metrics_port,
            ),
            *url_problems(
                OTEL_EXPORTER_OTLP_ENDPOINT=self.otlp_endpoint,
                OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=self.otlp_traces_endpoint,
                FOLLOWTHROUGH_ALERT_WEBHOOK_URL=self.webhook_url,
            ),
            *self._export_problems(),
            *self._webhook_problems(),
        ]

    def _export_problems(self) -> list[str]:
        problems = []
        if "none" in self.traces_exporters and set(self.traces_exporters) != {"none"}:
            problems.append(
                "OTEL_TRACES_EXPORTER: names none and another; drop none, or all but none"
            )
        if self.bsp_schedule_delay < 1:
            problems.append("OTEL_BSP_SCHEDULE_DELAY: 0 is too short; give at least 1 millisecond")
        return problems + self._protocol_problems()

    def _protocol_problems(self) -> list[str]:
        protocol = self.otlp_traces_protocol
        if self.sdk_disabled or "otlp" not in self.traces_exporters or protocol == PROTOCOL:
            return []
        name = "PROTOCOL" if protocol == self.otlp_protocol else "TRACES_PROTOCOL"
        advice = f"unset it or set {PROTOCOL}, and give an endpoint that takes it"
        return [
            f"OTEL_EXPORTER_OTLP_{name}: {protocol!r} is not supported; {advice} (port 4318)",
        ]

    def _webhook_problems(self) -> list[str]:
        problems = []
        if "webhook" in self.notifiers and not self.webhook_url:
            problems.append(
                "FOLLOWTHROUGH_ALERT_WEBHOOK_URL: not set, but FOLLOWTHROUGH_ALERT_NOTIFIERS "
                "names webhook; set the address or drop the notifier"
            )
        if self.webhook_url and "webhook" not in self.notifiers:
            problems.append(
                "FOLLOWTHROUGH_ALERT_NOTIFIERS: does not name webhook, but "
                "FOLLOWTHROUGH_ALERT_WEBHOOK_URL is set; add webhook or drop the address"
            )
        return problems

"""The kit's settings; `environ` says how settings are declared and read."""

from __future__ import annotations

import typing
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from . import trust as trusting
from .environ import (
    MASK,
    Row,
    SettingsError,
    describe,
    environment,
    load,
    parse,
    port_problems,
    read,
    setting,
    url_problems,
    without_password,
)

__all__ = [
    "MASK",
    "Row",
    "Settings",
    "SettingsError",
    "describe",
    "environment",
    "load",
    "parse",
    "port_problems",
    "read",
    "setting",
    "url_problems",
    "without_password",
]

PROTOCOL = "http/protobuf"


def _named_service(values: Mapping[str, Any], _env: Mapping[str, str]) -> str | None:
    pairs = [pair.partition("=") for pair in values["resource_attributes"]]
    names = [value for key, _, value in pairs if key.strip() == "service.name"]
    return unquote(names[-1].strip()) or None if names else None


def _general_protocol(values: Mapping[str, Any], _env: Mapping[str, str]) -> str:
    return str(values["otlp_protocol"])


def _state_dir(_values: Mapping[str, Any], env: Mapping[str, str]) -> Path:
    home = env.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(home) / "followthrough"


def _trust(values: Mapping[str, Any], _env: Mapping[str, str]) -> tuple[str, ...]:
    return (trusting.NONE,) if values["trust_key"] else (trusting.ALL,)


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
    logs_exporters: tuple[typing.Literal["otlp", "console", "none"], ...] = setting(
        "OTEL_LOGS_EXPORTER",
        ("console",),
        "Where log lines go: stdout has them always (console, none); otlp: the collector too.",
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
    span_processor: typing.Literal["recorder", "batch"] = setting(
        "FOLLOWTHROUGH_SPAN_PROCESSOR",
        "recorder",
        "recorder: ended spans survive their process, the agent sends them; batch: the SDK's own.",
    )
    ring_bytes: int = setting(
        "FOLLOWTHROUGH_RING_BYTES",
        4 * 1024**2,
        "Bytes of spans that each process keeps for the agent; what is more is dropped.",
        minimum=64 * 1024,
    )
    start_agent: bool = setting(
        "FOLLOWTHROUGH_START_AGENT", True, "Start the agent where none runs."
    )
    otlp_compression: typing.Literal["none", "gzip", "deflate"] | None = setting(
        "OTEL_EXPORTER_OTLP_TRACES_COMPRESSION",
        None,
        "none, gzip or deflate; default: gzip, but none within the host.",
        aliases=("OTEL_EXPORTER_OTLP_COMPRESSION",),
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
    otlp_logs_endpoint: str | None = setting(
        "OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", None, "Full address for log records alone."
    )
    otlp_logs_compression: typing.Literal["none", "gzip", "deflate"] | None = setting(
        "OTEL_EXPORTER_OTLP_LOGS_COMPRESSION",
        None,
        "none, gzip or deflate for log records; default: gzip, but none within the host.",
        aliases=("OTEL_EXPORTER_OTLP_COMPRESSION",),
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
    trust_key: str | None = setting(
        "FOLLOWTHROUGH_TRUST_KEY",
        None,
        "Header:secret; who sends the header with a value that begins so is trusted.",
        secret=True,
    )
    trust: tuple[str, ...] = setting(
        "FOLLOWTHROUGH_TRUST",
        _trust,
        "Whose trace context is continued: all, none, or networks; default: all, with a key none.",
    )
    proxies: int = setting(
        "FOLLOWTHROUGH_PROXIES",
        0,
        "Reverse proxies in front whose X-Forwarded-For says which network a caller is in.",
    )
    baggage: tuple[str, ...] = setting(
        "FOLLOWTHROUGH_BAGGAGE", (), "Names of baggage that is kept of callers not trusted."
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
    poison_after: int = setting(
        "FOLLOWTHROUGH_POISON_AFTER",
        3,
        "Deaths of its process after which a task is put into quarantine; 0: never.",
    )
    fan_out: int = setting(
        "FOLLOWTHROUGH_FAN_OUT",
        1000,
        "Tasks sent by one task or request that stay in its trace; more begin traces of their own.",
        minimum=1,
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

    @property
    def logs_endpoint(self) -> str | None:
        """The full address that log records are sent to; None where nobody takes them."""
        base = self.otlp_endpoint
        return self.otlp_logs_endpoint or (f"{base.rstrip('/')}/v1/logs" if base else None)

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
                OTEL_EXPORTER_OTLP_LOGS_ENDPOINT=self.otlp_logs_endpoint,
                FOLLOWTHROUGH_ALERT_WEBHOOK_URL=self.webhook_url,
            ),
            *self._export_problems(),
            *trusting.problems(self.trust, self.trust_key),
            *self._webhook_problems(),
        ]

    def _export_problems(self) -> list[str]:
        problems = []
        if "none" in self.traces_exporters and set(self.traces_exporters) != {"none"}:
            problems.append(
                "OTEL_TRACES_EXPORTER: names none and another; drop none, or all but none"
            )
        if "otlp" in self.logs_exporters and self.logs_endpoint is None:
            problems.append(
                "OTEL_LOGS_EXPORTER: otlp, but there is no collector that takes log records; set "
                "OTEL_EXPORTER_OTLP_ENDPOINT or OTEL_EXPORTER_OTLP_LOGS_ENDPOINT, or drop otlp"
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

"""The kits that are compared: what they are called, their environment, and how they send."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.support import free_port


def _none(_port: int, _state: Path) -> dict[str, str]:
    return {}


def _otlp(port: int, _state: Path) -> dict[str, str]:
    return {
        "OTEL_SERVICE_NAME": "bench",
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port}",
        "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
    }


def _ours(port: int, state: Path) -> dict[str, str]:
    return {
        **_otlp(port, state),
        "FOLLOWTHROUGH_STATE_DIR": str(state),
        "FOLLOWTHROUGH_LOG_FORMAT": "json",
        "OTEL_EXPORTER_PROMETHEUS_PORT": str(free_port()),
        # It is started beside the program, so that its time is counted from the first moment.
        "FOLLOWTHROUGH_START_AGENT": "false",
    }


def _datadog(port: int, _state: Path) -> dict[str, str]:
    return {
        "DD_SERVICE": "bench",
        "DD_TRACE_AGENT_URL": f"http://127.0.0.1:{port}",
        # What it tells of itself is no part of tracing.
        "DD_INSTRUMENTATION_TELEMETRY_ENABLED": "false",
        "DD_REMOTE_CONFIGURATION_ENABLED": "false",
        "DD_CRASHTRACKING_ENABLED": "false",
    }


def _sentry(port: int, _state: Path) -> dict[str, str]:
    return {"SENTRY_DSN": f"http://key@127.0.0.1:{port}/1"}


def _elastic(port: int, _state: Path) -> dict[str, str]:
    return {
        "ELASTIC_APM_SERVICE_NAME": "bench",
        "ELASTIC_APM_SERVER_URL": f"http://127.0.0.1:{port}",
        # Its default of 10 s is longer than a turn is watched; contrib's is 5 s.
        "ELASTIC_APM_API_REQUEST_TIME": "5s",
        # These look for things outside of this host.
        "ELASTIC_APM_CENTRAL_CONFIG": "false",
        "ELASTIC_APM_CLOUD_PROVIDER": "none",
    }


@dataclass(frozen=True)
class Kit:
    """`packages` are those whose versions are told; `launcher` starts the program, if any does."""

    name: str
    title: str
    protocol: str
    env: Callable[[int, Path], dict[str, str]]
    packages: tuple[str, ...]
    launcher: str = ""


ALL = (
    Kit("bare", "bare", "", _none, ("flask", "celery", "gunicorn", "redis")),
    Kit("ours", "followthrough", "otlp", _ours, ("followthrough", "opentelemetry-sdk")),
    Kit(
        "contrib",
        "opentelemetry-contrib",
        "otlp",
        _otlp,
        ("opentelemetry-sdk", "opentelemetry-instrumentation-flask"),
    ),
    Kit("ddtrace", "ddtrace", "datadog", _datadog, ("ddtrace",), "ddtrace-run"),
    Kit("sentry", "sentry-sdk", "sentry", _sentry, ("sentry-sdk",)),
    Kit("elastic", "elastic-apm", "elastic", _elastic, ("elastic-apm",)),
)
BY_NAME = {kit.name: kit for kit in ALL}

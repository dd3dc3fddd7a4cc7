"""Adoption with no line of code: `opentelemetry-instrument` finds these by their entry points."""

from __future__ import annotations

import os
from typing import Any

from opentelemetry.instrumentation.distro import BaseDistro  # type: ignore[attr-defined]

from . import configure

_OURS = {
    "celery": "followthrough.celery:CeleryInstrumentor",
    "flask": "followthrough.flask:FlaskInstrumentor",
}


class FollowthroughDistro(BaseDistro):
    """Loads the stock instrumentors, and ours in place of those of Flask and Celery."""

    def _configure(self, **_: Any) -> None:
        os.environ.setdefault("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")

    def load_instrumentor(self, entry_point: Any, **kwargs: Any) -> None:
        """Start one instrumentor; a package that isn't installed raises ModuleNotFoundError."""
        if entry_point.value == _OURS.get(entry_point.name, entry_point.value):
            super().load_instrumentor(entry_point, **kwargs)


class FollowthroughConfigurator:
    """Sets up logs, metrics and tracing from the environment before the program starts."""

    def configure(self, **_: Any) -> None:
        configure()

"""Adoption with no line of code: `opentelemetry-instrument` finds these by their entry points."""

from __future__ import annotations

import os
from typing import Any

from opentelemetry.instrumentation.distro import BaseDistro  # type: ignore[attr-defined]

from . import configure, instrument_celery


class FollowthroughDistro(BaseDistro):
    """Loads the stock instrumentors, and ours around those of Flask and Celery."""

    def _configure(self, **_: Any) -> None:
        os.environ.setdefault("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")

    def load_instrumentor(self, entry_point: Any, **kwargs: Any) -> None:
        """Start one instrumentor; a package that isn't installed raises ModuleNotFoundError."""
        if entry_point.name == "celery":
            instrument_celery()
            return
        super().load_instrumentor(entry_point, **kwargs)
        if entry_point.name == "flask":
            from . import flask  # noqa: PLC0415

            flask.connect()


class FollowthroughConfigurator:
    """Sets up logs, metrics and tracing from the environment before the program starts."""

    def configure(self, **_: Any) -> None:
        configure()

"""For tests of a project that uses the kit: what it tells, kept in memory."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import structlog
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from . import guard, metrics, setup
from .alerts import keep
from .logs import output
from .metrics.exposition import expose
from .settings import Settings, load


@dataclass
class Captured:
    """What was told so far."""

    settings: Settings
    lines: list[dict[str, Any]] = field(default_factory=list)

    @property
    def spans(self) -> list[ReadableSpan]:
        """The spans that have ended, in that order."""
        return list(_Memory.exporter.get_finished_spans())

    def span(self, name: str) -> ReadableSpan:
        """The only span of this name."""
        (found,) = [span for span in self.spans if span.name == name]
        return found

    def events(self, event: str) -> list[dict[str, Any]]:
        """The log lines of one event."""
        return [line for line in self.lines if line["event"] == event]

    def metric(self, name: str, **labels: str) -> float:
        """The sum of the samples with this name and, at least, these labels."""
        from prometheus_client.parser import text_string_to_metric_families  # noqa: PLC0415

        text = expose(self.settings.state_dir).decode()
        return sum(
            sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )


class _Memory:
    exporter = InMemorySpanExporter()
    # OpenTelemetry's provider can be set once in a process.
    attached = False


@contextlib.contextmanager
def capture(state_dir: Path, **changes: Any) -> Iterator[Captured]:
    """Configure the kit to keep all in memory, and raise its own errors; `changes` are settings."""
    chosen: dict[str, Any] = {"strict": True, "traces_exporters": ("none",)}
    chosen |= {"log_level": "debug", "log_format": "json"}
    settings = dataclasses.replace(load(Settings, {}), state_dir=state_dir, **{**chosen, **changes})
    captured = Captured(settings)
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    # What another test has configured would have the lines go elsewhere.
    structlog.reset_defaults()
    setup.configure("test", settings)
    receiver = output.give(lambda line: captured.lines.append(json.loads(line)))
    _attach()
    try:
        yield captured
    finally:
        output.give(receiver)
        root.handlers[:] = handlers
        root.setLevel(level)
        _forget()


def _attach() -> None:
    _Memory.exporter.clear()
    provider = trace.get_tracer_provider()
    if isinstance(provider, TracerProvider) and not _Memory.attached:
        provider.add_span_processor(SimpleSpanProcessor(_Memory.exporter))
        _Memory.attached = True


def _forget() -> None:
    setup.forget()
    metrics.use(None)
    keep.use(None)
    guard.strict = False
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()
    _Memory.exporter.clear()

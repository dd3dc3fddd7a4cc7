"""What the instrumentor was given, for all that it connects."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from opentelemetry import metrics, trace

FAN_OUT = 1000


@dataclass
class Current:
    """What is in force.

    `use_span_links`: a task is not a child of its message's sender but linked to it.

    Beyond `fan_out` children of one parent, each begins a trace of its own, linked to the parent.
    """

    tracer: trace.Tracer
    runtime: metrics.Histogram | None = None
    use_span_links: bool = False
    fan_out: int = FAN_OUT
    # The worker's pool; empty where this is no worker.
    pool: str = ""


current = Current(trace.NoOpTracer())


def use(**values: Any) -> None:
    """Take these values from now on."""
    for name, value in values.items():
        setattr(current, name, value)

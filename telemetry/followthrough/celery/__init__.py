"""The Celery side: what is published, run, and ended without running to its end."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..settings import Settings

__all__ = ["instrument", "uninstrument"]


def instrument(settings: Settings) -> None:
    """Take Celery's instrumentation over; a second call renews the settings."""
    from . import instrumentor  # noqa: PLC0415  it imports much of Celery

    ours = instrumentor.CeleryInstrumentor()
    if ours.is_instrumented_by_opentelemetry:
        instrumentor.use(settings)
    else:
        ours.instrument()


def uninstrument() -> None:
    """Undo `instrument`."""
    from .instrumentor import CeleryInstrumentor  # noqa: PLC0415

    if CeleryInstrumentor().is_instrumented_by_opentelemetry:
        CeleryInstrumentor().uninstrument()

"""The Celery side: what is published, run, and ended without running to its end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..settings import Settings
    from .instrumentor import CeleryInstrumentor

__all__ = ["CeleryInstrumentor", "instrument", "uninstrument"]


def __getattr__(name: str) -> Any:
    """Import the instrumentor, which imports much of Celery, when it is asked for."""
    if name != "CeleryInstrumentor":
        raise AttributeError(name)
    from . import instrumentor  # noqa: PLC0415

    return instrumentor.CeleryInstrumentor


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
    from . import instrumentor  # noqa: PLC0415

    if instrumentor.CeleryInstrumentor().is_instrumented_by_opentelemetry:
        instrumentor.CeleryInstrumentor().uninstrument()

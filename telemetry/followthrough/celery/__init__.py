"""The Celery side: what is published, run, and ended without running to its end."""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import aside, critical, execute, noise, poison, publish, supervise
from .signals import disconnect

if TYPE_CHECKING:
    from ..settings import Settings

__all__ = ["instrument", "uninstrument"]


def instrument(settings: Settings) -> None:
    """Listen to Celery's signals, the stock instrumentor too; a second call renews the settings."""
    from opentelemetry.instrumentation.celery import CeleryInstrumentor  # noqa: PLC0415

    critical.use(settings.critical_tasks)
    aside.use(settings.state_dir)
    poison.use(settings.poison_after)
    # Ours speak while the task's span is current: after its start, before its end.
    execute.connect_end()
    if not CeleryInstrumentor().is_instrumented_by_opentelemetry:
        CeleryInstrumentor().instrument()
    execute.connect_start()
    publish.connect()
    supervise.connect()
    noise.silence()


def uninstrument() -> None:
    """Undo `instrument`."""
    from opentelemetry.instrumentation.celery import CeleryInstrumentor  # noqa: PLC0415

    disconnect()
    publish.disconnect()
    supervise.disconnect()
    noise.unsilence()
    if CeleryInstrumentor().is_instrumented_by_opentelemetry:
        CeleryInstrumentor().uninstrument()

"""Beat's ticks: which entry of the schedule is due, and how late it is sent."""

from __future__ import annotations

from typing import Any

from celery import signals
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.instrumentation.utils import unwrap
from wrapt import wrap_function_wrapper

from .. import names
from ..guard import guarded
from .current import current
from .signals import connect as connect_signal


class _Patched:
    done = False


def connect() -> None:
    """Follow the scheduler, once it starts: elsewhere nobody needs Celery's beat."""
    connect_signal(signals.beat_init, on_beat)


def disconnect() -> None:
    """Undo the part of `connect` that isn't a signal."""
    if _Patched.done:
        from celery.beat import Scheduler  # noqa: PLC0415

        unwrap(Scheduler, "apply_async")
        _Patched.done = False


def on_beat(**_: Any) -> None:
    if not _Patched.done:
        wrap_function_wrapper("celery.beat", "Scheduler.apply_async", _apply_async)
        _Patched.done = True


def _apply_async(wrapped: Any, _scheduler: Any, args: Any, kwargs: Any) -> Any:
    entry = args[0] if args else kwargs.get("entry")
    span = _span(entry)
    if span is None:
        return wrapped(*args, **kwargs)
    # What it sends is a child of it; that a message can't be sent is told there.
    with trace.use_span(span, end_on_exit=True, record_exception=False):
        return wrapped(*args, **kwargs)


@guarded("celery.beat_tick")
def _span(entry: Any) -> trace.Span | None:
    """The root of a tick's trace."""
    return current.tracer.start_span(
        f"tick {entry.name}",
        Context(),
        attributes={
            names.CELERY_SCHEDULE: str(entry.name),
            names.CELERY_SCHEDULE_LATE: _late(entry),
            names.CELERY_TASK: str(entry.task),
        },
    )


def _late(entry: Any) -> float:
    # Seconds until it is due, negative once it was.
    remaining = entry.schedule.remaining_estimate(entry.last_run_at)
    return round(max(0.0, -remaining.total_seconds()), 6)

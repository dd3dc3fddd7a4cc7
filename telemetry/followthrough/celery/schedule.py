"""Beat's ticks: which entry of the schedule is due, and how late it is sent."""

from __future__ import annotations

from typing import Any

from celery import signals
from opentelemetry.instrumentation.utils import unwrap
from wrapt import wrap_function_wrapper

from ..guard import guarded
from .publish import Tick, tick
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
    token = tick.set(_tick(args[0] if args else kwargs.get("entry")))
    try:
        return wrapped(*args, **kwargs)
    finally:
        tick.reset(token)


@guarded("celery.beat_tick")
def _tick(entry: Any) -> Tick:
    # Seconds until it is due, negative once it was.
    remaining = entry.schedule.remaining_estimate(entry.last_run_at)
    return Tick(str(entry.name), round(max(0.0, -remaining.total_seconds()), 6))

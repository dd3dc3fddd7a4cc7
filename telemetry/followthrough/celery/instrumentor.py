# ruff: noqa: SLF001  a singleton whose place is taken
"""OpenTelemetry's instrumentor of Celery, with handlers of our own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from opentelemetry import trace
from opentelemetry.instrumentation import celery as stock
from opentelemetry.metrics import get_meter

from .. import names, setup, tracing
from . import (
    aside,
    canvas,
    critical,
    current,
    execute,
    noise,
    poison,
    process,
    publish,
    schedule,
    supervise,
)
from .signals import disconnect

if TYPE_CHECKING:
    from ..settings import Settings

SCOPE = "followthrough.celery"
_PARTS = (execute, publish, supervise, canvas, schedule)


def use(settings: Settings) -> None:
    """Take what the Celery side needs of the settings."""
    critical.use(settings.critical_tasks)
    aside.use(settings.state_dir)
    poison.use(settings.poison_after)
    current.use(fan_out=settings.fan_out)
    process.forget()


class CeleryInstrumentor(stock.CeleryInstrumentor):
    """The stock instrumentor's options and place, and none of its handlers.

    While it instruments, the stock class gives this instance to whoever asks for one: a later
    `CeleryInstrumentor().instrument()` of a `worker_process_init` only warns.
    """

    _instance = None

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]

    def _instrument(self, **kwargs: Any) -> None:
        use(setup.configure(None, None))
        _take_the_place(self)
        current.use(
            tracer=_tracer(kwargs.get("tracer_provider")),
            runtime=self._runtime(kwargs.get("meter_provider")),
            use_span_links=bool(kwargs.get("use_span_links", False)),
        )
        for part in _PARTS:
            part.connect()
        noise.silence()

    def _uninstrument(self, **_: Any) -> None:
        disconnect()
        for part in _PARTS:
            part.disconnect()
        noise.unsilence()
        if vars(stock.CeleryInstrumentor).get("_instance") is self:
            stock.CeleryInstrumentor._instance = None

    def _runtime(self, provider: Any) -> Any:
        self.create_celery_metrics(get_meter(stock.__name__, meter_provider=provider))
        return (self.metrics or {}).get("flower.task.runtime.seconds")


def _take_the_place(ours: CeleryInstrumentor) -> None:
    """Put `ours` where the stock class keeps its one instance, which stops if it was at work."""
    before = vars(stock.CeleryInstrumentor).get("_instance")
    if before is not None and before is not ours and before.is_instrumented_by_opentelemetry:
        before.uninstrument()
    stock.CeleryInstrumentor._instance = ours


def _tracer(provider: Any) -> trace.Tracer:
    if provider is None:
        return tracing.get_tracer(SCOPE, setup.version(), names.SCHEMA_URL)
    return trace.get_tracer(SCOPE, setup.version(), provider, names.SCHEMA_URL)

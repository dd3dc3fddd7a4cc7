"""A tracer whose spans are light while only the recorder listens, and the SDK's otherwise."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Link, SpanContext, SpanKind
from opentelemetry.util._decorator import _agnosticcontextmanager

from .current import get_current, is_suppressed

if TYPE_CHECKING:
    from ..recorder.encode import Kept


def get_tracer(
    name: str, version: str | None = None, schema_url: str | None = None
) -> trace.Tracer:
    """A tracer of the global provider, as `opentelemetry.trace.get_tracer` gives it, but cheaper.

    It looks at each span's start: while the provider is the SDK's and our recorder is its only
    processor, the span is a light one. May be had before a provider is set.
    """
    return Tracer(name, version, schema_url)


def describe(span: trace.Span, name: str, attributes: Mapping[str, Any]) -> None:
    """Name a span that has begun and add to it what the kit says of it: plain values.

    It is also told so if its process is killed; a light one even if it isn't sampled.
    """
    try:
        again = span.describe  # type: ignore[attr-defined]
    except AttributeError:
        _describe(span, name, attributes)
    else:
        again(name, attributes)


def _describe(span: trace.Span, name: str, attributes: Mapping[str, Any]) -> None:
    if span.is_recording():
        span.update_name(name)
        span.set_attributes(attributes)
        for processor in getattr(getattr(span, "_span_processor", None), "_span_processors", ()):
            if callable(described := getattr(processor, "on_described", None)):
                described(span)


def end_with(span: trace.Span, attributes: Mapping[str, Any], fields: bytes = b"") -> None:
    """End a span with attributes of the kit's own: plain values, encoded as `fields`."""
    try:
        end = span.end_with  # type: ignore[attr-defined]
    except AttributeError:
        span.set_attributes(attributes)
        span.end()
    else:
        end(attributes, fields)


def undescribed(tracer: trace.Tracer) -> Callable[..., trace.Span]:
    """What starts a span that `describe` is soon called for, see `Tracer.start_undescribed`."""
    if isinstance(tracer, Tracer):
        return tracer.start_undescribed

    def start(
        name: str, context: Context, kind: SpanKind, attributes: Any, links: Any, _kept: Kept
    ) -> trace.Span:
        return tracer.start_span(name, context, kind, attributes, links)

    return start


def start_below(
    tracer: trace.Tracer,
    name: str,
    above: SpanContext | None,
    base: Context,
    kind: SpanKind,
    attributes: dict[str, Any],
    kept: Kept | None = None,
    links: Sequence[Link] = (),
) -> trace.Span:
    """Start a span whose parent is `above`, whatever is current in `base`; a root without one.

    With `kept`, the attributes are the span's own, see `LightTracer.start`. The caller has seen
    that nothing is suppressed here.
    """
    light = None
    if isinstance(tracer, Tracer):
        chosen = tracer._chosen  # noqa: SLF001
        if (
            trace._TRACER_PROVIDER is not chosen.provider  # noqa: SLF001  without the API's two calls
            or chosen.active._span_processors is not chosen.processors  # noqa: SLF001
        ):
            chosen = tracer._now()  # noqa: SLF001
        light = chosen.light
    if light is None or not light.is_usual:
        if trace.get_current_span(base).get_span_context() is not above:
            given = trace.INVALID_SPAN if above is None else trace.NonRecordingSpan(above)
            base = trace.set_span_in_context(given, base)
        return tracer.start_span(name, base, kind, attributes, links)
    # In less than half of the time, as no context has to be made of the parent.
    span: Any = light.start(name, above, kind, attributes, links, None, None, kept)
    if span.__class__ is not trace.NonRecordingSpan:
        span.note()
    return span


class _Chosen:
    """The tracer for a provider with these processors."""

    __slots__ = ("active", "light", "processors", "provider", "tracer")

    def __init__(self, provider: Any, active: Any, processors: Any, tracer: Any) -> None:
        self.provider = provider
        self.active = active
        # A tuple that is another one once a processor is added.
        self.processors = processors
        self.light = _light(tracer, processors)
        self.tracer = self.light or tracer


class _NoProcessors:
    """Where a provider keeps none, as the API's own."""

    _span_processors = None


class Tracer(trace.Tracer):
    """Asks the light tracer or that of the provider, whichever holds at the time."""

    def __init__(self, name: str, version: str | None, schema_url: str | None) -> None:
        self._name, self._version, self._schema_url = name, version, schema_url
        self._chosen = _Chosen(None, _NoProcessors, None, None)

    def start_span(
        self,
        name: str,
        context: Context | None = None,
        kind: SpanKind = SpanKind.INTERNAL,
        attributes: Mapping[str, Any] | None = None,
        links: Sequence[Link] | None = None,
        start_time: int | None = None,
        record_exception: bool = True,
        set_status_on_exception: bool = True,
    ) -> trace.Span:
        """As the API's; under `suppress_instrumentation` a span that is not recorded."""
        if is_suppressed(get_current()):
            return trace.NonRecordingSpan(trace.get_current_span(context).get_span_context())
        span: trace.Span = self._now().tracer.start_span(
            name,
            context,
            kind,
            attributes,
            links,
            start_time,
            record_exception,
            set_status_on_exception,
        )
        return span

    @_agnosticcontextmanager
    def start_as_current_span(
        self,
        name: str,
        context: Context | None = None,
        kind: SpanKind = SpanKind.INTERNAL,
        attributes: Mapping[str, Any] | None = None,
        links: Sequence[Link] | None = None,
        start_time: int | None = None,
        record_exception: bool = True,
        set_status_on_exception: bool = True,
        end_on_exit: bool = True,
    ) -> Iterator[trace.Span]:
        """As the API's."""
        on_exception = record_exception, set_status_on_exception
        span = self.start_span(name, context, kind, attributes, links, start_time, *on_exception)
        with trace.use_span(span, end_on_exit, *on_exception):
            yield span

    def start_undescribed(
        self,
        name: str,
        context: Context,
        kind: SpanKind,
        attributes: dict[str, Any],
        links: Sequence[Link],
        kept: Kept,
    ) -> trace.Span:
        """Start a span that `describe` is soon called for: a light one is noted only then.

        Its attributes begin with `kept` and are its own, see `LightTracer.start`. The caller has
        seen that nothing is suppressed here.
        """
        chosen = self._chosen
        if (
            trace._TRACER_PROVIDER is not chosen.provider  # noqa: SLF001  as above
            or chosen.active._span_processors is not chosen.processors  # noqa: SLF001
        ):
            chosen = self._now()
        light = chosen.light
        if light is None:
            return self.start_span(name, context, kind, attributes, links)
        above = trace.get_current_span(context).get_span_context() if context else None
        span: trace.Span = light.start(name, above, kind, attributes, links, None, context, kept)
        return span

    def _now(self) -> _Chosen:
        provider: Any = trace.get_tracer_provider()
        active = getattr(provider, "_active_span_processor", _NoProcessors)
        processors = getattr(active, "_span_processors", None)
        chosen = self._chosen
        if chosen.provider is not provider or chosen.processors is not processors:
            stock = trace.get_tracer(self._name, self._version, provider, self._schema_url)
            self._chosen = chosen = _Chosen(provider, active, processors, stock)
        return chosen


def _light(stock: trace.Tracer, processors: Any) -> Any:
    """A light tracer where it stands for all that the SDK's tracer would do."""
    if processors is None or len(processors) != 1:
        return None
    from opentelemetry.sdk.trace import Tracer as SdkTracer  # noqa: PLC0415
    from opentelemetry.sdk.trace._tracer_metrics import NoOpTracerMetrics  # noqa: PLC0415

    from ..recorder.processor import RecorderProcessor  # noqa: PLC0415
    from .light_tracer import LightTracer  # noqa: PLC0415

    if type(processors[0]) is not RecorderProcessor or type(stock) is not SdkTracer:
        return None
    # The SDK may be asked to count its own spans.
    if not isinstance(stock._tracer_metrics, NoOpTracerMetrics):  # noqa: SLF001
        return None
    return LightTracer(stock, processors[0])

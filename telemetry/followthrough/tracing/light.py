# ruff: noqa: SLF001  the provider's parts are private, and the kit's bounds name the SDK's version
"""Spans that cost little: recorded straight from our own class, without the SDK's.

They hold to what the SDK does: its sampler, ids, resource and limits, and what can be read of them.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from time import time_ns
from types import MappingProxyType, TracebackType
from typing import Any

from opentelemetry import trace
from opentelemetry.attributes import BoundedAttributes, _clean_attribute_value
from opentelemetry.context import Context
from opentelemetry.sdk import trace as sdk
from opentelemetry.sdk.trace import sampling
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags
from opentelemetry.trace.span import TraceState

from ..recorder.encode import Begun
from ..recorder.inflight import Entry
from ..recorder.processor import RecorderProcessor
from ..recorder.writer import Pending

_FLAGS = tuple(TraceFlags(number) for number in range(4))
_RANDOM = TraceFlags.RANDOM_TRACE_ID
_DROP, _SAMPLE = sampling.Decision.DROP, sampling.Decision.RECORD_AND_SAMPLE
_UNSET = Status()
# Values of these types need no cleaning, but for a limit on the length of text.
_CLEAN = frozenset({str, int, bool, float})
_NAMES = frozenset({str})

logger = logging.getLogger(__name__)


class LightSpan(trace.Span, sdk.ReadableSpan):
    """A span without locks: each change is one step, and the ring takes it once."""

    __slots__ = (
        "_attributes",
        "_begun",
        "_context",
        "_dropped",
        "_dropped_events",
        "_dropped_links",
        "_end_time",
        "_events",
        "_kind",
        "_limits",
        "_links",
        "_name",
        "_parent",
        "_pending",
        "_processor",
        "_record_exception",
        "_set_status_on_exception",
        "_start_time",
        "_status",
        "_tracer",
    )

    def __init__(
        self,
        tracer: LightTracer,
        name: str,
        context: SpanContext,
        parent: SpanContext | None,
        kind: SpanKind,
        start_time: int | None,
    ) -> None:
        self._tracer = tracer
        self._processor = tracer.processor
        self._limits = tracer.stock._span_limits
        self._name, self._kind = name, kind
        self._context, self._parent = context, parent
        self._attributes: dict[str, Any] = {}
        self._events: list[sdk.Event] = []
        self._links: list[Link] = []
        self._dropped = self._dropped_events = self._dropped_links = 0
        self._status = _UNSET
        self._pending = Pending()
        # Holds as long as nothing changes that was there when it began.
        self._begun: Begun | None = None
        self._record_exception = self._set_status_on_exception = True
        self._start_time = time_ns() if start_time is None else start_time
        self._end_time: int | None = None

    def get_span_context(self) -> SpanContext:
        return self._context  # type: ignore[return-value]

    @property
    def attributes(self) -> Mapping[str, Any]:
        # A copy is one step: another thread may set one meanwhile.
        return MappingProxyType(self._attributes.copy())

    @property
    def resource(self) -> Any:
        return self._tracer.stock.resource

    @property
    def instrumentation_scope(self) -> Any:
        return self._tracer.stock._instrumentation_scope

    @property
    def dropped_attributes(self) -> int:
        return self._dropped

    @property
    def dropped_events(self) -> int:
        return self._dropped_events

    @property
    def dropped_links(self) -> int:
        return self._dropped_links

    def is_recording(self) -> bool:
        return self._end_time is None

    def set_attributes(self, attributes: Mapping[str, Any]) -> None:
        if self._end_time is None and self._takes_all(attributes):
            self._attributes.update(attributes)
            return
        for key, value in attributes.items():
            self.set_attribute(key if isinstance(key, str) or not key else str(key), value)

    def _takes_all(self, attributes: Mapping[str, Any]) -> bool:
        """Whether they can be kept as they are, and beside all there are."""
        limits, own = self._limits, self._attributes
        most = limits.max_span_attributes
        return (
            limits.max_span_attribute_length is None
            and (most is None or len(own) + len(attributes) <= most)
            and _CLEAN.issuperset(map(type, attributes.values()))
            and _NAMES.issuperset(map(type, attributes))
            and "" not in attributes
            and own.keys().isdisjoint(attributes)
        )

    def set_attribute(self, key: str, value: Any) -> None:
        if self._is_ended():
            return
        limits, attributes = self._limits, self._attributes
        if not key or not isinstance(key, str) or limits.max_span_attributes == 0:
            self._dropped += 1
            return
        longest = limits.max_span_attribute_length
        if longest is not None or type(value) not in _CLEAN:
            value = _clean_attribute_value(value, longest)
        # The SDK's order: the one set last is the last one, and the first one goes.
        if key in attributes:
            self._begun = None
            attributes.pop(key, None)
        elif len(attributes) == limits.max_span_attributes:
            self._begun = None
            attributes.pop(next(iter(attributes)), None)
            self._dropped += 1
        attributes[key] = value

    def add_event(
        self,
        name: str,
        attributes: Mapping[str, Any] | None = None,
        timestamp: int | None = None,
    ) -> None:
        if self._is_ended():
            return
        limits = self._limits
        bounded = _bounded(limits.max_event_attributes, attributes, limits)
        event = sdk.Event(name, bounded, timestamp)
        self._dropped_events += _append(self._events, event, limits.max_events)

    def add_link(self, context: SpanContext, attributes: Mapping[str, Any] | None = None) -> None:
        if self._is_ended() or not sdk._is_valid_link(context, attributes):
            return
        limits = self._limits
        link = Link(context, _bounded(limits.max_link_attributes, attributes, limits))
        if _append(self._links, link, limits.max_links):
            self._begun = None
            self._dropped_links += 1

    def update_name(self, name: str) -> None:
        if not self._is_ended():
            self._name = name

    def describe(self, name: str, attributes: Mapping[str, Any]) -> None:
        """Name it and add to it, also where it stands in case its process is killed."""
        self.update_name(name)
        self.set_attributes(attributes)
        if isinstance(self._pending.entry, Entry):
            self._begun = self._processor.begin(self, self._pending.entry, self._begun)

    def set_status(self, status: Status | StatusCode, description: str | None = None) -> None:
        """Set how it went: OK is final, and UNSET changes nothing."""
        if self._is_ended():
            return
        told = status if isinstance(status, Status) else Status(status, description)
        if StatusCode.OK is not self._status.status_code and not told.is_unset:
            self._status = told

    # It builds on `add_event` alone.
    record_exception: Any = sdk.Span.record_exception

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> None:
        if exc_val is not None and self.is_recording():
            if self._record_exception:
                self.record_exception(exc_val, escaped=True)
            if self._set_status_on_exception:
                told = f"{type(exc_val).__name__}: {exc_val}"
                self.set_status(Status(StatusCode.ERROR, told))
        self.end()

    def end(self, end_time: int | None = None) -> None:
        if self._is_ended():
            return
        try:
            self._end_time = time_ns() if end_time is None else end_time
            self._processor.end(self, self._pending, self._begun)
        except BaseException:
            # A signal's handler may raise at any call, and nobody else ends this span.
            self._processor.end(self, self._pending, self._begun)
            raise

    def _is_ended(self) -> bool:
        if self._end_time is None:
            return False
        logger.warning("A span that has ended takes no changes: %s", self._name)
        return True


class UnsampledSpan(trace.NonRecordingSpan):
    """One that is not sent, but told by its log line and count if its process is killed."""

    def __init__(self, of: LightSpan) -> None:
        super().__init__(of.get_span_context())
        self._of = of

    def describe(self, name: str, attributes: Mapping[str, Any]) -> None:
        """As a light span's."""
        self._of.describe(name, attributes)

    def end(self, end_time: int | None = None) -> None:
        self._of.end(end_time)


class LightTracer:
    """Starts light spans with the settings of an SDK's tracer."""

    def __init__(self, stock: sdk.Tracer, processor: RecorderProcessor) -> None:
        self.stock = stock
        self.processor = processor
        self._keeps_all = _keeps_all(stock.sampler)

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
        *,
        is_described: bool = True,
    ) -> trace.Span:
        """As the API's tracer does; one that isn't described yet is noted as soon as it is."""
        above = trace.get_current_span(context).get_span_context()
        if not self.stock._tracer_config.is_enabled:
            return trace.NonRecordingSpan(above)
        ids = self.stock.id_generator
        parent = above if above.is_valid else None
        if parent is None:
            trace_id, is_random = ids.generate_trace_id(), ids.is_trace_id_random()
        else:
            trace_id, is_random = parent.trace_id, parent.trace_flags.random_trace_id
        decision, attributes, state = self._sampled(
            parent, context, trace_id, name, kind, attributes, links
        )
        flags = _FLAGS[(decision is _SAMPLE) + is_random * _RANDOM]
        own = SpanContext(trace_id, ids.generate_span_id(), False, flags, state)
        span = LightSpan(self, name, own, parent, kind, start_time)
        span._record_exception = record_exception
        span._set_status_on_exception = set_status_on_exception
        if attributes:
            span.set_attributes(attributes)
        for link in links or ():
            span.add_link(link.context, link.attributes)
        return self._noted(span, is_recording=decision is not _DROP, is_described=is_described)

    def _sampled(
        self,
        parent: SpanContext | None,
        context: Context | None,
        trace_id: int,
        name: str,
        kind: SpanKind,
        attributes: Mapping[str, Any] | None,
        links: Sequence[Link] | None,
    ) -> tuple[sampling.Decision, Mapping[str, Any] | None, TraceState | None]:
        """What the sampler says; the usual one needs no asking."""
        if self._keeps_all:
            if parent is None:
                return _SAMPLE, attributes, None
            return _SAMPLE if parent.trace_flags & 1 else _DROP, attributes, parent.trace_state
        result = self.stock.sampler.should_sample(
            context, trace_id, name, kind, attributes, links or ()
        )
        # One that is dropped is still told if its process is killed.
        kept = attributes if result.decision is _DROP else result.attributes
        return result.decision, kept, result.trace_state

    def _noted(self, span: LightSpan, *, is_recording: bool, is_described: bool) -> trace.Span:
        """The span, noted if it begins in this process."""
        if span._parent is None or span._parent.is_remote:
            entry = span._pending.entry = Entry()
            try:
                if is_described:
                    span._begun = self.processor.begin(span, entry)
                return span if is_recording else UnsampledSpan(span)
            except BaseException:
                # A signal's handler has raised: nobody will have this span, nor end it.
                entry.end()
                raise
        return span if is_recording else trace.NonRecordingSpan(span.get_span_context())


def _keeps_all(sampler: sampling.Sampler) -> bool:
    """Whether it is `parentbased_always_on`, the default, by whatever name."""
    if type(sampler) is not sampling.ParentBased:
        return False
    on = (sampler._root, sampler._remote_parent_sampled, sampler._local_parent_sampled)
    off = (sampler._remote_parent_not_sampled, sampler._local_parent_not_sampled)
    return all(each is sampling.ALWAYS_ON for each in on) and all(
        each is sampling.ALWAYS_OFF for each in off
    )


def _bounded(
    most: int | None, attributes: Mapping[str, Any] | None, limits: sdk.SpanLimits
) -> BoundedAttributes:
    return BoundedAttributes(most, attributes, max_value_len=limits.max_attribute_length)


def _append(parts: list[Any], part: Any, most: int | None) -> int:
    """Add a part, and say how many the limit has dropped: the oldest ones, as the SDK does."""
    parts.append(part)
    if most is None or len(parts) <= most:
        return 0
    del parts[0]
    return 1

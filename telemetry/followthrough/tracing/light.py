# ruff: noqa: SLF001  the provider's parts are private, and the kit's bounds name the SDK's version
"""Spans that cost little: recorded straight from our own class, without the SDK's.

They hold to what the SDK does: its sampler, ids, resource and limits, and what can be read of them.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from time import time_ns
from types import MappingProxyType, TracebackType
from typing import TYPE_CHECKING, Any

from opentelemetry import trace
from opentelemetry.attributes import BoundedAttributes, _clean_attribute_value
from opentelemetry.sdk import trace as sdk
from opentelemetry.trace import (
    Link,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
)

from .. import guard
from ..recorder import encode
from ..recorder.encode import ENDED, NO_STATUS, UNSET, Begun, Kept
from ..recorder.pending import Pending

if TYPE_CHECKING:
    from .light_tracer import LightTracer

# Values of these types need no cleaning, but for a limit on the length of text.
_CLEAN = frozenset({str, int, bool, float})
_NAMES = frozenset({str})

logger = logging.getLogger(__name__)


class LightSpan(Pending, trace.Span, sdk.ReadableSpan):
    """A span without locks: each change is one step, and the ring takes it once."""

    # What most spans never change is the class's.
    _events: Any = ()
    _links: Any = ()
    _dropped = _dropped_events = _dropped_links = 0
    # Whether no limit has dropped a part.
    is_whole = True
    _is_sampled = True
    _record_exception = _set_status_on_exception = True
    _status = UNSET
    # Whether it begins in this process, and so is noted in case that is killed.
    _begins = False
    # What of it is encoded: that holds as long as nothing changes that was there when it began.
    kept: Kept | None = None
    _begun: Begun | None = None
    _end_time: int | None = None

    def __init__(
        self,
        tracer: LightTracer,
        name: str,
        context: SpanContext,
        parent: SpanContext | None,
        kind: SpanKind,
        start_time: int | None,
        attributes: dict[str, Any],
    ) -> None:
        self._tracer = tracer
        self._name = name
        self._context = context
        self._parent = parent
        self._kind = kind
        self._start_time = time_ns() if start_time is None else start_time
        self._attributes: dict[str, Any] = attributes

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
        own = self._attributes
        if (
            len(attributes) > 1
            and self._end_time is None
            and len(own) + len(attributes) <= self._tracer.room
            and _CLEAN.issuperset(map(type, attributes.values()))
            and _NAMES.issuperset(map(type, attributes))
            and "" not in attributes
            and own.keys().isdisjoint(attributes)
        ):
            # They can be kept as they are, and beside all there are.
            own.update(attributes)
            return
        for key, value in attributes.items():
            self.set_attribute(key if isinstance(key, str) or not key else str(key), value)

    def set_attribute(self, key: str, value: Any) -> None:
        attributes = self._attributes
        if (
            type(value) in _CLEAN
            and type(key) is str
            and key not in attributes
            and key
            and len(attributes) < self._tracer.room
            and self._end_time is None
        ):
            attributes[key] = value
            return
        if self._is_ended():
            return
        limits = self._tracer.limits
        if not key or not isinstance(key, str) or limits.max_span_attributes == 0:
            self._dropped += 1
            self.is_whole = False
            return
        longest = limits.max_span_attribute_length
        if longest is not None or type(value) not in _CLEAN:
            value = _clean_attribute_value(value, longest)
        # The SDK's order: the one set last is the last one, and the first one goes.
        if key in attributes:
            self._begun = self.kept = None
            attributes.pop(key, None)
        elif len(attributes) == limits.max_span_attributes:
            self._begun = self.kept = None
            attributes.pop(next(iter(attributes)), None)
            self._dropped += 1
            self.is_whole = False
        attributes[key] = value

    def add_event(
        self,
        name: str,
        attributes: Mapping[str, Any] | None = None,
        timestamp: int | None = None,
    ) -> None:
        if self._is_ended():
            return
        limits = self._tracer.limits
        bounded = _bounded(limits.max_event_attributes, attributes, limits)
        event = sdk.Event(name, bounded, timestamp)
        if _append(self, "_events", event, limits.max_events):
            self._dropped_events += 1
            self.is_whole = False

    def add_link(self, context: SpanContext, attributes: Mapping[str, Any] | None = None) -> None:
        if self._is_ended() or not sdk._is_valid_link(context, attributes):
            return
        limits = self._tracer.limits
        link = Link(context, _bounded(limits.max_link_attributes, attributes, limits))
        if _append(self, "_links", link, limits.max_links):
            self._begun = None
            self._dropped_links += 1
            self.is_whole = False

    def update_name(self, name: str) -> None:
        if not self._is_ended():
            self._name = name

    def describe(self, name: str, attributes: Mapping[str, Any]) -> None:
        """Name it and add to it, also where it stands in case its process is killed.

        The attributes are the kit's own: of types that need no cleaning.
        """
        if self._end_time is not None:
            return
        self._name, own = name, self._attributes
        if len(own) + len(attributes) <= self._tracer.room and own.keys().isdisjoint(attributes):
            own.update(attributes)
        else:
            self.set_attributes(attributes)
        self.note()

    def note(self) -> None:
        """Keep where it stands now, if it begins in this process."""
        if not self._begins:
            return
        try:
            tracer, begun = self._tracer, self._begun
            if begun is None:
                begun = encode.begun(self, self.kept)
            else:
                self._begun = None
                begun = encode.begun_again(self, begun)
            record = tracer.prefixes[self._is_sampled] + begun[0]
            if not tracer.recorder.note(record, self):
                tracer.recorder.begin(record, self)
            self._begun = begun
        except BaseException as error:  # noqa: BLE001  raised on where it is to be
            self.leave()
            guard.caught("recorder.on_start", error)

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
        if self._end_time is not None:
            self._is_ended()
            return
        try:
            self._end_time = time_ns() if end_time is None else end_time
            self._recorded()
        except BaseException as error:  # noqa: BLE001  raised on where it is to be
            self._cut_off(error)

    def end_with(self, attributes: Mapping[str, Any], fields: bytes) -> None:
        """End it with these attributes, the kit's own, whose fields are encoded already.

        In one go where nothing else has changed since it was noted, as with most.
        """
        try:
            own, begun, tracer = self._attributes, self._begun, self._tracer
            if (
                begun is not None
                and self._end_time is None
                and self._name is begun[1]
                and len(own) == begun[2]
                and begun[2] + len(attributes) <= tracer.room
                and own.keys().isdisjoint(attributes)
                and self._status is UNSET
                and not (self._links or self._events)
                and self.is_whole
                and self._is_sampled
            ):
                own.update(attributes)
                self._end_time = end = time_ns()
                ended = ENDED.pack(b"\x41", end, NO_STATUS)
                self.payload = tracer.prefixes[True] + begun[0] + fields + ended
                if not tracer.recorder.keep(self):
                    tracer.recorder.put(self)
                return
            self.set_attributes(attributes)
        except BaseException as error:  # noqa: BLE001  raised on where it is to be
            self._cut_off(error)
        else:
            self.end()

    def _cut_off(self, error: BaseException) -> None:
        """Go on after an error in its end, or after what a signal's handler has raised there."""
        if not guard.is_hosts(error):
            guard.caught("recorder.on_end", error)
            return
        # At any call, and nobody else ends this span.
        self._end_time = self._end_time or time_ns()
        self._recorded()
        raise  # noqa: PLE0704  what is being handled

    def _recorded(self) -> None:
        """Put it into the ring, once however often it is said."""
        recorder = self._tracer.recorder
        if self._is_sampled:
            if not self.payload:
                self.payload = self._tracer.prefixes[True] + encode.span(self, self._begun)
            if not recorder.keep(self):
                recorder.put(self)
        elif self.place is not None:
            recorder.give_up(self)

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
        self.note = of.note

    def describe(self, name: str, attributes: Mapping[str, Any]) -> None:
        """As a light span's."""
        self._of.describe(name, attributes)

    def end(self, end_time: int | None = None) -> None:
        self._of.end(end_time)

    def end_with(self, attributes: Mapping[str, Any], fields: bytes) -> None:
        """As a light span's."""
        self._of.end_with(attributes, fields)


def _bounded(
    most: int | None, attributes: Mapping[str, Any] | None, limits: sdk.SpanLimits
) -> BoundedAttributes:
    return BoundedAttributes(most, attributes, max_value_len=limits.max_attribute_length)


def _append(span: LightSpan, parts: str, part: Any, most: int | None) -> int:
    """Add a part, and say how many the limit has dropped: the oldest ones, as the SDK does."""
    # The list is made in one step, lest two threads make two.
    found = vars(span).setdefault(parts, [])
    found.append(part)
    if most is None or len(found) <= most:
        return 0
    del found[0]
    return 1

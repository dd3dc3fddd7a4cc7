# ruff: noqa: SLF001  the provider's parts are private, and the kit's bounds name the SDK's version
"""Starts light spans, as the SDK's tracer would start its own."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from random import getrandbits
from typing import Any

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk import trace as sdk
from opentelemetry.sdk.trace import sampling
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.trace import DEFAULT_TRACE_STATE as _NO_STATE
from opentelemetry.trace import INVALID_SPAN_CONTEXT, Link, SpanContext, SpanKind, TraceFlags

from ..recorder import encode, record
from ..recorder.encode import Kept
from ..recorder.processor import RecorderProcessor
from .light import LightSpan, UnsampledSpan

_FLAGS = tuple(TraceFlags(number) for number in range(4))
_RANDOM = TraceFlags.RANDOM_TRACE_ID
_ROOT = _FLAGS[TraceFlags.SAMPLED | _RANDOM]
_DROP, _SAMPLE = sampling.Decision.DROP, sampling.Decision.RECORD_AND_SAMPLE


class LightTracer:
    """Starts light spans with the settings of an SDK's tracer."""

    def __init__(self, stock: sdk.Tracer, processor: RecorderProcessor) -> None:
        self.stock = stock
        self.recorder = processor.recorder
        self.limits = limits = stock._span_limits
        most = limits.max_span_attributes
        # How many attributes a span takes as they are; none where their length is limited.
        self.room = -1 if limits.max_span_attribute_length is not None else most or sys.maxsize
        self.room = 0 if most == 0 else self.room
        # Whether it need not ask the generator and the sampler, as they are the usual ones.
        self.is_usual = _keeps_all(stock.sampler) and type(stock.id_generator) is RandomIdGenerator
        origin = encode.resource(stock.resource), encode.scope(stock._instrumentation_scope)
        # What records begin with: those of spans that aren't sampled, and of those that are.
        self.prefixes = record.prefix(*origin, record.UNSAMPLED), record.prefix(*origin)

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
        """As the API's tracer does."""
        above = trace.get_current_span(context).get_span_context()
        span = self.start(name, above, kind, attributes, links, start_time, context)
        if type(span) is LightSpan:
            span._record_exception = record_exception
            span._set_status_on_exception = set_status_on_exception
            span.note()
        elif type(span) is UnsampledSpan:
            span.note()
        return span

    def start(  # noqa: C901, PLR0912  each call of its own costs as much as all of its branches
        self,
        name: str,
        above: SpanContext | None,
        kind: SpanKind,
        attributes: Mapping[str, Any] | None,
        links: Sequence[Link] | None = None,
        start_time: int | None = None,
        context: Context | None = None,
        kept: Kept | None = None,
    ) -> trace.Span:
        """Start a span below another one; it is to be noted or described before the host goes on.

        With `kept`, which its attributes begin with, they are the span's own from now on, and of
        the types that need no cleaning.
        """
        if not self.stock._tracer_config.is_enabled:
            return trace.NonRecordingSpan(above or INVALID_SPAN_CONTEXT)
        # By their places: each property of a context is a call.
        parent = above if above is not None and above[5] else None
        is_sampled: int | bool = True
        is_recording = False
        if not self.is_usual:
            own, result = self._chosen(parent, name, kind, attributes, links, context)
            is_sampled, is_recording = result.decision is _SAMPLE, result.decision is not _DROP
            if is_recording:
                # One that is dropped is still told if its process is killed.
                attributes, kept = result.attributes, None
        # As SpanContext makes it of valid ids.
        elif parent is None:
            begun = (getrandbits(128) or 1, getrandbits(64) or 1, False, _ROOT, _NO_STATE, True)
            own = tuple.__new__(SpanContext, begun)
        else:
            trace_id, _, _, flags, state, _ = parent
            is_sampled = flags & 1
            flags = _FLAGS[flags & 3]
            begun = (trace_id, getrandbits(64) or 1, False, flags, state, True)
            own = tuple.__new__(SpanContext, begun)
        if kept is not None and len(attributes) <= self.room:  # type: ignore[arg-type]
            span = LightSpan(self, name, own, parent, kind, start_time, attributes)  # type: ignore[arg-type]
            span.kept = kept
        else:
            span = LightSpan(self, name, own, parent, kind, start_time, {})
            if attributes:
                span.set_attributes(attributes)
        if links:
            for link in links:
                span.add_link(link.context, link.attributes)
        if parent is None or parent[2]:
            # It begins in this process.
            span._begins = True
        if is_sampled:
            return span
        span._is_sampled = False
        if is_recording:
            return span
        return UnsampledSpan(span) if span._begins else trace.NonRecordingSpan(own)

    def _chosen(
        self,
        parent: SpanContext | None,
        name: str,
        kind: SpanKind,
        attributes: Mapping[str, Any] | None,
        links: Sequence[Link] | None,
        context: Context | None,
    ) -> tuple[SpanContext, sampling.SamplingResult]:
        """The context of a span, by the generator and the sampler, and what the sampler said."""
        ids = self.stock.id_generator
        if parent is None:
            trace_id, is_random = ids.generate_trace_id(), ids.is_trace_id_random()
        else:
            trace_id, is_random = parent[0], bool(parent[3] & _RANDOM)
        span_id = ids.generate_span_id()
        result = self.stock.sampler.should_sample(
            context, trace_id, name, kind, attributes, links or ()
        )
        flags = _FLAGS[(result.decision is _SAMPLE) + is_random * _RANDOM]
        begun = (trace_id, span_id, False, flags, result.trace_state or _NO_STATE, True)
        return tuple.__new__(SpanContext, begun), result


def _keeps_all(sampler: sampling.Sampler) -> bool:
    """Whether it is `parentbased_always_on`, the default, by whatever name."""
    if type(sampler) is not sampling.ParentBased:
        return False
    on = (sampler._root, sampler._remote_parent_sampled, sampler._local_parent_sampled)
    off = (sampler._remote_parent_not_sampled, sampler._local_parent_not_sampled)
    return all(each is sampling.ALWAYS_ON for each in on) and all(
        each is sampling.ALWAYS_OFF for each in off
    )

"""Takes log records into the ring: from our own chain, and from OpenTelemetry's SDK."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from time import time_ns
from typing import TYPE_CHECKING, Any

from opentelemetry.sdk._logs import LogRecordProcessor
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from .. import guard
from . import encode, record
from .pending import Pending
from .places import LOGS
from .prefixes import Prefixes

if TYPE_CHECKING:
    from opentelemetry.sdk._logs import ReadWriteLogRecord

    from .recorder import Recorder

# OpenTelemetry's severity numbers and short names, by Python's names of levels.
SEVERITIES = {
    "debug": (5, "DEBUG"),
    "info": (9, "INFO"),
    "warning": (13, "WARN"),
    "error": (17, "ERROR"),
    "critical": (21, "FATAL"),
}


class LogRecorder:
    """Puts log records into the ring; never waits. `resource` says whose they are at the time."""

    def __init__(self, recorder: Recorder, resource: Callable[[], Resource]) -> None:
        self._recorder = recorder
        self._resource = resource
        self._prefixes = Prefixes()

    @guard.guarded("recorder.log")
    def log(
        self,
        logger: str,
        level: str,
        body: Any,
        attributes: Mapping[str, Any] | None = None,
        *,
        timestamp: int | None = None,
        trace_id: int = 0,
        span_id: int = 0,
        flags: int = 0,
        event_name: str | None = None,
    ) -> None:
        """Record a line of a logger; times are nanoseconds since 1970, `level` as in SEVERITIES."""
        now = time_ns()
        severity, text = SEVERITIES.get(level, (0, level))
        message = encode.log(
            timestamp=now if timestamp is None else timestamp,
            observed=now,
            severity=severity,
            severity_text=text,
            body=body,
            attributes=attributes,
            dropped=0,
            trace_id=trace_id,
            span_id=span_id,
            flags=flags,
            event_name=event_name,
        )
        prefix = self._prefixes.of(self._resource(), _scope(logger), record.LOG)
        _put(self._recorder, prefix + message)


@functools.lru_cache(maxsize=1024)
def _scope(logger: str) -> InstrumentationScope:
    return InstrumentationScope(logger)


class RecorderLogProcessor(LogRecordProcessor):
    """The SDK's log record processor that records; there is nothing to flush or wait for."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._prefixes = Prefixes()

    @guard.guarded("recorder.on_emit")
    def on_emit(self, log_record: ReadWriteLogRecord) -> None:
        """Record it."""
        resource = log_record.resource or Resource.get_empty()
        prefix = self._prefixes.of(resource, log_record.instrumentation_scope, record.LOG)
        _put(self._recorder, prefix + _message(log_record))

    def shutdown(self) -> None:
        """Nothing: what is recorded is the agent's to send."""

    def force_flush(self, timeout_millis: int = 30000) -> bool:  # noqa: ARG002
        """True: what was emitted is recorded."""
        return True


def _message(emitted: ReadWriteLogRecord) -> bytes:
    of = emitted.log_record
    return encode.log(
        timestamp=of.timestamp,
        observed=of.observed_timestamp,
        severity=0 if of.severity_number is None else of.severity_number.value,
        severity_text=of.severity_text,
        body=of.body,
        attributes=of.attributes,
        dropped=emitted.dropped_attributes,
        trace_id=of.trace_id,
        span_id=of.span_id,
        flags=of.trace_flags,
        event_name=of.event_name,
    )


def _put(recorder: Recorder, payload: bytes) -> None:
    pending = Pending(payload)
    try:
        recorder.put(pending, LOGS)
    except BaseException:
        # A signal's handler may raise at any call.
        recorder.put(pending, LOGS)
        raise

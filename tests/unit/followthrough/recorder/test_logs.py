"""Log records are what opentelemetry-proto reads, whether our chain or the SDK has emitted them."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry import trace
from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.exporter.otlp.proto.common._log_encoder import encode_logs
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.sdk._logs import (
    LoggerProvider,
    LoggingHandler,
    LogRecordLimits,
    LogRecordProcessor,
    ReadableLogRecord,
    ReadWriteLogRecord,
)
from opentelemetry.sdk.resources import Resource

from followthrough.recorder import encode, record, request
from followthrough.recorder.logs import LogRecorder, RecorderLogProcessor
from followthrough.recorder.pending import KEPT
from followthrough.recorder.places import LOGS
from tests.unit.followthrough.recorder.test_encode import ATTRIBUTES, CONTEXTS, VALUES, exact

TIMES = st.integers(1, 2**63)
EMITTED = st.fixed_dictionaries(
    {
        "timestamp": TIMES | st.none(),
        "observed_timestamp": TIMES,
        "severity_number": st.sampled_from(SeverityNumber) | st.none(),
        "severity_text": st.text() | st.none(),
        "body": VALUES | st.none(),
        "attributes": ATTRIBUTES | st.none(),
        "event_name": st.text() | st.none(),
    }
)


class Kept:
    """A recorder that keeps what is put in."""

    def __init__(self) -> None:
        self.payloads: list[bytes] = []

    def put(self, pending: Any, ring: str) -> None:
        assert ring == LOGS
        if not pending.fate:
            pending.fate = KEPT
            self.payloads.append(pending.payload)

    @property
    def request(self) -> ExportLogsServiceRequest:
        return ExportLogsServiceRequest.FromString(request.logs(self.payloads))


class Beside(LogRecordProcessor):
    """Keeps what an exporter of the SDK would get."""

    def __init__(self) -> None:
        self.records: list[ReadableLogRecord] = []

    def on_emit(self, log_record: ReadWriteLogRecord) -> None:
        self.records.append(
            ReadableLogRecord(
                log_record.log_record,
                log_record.resource or Resource.get_empty(),
                log_record.instrumentation_scope,
                log_record.limits,
            )
        )

    def shutdown(self) -> None: ...

    def force_flush(self, timeout_millis: int = 0) -> bool:  # noqa: ARG002
        return True


def provider_of(kept: Kept, **settings: Any) -> tuple[LoggerProvider, Beside]:
    provider, beside = LoggerProvider(shutdown_on_exit=False, **settings), Beside()
    provider.add_log_record_processor(RecorderLogProcessor(kept))  # type: ignore[arg-type]
    provider.add_log_record_processor(beside)
    return provider, beside


@pytest.mark.filterwarnings("ignore:Log record attributes were dropped")
@given(st.lists(EMITTED, min_size=1, max_size=3), CONTEXTS)
def test_what_the_sdk_emits_is_what_its_exporter_would_send(
    emitted: list[dict[str, Any]], context: trace.SpanContext
) -> None:
    kept = Kept()
    provider, beside = provider_of(kept, log_record_limits=LogRecordLimits(max_attributes=3))
    logger = provider.get_logger("scope", "1", "schema", {"of": "scope"})
    within = trace.set_span_in_context(trace.NonRecordingSpan(context))
    for each in emitted:
        logger.emit(LogRecord(context=within, **each))
    assert all(record.is_log(each) and not record.is_span(each) for each in kept.payloads)
    assert exact(kept.request) == exact(encode_logs(beside.records))


def test_a_handler_of_the_sdk_goes_the_same_way() -> None:
    kept = Kept()
    provider, beside = provider_of(kept)
    with pytest.deprecated_call():
        handler = LoggingHandler(logger_provider=provider)
    line = logging.LogRecord("a.b", logging.WARNING, "x.py", 1, "half %s", ("full",), None)
    handler.emit(line)
    assert exact(kept.request) == exact(encode_logs(beside.records))
    (found,) = kept.request.resource_logs[0].scope_logs[0].log_records
    assert (found.body.string_value, found.severity_text) == ("half full", "WARN")


def test_a_line_of_our_chain_is_a_record_of_its_logger() -> None:
    kept, resource = Kept(), Resource({"service.name": "shop"})
    lines = LogRecorder(kept, lambda: resource)  # type: ignore[arg-type]
    lines.log(
        "shop.cart",
        "warning",
        "cart.full",
        {"items": 3, "ids": ["a", 1, None]},
        timestamp=5,
        trace_id=1,
        span_id=2,
        flags=1,
        event_name="cart.full",
    )
    lines.log("shop.cart", "strange", None)
    (resource_logs,) = kept.request.resource_logs
    assert resource_logs.resource.attributes[0].value.string_value == "shop"
    (scope_logs,) = resource_logs.scope_logs
    assert scope_logs.scope.name == "shop.cart"
    first, second = scope_logs.log_records
    assert (first.time_unix_nano, first.severity_number, first.severity_text) == (5, 13, "WARN")
    assert (first.body.string_value, first.event_name) == ("cart.full", "cart.full")
    assert (first.trace_id, first.span_id) == ((1).to_bytes(16, "big"), (2).to_bytes(8, "big"))
    assert first.observed_time_unix_nano == pytest.approx(second.time_unix_nano, abs=10**11)
    assert (second.severity_number, second.severity_text) == (0, "strange")
    assert not second.trace_id
    assert not second.span_id


def test_a_line_is_of_the_resource_that_holds_at_its_time() -> None:
    kept, current = Kept(), {"resource": Resource({"service.instance.id": "parent"})}
    lines = LogRecorder(kept, lambda: current["resource"])  # type: ignore[arg-type]
    lines.log("a", "info", "1")
    current["resource"] = Resource({"service.instance.id": "child"})
    lines.log("a", "info", "2")
    found = [each.resource.attributes[0].value.string_value for each in kept.request.resource_logs]
    assert found == ["parent", "child"]


def test_a_line_that_a_signal_cuts_off_is_recorded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    class CutOff(Kept):
        def put(self, pending: Any, ring: str) -> None:
            is_first = not pending.fate
            super().put(pending, ring)
            if is_first:
                raise KeyboardInterrupt

    kept = CutOff()
    lines = LogRecorder(kept, Resource.get_empty)  # type: ignore[arg-type]
    with pytest.raises(KeyboardInterrupt):
        lines.log("a", "info", "once")
    assert len(kept.payloads) == 1


def test_text_that_utf_8_cannot_write_is_replaced() -> None:
    kept = Kept()
    LogRecorder(kept, Resource.get_empty).log(  # type: ignore[arg-type]
        "half \ud800", "half \ud800", "half \ud800", {"half \ud800": "half \ud800"}
    )
    assert exact(kept.request).count(b"half ?") == 5


def test_a_log_record_of_no_more_than_its_time_is_one() -> None:
    nothing = dict.fromkeys(("severity_text", "body", "attributes", "event_name", "timestamp"))
    numbers = dict.fromkeys(("severity", "dropped", "trace_id", "span_id", "flags"), 0)
    assert encode.log(observed=1, **nothing, **numbers).startswith(b"\x2a\x00")

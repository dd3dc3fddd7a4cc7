"""What the shipper does with each answer of a collector: send again, halve, count, go on."""

from __future__ import annotations

import os
import threading
from collections import deque
from pathlib import Path

import pytest
import structlog
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from followthrough.agent import shipper
from followthrough.agent.sender import Answer
from followthrough.agent.shipper import Shipper
from followthrough.recorder import record, ring
from followthrough.recorder.account import by_kind
from followthrough.recorder.pending import Pending
from followthrough.recorder.places import LOGS
from followthrough.recorder.recorder import Recorder
from followthrough.recorder.ring import Account
from followthrough.recorder.writer import Writer
from tests.support import wait_for

TAKEN = Answer(taken=True)
BUSY = Answer(taken=False, reason="HTTP 503")
REFUSED = Answer(taken=False, reason="HTTP 400", final=True)
TOO_LARGE = Answer(taken=False, reason="HTTP 413", final=True, too_large=True)


class Sink:
    """Answers as it is told, then takes all."""

    def __init__(self) -> None:
        self.answers: deque[Answer] = deque()
        self.sent: list[list[str]] = []
        self.taken: list[str] = []

    def send(self, request: bytes, timeout: float) -> Answer:
        assert timeout > 0
        message = ExportTraceServiceRequest.FromString(request)
        names = [
            span.name
            for origin in message.resource_spans
            for scope in origin.scope_spans
            for span in scope.spans
        ]
        self.sent.append(names)
        answer = self.answers.popleft() if self.answers else TAKEN
        self.taken += names if answer.taken else []
        return answer


@pytest.fixture
def sink() -> Sink:
    return Sink()


@pytest.fixture
def rings(tmp_path: Path) -> list[Writer]:
    (tmp_path / "rings").mkdir()
    return [Writer(tmp_path / "rings" / f"{n}.spans", 1 << 16) for n in range(2)]


@pytest.fixture
def ours(tmp_path: Path, sink: Sink, rings: list[Writer]) -> Shipper:
    return Shipper(tmp_path, sink, 0.01)


def put(writer: Writer, *names: str) -> None:
    for name in names:
        body = b"\x2a" + bytes([len(name)]) + name.encode()
        writer.put(record.prefix(b"\x0a\x00", b"\x0a\x00") + body)


def account(tmp_path: Path, number: int = 0) -> Account:
    fd = os.open(tmp_path / "rings" / f"{number}.spans", os.O_RDWR)
    try:
        return ring.account_of(fd)
    finally:
        os.close(fd)


def test_all_rings_go_in_one_request(ours: Shipper, rings: list[Writer], sink: Sink) -> None:
    put(rings[0], "a", "b")
    put(rings[1], "c")
    assert ours.ship() == TAKEN
    assert sorted(sink.taken) == ["a", "b", "c"]
    assert len(sink.sent) == 1
    assert ours.ship() is None


def test_what_a_collector_does_not_take_now_is_sent_again(
    ours: Shipper, rings: list[Writer], sink: Sink, tmp_path: Path
) -> None:
    put(rings[0], "a")
    sink.answers.append(BUSY)
    assert ours.ship() == BUSY
    assert account(tmp_path).held == 1
    assert ours.ship() == TAKEN
    assert sink.sent == [["a"], ["a"]]
    assert (account(tmp_path).held, account(tmp_path).exported) == (0, 1)


def test_what_a_collector_refuses_for_good_is_let_go_and_counted(
    ours: Shipper, rings: list[Writer], sink: Sink, tmp_path: Path
) -> None:
    put(rings[0], "a", "b")
    sink.answers.append(REFUSED)
    ours.ship()
    assert (account(tmp_path).rejected, account(tmp_path).held) == (2, 0)
    assert ours.ship() is None


def test_a_request_that_is_too_large_is_halved_down_to_one_span(
    ours: Shipper, rings: list[Writer], sink: Sink, tmp_path: Path
) -> None:
    put(rings[0], *"abcdefgh")
    sink.answers.extend([TOO_LARGE] * 3)
    for _ in range(20):
        ours.ship()
    assert [len(names) for names in sink.sent[:3]] == [8, 2, 1]
    assert sink.taken == list("bcdefgh")
    assert (account(tmp_path).rejected, account(tmp_path).exported) == (1, 7)


def test_spans_that_a_collector_took_but_for_some_are_counted(
    ours: Shipper, rings: list[Writer], sink: Sink, tmp_path: Path
) -> None:
    put(rings[0], "a")
    put(rings[1], "b", "c")
    sink.answers.append(Answer(taken=True, rejected=2))
    ours.ship()
    both = account(tmp_path, 0), account(tmp_path, 1)
    assert sum(each.rejected for each in both) == 2
    assert sum(each.exported for each in both) == 1


def test_what_is_no_span_is_let_go_and_counted(
    ours: Shipper, rings: list[Writer], sink: Sink, tmp_path: Path
) -> None:
    rings[0].put(b"nonsense")
    assert ours.ship() is None
    put(rings[0], "a")
    ours.ship()
    assert sink.taken == ["a"]
    assert (account(tmp_path).rejected, account(tmp_path).held) == (1, 0)


def test_a_file_that_is_no_ring_is_passed_over(
    ours: Shipper, rings: list[Writer], sink: Sink, tmp_path: Path
) -> None:
    (tmp_path / "rings" / "7.spans").write_bytes(b"no ring")
    put(rings[0], "a")
    ours.ship()
    assert sink.taken == ["a"]


def test_pauses_grow_and_a_wanted_one_is_kept(ours: Shipper) -> None:
    pauses = [ours._pause(BUSY) for _ in range(20)]
    assert pauses[0] < 0.05
    assert pauses[8] > pauses[0]
    assert max(pauses) <= shipper.LONGEST_PAUSE * 1.2
    assert ours._pause(TAKEN) == 0.01
    wanted = Answer(taken=False, retry_after=120)
    assert 120 <= ours._pause(wanted) <= 144
    endless = Answer(taken=False, retry_after=1e9)
    assert ours._pause(endless) <= shipper.LONGEST_RETRY_AFTER * 1.2


def test_at_the_stop_what_is_left_is_sent(ours: Shipper, rings: list[Writer], sink: Sink) -> None:
    stop = threading.Event()
    thread = threading.Thread(target=ours.run, args=(stop,))
    thread.start()
    put(rings[0], "a")
    wait_for(lambda: sink.taken == ["a"], "the first is sent")
    put(rings[0], *"bcd")
    stop.set()
    thread.join(10)
    assert sink.taken == list("abcd")


def test_a_stop_does_not_wait_for_a_collector_that_is_away(
    ours: Shipper, rings: list[Writer], sink: Sink, tmp_path: Path
) -> None:
    sink.answers.extend([BUSY] * 1000)
    put(rings[0], "a")
    stop = threading.Event()
    stop.set()
    ours.run(stop)
    assert len(sink.sent) <= 2
    assert account(tmp_path).held == 1


class LogSink:
    """Takes log records."""

    def __init__(self) -> None:
        self.bodies: list[str] = []

    def send(self, request: bytes, timeout: float) -> Answer:
        assert timeout > 0
        message = ExportLogsServiceRequest.FromString(request)
        self.bodies += [
            record.body.string_value
            for origin in message.resource_logs
            for scope in origin.scope_logs
            for record in scope.log_records
        ]
        return TAKEN


def test_log_records_go_by_themselves(tmp_path: Path, sink: Sink) -> None:
    recorder, lines = Recorder(tmp_path, 1 << 16), LogSink()
    prefix = record.prefix(b"\x0a\x00", b"\x0a\x00", record.LOG)
    body = LogRecord(body=AnyValue(string_value="hello")).SerializeToString()
    recorder.put(Pending(prefix + body), LOGS)
    put_span(recorder, "a")
    sink.answers.append(BUSY)
    Shipper(tmp_path, sink, 0.01).ship()
    assert Shipper(tmp_path, lines, 0.01, signal=shipper.LOGS).ship() == TAKEN
    assert lines.bodies == ["hello"]
    kinds = by_kind(tmp_path)
    assert (kinds["logs"].exported, kinds["spans"].held) == (1, 1)


def put_span(recorder: Recorder, name: str) -> None:
    body = Span(name=name).SerializeToString()
    prefix = record.prefix(b"\x0a\x00", b"\x0a\x00")
    recorder.put(Pending(prefix + body))


def test_a_refusal_is_said_once_until_one_is_taken(
    ours: Shipper, rings: list[Writer], sink: Sink
) -> None:
    with structlog.testing.capture_logs() as lines:
        for answer in (REFUSED, REFUSED, TAKEN, REFUSED):
            sink.answers.append(answer)
            put(rings[0], "a")
            ours.ship()
    assert [line["event"] for line in lines] == ["export.refused"] * 2

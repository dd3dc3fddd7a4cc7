"""What is under way is kept with its process gone, and what has ended is not told twice."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.trace import SpanKind

from followthrough import tracing
from followthrough.agent import lost
from followthrough.agent.finisher import Finisher, finished
from followthrough.agent.shipper import Shipper
from followthrough.recorder import encode, inflight, record, ring
from followthrough.recorder import left as leavings
from followthrough.recorder.inflight import Cause, Table, Watcher
from followthrough.recorder.left import Left
from followthrough.recorder.pending import KEPT, Pending, Place
from followthrough.recorder.processor import RecorderProcessor
from followthrough.recorder.recorder import Recorder
from followthrough.recorder.writer import Writer
from tests.unit.followthrough.agent.test_shipper import Sink

WATCHER = Watcher(os.getppid(), 0.5)
NOW = 1_700_000_000_000_000_000


@pytest.fixture
def places(tmp_path: Path) -> tuple[Path, Path]:
    return tmp_path / "0.open", tmp_path / "0.spans"


@pytest.fixture
def table(places: tuple[Path, Path]) -> Table:
    return Table(places[0], WATCHER)


def begin(table: Table, record: bytes) -> Pending:
    pending = Pending(b"record")
    table.begin(record, pending)
    return pending


def place(pending: Pending) -> Place:
    assert pending.place is not None
    return pending.place


def left(folder: Path) -> Left:
    (path,) = folder.glob("*.left")
    found = leavings.read(path)
    assert found is not None
    return found


def test_what_has_not_ended_is_left(table: Table, places: tuple[Path, Path]) -> None:
    entries = [begin(table, each) for each in (b"one", b"two", b"three")]
    entries[1].leave()
    entries[1].leave()
    leavings.take_over(*places, NOW)
    found = left(places[0].parent)
    assert sorted(found.records.values()) == [b"one", b"three"]
    assert (found.since, found.until, found.cause) == (NOW, NOW + 500_000_000, None)


def test_where_all_has_ended_nothing_is_left(table: Table, places: tuple[Path, Path]) -> None:
    begin(table, b"one").leave()
    leavings.take_over(*places, NOW)
    assert list(places[0].parent.iterdir()) == []


def instants(work: Callable[[], object], paths: tuple[Path, Path]) -> list[tuple[bytes, bytes]]:
    """What a kill before any instruction of it leaves in the files, and what its end does.

    The files are mapped, so they are what the process has written, at each instant.
    """
    found = []

    def trace(frame: FrameType, event: str, _argument: Any) -> Any:
        frame.f_trace_opcodes = True
        if event == "opcode":
            found.append((paths[0].read_bytes(), paths[1].read_bytes()))
        return trace

    # Python 3.12 looks for a frame that wants it as tracing begins.
    sys._getframe().f_trace_opcodes = True
    sys.settrace(trace)
    try:
        work()
    finally:
        sys.settrace(None)
    return [*found, (paths[0].read_bytes(), paths[1].read_bytes())]


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inflight, "ENTRIES", 1)


@pytest.mark.usefixtures("few")
def test_killed_before_any_instruction_a_span_is_either_recorded_or_left(
    places: tuple[Path, Path], tmp_path: Path
) -> None:
    table, writer = Table(places[0], WATCHER), Writer(places[1], 1024)
    pending, kept, numbers = begin(table, b"one"), [], []
    for open_, spans in instants(partial(writer.keep, pending), places):
        copy = tmp_path / "copy"
        copy.write_bytes(spans)
        with ring.opened(copy) as fd:
            assert fd is not None
            kept.append(len(ring.read(fd, 1024).payloads))
            is_left = dict(leavings._unended(open_, ring.head_of(fd))) == {0: b"one"}
            assert is_left == (not kept[-1])
            # The next owner counts a number that was given and not used.
            Writer(copy, 1024)
            account = ring.account_of(fd)
            numbers.append(account.produced)
            assert account.held == kept[-1]
            assert account.dropped["interrupted"] == account.produced - account.held
    assert kept == sorted(kept)
    assert numbers == sorted(numbers)
    assert 0 < numbers.count(0) < kept.count(0) < len(kept)


@pytest.mark.usefixtures("few")
def test_killed_before_any_instruction_of_its_begin_a_span_is_left_whole_or_not(
    places: tuple[Path, Path],
) -> None:
    """In a place where another one has stood, whose record is in the ring."""
    table, writer = Table(places[0], WATCHER), Writer(places[1], 1024)
    writer.keep(begin(table, b"earlier"))
    head = writer._words[ring.HEAD // 8]
    pending = Pending()
    before: dict[int, bytes] = {}
    # The second time it is said again, of the same span.
    for said in (b"later", b"described"):
        found = [
            dict(leavings._unended(raw, head))
            for raw, _ in instants(partial(table.begin, said, pending), places)
        ]
        after = {0: said}
        assert (found[0], found[-1]) == (before, after)
        assert all(each in (before, {}, after) for each in found)
        before = after


def test_at_each_call_a_place_is_taken_or_free(table: Table, places: tuple[Path, Path]) -> None:
    """So that what a signal's handler raises there loses none."""
    writer, held = Writer(places[1], 1 << 16), Pending(b"record")
    seen: list[bool] = []

    def look(_frame: FrameType, event: str, _argument: Any) -> None:
        if event not in ("call", "c_return"):
            return
        assert table.used == (held.place is not None)
        assert (writer._words[ring.HEAD // 8] > 0) == (held.fate == KEPT)
        seen.append(held.place is not None)

    sys.setprofile(look)
    try:
        table.begin(b"x", held)
        writer.keep(held)
    finally:
        sys.setprofile(None)
    assert {True, False} == set(seen)
    assert (held.fate, table.used) == (KEPT, 0)


def test_what_began_in_the_parent_is_the_parents_to_end(tmp_path: Path) -> None:
    recorder, pending = Recorder(tmp_path, 1 << 16), Pending(b"Tparent" + bytes(40))
    recorder.begin(b"parent", pending)
    pid = os.fork()
    if pid == 0:
        recorder.put(pending)
        os._exit(0 if pending.fate == KEPT else 1)
    assert os.waitpid(pid, 0)[1] == 0
    ((_, record),) = leavings._unended((tmp_path / "rings" / "0.open").read_bytes(), 1 << 20)
    assert record == b"parent"
    recorder.give_up(pending)
    assert not list(leavings._unended((tmp_path / "rings" / "0.open").read_bytes(), 0))


def test_a_run_that_has_ended_is_not_found(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, 1 << 16)
    tracer, said = TracerProvider().get_tracer("x"), {"celery.task_name": "pay", "id": "abc"}
    span = tracer.start_span("process pay", kind=SpanKind.CONSUMER, attributes=said)
    begun = record.prefix(b"\x0a\x00", b"\x0a\x00") + encode.span(span)  # type: ignore[arg-type]
    pending = Pending(begun)
    recorder.begin(begun, pending)
    assert leavings.find(tmp_path / "rings", os.getpid(), b"abc") == begun
    recorder.put(pending)
    assert leavings.find(tmp_path / "rings", os.getpid(), b"abc") is None


def test_what_has_no_room_is_not_kept(table: Table, places: tuple[Path, Path]) -> None:
    entries = [begin(table, b"x") for _ in range(inflight.MOST)]
    assert {place(each).number for each in entries} == set(range(inflight.MOST))
    assert begin(table, b"x").place is None
    entries[5].leave()
    assert place(begin(table, b"x")).number == 5


def test_a_torn_entry_is_passed_over(table: Table, places: tuple[Path, Path]) -> None:
    begin(table, b"whole")
    torn = begin(table, b"torn")
    with places[0].open("r+b") as file:
        file.seek(inflight.at(place(torn).number) + 16)
        file.write(b"?")
    leavings.take_over(*places, NOW)
    assert left(places[0].parent).records == {0: b"whole"}


@pytest.mark.parametrize("before", [True, False])
def test_a_cause_is_found_whether_noted_before_or_after(
    table: Table, places: tuple[Path, Path], before: bool
) -> None:
    begin(table, b"one")
    cause = Cause("WorkerLostError", "Signal 9 ü." + "x" * 5000)
    for noted_before in (True, False):
        if before == noted_before:
            inflight.note_cause(places[0].parent, os.getpid(), cause)
            inflight.note_cause(places[0].parent, os.getpid() + 1, Cause("Other", "no"))
        if noted_before:
            leavings.take_over(*places, NOW)
    found = left(places[0].parent).cause
    assert found is not None
    assert (found.error_type, found.outcome) == (cause.error_type, "lost")
    # When it was noted, or when the table was taken over, if that was before.
    assert found.at > NOW if before else found.at == NOW
    assert cause.message.startswith(found.message)
    assert len(found.message) > 900


def test_a_file_that_is_no_table_is_removed(places: tuple[Path, Path]) -> None:
    places[0].write_bytes(b"no table")
    leavings.take_over(*places, NOW)
    assert not places[0].exists()


def test_a_full_disk_is_told(places: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_fd: int, _size: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(inflight, "fallocate", full)
    with pytest.raises(OSError, match="No space"):
        Table(places[0], WATCHER)


def test_an_unfinished_span_is_ended_with_its_cause() -> None:
    tracer = TracerProvider().get_tracer("x")
    span = tracer.start_span("process pay", kind=SpanKind.CONSUMER, attributes={"queue": "default"})
    begun = record.prefix(b"\x0a\x00", b"\x0a\x00") + encode.span(span)  # type: ignore[arg-type]
    end = span.start_time + 5  # type: ignore[attr-defined]
    prefix, body = record.body(finished(begun, end, lost.outcome(None)))
    assert begun.startswith(prefix)
    ended = Span.FromString(body)
    assert (ended.name, ended.kind) == ("process pay", Span.SPAN_KIND_CONSUMER)
    assert ended.end_time_unix_nano == end
    assert ended.status == Status(code=Status.STATUS_CODE_ERROR, message=lost.MESSAGE)
    assert {a.key: a.value.string_value for a in ended.attributes} == {
        "queue": "default",
        "error.type": "ProcessLost",
    }


@pytest.mark.parametrize(("kind", "code"), [("requeued", 0), ("lost", 2)])
def test_a_task_of_a_dead_process_ends_with_what_it_comes_to(kind: str, code: int) -> None:
    tracer = TracerProvider().get_tracer("x")
    said = {"celery.task_name": "pay"}
    span = tracer.start_span("process pay", kind=SpanKind.CONSUMER, attributes=said)
    begun = record.prefix(b"\x0a\x00", b"\x0a\x00") + encode.span(span)  # type: ignore[arg-type]
    outcome = lost.outcome(Cause("Killed", "by a test", kind))
    ended = Span.FromString(record.body(finished(begun, 7, outcome))[1])
    has = {a.key: a.value.string_value for a in ended.attributes}
    assert (ended.status.code, has["celery.outcome"], has["error.type"]) == (code, kind, "Killed")
    assert "by a test" in (ended.status.message, has.get("celery.requeue.reason"))


def test_a_span_that_is_described_is_noted_so(tmp_path: Path) -> None:
    """The SDK's, as the provider has another processor too."""
    provider, recorder = TracerProvider(), Recorder(tmp_path, 1 << 16)
    provider.add_span_processor(RecorderProcessor(recorder))
    provider.add_span_processor(SpanProcessor())
    span = provider.get_tracer("x").start_span("GET")
    tracing.describe(span, "GET /users/<id>", {"http.route": "/users/<id>"})
    (table,) = (tmp_path / "rings").glob("*.open")
    assert b"GET /users/<id>" in table.read_bytes()
    assert table.read_bytes().count(b"http.route") == 1
    span.end()


@pytest.mark.parametrize("ends", [True, False])
def test_a_span_of_a_dead_process_is_told_once(tmp_path: Path, ends: bool) -> None:
    pid = os.fork()
    if pid == 0:
        provider = TracerProvider()
        recorder = Recorder(tmp_path, 1 << 16)
        recorder.watcher = Watcher(os.getppid(), 60.0)
        provider.add_span_processor(RecorderProcessor(recorder))
        tracer = provider.get_tracer("x")
        with tracer.start_as_current_span("outer") as outer:
            tracer.start_span("inner").end()
            if ends:
                outer.end()
            os._exit(0)
    os.waitpid(pid, 0)
    sink = Sink()
    finisher, shipper = Finisher(tmp_path, 1 << 16), Shipper(tmp_path, sink, 1)
    finisher.look()
    shipper.ship()
    assert sink.taken == (["inner", "outer"] if ends else ["inner"])
    inflight.note_cause(tmp_path / "rings", pid, Cause("Killed", "by a test"))
    finisher.look()
    finisher.look()
    shipper.ship()
    assert sorted(sink.taken) == ["inner", "outer"]
    assert list((tmp_path / "rings").glob("*.left")) == []

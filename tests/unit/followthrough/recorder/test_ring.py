"""A ring keeps what was put in, in order, and says what became of each record."""

from __future__ import annotations

import itertools
import os
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from followthrough.recorder import places, ring
from followthrough.recorder import writer as writer_module
from followthrough.recorder.pending import Pending
from followthrough.recorder.places import SPANS
from followthrough.recorder.writer import Writer

CAPACITY = 1024


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "0.spans"


@pytest.fixture
def writer(path: Path) -> Writer:
    return Writer(path, CAPACITY)


@pytest.fixture
def reader(writer: Writer, path: Path) -> Iterator[int]:
    fd = os.open(path, os.O_RDWR)
    yield fd
    os.close(fd)


def take(fd: int, limit: int = CAPACITY) -> list[bytes]:
    batch = ring.read(fd, limit)
    ring.settle(fd, batch, exported=len(batch.payloads))
    return batch.payloads


def test_records_come_out_in_order_and_whole(writer: Writer, reader: int) -> None:
    sent = [bytes([n]) * n for n in range(20)]
    for each in sent:
        writer.put(each)
    assert take(reader) == sent
    assert ring.is_empty(reader)


def test_nothing_is_gone_before_it_is_settled(writer: Writer, reader: int) -> None:
    writer.put(b"once")
    assert ring.read(reader, CAPACITY).payloads == [b"once"]
    assert take(reader) == [b"once"]
    assert take(reader) == []


def test_a_limit_gives_at_least_one_record(writer: Writer, reader: int) -> None:
    for each in (b"a" * 100, b"b" * 100):
        writer.put(each)
    assert take(reader, 1) == [b"a" * 100]
    assert take(reader, 1) == [b"b" * 100]


def test_a_full_ring_drops_the_new_and_counts(writer: Writer, reader: int) -> None:
    for _ in range(20):
        writer.put(b"x" * 84)  # a hundred bytes with its header, and four to fill up
    account = ring.account_of(reader)
    assert account.dropped == {**dict.fromkeys(ring.REASONS, 0), "full": 11}
    assert (account.produced, account.held) == (20, 9)
    assert len(take(reader)) == 9
    writer.put(b"again")
    assert take(reader) == [b"again"]


def test_a_record_larger_than_a_quarter_is_dropped(writer: Writer, reader: int) -> None:
    writer.put(b"x" * (CAPACITY // 4))
    assert ring.account_of(reader).dropped["large"] == 1
    assert take(reader) == []


def test_a_reader_may_refuse_records(writer: Writer, reader: int) -> None:
    writer.put(b"bad")
    ring.settle(reader, ring.read(reader, CAPACITY), exported=0, rejected=1)
    account = ring.account_of(reader)
    assert (account.rejected, account.exported, account.held) == (1, 0, 0)


def test_a_torn_record_is_skipped_and_counted(writer: Writer, reader: int) -> None:
    for each in (b"first", b"second", b"third"):
        writer.put(each)
    os.pwrite(reader, b"?", ring.PAGE + 24 + 16)
    assert take(reader) == [b"first", b"third"]
    account = ring.account_of(reader)
    assert (account.torn, account.exported, account.held) == (1, 2, 0)


def test_without_its_checksum_a_torn_record_would_come_through(
    writer: Writer, reader: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that the test above, and that of a thousand kills, are about the checksum."""

    class Anything(int):
        def __eq__(self, other: object) -> bool:
            return True

        def __hash__(self) -> int:
            return 0

    writer.put(b"first")
    os.pwrite(reader, b"?", ring.PAGE + ring.RECORD.size)
    monkeypatch.setattr(ring, "checksum", lambda _payload, _number: Anything())
    assert take(reader) == [b"?irst"]


@pytest.mark.parametrize("length", [2**20, 200])
def test_after_a_torn_length_the_reader_goes_on_at_the_head(
    writer: Writer, reader: int, length: int
) -> None:
    for each in (b"first", b"second", b"third"):
        writer.put(each)
    os.pwrite(reader, length.to_bytes(4, "little"), ring.PAGE + 24)
    assert take(reader) == [b"first"]
    assert ring.is_empty(reader)
    writer.put(b"fourth")
    assert take(reader) == [b"fourth"]


def test_places_that_no_writer_leaves_begin_anew(writer: Writer, reader: int) -> None:
    writer.put(b"lost")
    os.pwrite(reader, (2**60).to_bytes(8, "little"), ring.TAIL)
    assert take(reader) == []
    writer.put(b"next")
    assert take(reader) == [b"next"]


def test_the_next_owner_goes_on_where_the_last_one_was_killed(path: Path) -> None:
    first = Writer(path, CAPACITY)
    first.put(b"one")
    # As a kill between the number and the record leaves it.
    ring.WORD.pack_into(first._map, ring.GIVEN, 2)
    second = Writer(path, CAPACITY * 2)
    second.put(b"two")
    fd = os.open(path, os.O_RDWR)
    account = ring.account_of(fd)
    assert account.dropped["interrupted"] == 1
    assert (account.produced, account.held) == (3, 2)
    assert take(fd) == [b"one", b"two"]
    os.close(fd)


def test_a_foreign_file_is_set_aside(path: Path) -> None:
    path.write_bytes(b"not a ring")
    Writer(path, CAPACITY)
    assert path.with_suffix(".broken").read_bytes() == b"not a ring"


def test_a_full_disk_leaves_no_half_ring(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(fd: int, size: int) -> None:
        os.ftruncate(fd, size // 2)
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(writer_module, "fallocate", full)
        with pytest.raises(OSError, match="No space"):
            Writer(path, CAPACITY)
    Writer(path, CAPACITY)
    assert not path.with_suffix(".broken").exists()


def test_the_files_blocks_are_reserved(writer: Writer, path: Path) -> None:
    assert path.stat().st_blocks * 512 >= ring.PAGE + CAPACITY


def test_nothing_waits_where_no_file_is(tmp_path: Path) -> None:
    assert not ring.is_waiting(tmp_path / "0.spans")
    assert places.found(tmp_path / "rings", SPANS) == []


def test_the_files_of_a_kind_are_found(tmp_path: Path) -> None:
    for name in ("0.spans", "1.spans", "0.logs", ".spans.new"):
        (tmp_path / name).touch()
    assert {path.name for path in places.found(tmp_path, SPANS)} == {"0.spans", "1.spans"}


def test_threads_lose_nothing(path: Path) -> None:
    shared = Writer(path, 1 << 20)
    threads = [
        threading.Thread(target=lambda n=n: [shared.put(bytes([n, i])) for i in range(250)])
        for n in range(4)
    ]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    fd = os.open(path, os.O_RDWR)
    assert sorted(take(fd, 1 << 20)) == sorted(bytes([n, i]) for n in range(4) for i in range(250))
    os.close(fd)


def calls_of(work: Callable[[], object], at_call: Callable[[int], None]) -> None:
    """Run it with what a signal's handler might do, at each of its calls; told which call it is."""
    number = itertools.count()

    def come_in(_frame: FrameType, event: str, _argument: object) -> None:
        # It comes after a call into C, and as a function of Python begins.
        if event in ("call", "c_return"):
            at_call(next(number))

    sys.setprofile(come_in)
    try:
        work()
    finally:
        sys.setprofile(None)


class Raised(BaseException):
    """What a signal's handler raises."""


@pytest.mark.parametrize("size", [5, 400, 1500])
@pytest.mark.parametrize("before", [0, 980])
def test_a_record_in_the_middle_of_a_record_is_one_more(
    tmp_path: Path, before: int, size: int
) -> None:
    """As from a signal's handler, at any call; also at the file's end, and of a too large one."""
    for at in range(100):
        path = tmp_path / f"{at}.spans"
        writer, came = Writer(path, 4096), []
        fd = os.open(path, os.O_RDWR)
        for _ in range(4 if before else 0):
            writer.put(b"b" * before)
        take(fd, 4096)

        def come_in(call: int, at: int = at, writer: Writer = writer, came: Any = came) -> None:
            words = writer._words
            # Nothing is half done at a call.
            assert words[ring.GIVEN // 8] == sum(words[n] for n in range(9, ring.GIVEN // 8))
            if call == at:
                came.append(call)
                writer.put(b"inner")

        calls_of(lambda writer=writer: writer.put(b"o" * size), come_in)
        if not came:
            break
        outer = [] if size == 1500 else [b"o" * size]
        assert sorted(take(fd, 4096)) == sorted([b"inner", *outer])
        account = ring.account_of(fd)
        assert account.dropped["large"] == (size == 1500)
        assert (account.held, account.torn, account.dropped["interrupted"]) == (0, 0, 0)
        os.close(fd)
    assert at > 4


@pytest.mark.parametrize("size", [5, 400, 1000])
def test_a_record_cut_off_at_any_call_and_put_in_again_is_there_once(
    tmp_path: Path, size: int
) -> None:
    for at in range(100):
        path = tmp_path / f"{at}.spans"
        writer, pending = Writer(path, 2048), Pending(b"x" * size)

        def come_in(call: int, at: int = at) -> None:
            if call == at:
                raise Raised

        try:
            calls_of(lambda w=writer, p=pending: w.keep(p), come_in)
            break
        except Raised:
            writer.keep(pending)
        fd = os.open(path, os.O_RDWR)
        assert take(fd) == ([] if size == 1000 else [pending.payload])
        assert ring.account_of(fd).produced == 1
        os.close(fd)
    assert at > 4


def test_a_retired_writer_takes_no_more(writer: Writer, reader: int) -> None:
    writer.put(b"one")
    assert writer.retire() == 1
    for size in (1, 500, 5000):
        late = Pending(b"x" * size)
        assert not writer.keep(late)
        assert not late.fate
    assert ring.account_of(reader).produced == 1


class Ring(RuleBasedStateMachine):
    """Any sequence of writes, reads and new owners, against a plain queue."""

    def __init__(self) -> None:
        super().__init__()
        self.path = Path(os.environ["RING_TEST_DIR"]) / "machine.spans"
        self.path.unlink(missing_ok=True)
        self.writer = Writer(self.path, CAPACITY)
        self.fd = os.open(self.path, os.O_RDWR)
        self.waiting: deque[bytes] = deque()
        self.put_in = self.taken = 0

    @rule(size=st.integers(0, 300), fill=st.integers(0, 255))
    def put(self, size: int, fill: int) -> None:
        before = sum(ring.account_of(self.fd).dropped.values())
        self.writer.put(bytes([fill]) * size)
        self.put_in += 1
        if sum(ring.account_of(self.fd).dropped.values()) == before:
            self.waiting.append(bytes([fill]) * size)

    @rule(limit=st.integers(1, 2 * CAPACITY), chunk=st.sampled_from([16, 50, 333, 1 << 16]))
    def take(self, limit: int, chunk: int) -> None:
        ring._CHUNK = chunk
        for payload in take(self.fd, limit):
            self.taken += 1
            assert payload == self.waiting.popleft()

    @rule()
    def change_owner(self) -> None:
        self.writer = Writer(self.path, CAPACITY)

    @invariant()
    def the_account_is_exact(self) -> None:
        account = ring.account_of(self.fd)
        assert ring.is_waiting(self.path) == bool(self.waiting)
        assert account.produced == self.put_in
        assert account.held == len(self.waiting)
        assert account.exported == self.taken
        assert account.torn == account.dropped["interrupted"] == 0

    def teardown(self) -> None:
        os.close(self.fd)


def test_any_order_of_writes_and_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from hypothesis.stateful import run_state_machine_as_test

    monkeypatch.setenv("RING_TEST_DIR", str(tmp_path))
    monkeypatch.setattr(ring, "_CHUNK", ring._CHUNK)
    run_state_machine_as_test(Ring, settings=settings(max_examples=60, deadline=None))

"""A process's rings where the disk has little room, or somebody else had its slot before."""

from __future__ import annotations

import ctypes
import errno
import logging
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from followthrough import slots
from followthrough.recorder import account, left, obstacle, writer
from followthrough.recorder import recorder as module
from followthrough.recorder.pending import Pending
from followthrough.recorder.places import EVENTS, LOGS, SPANS
from followthrough.recorder.record import LOG
from followthrough.recorder.recorder import Recorder

RECORD = b"T" + bytes(40)


def only(most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    real = writer.fallocate

    def fallocate(fd: int, size: int) -> None:
        if size > most:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(fd, size)

    monkeypatch.setattr(writer, "fallocate", fallocate)


def test_a_disk_without_room_for_a_whole_ring_has_a_smaller_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    only(600_000, monkeypatch)
    Recorder(tmp_path, 4 << 20).put(Pending(RECORD))
    assert (tmp_path / "rings" / "0.spans").stat().st_size == 4096 + (4 << 20) // 8
    assert account.totals(tmp_path).held == 1


def test_where_no_ring_of_spans_can_be_had_that_of_events_may(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    only(140_000, monkeypatch)
    recorder = Recorder(tmp_path, 16 << 20)
    recorder.put(Pending(RECORD))
    assert recorder.keep_event(b"event")
    assert account.totals(tmp_path, EVENTS).held == 1
    assert account.totals(tmp_path, SPANS).rings == 0
    monkeypatch.undo()
    recorder._off_until = recorder._due[0] = 0.0
    recorder.put(Pending(RECORD))
    sums = account.totals(tmp_path)
    assert (sums.produced, sums.held, sums.dropped["unavailable"]) == (2, 1, 1)


def test_a_slot_taken_for_something_else_gives_what_was_left_there_to_the_agent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that counts and records no span holds the slot of one that was killed."""
    pid = os.fork()
    if pid == 0:
        Recorder(tmp_path, 1 << 16).begin(RECORD, Pending())
        os._exit(0)
    os.waitpid(pid, 0)
    assert (tmp_path / "rings" / "0.open").exists()
    held = slots.Held()
    held.on_taken = left.take_over_slot
    assert held.number(tmp_path / "slots") == 0
    assert len(list((tmp_path / "rings").glob("0.*.left"))) == 1
    held.release()


def test_what_it_tells_of_itself_may_be_recorded_too(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, 1 << 16)

    class Recording(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            recorder.put(Pending(LOG + record.getMessage().encode() + bytes(40)), LOGS)

    told, handler = logging.getLogger("followthrough.recorder.recorder"), Recording()
    told.addHandler(handler)
    try:
        recorder.put(Pending(LOG + bytes(40)), LOGS)
        shutil.rmtree(tmp_path)
        recorder._due[0] = 0.0
        recorder.put(Pending(RECORD))
    finally:
        told.removeHandler(handler)
    assert account.totals(tmp_path, SPANS).held == 1
    assert account.totals(tmp_path, LOGS).held == 1
    assert b"files in" in (tmp_path / "rings" / "0.logs").read_bytes()


def test_without_the_global_interpreter_lock_nothing_is_recorded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert obstacle(tmp_path) is None
    monkeypatch.setattr(sys, "_is_gil_enabled", lambda: False, raising=False)
    assert "global interpreter lock" in str(obstacle(tmp_path))


@pytest.mark.parametrize("fork", [os.fork, lambda: ctypes.PyDLL(None).fork()])
def test_a_child_records_in_files_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fork: Callable[[], int]
) -> None:
    """Also one of whose fork Python was not told."""
    monkeypatch.setattr(module, "LOOK_EVERY", 60.0)
    recorder = Recorder(tmp_path, 1 << 16)
    recorder.put(Pending(RECORD))
    pid = fork()
    if pid == 0:
        is_now = recorder.keep(Pending(RECORD)) or recorder.note(RECORD, Pending())
        recorder.put(Pending(RECORD))
        os._exit(is_now)
    assert os.waitpid(pid, 0)[1] == 0
    assert recorder.keep(Pending(RECORD))
    sums = account.totals(tmp_path)
    assert (sums.rings, sums.produced, sums.held) == (2, 3, 3)


def test_once_in_a_while_the_files_are_looked_at_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LOOK_EVERY", 60.0)
    recorder = Recorder(tmp_path, 1 << 16)
    for is_now in (False, True):
        assert recorder.keep(Pending(RECORD)) == recorder.note(RECORD, Pending()) == is_now
        recorder.put(Pending(RECORD))
    recorder._due[0] = 0.0
    assert not recorder.keep(Pending(RECORD))
    assert not recorder.note(RECORD, Pending())
    recorder.close()
    assert account.totals(tmp_path).produced == 3

"""A line is one write, whole or not at all; a pipe that nobody reads holds nobody up."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from followthrough import guard
from followthrough.logs import chain, output

LINE = b'{"event":"hello"}\n'
LONG = b'{"event":"' + b"x" * 20_000 + b'"}\n'


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    found: list[str] = []
    monkeypatch.setattr(guard, "count", found.append)
    return found


@contextlib.contextmanager
def stdout_to(fd: int) -> Iterator[None]:
    """Pytest gives each phase of a test a stdout of its own, so this is held on to."""
    with open(fd, "w", closefd=False) as stream, pytest.MonkeyPatch.context() as patch:
        patch.setattr(output._To, "kept", stream)
        output.look()
        yield
    output.look()


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    read, write = os.pipe()
    with stdout_to(write):
        yield read, write
    for fd in (read, write):
        with contextlib.suppress(OSError):
            os.close(fd)


def fill(fd: int) -> int:
    """Fill a pipe; returns how much is in it."""
    again = os.open(f"/proc/self/fd/{fd}", os.O_WRONLY | os.O_NONBLOCK)
    filled = 0
    with contextlib.suppress(BlockingIOError):
        while True:
            filled += os.write(again, b"-" * 4096)
    os.close(again)
    return filled


def drain(fd: int, size: int) -> bytes:
    found = b""
    while len(found) < size:
        found += os.read(fd, size - len(found))
    return found


def test_a_line_is_written_at_once(pipe):
    output.write(LINE)
    assert os.read(pipe[0], 100) == LINE


def test_what_is_printed_keeps_its_place(pipe):
    output.write(LINE)
    os.read(pipe[0], 100)
    print("before", file=output.stdout())
    output.write(LINE)
    assert os.read(pipe[0], 100) == b"before\n" + LINE


@pytest.mark.parametrize("line", [LINE, LONG], ids=["short", "long"])
def test_a_pipe_that_nobody_reads_costs_its_patience_once(pipe, monkeypatch, counted, line):
    monkeypatch.setattr(output, "PATIENCE", 0.2)
    filled = fill(pipe[1])
    begin = time.monotonic()
    for _ in range(50):
        output.write(line)
    assert 0.2 <= time.monotonic() - begin < 2
    assert counted == ["logs.dropped"] * 50
    drain(pipe[0], filled)
    output.write(LINE)
    assert os.read(pipe[0], 100) == LINE
    assert len(counted) == 50


def test_a_long_line_that_was_cut_off_spoils_no_other(pipe, monkeypatch, counted):
    monkeypatch.setattr(output, "PATIENCE", 0.1)
    filled = fill(pipe[1])
    drain(pipe[0], 8192)
    output.write(LONG)
    assert counted == ["logs.dropped"]
    drain(pipe[0], filled - 8192)
    drain(pipe[0], 8192)
    output.write(LINE)
    assert os.read(pipe[0], 100) == b"\n" + LINE


def test_a_slow_reader_gets_all_of_a_long_line(pipe):
    filled = fill(pipe[1])
    found: list[bytes] = []
    reader = threading.Thread(target=lambda: found.append(drain(pipe[0], filled + len(LONG))))
    reader.start()
    output.write(LONG)
    reader.join(10)
    assert found[0].endswith(LONG)


def test_the_host_itself_still_waits_for_its_pipe(pipe):
    output.write(LINE)
    assert os.get_blocking(pipe[1])


def test_a_closed_pipe_is_counted_and_never_raised(pipe, counted):
    os.close(pipe[0])
    output.write(LINE)
    output.write(LINE)
    assert counted == ["logs.write"] * 2


@pytest.mark.parametrize("stream", [None, io.StringIO()], ids=["none", "closed"])
def test_without_a_stream_lines_are_counted(monkeypatch, counted, stream):
    if stream is not None:
        stream.close()
    monkeypatch.setattr(sys, "stdout", stream)
    output.write(LINE)
    assert len(counted) == 1


def test_a_stream_without_a_descriptor_gets_lines_as_text(monkeypatch):
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stdout", stream)
    output.write(LINE)
    assert stream.getvalue().encode() == LINE


def test_a_socket_that_nobody_reads_is_not_waited_for(monkeypatch, counted):
    """As under systemd, whose journal reads a socket."""
    monkeypatch.setattr(output, "PATIENCE", 0.1)
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        while True:
            ours.send(b"-" * 4096)
    ours.setblocking(True)
    with stdout_to(ours.fileno()):
        output.write(LINE)
    assert counted == ["logs.dropped"]
    ours.close()
    theirs.close()


def test_a_descriptor_that_leads_elsewhere_by_now_is_followed(pipe, tmp_path):
    output.write(LINE)
    other = os.open(tmp_path / "log", os.O_WRONLY | os.O_CREAT)
    os.dup2(other, pipe[1])
    os.close(other)
    output.look()
    output.write(LINE)
    assert (tmp_path / "log").read_bytes() == LINE


def test_a_rotated_file_is_begun_anew(tmp_path: Path):
    path = tmp_path / "worker.log"
    output.to_file(str(path))
    try:
        output.write(LINE)
        path.rename(tmp_path / "worker.log.1")
        output.look()
        output.write(LINE)
        output.write(LINE)
    finally:
        output.to_file(None)
    assert (tmp_path / "worker.log.1").read_bytes() == LINE
    assert path.read_bytes() == LINE * 2


def test_a_rotated_file_is_noticed_at_the_next_second(tmp_path: Path, monkeypatch):
    now = [1_764_100_000_000_000_000]
    monkeypatch.setattr("time.time_ns", lambda: now[0])
    path = tmp_path / "worker.log"
    output.to_file(str(path))
    logger = chain.named("rotated")
    try:
        for second in (0, 0, 1):
            now[0] += second * chain.NANOSECONDS
            line, fields = chain.made("rotated", "info", {"event": "hello"})
            logger.info(line, logging.INFO, fields)
            if not second and not (tmp_path / "worker.log.1").exists():
                path.rename(tmp_path / "worker.log.1")
    finally:
        output.to_file(None)
    assert len((tmp_path / "worker.log.1").read_bytes().splitlines()) == 2
    assert len(path.read_bytes().splitlines()) == 1


class SoftLimitError(Exception):
    pass


def test_an_exception_out_of_a_signals_handler_tears_no_line(pipe):
    """Signals at any bytecode, with a reader so slow that long lines are written in parts."""
    found: list[bytes] = []

    def read() -> None:
        while b'"last"' not in b"".join(found[-2:]):
            found.append(os.read(pipe[0], 3000))

    def strike(*_: object) -> None:
        # A busy machine may deliver it late, where there is nothing to tear.
        if is_writing:
            raise SoftLimitError

    reader = threading.Thread(target=read)
    reader.start()
    output.write(b'{"n": -1}\n')
    before = signal.signal(signal.SIGALRM, strike)
    struck, is_writing = 0, False
    try:
        for n in range(3000):
            line = json.dumps({"n": n, "x": "x" * (10_000 if n % 10 == 0 else 10)}).encode() + b"\n"
            try:
                is_writing = True
                signal.setitimer(signal.ITIMER_REAL, 1e-6 * (n % 60 + 1))
                output.write(line)
                signal.setitimer(signal.ITIMER_REAL, 0)
            except SoftLimitError:
                struck += 1
            finally:
                is_writing = False
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        output.write(b'"last"\n')
        reader.join(10)
    lines = b"".join(found).splitlines()
    numbers = [json.loads(line)["n"] for line in lines[:-1]]
    assert struck > 30
    assert numbers == sorted(set(numbers))
    assert len(numbers) > 1000


def test_an_exception_right_after_a_part_was_written_repeats_nothing(pipe):
    """A signal's handler may run as soon as the system call is over."""

    def strike(frame, event, function):
        ours = frame.f_code is output._send.__code__
        if event == "c_return" and ours and function.__name__ in ("write", "extend"):
            sys.setprofile(None)
            raise SoftLimitError

    output.write(b"")
    filled = fill(pipe[1])
    drain(pipe[0], 8192)
    reader = threading.Thread(
        target=lambda: found.append(drain(pipe[0], filled - 8192 + len(LONG))),
        daemon=True,
    )
    found: list[bytes] = []
    output._To.open.is_stuck = True
    send = output._send
    sys.setprofile(strike)
    try:
        with pytest.raises(SoftLimitError):
            send(output._To.open, LONG, sent := [])
    finally:
        sys.setprofile(None)
    assert sent == [8192]
    reader.start()
    output._To.open.is_stuck = False
    assert send(output._To.open, LONG, sent)
    reader.join(10)
    assert found[0].endswith(b"-" + LONG)


def test_an_exception_right_after_the_first_part_of_a_line_was_written_tears_it_not(pipe):
    """As above, where a line is written in one step if there is room for it."""
    output.write(b"")
    filled = fill(pipe[1])
    drain(pipe[0], 8192)
    found: list[bytes] = []
    reader = threading.Thread(
        target=lambda: found.append(drain(pipe[0], filled - 8192 + len(LONG))),
        daemon=True,
    )

    def strike(frame, event, function):
        # The first call after the one step is the first moment at which a handler may run.
        ours = frame.f_code is output.write.__code__
        if event == "c_call" and ours and function.__name__ == "len":
            sys.setprofile(None)
            reader.start()
            raise SoftLimitError

    sys.setprofile(strike)
    try:
        with pytest.raises(SoftLimitError):
            output.write(LONG)
    finally:
        sys.setprofile(None)
    output.write(LINE)
    reader.join(10)
    assert found[0].endswith(b"-" + LONG)
    assert drain(pipe[0], len(LINE)) == LINE


def test_lines_of_many_threads_and_processes_stay_whole(pipe):
    def tell(size: int) -> None:
        for _ in range(50):
            output.write(b'"' + b"x" * size + b'"\n')

    children = []
    output.write(b'"first"\n')
    for size in (10, 3000):
        if not (pid := os.fork()):
            tell(size)
            os._exit(0)
        children.append(pid)
    threads = [threading.Thread(target=tell, args=(size,)) for size in (20, 4000)]
    for thread in threads:
        thread.start()
    size = 8 + 50 * (13 + 3003 + 23 + 4003)
    lines = drain(pipe[0], size).splitlines()
    for thread in threads:
        thread.join()
    for pid in children:
        os.waitpid(pid, 0)
    assert len(lines) == 201
    assert sorted({len(json.loads(line)) for line in lines}) == [5, 10, 20, 3000, 4000]

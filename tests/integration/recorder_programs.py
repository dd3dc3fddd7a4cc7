"""Programs of test_recorder_kills.py and test_recorder_places.py: hosts that record."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import random
import select
import signal
import struct
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from billiard.exceptions import SoftTimeLimitExceeded
from opentelemetry import trace

import followthrough
from followthrough import guard, slots, tracing
from followthrough.alerts import keep

NUMBER = struct.Struct("<Q")
KILLS = int(os.environ.get("KILLS", "1000"))
MOST = 1_000_000  # numbers of a child


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def record(name: str, **attributes: str | int) -> None:
    tracing.get_tracer("programs").start_span(name, attributes=attributes).end()


def kills() -> None:
    """Fork a child that records in a loop and kill it, a thousand times; print what it was told."""
    record("warm")
    rolls = random.Random(11)  # noqa: S311  no secret
    for child in range(KILLS):
        reader, writer = os.pipe()
        pid = os.fork()
        if pid == 0:
            _loop(writer, child * MOST)
        os.close(writer)
        raw = os.read(reader, NUMBER.size)
        _spin(rolls.uniform(0.0, 0.002))
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        while more := os.read(reader, 1 << 16):
            raw += more
        os.close(reader)
        numbers = [number for (number,) in NUMBER.iter_unpack(raw)]
        say(f"TOLD {numbers[0]} {numbers[-1]}" if numbers else "TOLD")


def _loop(told: int, number: int) -> None:
    while True:
        record("n", number=number, text="x" * (number % 700))
        os.write(told, NUMBER.pack(number))
        number += 1


def _spin(seconds: float) -> None:
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        pass


def fork_in_thread() -> None:
    """Children of a thread record, while two other threads do nothing else."""
    stop = threading.Event()
    busy = [threading.Thread(target=_until, args=(stop,)) for _ in range(2)]
    forker = threading.Thread(target=_forks)
    for thread in (*busy, forker):
        thread.start()
    forker.join()
    stop.set()
    for thread in busy:
        thread.join()
    say("DONE")


def _until(stop: threading.Event) -> None:
    while not stop.is_set():
        record("busy")


def _forks() -> None:
    for _ in range(100):
        _in_child(lambda: record("child"))


def _in_child(work: Callable[[], object]) -> None:
    if (pid := os.fork()) == 0:
        with contextlib.suppress(Exception):
            work()
            os._exit(0)
        os._exit(1)
    assert os.waitpid(pid, 0)[1] == 0


def fork_with_held_locks() -> None:
    """Another thread holds each lock of the recorder as the process forks."""
    record("parent")
    recorder = tracing.provider._Current.recorder
    assert recorder is not None
    table = recorder._table
    assert table is not None
    held, end = threading.Event(), threading.Event()

    def hold() -> None:
        with recorder._lock(), table._lock:
            held.set()
            end.wait(30)

    thread = threading.Thread(target=hold)
    thread.start()
    assert held.wait(10)
    for _ in range(10):
        _in_child(lambda: record("child"))
    end.set()
    thread.join()
    say("DONE")


def _spawned() -> None:
    followthrough.configure("spawned")
    record("child")


def spawn() -> None:
    """Children by the other start methods of multiprocessing."""
    for method in ("spawn", "forkserver"):
        process = multiprocessing.get_context(method).Process(target=_spawned)
        process.start()
        process.join(30)
        assert process.exitcode == 0
    say("DONE")


def execv() -> None:
    """Another program in the same process, with a span under way as it is begun."""
    record("before")
    tracing.get_tracer("programs").start_span("cut off")
    os.execv(sys.executable, [sys.executable, __file__, "execed"])  # noqa: S606


def execed() -> None:
    record("after")
    say("DONE")


def greenlets() -> None:
    """Two hundred spans under way at once in one thread, half of which end."""
    # Starts the agent, before it could be cut off by the kill.
    record("warm")
    from gevent import monkey

    monkey.patch_all()
    import gevent

    ends = (
        gevent.event.Event()
        if hasattr(gevent, "event")
        else __import__("gevent.event").event.Event()
    )

    def one(number: int) -> None:
        span = tracing.get_tracer("programs").start_span("green", attributes={"number": number})
        ends.wait() if number % 2 else gevent.sleep(3600)
        span.end()

    lets = [gevent.spawn(one, number) for number in range(200)]
    gevent.sleep(0.1)
    ends.set()
    gevent.joinall(lets[1::2], timeout=30)
    say("DONE")
    os.kill(os.getpid(), signal.SIGKILL)


def signals() -> None:
    """An exception out of a signal's handler, at a thousand instants of a loop that records."""
    guard.let_pass(SoftTimeLimitExceeded)
    signal.signal(signal.SIGUSR1, _raise)
    reader, writer = os.pipe()
    main = os.getpid()
    if (pid := os.fork()) == 0:
        _send(reader, main)
        os._exit(0)
    arrived, whole, span = 0, 0, trace.INVALID_SPAN
    while arrived < KILLS:
        try:
            os.write(writer, b"!")
            while True:
                span = tracing.get_tracer("programs").start_span("s", attributes={"number": whole})
                span.set_attribute("more", "x" * (whole % 300))
                span.end()
                whole += 1
        except SoftTimeLimitExceeded:
            arrived += 1
            if span.is_recording():
                # It came between two calls of ours, and so it is the host's to end it.
                span.end()
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    recorder = tracing.provider._Current.recorder
    assert recorder is not None
    record("last")
    _wait_for_an_agent()
    table = recorder._table
    assert table is not None
    say(f"DONE {arrived} {whole} {table.used}")


def _wait_for_an_agent() -> None:
    """Each start of one may have been cut off so far; the next comes with a record."""
    lock, end = Path(os.environ["FOLLOWTHROUGH_STATE_DIR"], "agent.lock"), time.monotonic() + 10
    while not slots.is_held(lock) and time.monotonic() < end:
        record("waiting")
        threading.Event().wait(0.02)


def _raise(*_: object) -> None:
    raise SoftTimeLimitExceeded


def _send(reader: int, main: int) -> None:
    signal.signal(signal.SIGUSR1, signal.SIG_DFL)
    rolls = random.Random(5)  # noqa: S311  no secret
    while os.getppid() == main:
        if select.select([reader], [], [], 1.0)[0]:
            os.read(reader, 1)
            _spin(rolls.uniform(0.0, 0.001))
            os.kill(main, signal.SIGUSR1)


def until_killed() -> None:
    """Record a span every few milliseconds, and say its number once that is done."""
    number = int(os.environ.get("FIRST", "0"))
    while True:
        record("n", number=number)
        say(str(number))
        number += 1
        time.sleep(0.005)


def alert() -> None:
    """Leave an alert, and be killed at once."""
    keep.alert(task="pay", task_id="id-1", outcome="failure", message="it broke")
    os.kill(os.getpid(), signal.SIGKILL)


def work_on() -> None:
    """What a host does whose telemetry has no place: all of it, to its end."""
    for number in range(int(os.environ.get("SPANS", "3000"))):
        record("w", number=number, text="x" * 300)
    say("DONE")


def work_on_and_account() -> None:
    """The same, and what has become of its spans."""
    from followthrough.recorder import account
    from followthrough.settings import Settings, load

    work_on()
    sums = account.totals(load(Settings).state_dir)
    say(f"ACCOUNT {sums.produced} {sums.exported} {sums.dropped['full']} {sums.held}")


if __name__ == "__main__":
    followthrough.configure(os.environ.get("SERVICE", "programs"))
    globals()[sys.argv[1]]()
    assert trace.get_tracer_provider() is not None

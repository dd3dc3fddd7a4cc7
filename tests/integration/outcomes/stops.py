"""The rows that end a worker, or need one of their own."""

from __future__ import annotations

import json
import os
import re
import signal
import time
import uuid
from collections.abc import Iterator

from tests.integration.outcomes.expect import Check, End, Problem, Told
from tests.integration.outcomes.rows import LOST, SUCCESS, lines_of_nobody, of_nobody, sent
from tests.integration.outcomes.seen import ERROR, Seen, brief, texts
from tests.integration.outcomes.stand import Stand, Worker
from tests.support import free_port, wait_for

AGAIN = End("success", redelivered=True, most=60)
RESTORE = 5.0  # seconds after which what a killed worker held is back in its queue


def memory(stand: Stand, _shared: Worker) -> list[Told]:
    """Row 18: out of memory is a failure as any other, and the worker lives."""
    worker = stand.worker("memory", "-c", "1")
    end = End("failure", "MemoryError", "too large")
    tolds = [
        sent(worker, 18, "MemoryError, acks early", "r18.memory", end),
        sent(worker, 18, "MemoryError, acks late", "r18.memory_late", end),
    ]
    after = sent(worker, 18, "the worker lives", "r01.add", SUCCESS, args=(1, 1))
    after.checks = (_lives(stand, worker),)
    return [*tolds, after]


def _lives(stand: Stand, worker: Worker) -> Check:
    def check(_seen: Seen) -> Iterator[Problem]:
        if worker.program in stand.ended:
            yield Problem("span", f"the worker ended: {worker.program.output()[-800:]}")

    return check


def poison(stand: Stand, _shared: Worker) -> list[Told]:
    """Row 18: a task that takes its process down three times is put aside."""
    worker = stand.worker("poison", "-c", "1")
    back = End("requeued", "WorkerLostError", LOST, most=14)
    again = End("requeued", "WorkerLostError", LOST, most=14, redelivered=True)
    last = End("quarantined", "Poisoned", "", most=14, redelivered=True)
    return [sent(worker, 18, "poison", "r18.poison", back, again, last)]


GARBAGE = (b"x", b"5", b"[" * 100_000)


def garbage(stand: Stand, _shared: Worker) -> list[Told]:
    """Row 21: items that are no messages."""
    worker = stand.worker("garbage", "-c", "1")
    since = time.time_ns()
    with worker.redis() as client:
        client.lpush("matrix", *GARBAGE)
    told = Told(
        21,
        "garbage",
        "__unknown__",
        "",
        tuple(End("quarantined", "DecodeError") for _ in GARBAGE),
        parent="none",
        since=since,
        apart=True,
        spans=lambda seen: of_nobody(seen, "garbage"),
        lines=lambda seen: lines_of_nobody(seen, "garbage"),
    )
    after = sent(worker, 21, "the worker lives", "r01.add", SUCCESS, args=(1, 1))
    after.checks = (_lives(stand, worker),)
    return [told, after]


def unsendable(stand: Stand, _shared: Worker) -> list[Told]:
    """Row 22: nobody takes the message, and nothing of it is left in the publisher."""
    broker = f"redis://127.0.0.1:{free_port()}/0"
    task_id, since = str(uuid.uuid4()), time.time_ns()
    answer = stand.call("unsendable", "r22.never_sent", broker, task_id)

    def leaks(seen: Seen) -> Iterator[Problem]:
        if not answer["raised"]:
            yield Problem("cause", "nothing was raised")
        if answer["current"]:
            yield Problem("parent", "a span is still current after it")
        for span in seen.sends(answer["next"]):
            if span.parent_span_id:
                yield Problem("parent", "the next message is sent within the failed one's trace")

    def shape(seen: Seen) -> Iterator[Problem]:
        for span in seen.sends(task_id):
            if span.status.code != ERROR or "onnection" not in texts(span):
                yield Problem("span", f"it does not say that it failed: {brief([span])}")

    end = End("publish_failed", answer["raised"], "onnect|refused")
    failed = Told(22, "publish", "r22.never_sent", task_id, (end,), parent="none", since=since)
    failed.spans = lambda seen: seen.sends(task_id)
    failed.operation = "send"
    failed.label = "__unknown__"
    failed.checks = (leaks, shape)
    return [failed, Told(22, "next", "r01.add", answer["next"], (SUCCESS,), since=since)]


def warm(stand: Stand, _shared: Worker) -> list[Told]:
    """Row 23: what runs ends well, what was prefetched runs elsewhere."""
    worker = stand.worker("warm", "-c", "1")
    running = sent(worker, 23, "running", "r23.running", End("success", most=60))
    stand.pid(running.id)
    waiting = sent(worker, 23, "prefetched", "r23.prefetched", AGAIN)
    worker.reserved(waiting.id)
    worker.program.signal(signal.SIGTERM)
    wait_for(lambda: "Warm shutdown" in worker.program.output(), "it stops", 30)
    stand.open(running.id, waiting.id)
    worker.program.wait(30)
    stand.again(worker, "-c", "1")
    return [running, waiting]


def cold(stand: Stand, _shared: Worker) -> list[Told]:
    """Row 24: what runs is cut off; what was not acknowledged runs elsewhere."""
    worker = stand.worker("cold", "-c", "2")
    cut = End("lost", "WorkerShutdown", "[Cc]old|[Ss]top|[Ss]hut|cancel", most=20)
    back = End("requeued", "WorkerShutdown", "[Cc]old|[Ss]top|[Ss]hut|cancel", most=20)
    early = sent(worker, 24, "running, acks early", "r24.early", cut)
    late = sent(worker, 24, "running, acks late", "r24.late", back, AGAIN)
    stand.pid(early.id)
    stand.pid(late.id)
    waiting = sent(worker, 24, "prefetched", "r24.prefetched", AGAIN)
    worker.reserved(waiting.id)
    worker.program.signal(signal.SIGQUIT)
    worker.program.wait(30)
    stand.open(late.id, waiting.id)
    stand.again(worker, "-c", "2")
    return [early, late, waiting]


def main_killed(stand: Stand, _shared: Worker) -> list[Told]:
    """Row 25: the worker's main process is killed, and nobody of it is left to tell."""
    worker = stand.worker("killed", "-c", "2")
    gone = End("lost", "ProcessLost", most=20)
    back = End("requeued", "WorkerLostError", "killed", most=20)
    early = sent(worker, 25, "running, acks early", "r25.early", gone)
    late = sent(worker, 25, "running, acks late", "r25.late", back, AGAIN)
    stand.pid(early.id)
    stand.pid(late.id)
    waiting = sent(worker, 25, "prefetched", "r25.prefetched", AGAIN)
    worker.reserved(waiting.id)
    killed = time.monotonic()
    worker.program.signal(signal.SIGKILL)
    late.checks = (_restored(worker, killed, 2),)
    worker.program.wait(30)
    stand.open(late.id, waiting.id)
    stand.again(worker, "-c", "2")
    return [early, late, waiting]


def _restored(worker: Worker, since: float, count: int) -> Check:
    """Wait until the messages are back in the queue; says how long that took if it was too long."""
    with worker.redis() as client:
        try:
            wait_for(lambda: client.llen("matrix") >= count, "messages are back", RESTORE + 5)
            took = time.monotonic() - since
        except AssertionError:
            took = float("inf")
    return lambda _seen: (
        [Problem("cause", f"messages were restored after {took:.1f} s")] if took > RESTORE else []
    )


def results(stand: Stand, worker: Worker) -> list[Told]:
    """Row 26: the task succeeded and its result is lost; or its process, when it had succeeded."""
    backend = f"redis://127.0.0.1:{free_port()}/0"
    alone = stand.worker("backend", "-c", "1", KIT_BACKEND=backend)
    refused = End("not_stored", "ConnectionError", "onnect|refused|stor", most=20)
    large = End("not_stored", "BackendStoreError", "too large", most=20)
    encoded = End("failure", "EncodeError", "object")
    died = End("success", most=14)
    lost = [
        sent(worker, 26, "died after it, acks early", "r26.died", died),
        sent(worker, 26, "died after it, acks late", "r26.died_late", died),
    ]
    for told in lost:
        told.checks = (_lost_later(told.id),)
    return [
        *lost,
        sent(alone, 26, "backend down", "r26.store", refused),
        sent(worker, 26, "too large", "r26.large", large),
        sent(worker, 26, "not encodable", "r26.unencodable", encoded),
    ]


def _lost_later(task_id: str) -> Check:
    def check(seen: Seen) -> Iterator[Problem]:
        (span,) = seen.attempts(task_id)
        if "celery.process_lost" not in {event.name for event in span.events}:
            yield Problem("cause", "no event says that the process was lost after the success")
        if not re.search(LOST, texts(span)):
            yield Problem("cause", f"the span does not say {LOST!r}: {texts(span)[:400]}")

    return check


def recycled(stand: Stand, _shared: Worker) -> list[Told]:
    """Row 27: processes that end after some tasks, or when they are too large."""
    tasks = stand.worker("recycled", "-c", "2", "--max-tasks-per-child", "2")
    size = stand.worker("large", "-c", "2", "--max-memory-per-child", "1")
    return [
        sent(worker, 27, f"{worker.name} {n}", "r27.tick", SUCCESS, args=(n, n))
        for worker, count in ((tasks, 8), (size, 4))
        for n in range(count)
    ]


def redelivered(stand: Stand, _shared: Worker) -> list[Told]:
    """Row 30: it runs for longer than the broker waits for its acknowledgement."""
    options = {
        "visibility_timeout": 4,
        "unacked_restore_interval": 1,
        "unacked_restore_throttle": 1,
    }
    soon = json.dumps({"broker_transport_options": options})
    worker = stand.worker("redelivered", "-c", "2", KIT_CONF=soon)
    told = sent(worker, 30, "visibility timeout", "r30.slow", End("success", most=60), AGAIN)
    first = stand.pid(told.id)
    second = stand.pid(told.id)
    stand.open(told.id)
    assert first != second
    killed = stand.worker("abandoned", "-c", "1", KIT_CONF=soon)
    gone = End("requeued", "WorkerLostError", "killed", most=20)
    lost = sent(killed, 30, "lost worker", "r30.slow", gone, AGAIN)
    stand.pid(lost.id)
    os.kill(killed.program.pid, signal.SIGKILL)
    killed.program.wait(10)
    stand.open(lost.id)
    stand.again(killed, "-c", "1", KIT_CONF=soon)
    return [told, lost]

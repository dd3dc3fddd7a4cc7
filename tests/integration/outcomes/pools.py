"""The rows that any pool and broker can show, and what differs there from prefork and Redis."""

from __future__ import annotations

import signal

from tests.integration.outcomes import rows, shapes
from tests.integration.outcomes.expect import End, Told
from tests.integration.outcomes.matrix import Row
from tests.integration.outcomes.rows import sent
from tests.integration.outcomes.stand import Stand, Worker

COMMON: tuple[tuple[Row, tuple[int, ...]], ...] = (
    (rows.success, (1,)),
    (rows.failure, (2,)),
    (rows.retry, (3,)),
    (rows.ignore, (4,)),
    (rows.reject, (5,)),
    (rows.requeue, (6,)),
    (rows.revoked, (7,)),
    (rows.expired, (9,)),
    (shapes.timed, (29,)),
)
OPTIONS = {
    "solo": ("-P", "solo"),
    "threads": ("-P", "threads", "-c", "4"),
    "gevent": ("-P", "gevent", "-c", "20"),
}
RAN_ON = End("success", least=3.9, most=20)
# The hard limit is gevent's own there: the task gets its exception.
HARD = End("failure", "Timeout", "1 second", least=1, most=4)
# What a task that runs for longer than its limits comes to: the soft and the hard one.
LIMITS = {
    "solo": (RAN_ON, RAN_ON),
    "threads": (RAN_ON, RAN_ON),
    "gevent": (RAN_ON, HARD),
}


def limits(pool: str) -> Row:
    """Rows 12 and 13 as this pool has them."""
    soft, hard = LIMITS[pool]

    def row(_stand: Stand, worker: Worker) -> list[Told]:
        return [
            sent(worker, 12, "soft limit", "r12.soft", soft),
            sent(worker, 13, "hard limit", "r13.hard", hard),
        ]

    return row


# What a running task comes to that is revoked with `terminate`; solo hears of it too late.
TERMINATED = {
    "threads": End("success", most=60),
    "gevent": End("terminated", "Terminated", "greenlet was killed", most=20),
}


def revoked(pool: str) -> Row:
    """Row 10: revoked while it runs."""

    def row(stand: Stand, worker: Worker) -> list[Told]:
        told = sent(worker, 10, "running", "r10.term", TERMINATED[pool])
        stand.pid(told.id)
        worker.revoke(told.id, terminate=True)
        stand.open(told.id)
        return [told]

    return row


def killed(pool: str) -> Row:
    """Row 25: these pools run tasks in the worker's main process, or die with it."""

    def row(stand: Stand, _shared: Worker) -> list[Told]:
        worker = stand.worker("killed", *OPTIONS[pool])
        told = sent(worker, 25, "running", "r25.early", End("lost", "ProcessLost", "process"))
        assert stand.pid(told.id) == worker.program.pid
        worker.program.signal(signal.SIGKILL)
        worker.program.wait(30)
        return [told]

    return row


def of(pool: str) -> list[tuple[Row, tuple[int, ...]]]:
    own = ((limits(pool), (12, 13)), (killed(pool), (25,)), (shapes.workflows, (29,)))
    also = ((revoked(pool), (10,)),) if pool in TERMINATED else ()
    return [*COMMON, *own, *also]


# Beyond prefork and Redis: what a process's death comes to, where messages are not in Redis.
RABBITMQ: list[tuple[Row, tuple[int, ...]]] = [
    *COMMON,
    (rows.terminated, (10, 11)),
    (rows.limits, (12, 13)),
    (rows.killed, (14,)),
    (rows.lost, (15, 16)),
    (rows.left, (17,)),
]

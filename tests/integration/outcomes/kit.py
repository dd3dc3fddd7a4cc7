"""The worker whose outcomes the matrix looks at: a task for each way to end, by the row's number.

A host of the kit as any other: it says nothing to telemetry after the first lines.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

from celery import Celery, current_task, signals
from celery.exceptions import Ignore, Reject
from celery.worker.request import Request

import followthrough

followthrough.configure(os.environ["KIT_NAME"])
broker = os.environ["KIT_BROKER"]
gates = Path(os.environ["KIT_GATES"])
app = Celery("matrix", broker=broker, backend=os.environ.get("KIT_BACKEND", broker))
app.conf.update(
    broker_connection_retry_on_startup=True,
    task_default_queue="matrix",
    worker_proc_alive_timeout=30,
    result_backend_transport_options={
        "retry_policy": {"max_retries": 1, "interval_start": 0, "interval_max": 0.1}
    },
    beat_schedule={"every-second": {"task": "r29.beat", "schedule": 1.0, "args": (2, 3)}},
    **json.loads(os.environ.get("KIT_CONF", "{}")),
)
followthrough.instrument_celery()
never = threading.Event()
OVERTIME = 4.0  # seconds that a task with a limit of one runs where nobody stops it
LIMIT = 60.0  # seconds after which a task that nobody lets go gives up


def hold(task_id: str, gate: str) -> None:
    """Say which process runs the task, and stay until the test opens the gate."""
    (gates / f"{task_id}.pid").write_text(str(os.getpid()))
    end = time.monotonic() + LIMIT
    while not (gates / gate).exists() and time.monotonic() < end:
        never.wait(0.05)


class Noted(Request):
    """Says when the worker's main process knows that a task runs."""

    def on_accepted(self, pid: int, time_accepted: float) -> None:
        super().on_accepted(pid, time_accepted)
        (gates / f"{self.id}.{pid}.accepted").touch()


def die(number: int) -> None:
    # Of one that dies before that the worker knows nothing, and Celery runs it anew.
    known = gates / f"{current_task.request.id}.{os.getpid()}.accepted"
    end = time.monotonic() + LIMIT
    while not known.exists() and time.monotonic() < end:
        never.wait(0.01)
    # A segmentation fault would leave a core file in the checkout.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.kill(os.getpid(), number)
    never.wait(LIMIT)


def add(a: int, b: int) -> int:
    return a + b


def fail(*_: Any) -> None:
    raise ValueError("it broke")


def held(self: Any, gate: str = "") -> str:
    hold(self.request.id, gate or self.request.id)
    return "let go"


def mortal(name: str, **options: Any) -> Any:
    """To register a task that dies; the worker knows of each run of it."""
    return app.task(name=name, Request=f"{__name__}:Noted", **options)


def task(name: str, function: Any, **options: Any) -> Any:
    """Register `function` under one more name."""
    return app.task(name=name, **options)(function)


ADDS = (
    "r01.add",
    "r07.revoked",
    "r09.expired",
    "r20.add",
    "r27.tick",
    "r28.body",
    "r29.add",
    "r29.beat",
    "r29.eta",
    "r29.countdown",
    "r29.eager",
    "r29.by_name",
    "r29.added",
    "r29.replacement",
)
HELD: dict[str, dict[str, Any]] = {
    "r08.hold": {},
    "r08.revoked": {},
    "r10.term": {},
    "r10.term_late": {"acks_late": True},
    "r11.kill": {},
    "r11.kill_late": {"acks_late": True},
    "r14.oom": {},
    "r23.running": {},
    "r23.prefetched": {},
    "r24.early": {},
    "r24.late": {"acks_late": True},
    "r24.prefetched": {},
    "r25.early": {},
    "r25.late": {"acks_late": True},
    "r25.prefetched": {},
    "r30.slow": {"acks_late": True},
}
adds = {name: task(name, add) for name in ADDS}
for _name, _options in HELD.items():
    task(_name, held, bind=True, **_options)
task("r02.fail", fail)
task("r28.fail", fail)


@app.task(name="r03.retry", bind=True, max_retries=1)
def retry(self: Any) -> str:
    if self.request.retries == 0:
        raise self.retry(exc=KeyError("not yet"), countdown=0)
    return "done"


@app.task(name="r03.gives_up", bind=True, max_retries=1, default_retry_delay=0)
def gives_up(self: Any) -> None:
    raise self.retry(exc=KeyError("never"))


@app.task(name="r04.ignore")
def ignore() -> None:
    raise Ignore


@app.task(name="r05.reject", acks_late=True)
def reject() -> None:
    raise Reject(ValueError("not wanted"), requeue=False)


@app.task(name="r06.requeue", bind=True, acks_late=True)
def requeue(self: Any) -> str:
    if self.request.delivery_info["redelivered"]:
        return "second time"
    raise Reject(ValueError("not now"), requeue=True)


@app.task(name="r12.soft", soft_time_limit=1)
def soft() -> None:
    never.wait(OVERTIME)


@app.task(name="r12.caught", soft_time_limit=1)
def caught() -> str:
    try:
        never.wait(OVERTIME)
    except Exception:  # noqa: BLE001  SoftTimeLimitExceeded, as a task cleans up after it
        return "in time"
    return "too late"


@app.task(name="r13.hard", time_limit=1)
def hard() -> None:
    never.wait(OVERTIME)


@app.task(name="r13.deaf", time_limit=1)
def deaf() -> None:
    # To SIGTERM, so the pool has to kill it.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    end = time.monotonic() + OVERTIME
    while time.monotonic() < end:
        never.wait(0.2)


def kill() -> None:
    die(signal.SIGKILL)


def crash() -> None:
    die(signal.SIGSEGV)


for _name, _function in (("r14.sigkill", kill), ("r14.sigsegv", crash)):
    mortal(_name)(_function)
    mortal(f"{_name}_late", acks_late=True)(_function)


def die_once(redelivered: bool) -> str:
    if not redelivered:
        die(signal.SIGKILL)
    return "second time"


@mortal("r15.lost", bind=True, acks_late=True, reject_on_worker_lost=True)
def lost(self: Any) -> str:
    return die_once(self.request.delivery_info["redelivered"])


@mortal("r16.lost", bind=True, retry_on_worker_lost=True, max_retries=1, default_retry_delay=0)
def resent(self: Any) -> str:
    return die_once(self.request.retries > 0)


@app.task(name="r17.exit")
def leave() -> None:
    sys.exit(3)


@app.task(name="r18.memory")
def memory() -> None:
    raise MemoryError("too large")


@app.task(name="r18.memory_late", acks_late=True)
def memory_late() -> None:
    raise MemoryError("too large")


@mortal("r18.poison", acks_late=True, reject_on_worker_lost=True)
def poison() -> None:
    die(signal.SIGKILL)


@app.task(name="r26.store")
def store() -> str:
    return "a result that nobody keeps"


@app.task(name="r26.large")
def large() -> str:
    return "x" * 1_000_000


@app.task(name="r26.unencodable")
def unencodable() -> object:
    return object()


class DiesAfter(app.Task):  # type: ignore[name-defined]
    """Its process dies when the task has succeeded, and its end isn't told to the pool yet."""

    def after_return(self, *_: Any) -> None:
        die(signal.SIGKILL)


def done() -> str:
    return "done"


mortal("r26.died", base=DiesAfter)(done)
mortal("r26.died_late", base=DiesAfter, acks_late=True)(done)


@app.task(name="r28.errback")
def errback(_failed_id: str) -> str:
    return "told"


@app.task(name="r28.inline")
def inline(_request: Any, _error: BaseException, _traceback: Any) -> str:
    return "told at once"


@app.task(name="r29.replaced", bind=True)
def replaced(self: Any) -> Any:
    raise self.replace(adds["r29.replacement"].si(1, 1))


@app.task(name="r29.joined", bind=True)
def joined(self: Any) -> Any:
    """One more header of the chord that it is in."""
    return self.add_to_chord(adds["r29.added"].si(2, 2))


@app.task(name="r29.sum")
def total(numbers: list[Any]) -> int:
    return len(numbers)


@signals.worker_process_init.connect(weak=False)
def limit_results(**_: Any) -> None:
    """What Redis takes at most is half a gigabyte; for a test less must be too much."""
    app.backend._MAX_STR_VALUE_SIZE = 100_000

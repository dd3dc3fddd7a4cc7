"""A Celery worker and a Flask app that know the kit only, run by the kit's integration tests."""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import resource
import signal
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from typing import Any

import structlog
from celery import Celery
from celery.exceptions import Ignore, Reject, SoftTimeLimitExceeded
from flask import Flask
from opentelemetry.instrumentation.propagators import (
    TraceResponsePropagator,
    set_global_response_propagator,
)

import followthrough

followthrough.configure("kit")
set_global_response_propagator(TraceResponsePropagator())
broker = os.environ["KIT_BROKER"]
celery = Celery("kit", broker=broker, backend=os.environ.get("KIT_BACKEND", broker))
celery.conf.update(
    broker_connection_retry_on_startup=True,
    worker_prefetch_multiplier=1,
    worker_max_tasks_per_child=int(os.environ.get("KIT_TASKS_PER_CHILD", "0")) or None,
    worker_proc_alive_timeout=30,
)
followthrough.instrument_celery()
web = Flask("kit")
followthrough.instrument_flask(web)
never = threading.Event()


@celery.task(name="kit.add")
def add(a: int, b: int) -> int:
    return a + b


@celery.task(name="kit.talk")
def talk() -> None:
    print("printed")  # noqa: T201
    print("to stderr", file=sys.stderr)  # noqa: T201
    warnings.warn("careful\nnow", stacklevel=1)
    logging.getLogger("shop").warning("logged\n%s", "password=hunter2")
    structlog.get_logger("shop").warning("structured", order=7)


@celery.task(name="kit.fail", critical=True)
def fail() -> None:
    raise ValueError("it broke")


@celery.task(name="kit.retry", bind=True, max_retries=1)
def retry(self: Any) -> str:
    if self.request.retries == 0:
        raise self.retry(exc=KeyError("not yet"), countdown=0)
    return "done"


@celery.task(name="kit.ignore")
def ignore() -> None:
    raise Ignore


@celery.task(name="kit.reject", acks_late=True)
def reject() -> None:
    raise Reject(ValueError("no"), requeue=False)


@celery.task(name="kit.kill", critical=True)
def kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def kill_once(redelivered: bool) -> str:
    if not redelivered:
        os.kill(os.getpid(), signal.SIGKILL)
    return "second time"


@celery.task(name="kit.requeued", bind=True, acks_late=True, reject_on_worker_lost=True)
def requeued(self: Any) -> str:
    return kill_once(self.request.delivery_info["redelivered"])


@celery.task(
    name="kit.resent", bind=True, retry_on_worker_lost=True, max_retries=1, default_retry_delay=0
)
def resent(self: Any) -> str:
    return kill_once(self.request.retries > 0)


@celery.task(name="kit.exit")
def leave() -> None:
    sys.exit(3)


@celery.task(name="kit.soft", soft_time_limit=1)
def soft() -> None:
    never.wait(30)


@celery.task(name="kit.caught", soft_time_limit=1)
def caught() -> str:
    with contextlib.suppress(SoftTimeLimitExceeded):
        never.wait(30)
    return "in time"


@celery.task(name="kit.hard", time_limit=1, critical=True)
def hard() -> None:
    # Deaf to SIGTERM, so the pool has to kill it.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    end = time.monotonic() + 30
    while time.monotonic() < end:
        never.wait(0.2)


@celery.task(name="kit.kill_late", acks_late=True)
def kill_late() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@celery.task(name="kit.segfault")
def segfault() -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


@celery.task(name="kit.exhaust")
def exhaust() -> None:
    """As the kernel does to a process that takes too much memory, once Python has caught none."""
    _, most = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (1 << 32, most))
    held = []
    try:
        while True:
            held.append(bytearray(1 << 28))
    except MemoryError:
        os.kill(os.getpid(), signal.SIGKILL)


@celery.task(name="kit.soon")
def soon() -> None:
    never.wait(3)


@celery.task(name="kit.memory", acks_late=True)
def memory() -> None:
    raise MemoryError("too much")


@celery.task(
    name="kit.poison",
    critical=True,
    acks_late=True,
    reject_on_worker_lost=True,
)
def poison() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@celery.task(
    name="kit.venom",
    acks_late=True,
    retry_on_worker_lost=True,
    default_retry_delay=0,
    max_retries=9,
)
def venom() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@celery.task(name="kit.wait_late", acks_late=True)
def wait_late() -> None:
    never.wait(60)


@celery.task(name="kit.wait")
def wait() -> None:
    never.wait(60)


@web.get("/add/<int:a>")
def add_route(a: int) -> dict[str, str]:
    return {"task_id": add.delay(a, 1).id}


@web.get("/wait")
def wait_route() -> str:
    never.wait(60)
    return "late"


@web.get("/fail")
def fail_route() -> str:
    raise ValueError("the page broke")


@web.get("/stream")
def stream_route() -> Any:
    return (f"{n}\n" for n in range(3))


@web.get("/broken")
def broken_route() -> Any:
    def lines() -> Iterator[str]:
        yield "0\n"
        raise ValueError("the stream broke")

    return lines()


@web.get("/endless")
def endless_route() -> Any:
    return ("x" * 65536 for _ in itertools.count())

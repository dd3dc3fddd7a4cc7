"""The worker that is watched: a task for each way to end, with the kit that BENCH_KIT names."""

from __future__ import annotations

import os
import signal
import sys
import threading
from typing import Any

from celery import Celery
from celery.exceptions import Ignore, Reject
from flask import Flask

from bench.overhead import setups

celery = Celery("bench", broker=os.environ["BENCH_BROKER"], backend=os.environ["BENCH_BACKEND"])
celery.conf.update(
    broker_connection_retry_on_startup=True,
    worker_prefetch_multiplier=1,
    worker_max_tasks_per_child=int(os.environ.get("BENCH_TASKS_PER_CHILD", "0")) or None,
)
never = threading.Event()


@celery.task
def success() -> None:
    pass


@celery.task
def failure() -> None:
    raise ValueError("it broke")


@celery.task(bind=True, max_retries=1)
def retry(self: Any) -> None:
    if self.request.retries == 0:
        raise self.retry(exc=KeyError("not yet"), countdown=0)


@celery.task
def ignore() -> None:
    raise Ignore


@celery.task(acks_late=True)
def reject() -> None:
    raise Reject(ValueError("no"), requeue=False)


@celery.task
def revoked() -> None:
    pass


@celery.task
def expired() -> None:
    pass


@celery.task
def terminated() -> None:
    never.wait(30)


@celery.task
def terminated_hard() -> None:
    never.wait(30)


@celery.task(soft_time_limit=1)
def soft_limit() -> None:
    never.wait(30)


@celery.task(time_limit=1)
def hard_limit() -> None:
    never.wait(30)


@celery.task
def killed() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@celery.task(acks_late=True)
def killed_late() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@celery.task
def left() -> None:
    sys.exit(3)


@celery.task
def memory_error() -> None:
    raise MemoryError("all is used")


@celery.task
def not_encodable() -> Any:
    return threading.Lock()


@celery.task
def undecodable() -> None:
    pass


@celery.task
def main_killed() -> None:
    never.wait(30)


@celery.task
def recycled() -> None:
    pass


@celery.task
def stopped() -> None:
    pass


setups.ALL[os.environ["BENCH_KIT"]](Flask(__name__), "worker")

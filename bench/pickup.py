"""How long a task waits before an idle worker starts it, with one queue and with five."""

from __future__ import annotations

import random
import statistics
import tempfile
import time
from pathlib import Path

from celery import Celery, shared_task

from app.services import redelivery
from app.services.broker import PatientAMQP
from tests.support import redis_server
from tests.support.parts import Parts

TASKS = 500
QUEUES = ["default", "email", "high_priority", "reports", "low_priority"]


@shared_task(name="bench.start")
def start() -> float:
    """The time at which it was started."""
    return time.time()


def main() -> None:
    redelivery.install()
    for count in (1, len(QUEUES)):
        with tempfile.TemporaryDirectory() as directory:
            report(count, measured(Path(directory), QUEUES[:count]))


def measured(directory: Path, queues: list[str]) -> list[float]:
    """Milliseconds from publishing to start, one task at a time, at uneven pauses."""
    options = ["-c", "1", "-Q", ",".join(queues), "--include", "bench.pickup"]
    with (
        redis_server(directory) as (_, url),
        Parts(directory, url).worker(*options),
        Celery(broker=url, backend=url, amqp=PatientAMQP) as celery,
    ):
        return [waited(celery, random.choice(queues)) for _ in range(TASKS)]  # noqa: S311


def waited(celery: Celery, queue: str) -> float:
    time.sleep(random.uniform(0.01, 0.06))  # noqa: S311
    begin = time.time()
    return (celery.send_task("bench.start", queue=queue).get(timeout=10) - begin) * 1000


def report(count: int, times: list[float]) -> None:
    median, late = statistics.median(times), statistics.quantiles(times, n=100)[98]
    print(f"{count} queues: median {median:.1f} ms, 99th percentile {late:.1f} ms")


if __name__ == "__main__":
    main()

"""A worker process with a kit, and what is done to it."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import signal
import uuid
from typing import Any

import redis
from celery import Celery

from tests.support import Program, wait_for

PATIENCE = 20.0
QUEUE = "celery"


class Worker:
    """One worker and its broker; the messages it is sent name a trace, as most do."""

    def __init__(self, program: Program, broker: str) -> None:
        self._program = program
        self._redis = redis.Redis.from_url(broker)
        self._celery = Celery(broker=broker, backend=broker)

    @property
    def pid(self) -> int:
        return self._program.pid

    def is_alive(self) -> bool:
        return self._program.popen.poll() is None

    def answers(self) -> bool:
        """Whether it takes messages by now."""
        return bool(self._celery.control.ping(timeout=0.5))

    def send(self, task: str, **options: Any) -> str:
        """Publish a task; its id."""
        result = self._celery.send_task(task, headers={"traceparent": _traceparent()}, **options)
        return str(result.id)

    def send_raw(self, task: str, body: bytes) -> None:
        """Publish a message with any body."""
        task_id = str(uuid.uuid4())
        headers = {"task": task, "id": task_id, "lang": "py", "traceparent": _traceparent()}
        with self._celery.connection_for_write() as connection:
            connection.Producer().publish(
                body,
                routing_key=QUEUE,
                headers=headers,
                content_type="application/json",
                content_encoding="utf-8",
                correlation_id=task_id,
            )

    def push(self, item: bytes) -> None:
        """Put bytes that are no message into the queue."""
        self._redis.lpush(QUEUE, item)

    def revoke(self, task_id: str, **options: Any) -> None:
        """Revoke a task, and wait until the worker knows."""
        self._celery.control.revoke(task_id, reply=True, timeout=5, **options)

    def running(self, task_id: str) -> str:
        """Wait until the task runs; its id."""
        control = self._celery.control.inspect(timeout=1)

        def is_running() -> bool:
            active = (control.active() or {}).values()
            return any(each["id"] == task_id for tasks in active for each in tasks)

        wait_for(is_running, "the task runs", PATIENCE)
        return task_id

    def wait_for_end(self, task_id: str) -> None:
        """Wait for a result, or for a while where none will come."""
        with contextlib.suppress(AssertionError):
            wait_for(lambda: self._is_ended(task_id), "the end", 6)

    def stop(self) -> None:
        """Stop it warmly."""
        if self.is_alive():
            os.kill(self.pid, signal.SIGTERM)
            with contextlib.suppress(AssertionError):
                wait_for(lambda: not self.is_alive(), "it stops", PATIENCE)

    def close(self) -> None:
        self._redis.close()
        self._celery.close()

    def _is_ended(self, task_id: str) -> bool:
        raw = self._redis.get(f"celery-task-meta-{task_id}")
        return raw is not None and json.loads(raw)["status"] in ("SUCCESS", "FAILURE", "REVOKED")


def _traceparent() -> str:
    return f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-01"

"""Examples of good practice, small enough to copy; docs/practice.md says what each shows."""

from __future__ import annotations

import logging
from typing import Any

from celery import Task, shared_task
from celery.exceptions import SoftTimeLimitExceeded

from app.services.failures import JobFailedError, again

_log = logging.getLogger(__name__)


@shared_task(name="tasks.idempotent_update")
def idempotent_update(record_id: Any, new_value: Any) -> dict[str, Any]:
    """Give a record a value; run again, it finds that done."""
    from app.services import records  # noqa: PLC0415  only the pool process loads SQLAlchemy

    try:
        updated = records.put(record_id, new_value)
    except ValueError as error:
        raise JobFailedError(f"record_id: {error}") from error
    return {"status": "updated" if updated else "already_updated", "record_id": record_id}


@shared_task(name="tasks.focused_task")
def process_single_item(item_id: Any) -> dict[str, Any]:
    """Process one item, once; many items are many tasks."""
    from app.services import records  # noqa: PLC0415

    try:
        records.process(item_id)
    except ValueError as error:
        raise JobFailedError(f"item_id: {error}") from error
    return {"item_id": item_id, "status": "processed"}


@shared_task(name="tasks.high_priority", bind=True)
def high_priority_task(self: Task, data: Any) -> dict[str, Any]:
    """Keep `data` as a record, ahead of what can wait."""
    return _kept(self, data)


@shared_task(name="tasks.low_priority", bind=True)
def low_priority_task(self: Task, data: Any) -> dict[str, Any]:
    """Keep `data` as a record, when there is nothing more urgent."""
    return _kept(self, data)


def _kept(task: Task, data: Any) -> dict[str, Any]:
    from app.services import records  # noqa: PLC0415

    # Under the task's id, so that a second run writes the same record.
    records.put(f"{task.name}:{task.request.id}", data)
    return {"status": "completed"}


@shared_task(name="tasks.time_limited", time_limit=300, soft_time_limit=240)
def time_limited_task(data: Any) -> dict[str, Any]:
    """Make the digest of `data`, a list or the length of a range.

    At the soft limit it keeps how far it has come; with the same data it goes on from there.
    """
    from app.services import checkpoints  # noqa: PLC0415

    try:
        items, identity = checkpoints.items(data), checkpoints.key(data)
    except ValueError as error:
        raise JobFailedError(str(error)) from error
    state = checkpoints.State()
    try:
        state = checkpoints.load(identity)
        for position in range(state.position, len(items)):
            # One assignment: the limit comes before it or after it, never in between.
            state = checkpoints.step(state, items[position])
    except SoftTimeLimitExceeded:
        checkpoints.save(identity, state)
        return {
            "status": "partial",
            "message": "Time limit reached",
            "processed": state.position,
        }
    checkpoints.forget(identity)
    return {"status": "completed", "processed": state.position, "digest": state.digest}


@shared_task(name="tasks.graceful_failure", bind=True, max_retries=5)
def graceful_failure_task(self: Task, data: Any) -> dict[str, Any]:
    """Keep a record, {"id": ..., "value": ...}; each kind of failure ends in its own way."""
    try:
        return {"status": "success", "result": _stored(data)}
    except ValueError as error:
        # The caller's mistake: another try would find the same.
        return {"status": "failed", "error": str(error), "retry": False}
    except ConnectionError as error:
        # 1, 2, 4, 8, 16 seconds.
        raise again(self, str(error), 2**self.request.retries) from error
    except Exception:  # noqa: BLE001  the last resort is what this example shows
        # Ours: the log has all of it, the caller nothing of our inside.
        _log.exception("%s failed", self.name)
        return {"status": "failed", "error": "Internal error"}


def _stored(data: Any) -> dict[str, Any]:
    from sqlalchemy.exc import OperationalError  # noqa: PLC0415

    from app.services import records  # noqa: PLC0415

    if not isinstance(data, dict) or not {"id", "value"} <= data.keys():
        raise ValueError("data: Must have an id and a value.")
    try:
        updated = records.put(data["id"], data["value"])
    except OperationalError as error:
        raise ConnectionError("The database does not answer.") from error
    return {"record_id": data["id"], "updated": updated}

"""The queues, and which task goes where. A name that isn't here is refused, not created."""

from __future__ import annotations

from typing import Any

from kombu.entity import Queue

DEFAULT = "default"
NAMES = (DEFAULT, "email", "high_priority", "reports", "low_priority")

# What is not named goes to the default queue.
ROUTES = {
    "tasks.send_email": "email",
    "tasks.send_bulk_emails": "email",
    "tasks.process_payment": "high_priority",
    "tasks.high_priority": "high_priority",
    "tasks.generate_report": "reports",
    "tasks.low_priority": "low_priority",
}


def config() -> dict[str, Any]:
    """Celery's settings about queues."""
    return {
        "task_queues": [Queue(name, routing_key=name) for name in NAMES],
        "task_default_queue": DEFAULT,
        "task_default_routing_key": DEFAULT,
        "task_create_missing_queues": False,
        "task_routes": {task: {"queue": queue} for task, queue in ROUTES.items()},
    }

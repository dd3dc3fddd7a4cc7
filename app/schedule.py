"""What beat sends, and when."""

from __future__ import annotations

from typing import Any

SCHEDULE: dict[str, dict[str, Any]] = {
    "forget-expired-tasks": {
        "task": "tasks.forget_expired",
        "schedule": 60 * 60.0,
        # A backlog of these is of no use: each does the work of those before it.
        "options": {"expires": 60 * 60.0},
    },
}

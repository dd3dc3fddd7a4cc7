"""Beat's scheduler, which says with each message when it was due."""

from __future__ import annotations

from copy import copy
from datetime import UTC, datetime
from typing import Any

from celery.beat import PersistentScheduler, ScheduleEntry

from app.schedule import HEADER


class Scheduler(PersistentScheduler):
    """Celery's own, with a header that tells a task which tick it stands for.

    A task may run much later than its tick, and the message of a tick may wait for the broker.
    """

    def apply_async(self, entry: ScheduleEntry, *args: Any, **kwargs: Any) -> Any:
        stamped = copy(entry)
        stamped.options = {**entry.options, "headers": {HEADER: datetime.now(UTC).isoformat()}}
        return super().apply_async(stamped, *args, **kwargs)

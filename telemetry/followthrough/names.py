"""Names that more than one part writes: events, fields and label values."""

from __future__ import annotations

REQUEST_FINISHED = "request.finished"
TASK_STARTED = "task.started"
TASK_PUBLISHED = "task.published"

OTHER = "__other__"
UNKNOWN_TASK = "__unknown__"

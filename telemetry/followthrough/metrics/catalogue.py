"""Every metric the kit writes: name, labels and one sentence, in one place."""

from __future__ import annotations

from .values import Counter, Histogram

# Semantic conventions' buckets for HTTP, extended for tasks that run for minutes.
HTTP_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10)
TASK_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 1800)

request_duration = Histogram(
    "http_server_request_duration_seconds",
    "Time to answer an HTTP request.",
    ("http_request_method", "http_route", "http_response_status_code", "error_type"),
    registry=None,
    buckets=HTTP_BUCKETS,
)
tasks_published = Counter(
    "celery_tasks_published_total", "Tasks handed to the broker.", ("task", "queue"), registry=None
)
task_results = Counter(
    "celery_task_results_total",
    "Ended attempts of tasks, by how they ended.",
    ("task", "outcome", "error_type"),
    registry=None,
)
task_duration = Histogram(
    "celery_task_duration_seconds",
    "Run time of attempts of tasks, by how they ended.",
    ("task", "outcome"),
    registry=None,
    buckets=TASK_BUCKETS,
)
alerts_dropped = Counter(
    "alerts_dropped_total",
    "Alerts of critical tasks that could not be kept for delivery, by why.",
    ("reason",),
    registry=None,
)
quarantine_dropped = Counter(
    "celery_quarantine_dropped_total",
    "Messages removed from quarantine, unlooked at, to make room for newer ones.",
    ("reason",),
    registry=None,
)
messages_restored = Counter(
    "celery_messages_restored_total",
    "Messages of killed workers that the agent gave back to their queue.",
    ("queue",),
    registry=None,
)
messages_not_held = Counter(
    "celery_messages_not_held_total",
    "Messages that would wait for the visibility timeout if their worker were killed.",
    ("reason",),
    registry=None,
)
telemetry_errors = Counter(
    "telemetry_errors_total",
    "Errors inside telemetry that were kept from the host.",
    ("where",),
    registry=None,
)
series_dropped = Counter(
    "telemetry_series_dropped_total",
    "Values counted under __other__ because a label had too many.",
    ("label",),
    registry=None,
)

"""The Celery application: its settings, each with its reason, and tasks that know the Flask app."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from celery import Celery, Task
from flask import Flask

import followthrough
from app import Role
from app.schedule import SCHEDULE
from app.settings import Settings

SOFT_TIME_LIMIT = 25 * 60
TIME_LIMIT = 30 * 60
LONGEST_ETA = 60 * 60
# Redis redelivers what no worker has acknowledged within this time. It must be longer than any task
# runs or waits in a worker, else a task that is still running is given to a second worker.
VISIBILITY_TIMEOUT = 2 * 60 * 60

TASK_MODULES = ("app.tasks.email", "app.tasks.upkeep")


def celery_init_app(app: Flask, *, role: Role = "web") -> Celery:
    """Make the Celery app of a Flask app; its tasks run in the application context."""

    class FlaskTask(Task):
        # A task whose process was killed is tried again this soon (Celery's default: 3 minutes).
        default_retry_delay = 5

        def __call__(self, *args: Any, **kwargs: Any) -> Any:
            with app.app_context():
                return self.run(*args, **kwargs)

    settings: Settings = app.extensions["settings"]
    celery = Celery("app", task_cls=FlaskTask, include=list(TASK_MODULES))
    celery.conf.update(_config(settings, role))
    # In every role: a process that publishes never subscribes to the results.
    celery.loader.override_backends = dict.fromkeys(
        ("redis", "rediss"), "app.services.results:Results"
    )
    celery.set_default()
    app.extensions["celery"] = celery
    if role != "client":
        followthrough.instrument_celery()
    return celery


make_celery = celery_init_app


def process_role(argv: list[str]) -> Role:
    """The role of this process by its command line: what `celery` was asked to do, else web."""
    program = Path(argv[0])
    if program.name != "celery" and program.parent.name != "celery":
        return "web"
    roles: tuple[Role, ...] = ("worker", "beat", "flower")
    return next((role for role in roles if role in argv[1:]), "client")


def _config(settings: Settings, role: Role) -> dict[str, Any]:
    return {
        **_FORMAT,
        **_EXECUTION,
        **_addresses(settings),
        **_timeouts(role),
        "task_compression": "gzip" if settings.env == "production" else None,
        "task_always_eager": settings.task_always_eager,
        # So that a task's status can be asked for in eager mode too.
        "task_store_eager_result": True,
        "worker_concurrency": settings.worker_concurrency,
        "result_expires": settings.result_expires,
        "beat_schedule": SCHEDULE,
        # Celery's default is a file in the working directory.
        "beat_schedule_filename": str(settings.state_dir / "celerybeat-schedule"),
        # Each web thread may publish at the same time; a smaller pool makes them wait, unbounded.
        "broker_pool_limit": settings.web_threads + 2,
    }


def _addresses(settings: Settings) -> dict[str, Any]:
    return {"broker_url": settings.broker_url, "result_backend": settings.result_backend}


_FORMAT = {
    # Pickle and YAML messages can run code; they are refused.
    "task_serializer": "json",
    "result_serializer": "json",
    "accept_content": ["json"],
    "timezone": "UTC",
    "enable_utc": True,
}

_EXECUTION = {
    "task_track_started": True,
    "task_time_limit": TIME_LIMIT,
    "task_soft_time_limit": SOFT_TIME_LIMIT,
    # A message is acknowledged after its task ran, so that a stopped worker loses none.
    "task_acks_late": True,
    # One message a process: a long task doesn't hold up others that wait behind it.
    "worker_prefetch_multiplier": 1,
    # A task whose pool process was killed is sent again, at most max_retries times: a message that
    # kills each process it meets ends as a failure. Should that send fail, the message is requeued.
    "task_retry_on_worker_lost": True,
    "task_reject_on_worker_lost": True,
    # A worker outlives its broker, for however long it is away.
    "broker_connection_retry_on_startup": True,
    "broker_connection_max_retries": None,
    # What runs when the connection breaks goes on.
    "worker_cancel_long_running_tasks_on_connection_loss": False,
}


def _timeouts(role: Role) -> dict[str, Any]:
    wait = 0.8 if role == "web" else 10.0
    retries = 1 if role == "web" else 5
    retry = {
        "max_retries": retries,
        "interval_start": 0,
        "interval_step": 0.05 if role == "web" else 0.5,
        "interval_max": 0.05 if role == "web" else 2,
    }
    return {
        "task_publish_retry_policy": retry,
        "broker_connection_timeout": wait,
        "broker_transport_options": {
            "visibility_timeout": VISIBILITY_TIMEOUT,
            "socket_timeout": wait,
            "socket_connect_timeout": wait,
            "socket_keepalive": True,
            **(retry if role == "web" else {}),
        },
        "redis_socket_timeout": wait,
        "redis_socket_connect_timeout": wait,
        "redis_socket_keepalive": True,
        "result_backend_transport_options": {
            "visibility_timeout": VISIBILITY_TIMEOUT,
            "retry_policy": retry,
        },
        "result_backend_thread_safe": True,
    }

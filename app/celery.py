"""The Celery application: its settings, each with its reason, and tasks that know the Flask app."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from billiard import pool
from celery import Celery, Task
from celery.exceptions import CPendingDeprecationWarning
from kombu.entity import Queue

import followthrough
from app import queues, tasks
from app.schedule import SCHEDULE
from app.services import broker, cancelling, redelivery

if TYPE_CHECKING:
    from flask import Flask

    from app import Role
    from app.settings import Settings

_FORMAT = {
    # Pickle and YAML messages can run code; they are refused.
    "task_serializer": "json",
    "result_serializer": "json",
    "accept_content": ["json"],
    "enable_utc": True,
}

_EXECUTION = {
    "task_track_started": True,
    "task_time_limit": queues.LONGEST_RUN,
    # The task itself hears of it five minutes before, and can end in order.
    "task_soft_time_limit": queues.LONGEST_RUN - 5 * 60,
    # A message is acknowledged after its task ran, so that a stopped worker loses none.
    "task_acks_late": True,
    # One message a process: a long task doesn't hold up others that wait behind it.
    "worker_prefetch_multiplier": 1,
    # A task whose process was killed is sent again, at most max_retries times: a message that kills
    # each process it meets ends as a failure. If that can't be sent, the message is requeued.
    "task_retry_on_worker_lost": True,
    "task_reject_on_worker_lost": True,
    # What runs when the connection to the broker breaks goes on, and is acknowledged afterwards.
    "worker_cancel_long_running_tasks_on_connection_loss": False,
}


def celery_init_app(app: Flask, *, role: Role = "web") -> Celery:
    """Make the Celery app of a Flask app; its tasks run in the application context."""
    settings: Settings = app.extensions["settings"]
    celery = Celery(
        "app", task_cls=_task_class(app), amqp=broker.amqp(role), include=tasks.modules()
    )
    celery.conf.update({**_config(settings, role), **_eager(app)})
    redelivery.install()
    celery.loader.override_backends = dict.fromkeys(
        ("redis", "rediss", "socket"), "app.services.results:Results"
    )
    celery.set_current()
    celery.set_default()
    app.extensions["celery"] = celery
    app.extensions["breakers"] = broker.breakers()
    if role == "worker":
        _install_control(celery)
        _bound_the_pools_end()
        # It is said at each reconnect, although the setting it asks for is made above.
        said = r"\s*In Celery 5\.1 we introduced an optional breaking change"
        warnings.filterwarnings("ignore", message=said, category=CPendingDeprecationWarning)
    if role != "client":
        followthrough.instrument_celery()
    return celery


make_celery = celery_init_app


def _install_control(celery: Celery) -> None:
    # Only workers need Celery's worker.
    from app.services import control  # noqa: PLC0415

    control.install(celery)


def _bound_the_pools_end() -> None:
    # A pool process waits before it ends until the worker has read all its results. After a lost
    # connection it may wait for one that was dropped, by default for 30 s: longer than a stop may
    # take, so that the worker was killed before it gave back what it held.
    pool.GUARANTEE_MESSAGE_CONSUMPTION_RETRY_LIMIT = 10  # times 0.1 s


def process_role(argv: list[str]) -> Role:
    """The role of this process by its command line: what `celery` was asked to do, else web."""
    program = Path(argv[0])
    if program.name != "celery" and program.parent.name != "celery":
        return "web"
    roles: tuple[Role, ...] = ("worker", "beat", "flower")
    return next((role for role in roles if role in argv[1:]), "client")


def _task_class(app: Flask) -> type[Task]:
    class FlaskTask(Task):
        # Seconds until a task whose process was killed is tried again (Celery's default: 180).
        default_retry_delay = 1

        def __call__(self, *args: Any, **kwargs: Any) -> Any:
            cancelling.stop_if_cancelled(self)
            with app.app_context():
                return self.run(*args, **kwargs)

    return FlaskTask


def _eager(app: Flask) -> dict[str, Any]:
    """Whether tasks run at once; a test may say so in app.config, which goes before the setting."""
    settings: Settings = app.extensions["settings"]
    return {
        "task_always_eager": app.config.get("CELERY_TASK_ALWAYS_EAGER", settings.task_always_eager),
        "task_eager_propagates": app.config.get("CELERY_TASK_EAGER_PROPAGATES", False),
        # So that a task's status can be asked for in eager mode too.
        "task_store_eager_result": True,
    }


def _queues() -> dict[str, Any]:
    return {
        "task_queues": [Queue(name, routing_key=name) for name in queues.NAMES],
        "task_default_queue": queues.DEFAULT,
        # A misspelt name would be a queue that no worker consumes.
        "task_create_missing_queues": False,
        "task_routes": {task: {"queue": queue} for task, queue in queues.ROUTES.items()},
    }


def _config(settings: Settings, role: Role) -> dict[str, Any]:
    return {
        **_FORMAT,
        **_EXECUTION,
        **_queues(),
        **broker.config(settings, role),
        "task_compression": "gzip" if settings.env == "production" else None,
        "worker_concurrency": settings.worker_concurrency,
        # Redis forgets results by itself, so its memory stays bounded.
        "result_expires": settings.result_expires,
        # Crontabs mean this zone; what is sent and kept is UTC.
        "timezone": settings.timezone,
        "beat_schedule": SCHEDULE,
        "beat_scheduler": "app.beat:Scheduler",
        # Its file is true after each tick, for `schedule` and for a beat that is killed.
        "beat_sync_every": 1,
        # Celery's default is a file in the working directory.
        "beat_schedule_filename": str(settings.state_dir / "celerybeat-schedule"),
    }

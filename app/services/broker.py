"""How a process talks to the broker and the result backend: its time-outs and retries."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from celery import current_task
from celery.app.amqp import AMQP
from celery.app.routes import Router
from celery.exceptions import BackendError, QueueNotFound
from kombu.connection import Connection
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

from app.services.breaker import Breaker

if TYPE_CHECKING:
    from app import Role
    from app.settings import Settings

# A request has 2 s for all it asks of Redis: at most one of these waits for the broker and one for
# the result backend.
WEB_TIMEOUT = 0.8
# A worker waits longer, since nobody waits for it. It is above the one second that its blocking
# read takes when there is no task; a few of these must fit into the time that a stop may take.
WORKER_TIMEOUT = 2.0

# A request tries once: redis-py itself replaces a connection that a restarted Redis has closed, and
# a publish that got no answer may have been taken, so that trying again could send a task twice.
_WEB_RETRY = {"max_retries": 0, "interval_start": 0, "interval_step": 0, "interval_max": 0}
# What a worker publishes or stores is the outcome of work already done, which giving up would lose:
# it waits for as long as Redis is away, within the task's time limits (see is_in_task).
_WORKER_RETRY = {"max_retries": None, "interval_start": 0, "interval_step": 0.5, "interval_max": 2}

_PATIENT = ("worker", "beat")

UNREACHABLE = (OperationalError, RedisError, BackendError, OSError)


class PatientConnection(Connection):
    """Asks a broker that is down at first soon, then every 3 s; kombu's own pauses grow to 30 s."""

    def ensure_connection(self, *args: Any, **kwargs: Any) -> Any:
        pauses = {"interval_start": 0.5, "interval_step": 0.5, "interval_max": 3}
        return super().ensure_connection(*args, **{**pauses, **kwargs})


class NamingRouter(Router):
    """Names the queues there are when it refuses one, also one that is meant by a routing key."""

    def route(self, options: dict[str, Any], *args: Any, **kwargs: Any) -> dict[str, Any]:
        key = options.get("routing_key")
        if key and not options.get("exchange") and not options.get("queue"):
            options = {**options, "queue": key}
        return super().route(options, *args, **kwargs)

    def expand_destination(self, route: Any) -> Any:
        try:
            return super().expand_destination(route)
        except QueueNotFound as error:
            there_are = f"the queues are {', '.join(self.queues)}"
            raise QueueNotFound(f"{error.args[0]}: {there_are}") from None


class PatientAMQP(AMQP):
    Connection = PatientConnection

    def as_task_v2(self, *args: Any, **kwargs: Any) -> Any:
        """The message of a task, with the second in which it was made."""
        message = super().as_task_v2(*args, **kwargs)
        message.properties["timestamp"] = int(time.time())
        return message

    def Router(self, *args: Any, **kwargs: Any) -> Router:  # noqa: N802  Celery's name
        router = super().Router(*args, **kwargs)
        return NamingRouter(router.routes, router.queues, router.create_missing, router.app)


class WebConnection(PatientConnection):
    """Tries once, also to tell the workers something, which kombu would try for ever."""

    def ensure(self, *args: Any, **kwargs: Any) -> Any:
        return super().ensure(*args, **{**kwargs, "max_retries": 0})


class WebAMQP(PatientAMQP):
    Connection = WebConnection


class WorkerConnection(PatientConnection):
    """Publishes patiently within a task only."""

    def ensure(self, *args: Any, **kwargs: Any) -> Any:
        if not is_in_task():
            kwargs["max_retries"] = 0
        return super().ensure(*args, **kwargs)

    def _extract_failover_opts(self) -> dict[str, Any]:
        # How long a publish waits for its connection; kombu's own bound is the connect time-out.
        within = {"timeout": None} if is_in_task() else {"max_retries": 0}
        return {**super()._extract_failover_opts(), **within}


class WorkerAMQP(PatientAMQP):
    Connection = WorkerConnection


def amqp(role: Role) -> type[AMQP]:
    return {"worker": WorkerAMQP, "web": WebAMQP}.get(role, PatientAMQP)


def is_in_task() -> bool:
    """Whether a task runs here, which may wait for Redis.

    The worker's main process may not: while it waits it neither feeds its pool nor heeds a signal.
    What it can't send or store for a lost pool process ends with the message being requeued.
    """
    return bool(current_task)


def breakers() -> dict[str, Breaker]:
    """One breaker for each service that a request needs."""
    return {name: Breaker(name, UNREACHABLE) for name in ("broker", "result backend")}


def config(settings: Settings, role: Role) -> dict[str, Any]:
    """Celery's settings about addresses, time-outs and retries."""
    wait = WEB_TIMEOUT if role == "web" else WORKER_TIMEOUT
    retry = _WORKER_RETRY if role in _PATIENT else _WEB_RETRY
    return {
        "broker_url": settings.broker_url,
        "result_backend": settings.result_backend,
        # A worker outlives its broker, for however long it is away.
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,
        # Also a broker that answers with an error, such as a replica or one that is full.
        "broker_channel_error_retry": True,
        "broker_connection_timeout": wait,
        "broker_transport_options": _transport_options(settings, wait),
        # Each web thread may publish at the same time; a smaller pool makes them wait.
        "broker_pool_limit": settings.web_threads + 2,
        "broker_pool_acquire_timeout": wait,
        "task_publish_retry_policy": retry,
        **_result_config(settings, role, wait, retry),
    }


def _transport_options(settings: Settings, wait: float) -> dict[str, Any]:
    if not urlsplit(settings.broker_url).scheme.startswith(("redis", "unix")):
        return {}
    return {
        "visibility_timeout": settings.visibility_timeout,
        # Each tenth time kombu looks for what to redeliver: late by a tenth, and at most 100 s.
        "unacked_restore_interval": min(max(settings.visibility_timeout / 100, 0.1), 10),
        "socket_timeout": wait,
        "socket_connect_timeout": wait,
        # One list for each queue, since no message has a priority: a queue is for that.
        "priority_steps": [0],
        # A peer that vanished without a word is noticed while a connection is idle.
        "socket_keepalive": True,
        # The first use of a connection tries once; the publish itself is what is tried again.
        "max_retries": 0,
    }


def _result_config(
    settings: Settings, role: Role, wait: float, retry: dict[str, Any]
) -> dict[str, Any]:
    return {
        # Reads too: a task that can't be marked as started because Redis is away would fail unrun.
        "result_backend_always_retry": role in _PATIENT,
        "result_backend_max_sleep_between_retries_ms": 2000,
        "redis_socket_timeout": wait,
        "redis_socket_connect_timeout": wait,
        "redis_socket_keepalive": True,
        # Celery's own retries go on for 20 attempts of a second each.
        "result_backend_transport_options": {
            "visibility_timeout": settings.visibility_timeout,
            "retry_policy": retry,
        },
        # One pool of connections for all threads of a process, instead of one each.
        "result_backend_thread_safe": True,
    }

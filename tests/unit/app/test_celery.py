"""What kind of Celery app each process gets."""

from __future__ import annotations

import pytest
from celery import current_app
from kombu import Connection, transport

from app.celery import celery_init_app, make_celery, process_role
from app.services import broker, redelivery


@pytest.mark.parametrize(
    ("argv", "role"),
    [
        (["/venv/bin/gunicorn", "run:app"], "web"),
        (["-c"], "web"),
        (["/venv/bin/celery", "-A", "app.worker", "worker", "-c", "2"], "worker"),
        (["/site/celery/__main__.py", "-A", "app.worker", "worker"], "worker"),
        (["/venv/bin/celery", "-A", "app.worker", "beat"], "beat"),
        (["/venv/bin/celery", "-A", "app.worker", "worker", "-B"], "worker"),
        (["/venv/bin/celery", "-A", "app.worker", "flower"], "flower"),
        (["/venv/bin/celery", "-A", "app.worker", "inspect", "ping"], "client"),
    ],
)
def test_the_role_is_read_from_the_command(argv, role):
    assert process_role(argv) == role


def test_make_celery_is_the_older_name():
    assert make_celery is celery_init_app


def test_the_settings_of_the_guide_hold(make_app):
    conf = (
        make_app(APP_ENV="production", SECRET_KEY="a-secret-of-its-own").extensions["celery"].conf
    )
    assert (conf.task_serializer, conf.result_serializer, conf.accept_content) == (
        "json",
        "json",
        ["json"],
    )
    assert (conf.timezone, conf.enable_utc) == ("UTC", True)
    assert conf.task_track_started
    assert (conf.task_time_limit, conf.task_soft_time_limit) == (1800, 1500)
    assert conf.task_acks_late
    assert conf.worker_prefetch_multiplier == 1
    assert conf.task_compression == "gzip"


def test_messages_are_compressed_in_production_only(make_app):
    assert make_app().extensions["celery"].conf.task_compression is None


def test_tasks_run_in_the_application_context(make_app):
    app = make_app(CELERY_TASK_ALWAYS_EAGER="1")

    @app.extensions["celery"].task(name="test.context")
    def context():
        from flask import current_app as flask_app

        return flask_app.name

    assert context.delay().get() == app.name


def test_the_newest_application_is_the_current_one(make_app):
    """Shared tasks publish with the application made last."""
    make_app()
    assert make_app().extensions["celery"] is current_app._get_current_object()


@pytest.mark.parametrize("role", ["web", "worker", "beat"])
def test_redelivery_waits_for_the_longest_task(make_app, role):
    """A task that runs, or waits in a worker for a retry, is not given to a second worker."""
    app = make_app(CELERY_BROKER_URL="redis://127.0.0.1:1/0")
    celery = celery_init_app(app, role=role)
    options = celery.conf.broker_transport_options
    retry = celery.tasks["tasks.send_email"].retry_backoff_max if celery.tasks else 0
    assert options["visibility_timeout"] > celery.conf.task_time_limit + retry
    assert options["socket_keepalive"]
    assert 0 < options["socket_timeout"] <= 10
    assert celery.conf.redis_socket_timeout == options["socket_timeout"]


def test_a_broker_that_is_down_is_asked_often(monkeypatch):
    """A worker is back seconds after its broker, however long that was away."""
    seen = {}
    monkeypatch.setattr(
        "kombu.connection.Connection.ensure_connection",
        lambda _self, *_args, **options: seen.update(options),
    )
    broker.PatientConnection("memory://").ensure_connection(None, 5)
    assert seen["interval_max"] <= 3


def test_the_transport_is_ours_also_where_kombu_has_used_its_own_before(make_app, monkeypatch):
    """A program that talked to Redis before it made the app still loses no message."""
    monkeypatch.setitem(transport.TRANSPORT_ALIASES, "redis", "kombu.transport.redis:Transport")
    monkeypatch.delitem(transport._transport_cache, "redis", raising=False)
    url = "redis://127.0.0.1:1/0"
    assert type(Connection(url).transport) is transport.redis.Transport
    make_app(CELERY_BROKER_URL=url)
    assert type(Connection(url).transport) is redelivery.Transport

"""What kind of Celery app each process gets."""

from __future__ import annotations

import pytest
from celery import current_app
from celery.exceptions import QueueNotFound
from kombu import Connection, transport

from app import queues, registry
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
    assert options["visibility_timeout"] > celery.conf.task_time_limit + queues.LONGEST_WAIT
    assert options["socket_keepalive"]
    assert 0 < options["socket_timeout"] <= 10
    assert celery.conf.redis_socket_timeout == options["socket_timeout"]


def test_redelivery_is_as_soon_as_set(make_app):
    """Both sides know it: the transport, and how long the id of a task is kept."""
    app = make_app(
        CELERY_BROKER_URL="redis://127.0.0.1:1/0",
        CELERY_VISIBILITY_TIMEOUT="7",
        CELERY_RESULT_EXPIRES="60",
    )
    assert app.extensions["celery"].conf.broker_transport_options["visibility_timeout"] == 7
    with app.app_context():
        assert registry.grace().total_seconds() == 67


ROUTED = {
    "tasks.send_email": "email",
    "tasks.send_bulk_emails": "email",
    "tasks.process_payment": "high_priority",
    "tasks.generate_report": "reports",
    "tasks.high_priority": "high_priority",
    "tasks.low_priority": "low_priority",
}


def test_each_task_goes_to_its_queue(make_app):
    """What is not named, periodic tasks and Celery's own included, goes to the default queue."""
    celery = make_app().extensions["celery"]
    names = {*celery.tasks, "tasks.import_csv", "celery.chord_unlock", "celery.backend_cleanup"}

    def queue(name):
        task = celery.tasks.get(name)
        options = task._get_exec_options() if task else {}
        return celery.amqp.router.route(dict(options), name)["queue"].name

    assert {name: queue(name) for name in names} == {
        name: ROUTED.get(name, "default") for name in names
    }


def test_a_worker_consumes_all_queues_unless_told(make_app):
    assert set(make_app().extensions["celery"].amqp.queues.consume_from) == set(queues.NAMES)


@pytest.mark.parametrize("option", ["queue", "routing_key"])
def test_a_queue_that_is_not_there_is_refused(make_app, option):
    """The error names those there are."""
    celery = make_app().extensions["celery"]
    with pytest.raises(QueueNotFound, match=r"'nosuch'.* email, high_priority, reports, default"):
        celery.send_task("tasks.x", **{option: "nosuch"})
    assert "nosuch" not in celery.amqp.queues


def test_a_task_tried_again_stays_in_its_queue(make_app):
    """Where it was sent to, not where its name would send it."""
    celery = make_app().extensions["celery"]
    task = celery.tasks["tasks.send_email"]
    task.push_request(delivery_info={"exchange": "", "routing_key": "low_priority"}, args=[])
    try:
        again = task.signature_from_request()
    finally:
        task.pop_request()
    assert celery.amqp.router.route(dict(again.options), again.task)["queue"].name == "low_priority"


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

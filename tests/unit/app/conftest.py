"""A web application in this process; tasks run at once, with results in memory."""

from __future__ import annotations

import pytest

from app import create_app, settings
from tests.support.parts import MailServer


@pytest.fixture
def mail_server():
    with MailServer() as server:
        yield server


@pytest.fixture
def make_app(tmp_path):
    def make(**environ):
        env = {
            "APP_ENV": "testing",
            "STATE_DIR": str(tmp_path / "state"),
            "CELERY_BROKER_URL": "memory://",
            "CELERY_RESULT_BACKEND": "cache+memory://",
            "OTEL_TRACES_EXPORTER": "none",
            "FOLLOWTHROUGH_STRICT": "1",
        }
        return create_app(settings.load({**env, **environ}))

    return make


@pytest.fixture
def client(make_app):
    return make_app().test_client()


@pytest.fixture
def eager_app(make_app):
    """Its tasks run within the request that queues them; the test is in its context."""
    app = make_app(CELERY_TASK_ALWAYS_EAGER="1")
    with app.app_context():
        yield app


@pytest.fixture
def eager(eager_app):
    return eager_app.test_client()

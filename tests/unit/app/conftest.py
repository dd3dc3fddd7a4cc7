"""A web application in this process; tasks run at once, with results in memory."""

from __future__ import annotations

import shutil

import pytest
from werkzeug.routing import Rule

from app import create_app, db, settings
from tests.support.parts import MailServer


@pytest.fixture
def mail_server():
    with MailServer() as server:
        yield server


@pytest.fixture(scope="session", autouse=True)
def _routes_compiled_once():
    """Each app has the same routes: to compile them anew would take longer than most tests do."""
    compiled, real = {}, Rule._compile_builder

    def compile_builder(rule, append_unknown=True):
        key = rule.rule, str(rule.defaults), append_unknown
        if key not in compiled:
            compiled[key] = real(rule, append_unknown)
        return compiled[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Rule, "_compile_builder", compile_builder)
        yield


@pytest.fixture(scope="session")
def migrated(tmp_path_factory):
    """A new database's file: to migrate each anew would take longer than most tests do."""
    loaded = settings.load({"STATE_DIR": str(tmp_path_factory.mktemp("migrated"))})
    db.upgrade(loaded)
    db.engine(loaded.database_url).dispose()
    return loaded.state_dir / "app.db"


@pytest.fixture
def make_app(tmp_path, migrated):
    made = []

    def make(**environ):
        env = {
            "APP_ENV": "testing",
            "STATE_DIR": str(tmp_path / "state"),
            # Nobody is there, also while the service runs on this machine.
            "SERVICE_URL": "http://127.0.0.1:1",
            "CELERY_BROKER_URL": "memory://",
            "CELERY_RESULT_BACKEND": "cache+memory://",
            "OTEL_TRACES_EXPORTER": "none",
            "FOLLOWTHROUGH_STRICT": "1",
        }
        loaded = settings.load({**env, **environ})
        if not loaded.state_dir.exists():
            loaded.state_dir.mkdir()
            shutil.copy(migrated, loaded.state_dir / "app.db")
        made.append(loaded.database_url)
        return create_app(loaded)

    yield make
    for url in made:
        db.engine(url).dispose()


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

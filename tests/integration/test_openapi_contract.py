"""Schemathesis over the OpenAPI document: no 5xx, and no answer that the document doesn't tell."""

from __future__ import annotations

import contextlib
import importlib
import pkgutil
from threading import Semaphore

import pytest
import schemathesis
from schemathesis import engine
from schemathesis.config import SchemathesisConfig
from schemathesis.engine import events

from app import create_app, settings
from app.tasks.imports import import_csv
from app.tasks.processing import process_data

pytestmark = pytest.mark.integration

ERRORS = (events.NonFatalError, events.FatalError)
EXAMPLES = 10  # generated ones an operation, besides the document's own and those at its bounds
CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
)
CONFIG = {
    # A service in this process needs no more threads, and the same requests come each time.
    "workers": 1,
    "generation": {"deterministic": True, "max-examples": EXAMPLES, "database": "none"},
    "checks": {"enabled": False, **{name: {"enabled": True} for name in CHECKS}},
    "phases": {"stateful": {"enabled": False}},
    # Without a worker these two say so: their 503 is told, everywhere else it is a defect.
    "operations": [
        {
            "include-path-regex": "/monitoring/health$",
            "checks": {"not_a_server_error": {"enabled": False}},
        }
    ],
    "seed": 1,
}


# What needs a worker, an upload that was worked off, or a token.
NEVER_A_SUCCESS = {
    "GET /api/images/{image_id}/{size}",
    "GET /api/monitoring/health",
    "GET /api/reports/{report_id}",
    "GET /api/sessions/current",
    "GET /monitoring/health",
    "DELETE /api/sessions/current",
}


@pytest.fixture
def loaded():
    """All of Schemathesis, which pytest parses as it is loaded.

    Later there are threads, and two that parse at a time are too much for Python 3.11's ast.
    """
    for module in pkgutil.walk_packages(schemathesis.__path__, "schemathesis."):
        # Parts for what isn't installed.
        with contextlib.suppress(ImportError):
            importlib.import_module(module.name)


@pytest.fixture
def app(tmp_path, loaded):
    """A service in this process with a dataset: jobs are queued in its memory, and stay there."""
    folder = tmp_path / "state" / "imports"
    folder.mkdir(parents=True)
    (folder / "people.csv").write_text("name,age\nAda,36\nGrace,85\n")
    env = {
        "APP_ENV": "testing",
        "STATE_DIR": str(tmp_path / "state"),
        "CELERY_BROKER_URL": "memory://",
        "CELERY_RESULT_BACKEND": "cache+memory://",
        "OTEL_TRACES_EXPORTER": "none",
        "FOLLOWTHROUGH_STRICT": "1",
    }
    app = create_app(settings.load(env))
    # As if all threads that may wait for a task did so already.
    app.extensions["waiting"] = Semaphore(0)
    with app.app_context():
        import_csv.apply(args=["people.csv"]).get()
        process_data.apply(args=[1]).get()
    return app


def run(app):
    config = SchemathesisConfig.from_dict(CONFIG)
    schema = schemathesis.openapi.from_wsgi("/openapi.json", app, config=config)
    return list(engine.from_schema(schema).execute())


def failures(scenario):
    """What was asked and why the answer was wrong, of each check that failed."""
    for case, checks in scenario.recorder.checks.items():
        for check in checks:
            if failure := check.failure_info:
                asked = scenario.recorder.cases[case].value.as_curl_command()
                yield f"{check.name}: {failure.failure.title}\n{failure.failure.message}\n{asked}"


def succeeded(scenario):
    """Whether an answer was a success; OPTIONS always is."""
    return any(
        each.response and each.response.status_code < 400 and each.request.method != "OPTIONS"
        for each in scenario.recorder.interactions.values()
    )


def test_every_answer_is_as_the_document_says(app):
    """Asked with the document's examples, at the bounds of its schemas, and with what is random."""
    happened = run(app)
    errors = [each for each in happened if isinstance(each, ERRORS)]
    assert not errors, errors
    scenarios = [each for each in happened if isinstance(each, events.ScenarioFinished)]
    wrong = [failure for scenario in scenarios for failure in failures(scenario)]
    assert not wrong, "\n\n".join(wrong)
    asked = {each.recorder.label for each in scenarios}
    useful = {each.recorder.label for each in scenarios if succeeded(each)}
    assert asked - useful <= NEVER_A_SUCCESS, "no generated request is taken"
    assert {each.phase.value for each in scenarios} == {"examples", "coverage", "fuzzing"}
